"""Small environments to make families of: well-behaved ones, and one for each rule that can be broken."""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces


class Line(gym.Env[Any, Any]):
    """A noisy number; the second action ends the episode."""

    def __init__(self, size: float = 1.0, seen: int = 2, name: str = "a", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.observation_space = spaces.Box(-100, 100, (seen,), np.float32)
        self.action_space = spaces.Discrete(2)
        self.size, self.name, self.twice = size, name, 2 * size
        self.speed, self._hidden = 1.0, 0

    @property
    def area(self) -> float:
        return self.size**2

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return self.look(), {}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        return self.look(), self.size * self.speed, bool(action == 1), False, {}

    def look(self) -> Any:
        return self.np_random.uniform(-1, 1, self.observation_space.shape).astype(np.float32)


class Child(Line):
    """Hands most arguments on to its parent."""

    def __init__(self, colour: str = "red", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.colour = colour


class IgnoresSeeds(Line):
    def look(self) -> Any:
        return np.random.default_rng().uniform(-1, 1, 2).astype(np.float32)


class UsesGlobal(Line):
    def look(self) -> Any:
        return np.random.uniform(-1, 1, 2).astype(np.float32)  # noqa: NPY002


class ChangesSpaces(Line):
    """Only in the middle of the range, which nobody tries beforehand."""

    def __init__(self, size: float = 1.0) -> None:
        super().__init__(size=size, seen=3 if 0.2 < size < 0.8 else 2)


class GivesNaN(Line):
    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        return np.full(2, np.nan, np.float32), *super().step(action)[1:]


class PaysNaN(Line):
    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        obs, _, *rest = super().step(action)
        return obs, float("nan"), *rest  # type: ignore[return-value]


class PaysTwo(Line):
    """Two agents."""

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        obs, _, *rest = super().step(action)
        return obs, (1.0, 2.0), *rest  # type: ignore[return-value]


class LeavesSpace(Line):
    def look(self) -> Any:
        return super().look() + np.float32(1000)


class WrongType(Line):
    def look(self) -> Any:
        return super().look().astype(np.float64)


class RedrawsArgument(Line):
    """Sets in reset what its constructor was given."""

    redrawn = "size"

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        result = super().reset(seed=seed)
        setattr(self, self.redrawn, float(self.np_random.uniform()))
        return result


class Redraws(RedrawsArgument):
    """Sets in reset what the family varies."""

    redrawn = "speed"


class NeverForgets(Line):
    """Goes on where the last trial ended."""

    count = 0

    def look(self) -> Any:
        self.count += 1
        return np.full(2, self.count % 50, np.float32)


class HardlyForgets(NeverForgets):
    def look(self) -> Any:
        return super().look() / np.float32(10_000)


class Raises(Line):
    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        raise RuntimeError("the motor is off")


class EndsFirst(Line):
    """Begins no episode inside another."""

    steps = 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        if self.steps % 10:
            raise RuntimeError("an episode is under way")
        return super().reset(seed=seed)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        obs, reward, terminated, *rest = super().step(action)
        self.steps = 0 if terminated else self.steps + 1
        return obs, reward, terminated, *rest  # type: ignore[return-value]


class SharesInfo(Line):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.info = {"shared": np.zeros(1)}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        return super().reset(seed=seed)[0], self.info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        return *super().step(action)[:4], self.info  # type: ignore[return-value]


class ChangesShape(Line):
    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        return np.zeros(3, np.float32), *super().step(action)[1:]


class LacksPart(Line):
    """Shows a part at the start of episodes only."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.part = self.observation_space
        self.observation_space = spaces.Dict({"a": self.part, "b": self.part})

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        gym.Env.reset(self, seed=seed)
        return {"a": self.part.sample(), "b": self.part.sample()}, {}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        return {"a": self.part.sample()}, 0.0, False, False, {}


class Shows(Line):
    """Shows numbers up to a value."""

    def __init__(self, space: spaces.Box, value: float, size: float) -> None:
        super().__init__(size=size)
        self.observation_space, self.value = space, value

    def look(self) -> Any:
        space: Any = self.observation_space
        return self.np_random.uniform(0, self.value, space.shape).astype(space.dtype)


class Masked(Line):
    """Only one action is allowed at a time; sb3-contrib's convention."""

    def action_masks(self) -> Any:
        return np.array([True, False])


def make_line(size: float, **others: Any) -> gym.Env[Any, Any]:
    return gym.wrappers.TimeLimit(Line(size=size, **others), 10)


for made in (Line, *Line.__subclasses__(), Redraws, HardlyForgets):
    if f"toys/{made.__name__}-v0" not in gym.registry:
        gym.register(f"toys/{made.__name__}-v0", entry_point=f"family_toys:{made.__name__}", max_episode_steps=10)
if "toys/Endless-v0" not in gym.registry:
    gym.register("toys/Endless-v0", entry_point="family_toys:Line")
