"""Where a varied value may go, and what it may be."""

import pickle
from types import SimpleNamespace
from typing import Any

import family_toys as toys
import numpy as np
import pytest

from metarl import Choice, InputError, Sampler, TrialEnv, TrialVectorEnv, Uniform, from_env
from metarl.tasks.check.check_env import check_env
from metarl.tasks.check.effect import without_effect
from metarl.tasks.family.env_family import EnvFamily
from metarl.tasks.family.reading import as_range, parse_vary

Rng = np.random.Generator


class Body(toys.Line):
    """Has parts, as MuJoCo's environments do, and pays what they say."""

    shared = np.zeros(2)

    def __init__(self) -> None:
        super().__init__()
        opt = SimpleNamespace(gravity=np.array([0.0, 0.0, -9.8]), timestep=0.01)
        self.model = SimpleNamespace(opt=opt, mass=np.ones(2, np.float32), names=["a", "b"])
        self.model.counts, self.model.pair = np.zeros(2, int), (1, 2)
        self.alias, self.goal = opt.gravity, np.zeros(2)
        self.asked: Any = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        self.asked = options
        return super().reset(seed=seed)

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        obs, _, *rest = super().step(action)
        opt, wish = self.model.opt, (self.asked or {}).get("wish", 0.0)
        paid = opt.gravity[2] + opt.timestep + self.model.mass.sum() + self.goal.sum() + wish
        return obs, float(paid), *rest  # type: ignore[return-value]


def bodies(vary: Any, **options: Any) -> EnvFamily:
    return from_env(Body, vary=vary, steps=10, **options)


def task(**values: Any) -> dict[str, Any]:
    return {name: np.asarray(value) for name, value in values.items()}


PATHS: dict[str, tuple[Any, Any, Any]] = {
    "model.opt.timestep": (Uniform(0.1, 0.2), 0.15, 0.15),
    "model.opt.gravity[2]": (Uniform(-15, -5), -7.0, -7.0),
    "model.opt.gravity": (Sampler(lambda rng: rng.normal(size=3)), [1.0, 2, 3], [1.0, 2, 3]),
    "model.mass": (Choice([np.ones(2), np.array([0.1, 0.2])]), 1, np.array([0.1, 0.2], np.float32).tolist()),
    "model.names[1]": (["x", "y"], 1, "y"),
    "goal": ([[0.0, 1.0], [1.0, 2.0]], 1, [1.0, 2.0]),
}


@pytest.mark.parametrize("name", PATHS)
def test_a_path_is_set_and_watched(name: str) -> None:
    vary, drawn, wanted = PATHS[name]
    family = bodies({name: vary})
    env: Any = family.make(family.probe())
    gravity = env.unwrapped.model.opt.gravity
    for _ in range(2):
        other = family.remake(env, task(**{name: drawn}))
        assert other is env
        got = eval(f"env.unwrapped.{name}")
        assert (got.tolist() if isinstance(got, np.ndarray) else got) == wanted
        assert family.drift(env, task(**{name: drawn})) == {}
    assert gravity is env.unwrapped.alias
    assert family.drift(env, family.probe()).keys() == {name}
    assert without_effect(family) == ([name] if name == "model.names[1]" else [])
    assert pickle.loads(pickle.dumps(env.made)) == env.made


@pytest.mark.parametrize(
    ("name", "there"),
    [
        ("model.opt.gravty", "gravity"),
        ("model.opt.gravity[3]", "[0] to [2]"),
        ("model.nix.x", "opt"),
        ("nix.x", "twice"),
    ],
)
def test_a_path_that_does_not_exist_is_refused_with_what_does(name: str, there: str) -> None:
    with pytest.raises(InputError) as error:
        bodies({name: "1..2"})
    assert error.value.key == name
    assert there in (error.value.expected or "")


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("model.opt.gravity", "-9..-5"),
        ("model.opt.timestep", [[1.0, 2.0], [3.0, 4.0]]),
        ("model.counts[0]", "0..1"),
        ("model.counts", [[0.5, 1.5], [1.0, 2.5]]),
        ("model.pair[0]", [3, 4]),
    ],
)
def test_what_would_not_fit_is_refused(name: str, values: Any) -> None:
    with pytest.raises(ValueError, match=name.partition("[")[0]) as error:
        bodies({name: values})
    assert "\n" not in str(error.value)


def test_what_all_environments_share_is_not_changed() -> None:
    with pytest.raises(InputError) as error:
        bodies({"shared": [np.zeros(2), np.ones(2)]})
    assert error.value.key == "shared"
    assert not Body.shared.any()


def test_paths_are_names_on_the_command_line() -> None:
    assert parse_vary("model.opt.gravity[2]=-15..-5") == ("model.opt.gravity[2]", "-15..-5")
    for text in ("model.=1..2", "model[a]=1..2", "[2]=1..2", "model[-1]=1..2", "a..b=1..2"):
        with pytest.raises(InputError) as error:
            parse_vary(text)
        assert error.value.given == text


def test_options_go_to_every_reset() -> None:
    family = bodies({"options.wish": Uniform(0, 5)}, kwargs={})
    env = TrialEnv(family)
    _, info = env.reset(seed=0)
    inner: Any = env._inner.env
    wish = float(info["task"]["options.wish"])
    assert inner.unwrapped.asked == {"wish": wish}
    inner.unwrapped.asked = None
    env.step(1)  # ends an episode
    assert inner.unwrapped.asked == {"wish": wish}
    assert without_effect(family) == []
    other = family.remake(inner, task(**{"options.wish": 2.5}))
    other.reset()
    assert (other is inner, inner.unwrapped.asked) == (True, {"wish": 2.5})
    low = from_env("CartPole-v1", vary={"options.low": Uniform(0.01, 0.02)}, kwargs={}, episodes=2)
    assert abs(TrialEnv(low).reset(seed=0)[0]["obs"]).max() <= 0.05


# Values


def test_choices_are_compared_by_value() -> None:
    arrays = [np.array([1.0, 0]), np.array([0.0, 1])]
    assert Choice(arrays) == Choice([one.copy() for one in arrays])
    assert Choice(arrays) != Choice(arrays[::-1])
    assert Choice([[1, 0], [0, 1]]).find([0, 1]) == 1
    for twice in ([arrays[0], arrays[0].copy()], [[1], [2], [1]], [{"a": [1]}, {"a": [1]}]):
        with pytest.raises(InputError, match="twice"):
            as_range("x", twice)
    given = Choice(arrays).value(0)
    given += 5
    assert Choice(arrays).value(0).tolist() == [1, 0], "an environment has its own copy"
    assert as_range("x", np.eye(2)) == Choice([np.array([1.0, 0]), np.array([0.0, 1])])


def test_a_function_draws_a_value_for_each_task() -> None:
    family = from_env(Body, {"goal": lambda rng: rng.uniform(-1, 1, 2)}, steps=10)
    batch = family.sample_batch(family.task_rng(0), 5)
    assert batch["goal"].shape == (5, 2)
    assert np.array_equal(batch["goal"], family.sample_batch(family.task_rng(0), 5)["goal"])
    assert all(finding.ok for finding in check_env(family)), check_env(family)
    env = TrialVectorEnv(family, 3, workers=1)
    env.reset(seed=0)
    env.close()


shapes = iter(range(1, 1000))


@pytest.mark.parametrize(
    "function",
    [
        lambda rng: np.random.uniform(),  # noqa: NPY002 (the mistake itself)
        lambda rng: rng.normal(size=rng.integers(1, 4)),
        lambda rng: "red",
        lambda rng: [[1], [1, 2]],
        lambda rng: float("nan"),
        lambda rng: rng.random() > 0.5,
        lambda rng: np.ones(next(shapes)),
        lambda: 1.0,
        lambda rng: 1 / 0,
        Uniform,
    ],
)
def test_functions_that_draw_what_is_no_value(function: Any) -> None:
    state = np.random.get_state()  # noqa: NPY002 (put back below)
    with pytest.raises(InputError):
        from_env(Body, {"goal": function}, steps=10)
    with pytest.raises(InputError):
        from_env(Body, lambda rng: {"goal": function(rng)}, steps=10)
    np.random.set_state(state)  # noqa: NPY002 (as it was)


def test_a_function_that_changes_later_is_refused_then() -> None:
    drawn = Sampler(lambda rng: np.zeros(2 if rng.random() < 0.99 else 3))
    with pytest.raises(InputError):
        drawn.sample(np.random.default_rng(1), 5000)
    assert Sampler(lambda rng: max(0, rng.normal())).sample(np.random.default_rng(0), 9).dtype == np.float64


def test_a_function_of_few_values_would_let_splits_share_tasks() -> None:
    with pytest.raises(InputError) as error:
        from_env(Body, {"goal": lambda rng: rng.integers(3, size=2)}, steps=10)
    assert error.value.key == "vary"


def depends(rng: Rng) -> dict[str, Any]:
    low = rng.uniform(0, 1)
    return {"goal": np.array([low, 2 * low]), "model.opt.timestep": low, "options.wish": -low}


def test_values_may_depend_on_each_other() -> None:
    family = from_env(Body, depends, steps=10)
    batch = family.sample_batch(family.task_rng(3), 50)
    assert set(batch) == {"goal", "model.opt.timestep", "options.wish"}
    assert np.array_equal(batch["goal"][:, 1], 2 * batch["model.opt.timestep"])
    assert np.array_equal(batch["options.wish"], -batch["model.opt.timestep"])
    env: Any = family.make({name: values[7] for name, values in batch.items()})
    assert env.unwrapped.model.opt.timestep == batch["model.opt.timestep"][7]
    probe = family.probe()
    assert probe["goal"][0] == probe["model.opt.timestep"]
    assert all(finding.ok for finding in check_env(family))
    assert pickle.loads(pickle.dumps(family)) == family == EnvFamily(**family.options())
    levels = from_env(Body, depends, levels=range(40), steps=10)
    assert len(set(levels.sample_batch(levels.task_rng(0), 500)["level"].tolist())) == 32


def test_functions_cannot_be_recorded() -> None:
    from metarl.experiments.presets import load_experiment

    with pytest.raises(InputError) as error:
        load_experiment("general", {"env.vary": {"length": lambda rng: rng.uniform(1, 2)}})
    assert "a run records" in str(error.value)


def needs(rng: Rng) -> dict[str, Any]:
    """The second must be greater than the first, or the environment cannot be made."""
    low = int(rng.integers(9))
    return {"low": low, "high": float(low + rng.uniform(0.1, 1))}


class Ordered(toys.Line):
    def __init__(self, low: int = 0, high: float = 1.0) -> None:
        assert low < high < low + 1.1
        super().__init__()


def test_values_that_depend_on_each_other_are_tried_together() -> None:
    family = from_env(Ordered, needs, steps=5)
    assert without_effect(family) == []
    assert all(finding.ok for finding in check_env(family))
    for wrong in (lambda: {"low": 1}, lambda rng: 3, lambda rng: {}, Uniform, lambda rng: {"a b": rng.random()}):
        with pytest.raises(InputError):
            from_env(Ordered, wrong, steps=5)


@pytest.mark.parametrize("given", [(0.3, 1.0), (1, 5)])
def test_a_tuple_of_two_numbers_may_mean_two_things(given: Any) -> None:
    with pytest.raises(InputError) as error:
        from_env("CartPole-v1", {"length": given})
    assert (error.value.key, error.value.given) == ("length", given)
    assert "Uniform" in (error.value.remedy or "")


@pytest.mark.parametrize("vary", [{"a b": "1..2"}, {"": "1..2"}, {"x[": "1..2"}, {3: "1..2"}])
def test_names_that_are_none(vary: Any) -> None:
    with pytest.raises(InputError) as error:
        bodies(vary)
    assert error.value.key == "a name in vary"


class Takes(toys.Line):
    """Takes any argument, and reads one."""

    def __init__(self, **given: Any) -> None:
        super().__init__()
        self.size = given.get("size", 1.0)
        self.double = 2 * self.size


class Swallows(toys.Line):
    """Takes any argument, and reads none."""

    def __init__(self, **given: Any) -> None:
        super().__init__()


def test_a_class_that_takes_any_argument_gets_them() -> None:
    env: Any = from_env(Takes, {"size": Uniform(2, 3)}, steps=5).make(task(size=2.5))
    assert (env.unwrapped.size, env.unwrapped.double) == (2.5, 5.0)
    env = from_env(Swallows, {"speed": Uniform(2, 3)}, steps=5).make(task(speed=2.5))
    assert env.unwrapped.speed == 2.5, "set as an attribute"
    env = from_env(toys.Line, {"speed": Uniform(2, 3)}, steps=5).make(task(speed=2.5))  # object takes none
    assert env.unwrapped.speed == 2.5


class Clipping(toys.Line):
    """Holds no pull above 2."""

    _pull = 1.0

    @property
    def pull(self) -> float:
        return self._pull

    @pull.setter
    def pull(self, value: float) -> None:
        self._pull = min(value, 2.0)


def test_an_attribute_that_keeps_something_else_is_refused() -> None:
    from_env(Clipping, {"pull": "0.5..2"}, steps=10)
    with pytest.raises(ValueError, match=r"'pull' of .* holds 2\.0 after"):
        from_env(Clipping, {"pull": "2.5..9"}, steps=10)
    from_env(Clipping, {"pull": "2.5..9"}, steps=10, apply=set_pull)


def set_pull(env: Any, values: Any) -> None:
    env.unwrapped.pull = values["pull"] / 9
