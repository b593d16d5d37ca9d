"""Small policies and environments for the tests of training."""

from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from metarl.memory.contract import MemoryCore
from metarl.memory.options import MemoryOptions
from metarl.nets.policy import MemoryPolicy
from metarl.training.collect import Rollout, TrainingState
from metarl.types import Boundary, CoreInput, StepResult, TrialObservation

PLAIN = MemoryOptions(controller="gru", store="none", access="none", controller_options={"hidden_size": 4})


class Counter(NamedTuple):
    count: Tensor


class CounterCore(MemoryCore):
    """Counts the steps of a trial: 0 at its first input, and puts the count out."""

    def __init__(self) -> None:
        super().__init__()
        self.options, self.output_size = PLAIN, 1

    def initial_state(self, batch_size: int) -> Counter:
        return Counter(torch.full((batch_size,), -1e3))  # wrong on purpose: a trial must wipe it

    def forward(
        self, x: CoreInput, state: Counter, boundary: Tensor, *, donate: bool = False
    ) -> tuple[Tensor, Counter]:
        count = torch.where(boundary == Boundary.TRIAL, 0.0, state.count + 1)
        return count[:, None], Counter(count)

    def unroll(self, x: CoreInput, state: Counter, boundary: Tensor, *, last: bool = True) -> tuple[Tensor, Counter]:
        outputs = []
        for t in range(boundary.shape[0]):
            y, state = self(CoreInput(x.now[t], x.feedback[t]), state, boundary[t])
            outputs.append(y)
        return torch.stack(outputs), state


class ToyEnv:
    """Rows whose trials last ``lengths[i]`` steps, with inner episodes of two steps; ``obs`` is the step in the trial.

    Every step pays ``reward``. A trial ends by termination, or by a time limit in the rows that are ``cut``.
    """

    def __init__(self, lengths: list[int], cut: list[bool] | None = None, reward: float = 1.0) -> None:
        self.num_envs, self.lengths, self.reward = len(lengths), np.array(lengths), reward
        self.cut = np.array(cut if cut is not None else [False] * len(lengths))
        self.steps = np.zeros(len(lengths), int)
        self.observation_space = spaces.Dict(
            {name: spaces.Box(-100.0, 100.0, (1,), np.float32) for name in ("obs", "prev_reward", "prev_done")}
        )
        self.action_space = spaces.Discrete(3)
        self.calls = 0

    def reset(self, **options: Any) -> tuple[TrialObservation, dict[str, Any]]:
        self.steps[:] = 0
        return self.observe(), {}

    def observe(self) -> TrialObservation:
        first = self.steps == 0
        parts = {
            "obs": self.steps,
            "prev_reward": np.where(first, 0, self.reward),
            "prev_done": ~first & (self.steps % 2 == 0),
        }
        return {name: part.astype(np.float32)[:, None] for name, part in parts.items()}

    def advance(self, actions: Any) -> StepResult:
        assert actions.shape == (self.num_envs,)
        self.calls += 1
        self.steps += 1
        final, ended, episode_ended = self.observe(), self.steps == self.lengths, self.steps % 2 == 0
        self.steps[ended] = 0
        reward = np.full(self.num_envs, self.reward)
        void = np.zeros(self.num_envs, bool)
        return StepResult(self.observe(), reward, episode_ended, ended, ended & self.cut, void, final)


class MaskedToy(ToyEnv):
    """Allows all but the action that has the number of the step modulo 3, unless told to forbid everything.

    Args:
        closed: the row and the step in its trial at which everything is forbidden.
    """

    def __init__(self, lengths: list[int], closed: tuple[int, int] | None = None) -> None:
        super().__init__(lengths)
        self.observation_space = spaces.Dict(
            {**self.observation_space.spaces, "action_mask": spaces.Box(0.0, 1.0, (3,), np.float32)}
        )
        self.closed = closed

    def observe(self) -> TrialObservation:
        mask = np.ones((self.num_envs, 3), np.float32)
        mask[np.arange(self.num_envs), self.steps % 3] = 0
        if self.closed is not None and self.steps[self.closed[0]] == self.closed[1]:
            mask[self.closed[0]] = 0
        return {**super().observe(), "action_mask": mask}

    def advance(self, actions: Any) -> StepResult:
        open_ = self.closed is None or self.steps[self.closed[0]] != self.closed[1]
        assert not open_ or (actions != self.steps % 3).all(), "a forbidden action was taken"
        return super().advance(actions)


class NextStepToy:
    """A toy whose rows swallow the action after a trial's end, as Gymnasium's NEXT_STEP does: the dead step is void."""

    def __init__(self, env: ToyEnv) -> None:
        self.env, self.num_envs = env, env.num_envs
        self.dead = np.zeros(env.num_envs, bool)

    def reset(self, **options: Any) -> tuple[TrialObservation, dict[str, Any]]:
        self.dead[:] = False
        return self.env.reset()

    def advance(self, actions: Any) -> StepResult:
        env, dead = self.env, self.dead
        env.steps = np.where(dead, 0, env.steps + 1)
        self.dead = env.steps == env.lengths
        obs, episode_ended = env.observe(), ~dead & (env.steps % 2 == 0)
        reward = np.where(dead, 0, env.reward)
        return StepResult(obs, reward, episode_ended, self.dead | dead, self.dead & env.cut, dead, obs)


def make_policy(env: ToyEnv, memory: MemoryOptions = PLAIN, seed: int = 0) -> MemoryPolicy:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return MemoryPolicy(env.observation_space, env.action_space, memory, trial_steps=8, normalise=False)


def counting_policy(env: ToyEnv) -> MemoryPolicy:
    """A policy whose value is the step in the trial."""
    policy = make_policy(env)
    policy.core = CounterCore()
    policy.critic = nn.Linear(1, 1)
    policy.head.linear = nn.Linear(1, 3)
    nn.init.ones_(policy.critic.weight)
    nn.init.zeros_(policy.critic.bias)
    return policy


def start(policy: Any, env: Any) -> TrainingState:
    return TrainingState.start(policy, env.reset()[0])


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_rollout(policy: MemoryPolicy, env: ToyEnv, steps: int, seed: int = 0) -> Rollout:
    """A rollout of random numbers, as of a policy other than ``policy``."""
    drawn, rows = generator(seed), env.num_envs
    boundary = torch.randint(0, 3, (steps, rows), generator=drawn)
    boundary[0] = Boundary.TRIAL
    return Rollout(
        obs={name: torch.randn(steps, rows, 1, generator=drawn) for name in env.observation_space.spaces},
        boundary=boundary,
        state=policy.initial_state(rows),
        actions=torch.randint(0, 3, (steps, rows), generator=drawn),
        log_probs=-torch.rand(steps, rows, generator=drawn) - 0.5,
        values=torch.randn(steps, rows, generator=drawn),
        advantages=torch.randn(steps, rows, generator=drawn),
        returns=torch.randn(steps, rows, generator=drawn),
    )
