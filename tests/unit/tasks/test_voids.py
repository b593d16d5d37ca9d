"""One bad environment of many: its trial is void, it is made anew, and the other rows do not notice."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import pytest
from vector_toys import Failing, Fragile, Walk, WalkEnv

from metarl.agents.rl2 import RL2PPO
from metarl.evaluation.play import rollout_trials
from metarl.tasks.family.checks import SpacesError
from metarl.tasks.vector.env import TrialVectorEnv
from metarl.types import Array

FINE = np.zeros(2, np.float32)
BAD: dict[str, tuple[Any, float]] = {
    "nan": (np.array([0, np.nan], np.float32), 0.0),
    "inf": (np.array([np.inf, 0], np.float32), 0.0),
    "nan reward": (FINE, np.nan),
    "inf reward": (FINE, -np.inf),
    "shape": (np.zeros(3, np.float32), 0.0),
    "none": (None, 0.0),
    "objects": (np.array([None, 0.0]), 0.0),
    "words": (["a", "b"], 0.0),
    "word": (FINE, "much"),  # type: ignore[dict-item]  # wrong on purpose
}


class BadEnv(WalkEnv):
    """Shows what it must not at the third step, where the task pushes little."""

    def __init__(self, push: float, how: str) -> None:
        super().__init__(push)
        self.how, self.steps = how, 0

    def step(self, action: Any) -> Any:
        self.steps += 1
        result = super().step(action)
        return (*BAD[self.how], *result[2:]) if self.steps == 3 and self.push < 0.3 else result


@dataclass(frozen=True, kw_only=True)
class Bad(Failing):
    how: str = "nan"
    family: ClassVar[str] = "Bad"

    def make(self, task: Mapping[str, Array]) -> gym.Env[Any, Any]:
        return BadEnv(float(task["push"]), self.how)


class OneStepEnv(WalkEnv):
    def step(self, action: Any) -> Any:
        return FINE, 1.0, False, False, {}


class OneStep(Walk):
    """Trials of one step."""

    family: ClassVar[str] = "OneStep"

    @property
    def trial_steps(self) -> int:
        return 1

    def make(self, task: Mapping[str, Array]) -> gym.Env[Any, Any]:
        return OneStepEnv(float(task["push"]))


PUSH = {"push": np.array([0.5, 0.75, 0.25, 0.5])}  # row 2 is bad
NONE = np.zeros(4, int)


@pytest.mark.parametrize("how", BAD)
def test_a_bad_row_is_void_and_begins_anew(how: str) -> None:
    env, sound = TrialVectorEnv(Bad(how=how), 4), TrialVectorEnv(Walk(episodes=100, steps=10), 4)
    for each in (env, sound):
        each.reset(seed=0, options={"tasks": PUSH})
        for _ in range(2):
            assert not each.advance(NONE).void.any()
    with pytest.warns(RuntimeWarning, match=r"row 2, task \{push=0\.25\}, seed \d+, step 3 of Bad(.|\n)*1 of 10"):
        result = env.advance(NONE)
    expected = sound.advance(NONE)
    assert result.void.tolist() == result.ended.tolist() == [False, False, True, False]
    assert result.reward[2] == 0
    assert result.final_obs is not None
    assert all(np.isfinite(part).all() for part in (*result.obs.values(), *result.final_obs.values()))
    others = [0, 1, 3]
    for _ in range(7):
        assert np.array_equal(result.reward[others], expected.reward[others])
        assert all(np.array_equal(result.obs[key][others], expected.obs[key][others]) for key in expected.obs)
        assert result.obs["time"][2] < result.obs["time"][0]
        result, expected = env.advance(NONE), sound.advance(NONE)


class Symbol(gym.Wrapper[Any, Any, Any, Any]):
    """Shows which of three symbols there is; ``bad`` at a reset or a step where the task pushes little."""

    def __init__(self, push: float, bad: Any, at: str) -> None:
        super().__init__(WalkEnv(push))
        self.observation_space, self.bad, self.at, self.seen = gym.spaces.Discrete(3, start=1), bad, at, 0

    def reset(self, **options: Any) -> Any:
        self.seen += 1
        return (self.bad if self.at == "reset" and self._is_bad() else 1), super().reset(**options)[1]

    def step(self, action: Any) -> Any:
        self.seen += 1
        return (self.bad if self.at == "step" and self._is_bad() else 1), 0.0, False, self.seen == 3, {}

    def _is_bad(self) -> bool:
        return self.seen >= 3 and self.unwrapped.push < 0.3  # type: ignore[attr-defined]  # of a WalkEnv


@dataclass(frozen=True, kw_only=True)
class Symbols(Bad):
    bad: Any
    at: str
    family: ClassVar[str] = "Symbols"
    observation_space = gym.spaces.Discrete(3, start=1)

    def make(self, task: Mapping[str, Array]) -> gym.Env[Any, Any]:
        return Symbol(float(task["push"]), self.bad, self.at)


@pytest.mark.parametrize("at", ["step", "reset"])
@pytest.mark.parametrize("bad", [None, "x", 0, 4, -1, 1.5, np.nan, np.array(None), np.int64(7), {}, [1]], ids=str)
def test_what_is_none_of_the_symbols_is_void(bad: Any, at: str) -> None:
    env = TrialVectorEnv(Symbols(bad=bad, at=at), 4)
    env.reset(seed=0, options={"tasks": PUSH})
    with pytest.warns(RuntimeWarning, match=r"row 2, task \{push=0\.25\}"):
        results = [env.advance(NONE) for _ in range(4)]
    void = np.array([result.void for result in results])
    assert void.any(0).tolist() == [False, False, True, False]


def test_a_row_that_raises_is_void_and_the_last_error_is_raised_once_no_restart_is_left() -> None:
    env = TrialVectorEnv(Failing(), 4, max_restarts=1)
    env.reset(seed=0, options={"tasks": PUSH})
    with warnings.catch_warnings(record=True) as caught, pytest.raises(RuntimeError, match="wheel came off") as error:  # noqa: PT012
        warnings.simplefilter("always")
        for _ in range(200):
            env.step(NONE)
    assert len(caught) == 1
    where, why = error.value.__notes__
    assert "step 7 of Failing" in where
    assert "max_restarts" in why


def test_a_trial_that_cannot_begin_is_void_after_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    pushes = iter([[0.5, 0.5], [0.5, 0.1], [0.75]])
    monkeypatch.setattr(Fragile, "sample_batch", lambda self, rng, n: {"push": np.array(next(pushes))})
    env = TrialVectorEnv(Fragile(), 2)
    env.reset(seed=0)
    for _ in range(2):
        env.step(np.zeros(2, int))
    with pytest.warns(RuntimeWarning, match=r"the simulator is gone\nin row 1, task \{push=0\.1\}"):
        result = env.advance(np.zeros(2, int))
    assert result.ended.all()
    assert not result.void.any()
    result = env.advance(np.zeros(2, int))
    assert result.void.tolist() == result.ended.tolist() == [False, True]
    assert not env.advance(np.zeros(2, int)).void.any()


def test_a_trial_that_begins_with_a_bad_number_is_void_after_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    starts = iter([FINE, FINE, FINE * np.nan, FINE])
    monkeypatch.setattr(WalkEnv, "reset", lambda self, **_: (next(starts), {}))
    env = TrialVectorEnv(OneStep(), 1)
    env.reset(seed=0)
    with pytest.warns(RuntimeWarning, match="1 of 10"):
        results = [env.advance(np.zeros(1, int)) for _ in range(3)]
    assert [bool(result.void[0]) for result in results] == [False, False, True]
    assert all(np.isfinite(result.obs["obs"]).all() for result in results)


def test_a_number_that_is_not_finite_replaces_a_worker_too() -> None:
    env = TrialVectorEnv(Bad(), 4, workers=2)
    env.reset(seed=0, options={"tasks": PUSH})
    for _ in range(2):
        env.step(NONE)
    with pytest.warns(RuntimeWarning, match=r"worker 1 (.|\n)*finite(.|\n)*row 2, task \{push=0\.25\}"):
        result = env.advance(NONE)
    assert result.void.tolist() == [False, False, True, True]
    env.close()


def test_an_agent_trains_past_bad_environments_and_is_not_evaluated_in_them() -> None:
    env = TrialVectorEnv(Bad(), 4, max_restarts=100)
    agent = RL2PPO("MemoryPolicy", env, n_steps=25, n_epochs=1, n_minibatches=1, device="cpu")
    with pytest.warns(RuntimeWarning, match="finite"):
        agent.learn(4 * 50)
    assert agent.num_timesteps == 200
    with pytest.raises(RuntimeError, match="whole trials"), pytest.warns(RuntimeWarning, match="finite"):
        rollout_trials(agent.actor(), lambda n: TrialVectorEnv(Bad(split="test"), n), 20)


def test_nothing_may_be_made_anew_without_restarts() -> None:
    env = TrialVectorEnv(Bad(), 4, max_restarts=0)
    env.reset(seed=0, options={"tasks": PUSH})
    for _ in range(2):
        env.step(NONE)
    with pytest.raises(SpacesError) as error:
        env.step(NONE)
    assert error.value.key == "the observation"
