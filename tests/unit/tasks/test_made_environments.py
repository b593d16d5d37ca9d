"""How environments are named and wrapped, and how long a trial is where one says so itself."""

from typing import Any

import family_toys as toys
import gymnasium as gym
import numpy as np
import pytest

from metarl import InputError, Integers, TrialEnv, Uniform, from_env
from metarl.tasks.family.env_family import EnvFamily
from metarl.tasks.family.members import time_limit


def task(**values: Any) -> dict[str, Any]:
    return {name: np.asarray(value) for name, value in values.items()}


def test_functions_classes_and_names_are_environments() -> None:
    several: list[Any] = [toys.Line, toys.make_line, "family_toys:Child", "family_toys:toys/Line-v0"]
    family = from_env(several, {"size": Uniform(2, 3)}, steps=10)
    assert family.task_space["env"].n == 4  # type: ignore[attr-defined]  # a Discrete
    kinds = [type(family.make(task(env=i, size=2.0)).unwrapped) for i in range(4)]
    assert kinds == [toys.Line, toys.Line, toys.Child, toys.Line]
    assert family.family == "Line+make_line+Child+toys/Line-v0"
    assert EnvFamily(**family.options()) == family
    with pytest.raises(InputError) as error:
        from_env([toys.Line, toys.Line()], {"size": Uniform(2, 3)}, steps=10)
    assert error.value.key == "env"


def double(env: Any) -> Any:
    return gym.wrappers.TransformReward(env, lambda reward: 2 * reward)


def change(env: Any, values: dict[str, Any]) -> None:
    env.unwrapped.speed = 3.0


def test_wrappers_are_put_around_in_order() -> None:
    wrap = [double, "test_made_environments:double", gym.wrappers.TimeAwareObservation]
    family = from_env(
        "toys/Line-v0", {"size": Uniform(2, 3)}, wrap=wrap, apply="test_made_environments:change", steps=10
    )
    env = family.make(task(size=2.0))
    assert env.observation_space.shape == (3,)
    env.reset(seed=0)
    assert env.step(0)[1] == 2.0 * 3.0 * 4
    assert family.options()["wrap"] == wrap
    assert EnvFamily(**family.options()) == family
    one = from_env("toys/Line-v0", {"size": Uniform(2, 3)}, wrap=double, steps=10)
    assert one.options()["wrap"] == [double]
    for bad in (3, ["nothing"], "test_made_environments:nothing"):
        with pytest.raises(InputError) as error:
            from_env("toys/Line-v0", {"size": Uniform(2, 3)}, wrap=bad)
        assert error.value.key == "wrap"
    with pytest.raises(ValueError, match=r"made int"):
        from_env("toys/Line-v0", {"size": Uniform(2, 3)}, wrap=lambda env: 3)


# Length of trials


@pytest.mark.parametrize(
    ("attributes", "limit"),
    [
        ({"max_steps": 7}, 7),
        ({"max_episode_steps": np.int64(7)}, 7),
        ({"max_episode_length": 7}, 7),
        ({"max_path_length": 7}, 7),
        ({"max_steps": 0}, None),
        ({"max_steps": True}, None),
        ({"max_steps": 7.5}, None),
        ({"config": {"duration": 40, "policy_frequency": 2}}, 80),
        ({"config": {"duration": 2.5, "policy_frequency": 1}}, 3),
        ({"config": {"duration": 40}}, None),
        ({"config": {"duration": float("inf"), "policy_frequency": 1}}, None),
    ],
)
def test_an_environment_may_know_its_own_limit(attributes: dict[str, Any], limit: int | None) -> None:
    env = toys.Line()
    vars(env).update(attributes)
    assert time_limit(env) == limit
    assert time_limit(gym.wrappers.TimeLimit(env, 5)) == 5


def test_a_limit_may_be_set_by_reset() -> None:
    class Late(toys.Line):
        def reset(self, **options: Any) -> Any:
            self.max_steps = 9
            return super().reset(**options)

    assert from_env(Late, levels=range(20), episodes=2).trial_steps == 18


def test_a_limit_that_varies_is_looked_for_at_both_ends() -> None:
    class Limited(toys.Line):
        def __init__(self) -> None:
            super().__init__()
            self.max_steps = 5

    assert from_env(Limited, {"max_steps": Integers(3, 30)}, episodes=2).trial_steps == 60


def test_a_task_may_be_an_episode() -> None:
    family = from_env("CartPole-v1", episodes=1)
    assert family.task_space["level"].contains(np.asarray(2**31 - 1))
    drawn = {s: family.with_split(s).sample_batch(np.random.default_rng(0), 2000)["level"] for s in ("train", "test")}  # type: ignore[arg-type]  # both are splits
    assert not set(drawn["train"].tolist()) & set(drawn["test"].tolist())
    assert not family.in_distribution
    env = TrialEnv(family)
    obs, info = env.reset(seed=0)
    again = gym.make("CartPole-v1").reset(seed=int(info["task"]["level"]))[0]
    assert obs["obs"].tolist() == again.tolist()
    for options in ({"episodes": 2}, {"steps": 9}, {"episodes": 1, "levels": [3]}):
        with pytest.raises(ValueError, match="nothing varies"):
            from_env("CartPole-v1", **options)


def test_a_function_that_fails_is_named() -> None:
    def put(env: Any, values: dict[str, Any]) -> None:
        values["nothing"]

    with pytest.raises(InputError) as error:
        from_env(toys.Line, {"size": Uniform(2, 3)}, apply=put, steps=5)
    assert error.value.key == "apply"
    assert "test_made_environments.py" in str(error.value)
