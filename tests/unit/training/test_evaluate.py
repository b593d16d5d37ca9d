"""Playing held-out tasks, and what is made of it."""

from typing import Any

import numpy as np
import pytest
import torch

from metarl import from_env
from metarl.envs import distribution
from metarl.envs.cartpole_physics import CartPolePhysics
from metarl.evaluation.play import TrialBatch, rollout_trials, steps_to_adapt
from metarl.memory.options import MemoryOptions
from metarl.nets.policy import MemoryPolicy
from metarl.tasks.family.distribution import TaskDistribution
from metarl.tasks.vector.env import TrialVectorEnv
from metarl.training.actor import PolicyActor
from metarl.types import Array, Boundary, Ints, NonFiniteError, StepResult, TrialObservation

BERNOULLI = distribution("metarl/BernoulliBandit-v0", arms=3, pulls=6, split="test")
BARCODE = distribution("metarl/BarcodeBandit-v0", arms=3, contexts=2, repeats=2, pulls=3, bits=6, split="test")


class Always:
    """Pulls one arm, and keeps what it was shown."""

    def __init__(self, arm: int) -> None:
        self.arm, self.boundaries, self.seen = arm, [], []

    def reset(self, n: int, rng: np.random.Generator) -> None:
        self.n = n

    def act(self, obs: TrialObservation, boundary: Ints) -> Array:
        self.boundaries.append(boundary.tolist())
        self.seen.append(obs["obs"].copy())
        return np.full(self.n, self.arm)


def envs(family: TaskDistribution) -> Any:
    return lambda rows: TrialVectorEnv(family, rows)


def policy_for(family: TaskDistribution) -> MemoryPolicy:
    space: Any = TrialVectorEnv(family, 1)
    memory = MemoryOptions(controller="gru", controller_options={"hidden_size": 8}, key_size=4, value_size=4)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return MemoryPolicy(space.single_observation_space, space.single_action_space, memory, family.trial_steps)


def test_training_tasks_and_no_trials_are_refused() -> None:
    with pytest.raises(ValueError, match="training tasks"):
        rollout_trials(Always(0), envs(BERNOULLI.with_split("train")), 4)
    with pytest.raises(ValueError, match="trials"):
        rollout_trials(Always(0), envs(BERNOULLI), 0)


def test_actors_are_compared_on_the_same_tasks_with_common_random_numbers() -> None:
    played = [
        rollout_trials(Always(arm), envs(BERNOULLI), 40, seed=seed, rows=16).rewards
        for arm, seed in ((0, 3), (0, 3), (1, 3), (0, 4))
    ]
    assert [np.array_equal(played[0], one) for one in played[1:]] == [True, False, False]
    # Common random numbers: an arm that is better pays wherever the worse one does.
    rates: list[Array] = []

    class Watched(TrialVectorEnv):
        def reset(self, **options: Any) -> Any:
            obs, info = super().reset(**options)
            rates.append(info["task"]["rates"])
            return obs, info

    first, second = (rollout_trials(Always(arm), lambda rows: Watched(BERNOULLI, rows), 64) for arm in (0, 1))
    assert np.array_equal(rates[0], rates[1]), "the same tasks"
    better = rates[0][:, 0] > rates[0][:, 1]
    assert (first.rewards[better] >= second.rewards[better]).all()
    assert (first.rewards[~better] <= second.rewards[~better]).all()
    assert 0 < better.sum() < 64


def test_boundaries_and_ends() -> None:
    actor = Always(0)
    played = rollout_trials(actor, envs(BARCODE), 2)
    episode = [Boundary.EPISODE, Boundary.INSIDE, Boundary.INSIDE]
    assert np.array(actor.boundaries).T.tolist() == [[Boundary.TRIAL, *episode[1:], *episode * 3]] * 2
    assert played.ends.tolist() == [[False, False, True] * 4] * 2


def test_return_by_episode_where_trials_have_unequal_episodes() -> None:
    rewards = np.array([[1, 2, 4, 8], [1, 2, 4, 8]], np.float32)
    ends = np.array([[False, True, False, True], [True, True, True, True]])
    played = TrialBatch(rewards, ends, np.ones((2, 4), int), np.full(2, 4))
    assert played.by_episode().tolist() == [[3, 12], [1, 2]], "those that all trials finished"
    assert (played.finished.tolist(), played.cut.tolist()) == ([2, 4], [False, False])
    assert played.returns.tolist() == [15, 15]


def test_trials_that_end_by_themselves_are_played_once_each() -> None:
    family = CartPolePhysics(episodes=3, max_steps=20)
    played = rollout_trials(Always(0), lambda rows: TrialVectorEnv(family.with_split("test"), rows), 50, rows=25)
    assert played.ends.sum(1).tolist() == [3] * 50
    assert not played.equal_lengths
    assert (played.ends.argmax(1) < played.lengths).all()
    assert played.ends[np.arange(50), played.lengths - 1].all()  # the last episode ends with the trial
    np.testing.assert_array_equal(played.returns, played.lengths)  # a reward of 1 a step, and none after the end
    np.testing.assert_array_equal(played.exposure > 0, np.arange(60) < played.lengths[:, None])
    np.testing.assert_allclose(played.by_episode().sum(1), played.lengths)


def test_exposures_count_how_often_a_context_was_met() -> None:
    actor = Always(0)
    played = rollout_trials(actor, envs(BARCODE), 30)
    seen = np.stack(actor.seen, 1)  # [n, T, bits]
    for row in range(30):
        met: dict[bytes, int] = {}
        for episode in range(4):
            context = seen[row, 3 * episode].tobytes()
            met[context] = met.get(context, 0) + 1
            assert played.exposure[row, 3 * episode : 3 * episode + 3].tolist() == [met[context]] * 3
    by_exposure = played.by_exposure()
    totals = played.by_episode()
    number = played.exposure[:, ::3]
    np.testing.assert_allclose(by_exposure, [totals[number == 1].mean(), totals[number == 2].mean()], rtol=1e-6)
    assert rollout_trials(actor, envs(BERNOULLI), 5).by_exposure() is None


def test_with_one_context_exposure_tells_nothing_where_the_end_of_a_trial_cuts_an_episode() -> None:
    lake = from_env("FrozenLake-v1", {"success_rate": "0.5..1"}, steps=20)
    assert rollout_trials(Always(2), envs(lake.with_split("test")), 30).by_exposure() is None


@pytest.mark.parametrize(
    ("curve", "expected"),
    [
        ([1.0] * 10, None),
        ([0.0] * 10 + [1.0] * 10, 12),
        ([0.0] * 9 + [1.0], 10),
        ([0.0, 0.0, 1.0, 0.0, 0.0, 0.0] + [1.0] * 14, 8),
        ([2.0] * 3 + [1.0] * 17, None),
        ([-1.0] * 10 + [-0.1] * 10, None),
    ],
    ids=["at once", "half way", "never but at the last step", "a lucky step does not count", "falls", "costs"],
)
def test_speed_of_adaptation_on_curves_made_by_hand(curve: list[float], expected: int | None) -> None:
    rewards = np.stack([np.array(curve) * scale for scale in (0.5, 1.5)])  # the mean over tasks is the curve
    assert steps_to_adapt(rewards) == expected


def test_speed_of_adaptation_knows_its_share() -> None:
    rising = np.linspace(0, 1, 100)[None]
    steps = [steps_to_adapt(rising, share) for share in (0.25, 0.5, 0.9)]
    assert steps == sorted(steps)
    assert abs(steps[1] - 48) <= 2


def test_a_batch_knows_nothing_of_the_one_before() -> None:
    """The memory starts empty in each batch: a new policy for each plays no differently."""
    policy = policy_for(BARCODE)
    whole = rollout_trials(PolicyActor(policy, deterministic=True), envs(BARCODE), 24, rows=8)

    class Forgetful(PolicyActor):
        def reset(self, n: int, rng: np.random.Generator) -> None:
            super().reset(n, rng)
            self.policy = policy_for(BARCODE)

    fresh = rollout_trials(Forgetful(policy, deterministic=True), envs(BARCODE), 24, rows=8)
    assert np.array_equal(whole.rewards, fresh.rewards)


def test_batches_have_tasks_of_their_own_and_the_last_may_be_small() -> None:
    told: list[int] = []
    played = rollout_trials(Always(0), envs(BERNOULLI), 20, rows=8, on_batch=told.append)
    assert played.rewards.shape == (20, 6)
    assert told == [8, 16, 20]
    assert not np.array_equal(played.rewards[:8], played.rewards[8:16])


def test_numbers_that_are_not_finite_stop_the_evaluation() -> None:
    class Broken(TrialVectorEnv):
        def advance(self, actions: Any) -> StepResult:
            result = super().advance(actions)
            result.reward[1] = np.nan
            return result

    with pytest.raises(NonFiniteError, match="reward"):
        rollout_trials(Always(0), lambda rows: Broken(BERNOULLI, rows), 4)
