"""What an environment returns and must not: one line that says so, with task and step, single and in rows."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from metarl import TrialEnv, TrialVectorEnv, from_env
from metarl.tasks.family.checks import SpacesError

PARTS = {"a": np.zeros(2, np.float32), "b": np.zeros(1, np.float32)}
STEP = (PARTS, 1.0, False, False, {})


class Faulty(gym.Env[Any, Any]):
    """Returns ``step`` from its third step on, and ``reset`` in its second episode, which comes sooner where given."""

    observation_space = spaces.Dict({"a": spaces.Box(-1, 1, (2,)), "b": spaces.Box(-1, 1, (1,))})
    action_space = spaces.Box(-1, 1, (1,))

    def __init__(self, goal: float = 0.0, step: Any = STEP, reset: Any = None) -> None:
        self.goal, self.result, self.begin = goal, step, reset
        self.episodes = self.t = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.episodes += 1
        return (PARTS, {}) if self.begin is None or self.episodes < 2 else self.begin

    def step(self, action: Any) -> Any:
        self.t += 1
        if self.begin is not None:
            return PARTS, 1.0, True, False, {}
        return STEP if self.t < 3 else self.result


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "a part is missing": ({"step": ({"a": PARTS["a"]}, *STEP[1:])}, "no part 'b'"),
    "no dict": ({"step": (PARTS["a"], *STEP[1:])}, "no part 'a'"),
    "another shape": ({"step": ({**PARTS, "a": np.zeros(3, np.float32)}, *STEP[1:])}, r"part 'a' .*\(3,\)"),
    "two rewards": ({"step": (PARTS, np.ones(2), *STEP[2:])}, "reward"),
    "a word": ({"step": (PARTS, "much", *STEP[2:])}, "reward"),
    "info is None": ({"step": (*STEP[:4], None)}, "info"),
    "info is a list": ({"step": (*STEP[:4], [1])}, "info"),
    "the old step": ({"step": STEP[1:]}, r"step\(\) must return"),
    "the old reset": ({"reset": PARTS}, r"reset\(\) must return \(obs, info\)"),
    "no info": ({"reset": (PARTS, None)}, r"reset\(\) must return \(obs, info\)"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("rows", [0, 2], ids=["single", "rows"])
def test_what_is_wrong_is_said_with_task_and_step(fault: str, rows: int) -> None:
    kwargs, said = FAULTS[fault]
    family = from_env(Faulty, {"goal": "0..1"}, episodes=3, steps=9, kwargs=kwargs)
    env: Any = TrialVectorEnv(family, rows, max_restarts=0) if rows else TrialEnv(family)
    env.reset(seed=0)
    action = np.zeros((rows, 1) if rows else 1, np.float32)
    steps = 1 if "reset" in kwargs else 3
    for _ in range(steps - 1):
        env.step(action)
    with pytest.raises(SpacesError, match=said) as error:
        env.step(action)
    (note,) = error.value.__notes__
    assert note.startswith("in row 0, task {goal=" if rows else "in task {goal=")
    assert note.endswith(f"step {steps} of Faulty")


def test_a_family_whose_resets_are_of_the_old_kind_says_so() -> None:
    class Old(Faulty):
        action_space = spaces.Discrete(2)

        def reset(self, **_: Any) -> Any:
            return PARTS

    with pytest.raises(ValueError, match=r"reset\(\) must return \(obs, info\)"):
        from_env(Old, {"goal": "0..1"}, episodes=3, steps=9)
