"""Every space of observations, every space of actions, and every mask: trains, acts, and comes back from a file."""

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from metarl.agents.rl2 import RL2PPO
from metarl.agents.rl2_env import resumable, tracking_logger
from metarl.config import InputError
from metarl.tasks.family.distribution import TaskBatch, TaskDistribution
from metarl.tasks.trial.env import TrialEnv
from metarl.tasks.trial.layout import TrialInputs
from metarl.tasks.vector.env import TrialVectorEnv
from metarl.tasks.vector.sb3 import as_vec_env
from metarl.types import Array

ROWS, STEPS = 4, 6
MEMORY = {"controller": "gru", "controller_options": {"hidden_size": 8}, "key_size": 4, "value_size": 4}

IMAGE = spaces.Box(0, 255, (6, 5, 3), np.uint8)
BOX = spaces.Box(-2.0, 5.0, (2, 2), np.float64)
SEEN: dict[str, spaces.Space[Any]] = {
    "Box": BOX,
    "Discrete": spaces.Discrete(5, start=-2),
    "MultiDiscrete": spaces.MultiDiscrete([3, 2], start=[1, 0]),
    "MultiBinary": spaces.MultiBinary([2, 3]),
    "Dict": spaces.Dict({"a": BOX, "b": spaces.Discrete(3), "c": spaces.MultiBinary(2)}),
    "image": IMAGE,
    "image and mask": spaces.Dict({"eye": IMAGE}),  # and a mask for the actions at hand
}
DONE: dict[str, spaces.Space[Any]] = {
    "Discrete": spaces.Discrete(4),
    "Discrete from 3": spaces.Discrete(3, start=3),
    "MultiDiscrete": spaces.MultiDiscrete([3, 2], start=[0, 5]),
    "Box": spaces.Box(np.array([-1.0, 0.0, -np.inf], np.float32), np.array([3.0, 10.0, np.inf], np.float32)),
}
MASKED = [("image and mask", done) for done in ("Discrete", "Discrete from 3")]
PAIRS = [*zip(SEEN, [*DONE, *DONE], strict=False), *MASKED]


def choices(space: spaces.Space[Any]) -> list[int]:
    """How many choices each part of an action has."""
    return [int(space.n)] if isinstance(space, spaces.Discrete) else space.nvec.ravel().tolist()  # type: ignore[attr-defined]


def with_mask(seen: str, done: str) -> spaces.Space[Any]:
    space = SEEN[seen]
    if seen != "image and mask":
        return space
    size = sum(choices(DONE[done])) if done != "Box" else 3
    return spaces.Dict({**space.spaces, "action_mask": spaces.MultiBinary(size)})  # type: ignore[attr-defined]


class AnyEnv(gym.Env[Any, Any]):
    """Shows random observations of a space for three steps, pays the task's number, and checks what it is given."""

    def __init__(self, seen: spaces.Space[Any], done: spaces.Space[Any], pay: float) -> None:
        self.observation_space, self.action_space, self.pay = seen, done, pay
        self.mask: Array | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.steps = 0
        return self.look(), {}

    def look(self) -> Any:
        self.observation_space.seed(int(self.np_random.integers(2**31)))
        obs = self.observation_space.sample()
        self.mask = obs.get("action_mask") if isinstance(obs, dict) else None
        if self.mask is not None:
            first = 0
            for n in choices(self.action_space):  # at least one is left
                self.mask[first + self.np_random.integers(n)] = 1
                first += n
        return obs

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action), action
        if self.mask is not None:
            index = np.atleast_1d(np.asarray(action) - self.action_space.start)  # type: ignore[attr-defined]
            at = np.cumsum([0, *choices(self.action_space)[:-1]]) + index
            assert self.mask[at].all(), "a forbidden action"
        self.steps += 1
        return self.look(), self.pay + float(np.sum(action)), self.steps == 3, False, {}


@dataclass(frozen=True, kw_only=True)
class AnyFamily(TaskDistribution):
    """Tasks of the named spaces that pay differently; stepped row by row."""

    seen: str
    done: str
    family: ClassVar[str] = "AnyFamily"

    trial_steps = STEPS
    task_space = spaces.Dict({"pay": spaces.Box(0.0, 1.0, (), np.float64)})

    @property
    def observation_space(self) -> spaces.Space[Any]:
        return with_mask(self.seen, self.done)

    @property
    def action_space(self) -> spaces.Space[Any]:
        return DONE[self.done]

    def sample_batch(self, rng: np.random.Generator, n: int) -> TaskBatch:
        return {"pay": rng.random(n)}

    def make(self, task: Mapping[str, Array]) -> gym.Env[Any, Any]:
        return AnyEnv(with_mask(self.seen, self.done), DONE[self.done], float(task["pay"]))


class Keeping:
    """A tracker that keeps what is logged."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def log(self, metrics: dict[str, Any], *, step: int) -> None:
        self.rows.append(dict(metrics))


def make(env: Any, per_action: bool = False, **options: Any) -> RL2PPO:
    memory = {**MEMORY, "per_action": per_action}
    return RL2PPO("MemoryPolicy", env, memory=memory, n_minibatches=2, n_epochs=2, device="cpu", **options)


def observations(family: AnyFamily, rows: int = 3) -> dict[str, Any]:
    return TrialVectorEnv(family.with_split("validation"), rows).reset(seed=5)[0]


@pytest.mark.parametrize(
    ("seen", "done", "per_action"),
    [(*pair, False) for pair in PAIRS] + [(*pair, True) for pair in PAIRS if pair[1] != "Box"],
)
def test_every_space_trains_acts_and_comes_back(seen: str, done: str, per_action: bool, tmp_path: Path) -> None:
    family = AnyFamily(seen=seen, done=done)
    agent, tracker = make(TrialVectorEnv(family, ROWS), per_action), Keeping()
    agent.set_logger(tracking_logger(tracker))  # type: ignore[arg-type]
    before = [p.detach().clone() for p in agent.policy.parameters()]
    agent.learn(2 * ROWS * STEPS)
    assert agent._n_updates == len(tracker.rows) == 2
    assert all(row["train/ratio_error"] < 1e-4 for row in tracker.rows)
    assert all(torch.isfinite(p).all() for p in agent.policy.parameters())
    moved = [not torch.equal(p, q) for p, q in zip(agent.policy.parameters(), before, strict=True)]
    assert sum(moved) > len(moved) / 2

    obs, space = observations(family), family.action_space
    alone = {key: part[1] for key, part in obs.items()}
    actions, _ = agent.predict(obs)
    assert all(space.contains(action) for action in actions)
    assert space.contains(agent.predict(alone)[0])
    certain, state = agent.predict(obs, deterministic=True)
    single = agent.predict(alone, deterministic=True)[0]
    np.testing.assert_allclose(single, certain[1], atol=1e-5)

    agent.save(tmp_path / "agent")
    loaded = RL2PPO.load(tmp_path / "agent", device="cpu")
    assert loaded.action_space == space
    assert loaded.observation_space == agent.observation_space
    for deterministic in (True, False):
        first, second = (a.predict(obs, state, deterministic=deterministic)[0] for a in (agent, loaded))
        assert np.array_equal(first, second)
        assert first.dtype == second.dtype == space.dtype


@pytest.mark.parametrize(("done", "inputs"), [("Box", {}), ("Discrete", {"prev_action": False})])
def test_a_memory_is_asked_for_each_action_only_where_it_hears_of_them(done: str, inputs: dict[str, bool]) -> None:
    env = TrialVectorEnv(AnyFamily(seen="Discrete", done=done), ROWS, inputs=TrialInputs(**inputs))
    with pytest.raises(InputError) as refused:
        make(env, per_action=True)
    assert refused.value.key == "memory.per_action"


def test_a_mask_beside_actions_without_choices_is_refused() -> None:
    with pytest.raises(ValueError, match="action_mask is for discrete actions, not for Box"):
        TrialVectorEnv(AnyFamily(seen="image and mask", done="Box"), ROWS)


def next_step() -> SyncVectorEnv:
    family = AnyFamily(seen="image", done="Box")
    return SyncVectorEnv([lambda: TrialEnv(family)] * ROWS, autoreset_mode=AutoresetMode.NEXT_STEP)


@pytest.mark.parametrize(
    "env",
    [lambda: TrialVectorEnv(AnyFamily(seen="image", done="Box"), ROWS), next_step],
    ids=["rows of a family", "Gymnasium's own"],
)
@pytest.mark.parametrize("extra", [0, 1], ids=["between rollouts", "mid-trial"])
def test_training_goes_on_in_an_environment_that_cannot_be_saved(env: Any, extra: int, tmp_path: Path) -> None:
    assert not resumable(as_vec_env(env()))
    agent = make(env(), n_steps=STEPS + extra)
    rollout = ROWS * (STEPS + extra)
    agent.learn(2 * rollout)
    agent.save(tmp_path / "agent")
    exact = extra == 0 and env is not next_step
    with nullcontext() if exact else pytest.warns(UserWarning, match="not exactly"):
        resumed = RL2PPO.load(tmp_path / "agent", env=env(), device="cpu")
    assert resumed.num_timesteps == 2 * rollout
    for one, other in zip(agent.policy.parameters(), resumed.policy.parameters(), strict=True):
        assert torch.equal(one, other)
    resumed.learn(rollout, reset_num_timesteps=False)
    assert resumed.num_timesteps == 3 * rollout
    assert resumed._n_updates == 3
