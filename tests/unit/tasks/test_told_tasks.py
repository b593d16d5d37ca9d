"""What trials tell an expert beside observations: the tasks as vectors."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from metarl.envs import distribution
from metarl.tasks.vector.env import TrialVectorEnv

FAMILIES = {
    "metarl/BernoulliBandit-v0": {"arms": 3, "pulls": 9},
    "metarl/GaussianBandit-v0": {"arms": 3, "pulls": 9, "noise": 0.5},
    "metarl/BarcodeBandit-v0": {"arms": 3, "contexts": 2, "repeats": 2, "pulls": 3, "bits": 4},
    "metarl/TabularMDP-v0": {"states": 3, "actions": 3, "horizon": 4, "episodes": 2, "noise": 0.5},
}


@pytest.mark.parametrize(
    ("name", "options"), [*FAMILIES.items(), ("metarl/CartPolePhysics-v0", {"episodes": 2, "max_steps": 30})]
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
