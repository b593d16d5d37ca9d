"""Collecting: what reaches the memory and the estimates, step by step."""

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor, nn
from training_toys import Counter, MaskedToy, NextStepToy, ToyEnv, counting_policy, generator, make_policy, start

from metarl.config import InputError
from metarl.functional.returns import gae
from metarl.memory.options import MemoryOptions
from metarl.nets.policy import Step
from metarl.training.collect import Rollout, TrainingState, collect
from metarl.types import Boundary, NonFiniteError, StepResult


def run(policy: Any, env: Any, state: TrainingState, steps: int, **options: Any) -> Rollout:
    rollout = collect(policy, env, state, steps, **{"generator": generator(), "gamma": 0.9, "lam": 0.8, **options})
    assert rollout is not None
    return rollout


@pytest.mark.parametrize("steps", [4, 3, 7], ids=["a trial", "less", "more"])
def test_the_memory_counts_the_steps_of_a_trial_in_rollout_and_update(steps: int) -> None:
    env = ToyEnv([4, 4, 5])
    policy = counting_policy(env)
    state = start(policy, env)
    expected = [np.arange(3 * steps) % length for length in env.lengths]
    for turn in range(3):
        rollout = run(policy, env, state, steps)
        step_in_trial = torch.tensor(np.stack(expected, 1)[turn * steps : (turn + 1) * steps]).float()
        assert torch.equal(rollout.values, step_in_trial)
        again = policy.evaluate(rollout.obs, rollout.state, rollout.boundary, rollout.actions)
        assert torch.equal(again.value, step_in_trial)
        assert torch.equal(rollout.obs["obs"][..., 0], step_in_trial)


def test_boundaries_stand_at_the_input_that_they_precede() -> None:
    env = ToyEnv([4])
    rollout = run(counting_policy(env), env, start(counting_policy(env), env), 9)
    trial, episode, inside = Boundary.TRIAL, Boundary.EPISODE, Boundary.INSIDE
    assert rollout.boundary[:, 0].tolist() == [trial, inside, episode, inside] * 2 + [trial]


class Stub(nn.Module):
    """A policy with V = 10 everywhere that records what its critic was given."""

    class head:
        action_shape = ()
        action_dtype = torch.long
        to_env = staticmethod(np.asarray)

    def __init__(self) -> None:
        super().__init__()
        self.parameter = nn.Parameter(torch.zeros(1))
        self.valued: list[tuple[dict[str, Tensor], Counter, Tensor]] = []

    def prepare(self, obs: Any, **_: Any) -> dict[str, Tensor]:
        return {key: torch.as_tensor(part) for key, part in obs.items()}

    def initial_state(self, n: int) -> Counter:
        return Counter(torch.zeros(n))

    def forward(self, obs: Any, state: Counter, boundary: Tensor, **_: Any) -> tuple[Step, Counter]:
        n = len(boundary)
        ten = torch.full((n,), 10.0)
        return Step(torch.zeros(n, dtype=torch.long), torch.zeros(n), ten), Counter(state.count + 1)

    def value(self, obs: dict[str, Tensor], state: Counter, boundary: Tensor, tasks: None = None) -> Tensor:
        self.valued.append((obs, state, boundary))
        return torch.full((len(boundary),), 10.0)


def test_a_time_limit_is_bootstrapped_from_the_last_observation_and_the_state_after_it() -> None:
    """Reward 1, gamma 0.9, V = 10: the target is 10 at a truncation and 1 at a termination."""
    env, policy = ToyEnv([4, 4, 3], cut=[True, False, True]), Stub()
    rollout = run(policy, env, start(policy, env), 4, lam=0.0)
    assert rollout.returns[3].tolist() == [10.0, 1.0, 10.0]
    assert rollout.returns[2].tolist() == [10.0, 10.0, 10.0]
    (third, fourth, last) = policy.valued
    assert third[0]["obs"].tolist() == [[3.0]], "the last observation of the trial, not the first of the next"
    assert third[1].count.tolist() == [3.0], "the memory after three inputs"
    assert fourth[0]["obs"].tolist() == [[4.0]]
    assert fourth[1].count.tolist() == [4.0]
    assert fourth[2].tolist() == [Boundary.EPISODE], "step 4 is even, so an inner episode has ended with it"
    assert last[0]["obs"][:, 0].tolist() == [0.0, 0.0, 1.0], "the end of the rollout"


def test_advantages_run_over_the_ends_of_inner_episodes() -> None:
    env = ToyEnv([4, 4])
    policy = counting_policy(env)
    rollout = run(policy, env, start(policy, env), 8)
    ends = (torch.arange(8) % 4 == 3)[:, None].expand(-1, 2)
    expected, returns = gae(torch.ones(8, 2), rollout.values, ends, torch.zeros(2), 0.9, 0.8)
    assert torch.equal(rollout.advantages, expected)
    assert torch.equal(rollout.returns, returns)


def test_credit_may_end_with_the_episode() -> None:
    """Inner episodes of two steps; the rollout ends inside one, whose rest is estimated by the value."""
    env = ToyEnv([4, 4])
    policy = counting_policy(env)
    rollout = run(policy, env, start(policy, env), 7, lam=1.0, gae_horizon="episode")
    pair = [1 + 0.9 * 1, 1.0]
    expected = torch.tensor([*pair * 3, 1 + 0.9 * 3])  # V = 3 at the fourth input of the second trial
    torch.testing.assert_close(rollout.returns, expected[:, None].expand(-1, 2))


def test_a_time_limit_at_the_end_of_an_episode_brings_no_credit_from_the_next() -> None:
    """Inner episodes of two steps: the trial of four is cut at the end of one, that of three inside one."""
    env, policy = ToyEnv([4, 3], cut=[True, True]), Stub()
    rollout = run(policy, env, start(policy, env), 4, lam=0.0, gae_horizon="episode")
    assert rollout.returns[3, 0] == 1.0
    assert rollout.returns[2, 1] == 10.0


def test_the_scale_of_the_reward_reaches_the_estimates_and_not_the_input() -> None:
    env, seen = ToyEnv([4], reward=2.0), []
    policy = Stub()

    def on_step(result: StepResult, taken: object) -> bool:
        seen.append(float(result.reward[0]))
        return True

    rollout = run(policy, env, start(policy, env), 4, lam=0.0, reward_scale=0.25, on_step=on_step)
    assert rollout.returns[3].tolist() == [0.5]
    assert seen == [2.0] * 4
    assert rollout.obs["prev_reward"][1:, 0, 0].tolist() == [2.0] * 3


class Broken(ToyEnv):
    """Gives a number that is not finite in one row at one call."""

    def __init__(self, key: str, row: int, at: int, bad: float) -> None:
        super().__init__([6, 6], cut=[True, True])
        self.key, self.row, self.at, self.bad = key, row, at, bad

    def observe(self) -> Any:
        obs = super().observe()
        if self.calls == self.at and self.key in obs:
            obs[self.key][self.row] = self.bad
        return obs

    def advance(self, actions: Any) -> StepResult:
        result = super().advance(actions)
        if self.calls == self.at and self.key == "reward":
            result.reward[self.row] = self.bad
        if self.calls == self.at and self.key == "final":
            result.final_obs["obs"][self.row] = self.bad  # type: ignore[index]  # a trial ends
        return result


@pytest.mark.parametrize(
    ("key", "row", "at", "bad", "step"),
    [
        ("obs", 1, 3, np.nan, 42),
        ("obs", 0, 2, np.inf, 41),
        ("reward", 1, 3, np.nan, 42),
        ("reward", 1, 1, -np.inf, 40),
        ("prev_reward", 1, 0, np.nan, 40),
        ("final", 1, 6, np.nan, 45),
    ],
)
def test_numbers_that_are_not_finite_stop_with_environment_key_and_step(
    key: str, row: int, at: int, bad: float, step: int
) -> None:
    env = Broken(key, row, at, bad)
    policy = make_policy(env)
    named = rf"Toy gave a {key.replace('final', 'obs')} .* environment {row} at step {step},"
    with pytest.raises(NonFiniteError, match=named) as caught:
        run(policy, env, start(policy, env), 6, name="Toy", first_step=40)
    assert "\n" not in str(caught.value)


def test_huge_but_finite_numbers_pass() -> None:
    env = ToyEnv([2, 2], reward=float(np.finfo(np.float32).max))
    policy = Stub()
    assert torch.isfinite(run(policy, env, start(policy, env), 2, lam=0.0, gamma=0.0, reward_scale=1e-30).returns).all()


def test_on_step_stops_at_once_and_collecting_can_continue() -> None:
    env = ToyEnv([4, 4])
    policy = counting_policy(env)
    state = start(policy, env)
    seen: list[list[float]] = []

    def stop_after_two(result: StepResult, taken: object) -> bool:
        seen.append(result.reward.tolist())
        return len(seen) < 2

    stopped = collect(policy, env, state, 4, generator=generator(), gamma=0.9, lam=0.8, on_step=stop_after_two)
    assert stopped is None
    assert env.calls == len(seen) == 2
    rest = run(policy, env, state, 4)
    assert rest.values[:, 0].tolist() == [2.0, 3.0, 0.0, 1.0]


def test_a_rollout_shares_no_memory_with_what_comes_after() -> None:
    """What was collected stays as it is while collecting and acting go on."""
    env = ToyEnv([8, 8])
    policy = make_policy(env, MemoryOptions(controller_options={"hidden_size": 4}, key_size=2, value_size=2))
    state = start(policy, env)
    first = run(policy, env, state, 3)
    kept = [leaf.clone() for leaf in (*first.state.store, *first.obs.values())]
    second = run(policy, env, state, 3)
    middle = [leaf.clone() for leaf in second.state.store]
    run(policy, env, state, 2)
    assert all(torch.equal(a, b) for a, b in zip((*first.state.store, *first.obs.values()), kept, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(second.state.store, middle, strict=True))


def test_images_are_kept_as_bytes() -> None:
    class Seeing(ToyEnv):
        def __init__(self, lengths: list[int]) -> None:
            super().__init__(lengths)
            self.observation_space = spaces.Dict(
                {**self.observation_space.spaces, "obs": spaces.Box(0, 255, (6, 5, 3), np.uint8)}
            )

        def observe(self) -> Any:
            return {**super().observe(), "obs": np.tile(self.steps.astype(np.uint8)[:, None, None, None], (6, 5, 3))}

    env = Seeing([4, 3])
    policy = make_policy(env)
    rollout = run(policy, env, start(policy, env), 4)
    assert rollout.obs["obs"].dtype == torch.uint8
    assert rollout.obs["obs"].shape == (4, 2, 6, 5, 3)
    assert rollout.obs["obs"][:, 1, 0, 0, 0].tolist() == [0, 1, 2, 0]
    again = policy.evaluate(rollout.obs, rollout.state, rollout.boundary, rollout.actions)
    torch.testing.assert_close(again.log_prob, rollout.log_probs)


# Masks


def test_a_masked_action_is_never_taken_and_has_probability_zero_in_the_update() -> None:
    env = MaskedToy([4, 7, 5])  # which itself refuses forbidden actions
    policy = make_policy(env)
    nn.init.normal_(policy.head.linear.weight, std=10.0, generator=generator())
    state = start(policy, env)
    for _ in range(20):
        rollout = run(policy, env, state, 6)
        forbidden = rollout.obs["action_mask"].argmin(-1)
        assert not (rollout.actions == forbidden).any()
        with torch.no_grad():
            taken = policy.evaluate(rollout.obs, rollout.state, rollout.boundary, rollout.actions)
            never = policy.evaluate(rollout.obs, rollout.state, rollout.boundary, forbidden)
        torch.testing.assert_close(taken.log_prob, rollout.log_probs, atol=1e-4, rtol=1e-5)
        assert (never.log_prob.exp() == 0).all()
        assert torch.isfinite(never.log_prob).all()


def test_a_mask_that_forbids_everything_is_refused_before_anything_is_played() -> None:
    env = MaskedToy([8, 8, 8], closed=(1, 2))
    policy = make_policy(env)
    with pytest.raises(InputError, match=r"Toy .*environment 1 at step 42") as caught:
        run(policy, env, start(policy, env), 8, name="Toy", first_step=40)
    assert caught.value.key == "action_mask"
    assert env.calls == 2


@pytest.mark.parametrize("opened", [0, 2], ids=["the first trial", "a later trial"])
def test_a_first_mask_that_forbids_everything_is_refused(opened: int) -> None:
    env = MaskedToy([3, 8], closed=None if opened else (0, 0))
    policy = make_policy(env)
    state = start(policy, env)
    if opened:
        run(policy, env, state, opened)
        env.closed = (0, 0)
    with pytest.raises(InputError, match=rf"environment 0 at step {3 if opened else 0},"):
        run(policy, env, state, 4, first_step=opened)


def test_at_a_dead_step_a_mask_may_forbid_everything() -> None:
    inner = MaskedToy([3, 8], closed=(0, 3))  # what a trial shows last
    env: Any = NextStepToy(inner)
    policy = make_policy(inner)
    rollout = run(policy, env, start(policy, env), 8)
    closed = (rollout.obs["action_mask"] == 0).all(-1)
    assert closed[:, 0].tolist() == [False, False, False, True] * 2
    assert rollout.valid is not None
    assert torch.equal(rollout.valid, ~closed)


# Steps that do not count


def test_a_dead_step_is_a_trial_of_its_own_that_does_not_count() -> None:
    """Without the dead steps a row is what it is in a vector that starts trials in the same step."""
    lengths, cut = [3, 8, 2], [False, False, True]
    policy = counting_policy(ToyEnv(lengths))
    plain, swallowing = ToyEnv(lengths, cut), NextStepToy(ToyEnv(lengths, cut))
    expected = run(policy, plain, start(policy, plain), 12)
    env: Any = swallowing
    found = run(policy, env, start(policy, env), 16)
    assert expected.valid is None
    assert found.valid is not None
    assert (~found.valid).sum(0).tolist() == [4, 1, 5]
    assert (found.boundary[~found.valid] == Boundary.TRIAL).all()
    for row in range(3):
        kept = found.valid[:, row]
        n = min(int(kept.sum()), 9 if row != 1 else 8)
        for name in ("boundary", "values", "advantages", "returns"):
            torch.testing.assert_close(getattr(found, name)[kept, row][:n], getattr(expected, name)[:n, row])
        for name in ("obs", "prev_reward", "prev_done"):
            assert torch.equal(found.obs[name][kept, row][:n], expected.obs[name][:n, row])


def test_a_void_trial_does_not_count_from_its_beginning() -> None:
    class Breaking(ToyEnv):
        """The second trial of row 1 breaks at its second step, and at once another begins."""

        def advance(self, actions: Any) -> StepResult:
            if self.calls == 5:
                self.lengths[1] = 2
            result = super().advance(actions)
            if self.calls == 6:
                result.void[1] = True
                self.lengths[1] = 4
            return result

    for first in (8, 5):
        env = Breaking([4, 4])
        policy = make_policy(env)
        state = start(policy, env)
        rollout = run(policy, env, state, first)
        expected = torch.ones(first, 2, dtype=torch.bool)
        if first == 8:
            expected[4:6, 1] = False
            assert torch.equal(rollout.valid, expected)
        else:  # what was collected before is in another rollout
            assert rollout.valid is None
            later = run(policy, env, state, 5)
            assert later.valid[:, 0].all()
            assert later.valid[:, 1].tolist() == [False, True, True, True, True]
