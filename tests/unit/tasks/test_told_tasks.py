"""What trials tell beside observations: the mean of what actions pay, and the tasks as vectors."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from metarl.config import InputError
from metarl.envs import distribution
from metarl.tasks.vector.env import TrialVectorEnv

SAYING = {
    "metarl/BernoulliBandit-v0": {"arms": 3, "pulls": 9},
    "metarl/GaussianBandit-v0": {"arms": 3, "pulls": 9, "noise": 0.5},
    "metarl/BarcodeBandit-v0": {"arms": 3, "contexts": 2, "repeats": 2, "pulls": 3, "bits": 4},
    "metarl/TabularMDP-v0": {"states": 3, "actions": 3, "horizon": 4, "episodes": 2, "noise": 0.5},
}


@pytest.mark.parametrize("name", SAYING)
def test_the_mean_is_that_of_what_is_paid_and_asking_changes_nothing(name: str) -> None:
    family = distribution(name, **SAYING[name])
    rows, draws, rng = 5, 3000, np.random.default_rng(0)
    env = family.batched(rows)
    assert env is not None
    env.start(family.sample_batch(rng, rows), rng)
    for steps in (0, 4):
        for _ in range(steps):
            env.step(rng.integers(3, size=rows), rng)
        before = env.state_dict()
        for actions in (np.arange(rows) % 3, (np.arange(rows) + 1) % 3):
            means = env.mean_rewards(actions)
            assert {k: np.array_equal(v, before[k]) for k, v in env.state_dict().items()} == dict.fromkeys(before, True)
            paid = []
            for _ in range(draws):
                paid.append(env.step(actions, rng)[1])
                env.load_state_dict(before)
            assert means == pytest.approx(np.mean(paid, axis=0), abs=5 * 0.5 / draws**0.5)


def test_a_family_that_can_not_say_means() -> None:
    cue, bandit = (TrialVectorEnv(distribution(f"metarl/{name}-v0"), 2) for name in ("ImageCue", "BernoulliBandit"))
    assert (cue.knows_means, bandit.knows_means) == (False, True)
    cue.reset(seed=0)
    with pytest.raises(InputError) as caught:
        cue.mean_rewards(np.zeros(2, int))
    assert caught.value.key == "mean_rewards"


@pytest.mark.parametrize(
    ("name", "options"), [*SAYING.items(), ("metarl/CartPolePhysics-v0", {"episodes": 2, "max_steps": 30})]
)
def test_what_is_told_is_what_would_be_revealed_and_is_not_seen(name: str, options: dict[str, Any]) -> None:
    """Where a trial ends by itself, the task told changes in its row alone."""
    plain, told, revealed = (
        TrialVectorEnv(distribution(name, **options, reveal=reveal), 4) for reveal in (False, False, True)
    )
    size = told.tell_tasks()
    obs = [env.reset(seed=3)[0] for env in (plain, told, revealed)]
    rng, changed = np.random.default_rng(0), 0
    for _ in range(70):
        assert all(np.array_equal(obs[0][key], obs[1][key]) for key in obs[0])
        shown = revealed.layout.with_task(obs[1], told.told_tasks)
        assert shown.keys() == obs[2].keys()
        assert all(np.array_equal(shown[key], obs[2][key]) for key in shown)
        assert told.told_tasks.shape == (4, size)
        before, tasks = told.told_tasks, told.told_tasks.copy()
        actions = rng.integers(2, size=4)
        results = [env.advance(actions) for env in (plain, told, revealed)]
        obs = [result.obs for result in results]
        assert np.array_equal(before, tasks), "what was told before is no buffer that changes"
        assert np.array_equal((told.told_tasks != tasks).any(1), results[1].ended)
        changed += results[1].ended.any()
    assert changed > 1


def test_tasks_are_told_after_a_reset_and_saved() -> None:
    family = distribution("metarl/BernoulliBandit-v0", arms=3, pulls=9)
    env, other = TrialVectorEnv(family, 2), TrialVectorEnv(family, 2)
    env.reset(seed=0)
    env.tell_tasks()
    with pytest.raises(gym.error.ResetNeeded):
        _ = env.told_tasks
    env.reset()
    env.advance(np.zeros(2, int))
    other.tell_tasks()
    other.reset(seed=5)
    other.load_state_dict(env.state_dict())
    assert np.array_equal(other.told_tasks, env.told_tasks)
