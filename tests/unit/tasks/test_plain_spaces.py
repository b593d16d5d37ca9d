"""Every space of Gymnasium's: what becomes of observations and actions, and what is refused."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from metarl import RL2PPO, TrialEnv, TrialVectorEnv, check_env, from_env
from metarl.config import InputError
from metarl.tasks.family.plain import Picture, plain

TEXT = spaces.Text(6, charset="abc")


class Anything(gym.Env[Any, Any]):
    """Shows samples of a space and takes actions of another, which it checks; ``taken`` holds them."""

    def __init__(self, obs: spaces.Space[Any], act: spaces.Space[Any] | None = None, goal: float = 0.0) -> None:
        self.observation_space, self.action_space = obs, act or spaces.Discrete(2)
        self.taken: list[Any] = []

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        if seed is not None:
            self.observation_space.seed(seed)
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action), action
        self.taken.append(action)
        return self.observation_space.sample(), 0.0, False, False, {}


def family(obs: spaces.Space[Any], act: spaces.Space[Any] | None = None, **options: Any) -> Any:
    return from_env(Anything, {"goal": [0.0, 1.0]}, steps=4, kwargs={"obs": obs, "act": act}, **options)


def shown(obs: spaces.Space[Any], **options: Any) -> dict[str, Any]:
    """The spaces that a trial shows of the environment's observation."""
    space: Any = TrialEnv(family(obs, **options)).observation_space
    return {key: part for key, part in space.spaces.items() if key.startswith("obs")}


NESTED = spaces.Dict(
    {
        "a": spaces.Dict({"b": spaces.Box(-1, 1, (2,)), "c": spaces.Discrete(3)}),
        "d": spaces.Tuple((spaces.MultiBinary(2), TEXT)),
    }
)


def test_nested_parts_are_named_by_their_path() -> None:
    assert {key: part.shape for key, part in shown(NESTED).items()} == {
        "obs.a.b": (2,),
        "obs.a.c": (3,),
        "obs.d.0": (2,),
        "obs.d.1": (6 * 5,),  # one-hot: three characters, none, another
    }
    blackjack: Any = TrialEnv(from_env("Blackjack-v1", levels=range(30), steps=5)).observation_space
    assert [blackjack[f"obs.{i}"].shape for i in range(3)] == [(32,), (11,), (2,)]


def test_a_text_is_its_characters() -> None:
    env = plain(Anything(TEXT), {})
    env.unwrapped.observation_space.sample = lambda *_, **__: "cab"  # type: ignore[method-assign]  # one text
    assert env.reset()[0].tolist() == [3, 1, 2, 0, 0, 0]


def test_texts_of_an_environments_own_kind_are_read_too() -> None:
    class Mission(spaces.Space[str]):
        def sample(self, *_: Any, **__: Any) -> str:
            return "go to the door"

    env = plain(Anything(Mission(None, str)), {})
    obs = env.reset()[0]
    assert env.observation_space.contains(obs)
    assert np.count_nonzero(obs) == len("go to the door")


@pytest.mark.parametrize(
    ("space", "shape"),
    [
        (spaces.Box(0, 255, (20, 30, 3), np.uint8), (20, 30, 3)),
        (spaces.Box(0, 255, (3, 20, 30), np.uint8), (20, 30, 3)),
        (spaces.Box(0, 255, (12, 20, 30), np.uint8), (20, 30, 12)),
        (spaces.Box(0, 255, (20, 30, 12), np.uint8), (20, 30, 12)),
        (spaces.Box(0, 255, (1, 1, 3), np.uint8), (1, 1, 3)),
        (spaces.Box(0, 255, (20, 30), np.uint8), (20, 30, 1)),
        (spaces.Box(0, 255, (4, 20, 30, 3), np.uint8), (20, 30, 12)),
        (spaces.Box(0, 255, (4, 3, 20, 30), np.uint8), (20, 30, 12)),
        (spaces.Box(0, 1, (20, 30, 3), np.float32), (20, 30, 3)),
        (spaces.Box(-1, 1, (3, 20, 30), np.float64), (20, 30, 3)),
        (spaces.Box(0, 10, (7, 7, 3), np.float32), (147,)),  # no bounds of pixels
        (spaces.Box(0, 255, (128,), np.uint8), (128,)),
        (spaces.Box(-np.inf, np.inf, (2, 3)), (6,)),
        (spaces.Discrete(5000), (1,)),
        (Picture(0, 255, (3, 20, 30), np.uint8), (3, 20, 30)),  # declared: channels last
    ],
    ids=str,
)
def test_pictures_have_their_channels_last(space: spaces.Space[Any], shape: tuple[int, ...]) -> None:
    assert shown(space)["obs"].shape == shape


def test_a_picture_is_turned_and_its_stack_is_folded() -> None:
    first = np.arange(2 * 3 * 5 * 6, dtype=np.uint8).reshape(2, 3, 5, 6)
    env = plain(Anything(spaces.Box(0, 255, first.shape, np.uint8)), {})
    env.unwrapped.observation_space.sample = lambda *_, **__: first  # type: ignore[method-assign]  # this one
    obs = env.reset()[0]
    for stacked in range(2):
        for channel in range(3):
            np.testing.assert_array_equal(obs[:, :, 3 * stacked + channel], first[stacked, channel])


@pytest.mark.parametrize(
    ("space", "kind", "shape"),
    [
        (spaces.Box(0, 255, (7, 7, 3), np.uint8), "symbols", (7, 7, 3)),
        (spaces.Box(2, 4, (3,), np.int64), "symbols", (9,)),
        (spaces.Box(0, 255, (7, 7, 7), np.uint8), "picture", (7, 7, 7)),
        (spaces.Box(0, 255, (3, 5, 7), np.uint8), "picture-first", (5, 7, 3)),
        (spaces.Box(0, 255, (3, 10, 12), np.uint8), "picture", (3, 10, 12)),
        (spaces.Box(0, 255, (7, 7, 3), np.uint8), "numbers", (147,)),
        (spaces.Box(0, 9, (6, 8, 2), np.float32), "picture", (6, 8, 2)),
    ],
    ids=str,
)
def test_what_is_declared_is_shown(space: spaces.Space[Any], kind: str, shape: tuple[int, ...]) -> None:
    part = shown(space, observe={"obs": kind})["obs"]
    assert part.shape == shape
    assert isinstance(part, spaces.MultiDiscrete) == (kind == "symbols" and len(shape) == 3)


def test_parts_can_be_left_out() -> None:
    assert list(shown(NESTED, observe={"obs.a.b": "dropped", "d.1": "dropped"})) == ["obs.a.c", "obs.d.0"]


@pytest.mark.parametrize(
    ("space", "observe", "key", "given"),
    [
        (spaces.Sequence(spaces.Discrete(2)), {}, "obs", None),
        (spaces.Dict({"x": spaces.Graph(spaces.Discrete(2), None)}), {}, "x", None),
        (spaces.Box(0, 255, (7, 7, 7), np.uint8), {}, "obs", (7, 7, 7)),
        (spaces.Box(0, 255, (7, 7, 3), np.uint8), {"image": "symbols"}, "observe", "image"),
        (spaces.Box(0, 255, (7, 7, 3), np.uint8), {"obs": "symbol"}, "observe.obs", "symbol"),
        (spaces.Box(-np.inf, np.inf, (7,)), {"obs": "symbols"}, "observe.obs", "symbols"),
        (spaces.Discrete(3), {"obs": "picture"}, "observe.obs", "picture"),
        (spaces.Box(0, 255, (48, 48, 3, 2), np.uint8), {}, "obs", (48, 48, 3, 2)),
        (spaces.Dict({"a.b": spaces.Discrete(2), "a": spaces.Dict({"b": spaces.Discrete(3)})}), {}, "a.b", None),
        (spaces.Discrete(3), {"obs": "dropped"}, "observe", "dropped for all parts"),
    ],
    ids=str,
)
def test_what_cannot_be_shown_is_refused(
    space: spaces.Space[Any], observe: dict[str, str], key: str, given: Any
) -> None:
    with pytest.raises(InputError) as error:
        family(space, observe=observe)
    assert error.value.key == key
    assert given is None or error.value.given == given


BOUNDED = spaces.Box(np.array([0, 2]), np.array([4, 3]), dtype=np.int64)
ACTIONS = {
    "MultiBinary": (spaces.MultiBinary(3), [2, 2, 2]),
    "whole numbers": (BOUNDED, [5, 2]),
    "bytes": (spaces.Box(0, 3, (2,), np.uint8), [4, 4]),
    "Tuple": (spaces.Tuple((spaces.Discrete(2), spaces.MultiDiscrete([3, 4]))), [2, 3, 4]),
    "nested": (
        spaces.Dict({"a": spaces.Dict({"b": spaces.MultiBinary(2)}), "c": spaces.Discrete(3, start=5)}),
        [2, 2, 3],
    ),
}


@pytest.mark.parametrize("name", ACTIONS)
def test_choices_of_every_kind_reach_the_environment_as_it_takes_them(name: str) -> None:
    space, counts = ACTIONS[name]
    env = TrialVectorEnv(family(spaces.Box(-1, 1, (1,)), space), 3)
    act: Any = env.single_action_space
    assert act.nvec.tolist() == counts
    env.reset(seed=0)
    env.action_space.seed(0)
    for _ in range(4):
        env.step(env.action_space.sample())  # the environment checks them


def test_real_numbers_of_nested_spaces_are_one_action() -> None:
    space = spaces.Dict({"a": spaces.Box(-1, 1, (2,)), "b": spaces.Tuple((spaces.Box(0, 5, ()),))})
    env = TrialEnv(family(spaces.Box(-1, 1, (1,)), space))
    env.reset(seed=0)
    env.step(np.array([0.5, -0.5, 4.0], np.float32))
    (taken,) = env.unwrapped._inner.env.unwrapped.taken  # type: ignore[union-attr]  # after a reset
    assert taken["a"].tolist() == [0.5, -0.5]
    assert taken["b"][0] == 4.0


@pytest.mark.parametrize(
    "space",
    [
        spaces.Text(3),
        spaces.Sequence(spaces.Discrete(2)),
        spaces.Box(-(2**62), 2**62, (1,), np.int64),
        spaces.Dict({"a": spaces.Discrete(2), "b": spaces.Box(-1, 1, (2,))}),
    ],
    ids=str,
)
def test_other_actions_are_refused(space: spaces.Space[Any]) -> None:
    with pytest.raises(InputError) as error:
        family(spaces.Box(-1, 1, (1,)), space)
    assert (error.value.key, error.value.given) == ("action_space", space)


@pytest.mark.parametrize(
    ("obs", "act", "observe"),
    [
        (spaces.Dict({"image": spaces.Box(0, 255, (7, 7, 3), np.uint8), "mission": TEXT}), None, {"image": "symbols"}),
        (NESTED, spaces.MultiBinary(3), {}),
        (spaces.Box(0, 255, (4, 20, 30), np.uint8), BOUNDED, {}),
        (spaces.Discrete(5000), None, {}),
        (spaces.Box(0, 1, (20, 30, 3), np.float32), None, {}),
    ],
    ids=["grid and text", "nested", "stacked picture", "large Discrete", "real picture"],
)
def test_an_agent_trains_on_them(obs: spaces.Space[Any], act: Any, observe: dict[str, str], tmp_path: Any) -> None:
    made = family(obs, act, observe=observe)
    agent = RL2PPO("MemoryPolicy", made, n_envs=4, n_steps=4, memory={"controller": "gru"}, n_epochs=1, n_minibatches=1)
    agent.learn(32)
    agent.save(tmp_path / "agent")
    env = TrialEnv(made)
    seen, _ = env.reset(seed=0)
    again = RL2PPO.load(tmp_path / "agent")
    assert env.action_space.contains(again.predict(seen, deterministic=True)[0])


@pytest.mark.parametrize(
    ("space", "advised"),
    [
        (spaces.Box(0, 1, (4, 32, 32, 3), np.float32), "picture"),
        (spaces.Box(0, 10, (7, 7, 3), np.int64), "symbols"),
        (spaces.Box(0, 1, (20, 30, 3), np.float32), None),
        (spaces.Box(-1, 1, (5, 6), np.float32), None),
    ],
    ids=str,
)
def test_numbers_with_the_axes_of_pictures_are_advised_of(space: spaces.Space[Any], advised: str | None) -> None:
    (found,) = [one for one in check_env(family(space), seconds=0.5) if one.name == "observations"]
    assert (found.level == "advice") == (advised is not None)
    assert advised is None or f"'{advised}'" in found.message
