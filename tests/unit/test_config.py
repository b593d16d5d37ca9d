import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from annotated_types import Ge, Gt

from metarl.config import ConfigError, InputError, apply, build, choice, load_toml, parse_assignment, to_plain


@dataclass(frozen=True)
class Env:
    arms: Annotated[int, Ge(2)] = 10
    reward: Literal["binary", "normal"] = "binary"
    prior: tuple[float, float] = (1.0, 1.0)
    limit: int | None = None


@dataclass(frozen=True)
class Train:
    rate: Annotated[float, Gt(0)] = 1e-3
    entropy: float | Literal["auto"] = 0.0
    compile: bool = False
    sizes: tuple[int, ...] = (64,)

    def __post_init__(self) -> None:
        if self.compile and self.rate > 1:
            raise ConfigError(key="rate", given=self.rate, expected="at most 1", remedy="leave out compile")


@dataclass(frozen=True)
class Run:
    name: str
    env: Env = Env()
    train: Train = Train()
    evals: tuple[Env, ...] = ()
    extra: dict[str, Env] = field(default_factory=dict)
    probe: Env | None = None
    either: Env | Train = Env()
    free: dict[str, Any] = field(default_factory=dict)
    mixed: list[int] | dict[str, int] | None = None


def test_build_nests_and_keeps_types() -> None:
    data = {
        "name": "a",
        "env": {"arms": 7, "prior": [1, 2]},
        "train": {"rate": 1, "entropy": "auto", "sizes": [3, 4]},
        "evals": [{"arms": 3}],
        "extra": {"hard": {"arms": 50}},
        "probe": {"limit": 5},
        "either": {"rate": 1},
        "free": {"a": {"b": [1]}},
        "mixed": {"x": 1},
    }
    run = build(Run, data)
    assert run == Run(
        "a",
        Env(arms=7, prior=(1.0, 2.0)),
        Train(rate=1.0, entropy="auto", sizes=(3, 4)),
        evals=(Env(arms=3),),
        extra={"hard": Env(arms=50)},
        probe=Env(limit=5),
        either=Train(rate=1.0),
        free={"a": {"b": [1]}},
        mixed={"x": 1},
    )
    assert type(run.train.rate) is float
    assert type(run.env.arms) is int


def test_plain_options_build_the_same_options_again() -> None:
    run = Run("a", Env(arms=3), evals=(Env(arms=4), Env()), probe=None)
    plain = to_plain(run)
    assert plain["env"] == {"arms": 3, "reward": "binary", "prior": [1.0, 1.0], "limit": None}
    assert build(Run, plain) == run
    with pytest.raises(TypeError, match="expected numbers, strings"):
        to_plain({"a": object()})


@pytest.mark.parametrize(
    ("data", "key", "given", "expected"),
    [
        ({"env": {"arms": "abc"}}, "env.arms", "abc", "an integer"),
        ({"env": {"arms": "7"}}, "env.arms", "7", "an integer"),
        ({"env": {"arms": True}}, "env.arms", True, "an integer"),
        ({"env": {"arms": 2.0}}, "env.arms", 2.0, "an integer"),
        ({"env": {"arms": 1}}, "env.arms", 1, "greater than or equal to 2"),
        ({"train": {"rate": 0}}, "train.rate", 0, "greater than 0"),
        ({"train": {"rate": True}}, "train.rate", True, "a number"),
        ({"train": {"rate": float("inf")}}, "train.rate", float("inf"), "a finite number"),
        ({"train": {"compile": 1}}, "train.compile", 1, "true or false"),
        ({"train": {"entropy": "x"}}, "train.entropy", "x", "a number or 'auto'"),
        ({"train": {"sizes": [1, "x"]}}, "train.sizes.1", "x", "an integer"),
        ({"train": {"sizes": 3}}, "train.sizes", 3, "a list"),
        ({"env": {"reward": "bin"}}, "env.reward", "bin", "'binary' or 'normal'"),
        ({"env": 3}, "env", 3, "a table of keys"),
        ({"name": None}, "name", None, "a string"),
        ({"name": "a\udcff"}, "name", "a\udcff", "UTF-8"),
        ({"free": {"a": [0, float("nan")]}}, "free.a.1", None, "a finite number"),
        ({"mixed": "x"}, "mixed", "x", "a list or a table of keys"),
        (3, "the options", 3, "a table of keys"),
    ],
)
def test_a_value_that_does_not_fit(data: Any, key: str, given: object, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build(Run, {"name": "a"} | data if isinstance(data, dict) else data, where="here")
    assert caught.value.key == key
    assert expected in str(caught.value.expected)
    if given is not None:
        assert caught.value.given == given
        assert str(caught.value) == f"here: {key} is {given!r}, expected {caught.value.expected}"


@pytest.mark.parametrize(
    ("data", "key", "valid", "close"),
    [
        ({"nam": "b"}, "nam", "name, env, train", "name"),
        ({"env": {"arm": 3, "limit": "x"}}, "env.arm", "arms, reward, prior, limit", "arms"),
        ({"env": {"zzz": 3}}, "env.zzz", "arms, reward", None),
        ({"probe": {"arm": 3}}, "probe.arm", "arms, reward", "arms"),
        ({"evals": [{"limt": 3}]}, "evals.0.limt", "arms, reward", "limit"),
        ({"extra": {"a": {"zzz": 3}}}, "extra.a.zzz", "arms, reward", None),
        ({"either": {"comple": True}}, "either.comple", "compile", "compile"),
    ],
)
def test_an_unknown_key_names_the_known_ones(data: dict[str, Any], key: str, valid: str, close: str | None) -> None:
    with pytest.raises(ConfigError) as caught:
        build(Run, data, where="here")
    assert caught.value.key == key
    assert valid in str(caught.value.expected)
    assert caught.value.remedy == (close and f"did you mean {close!r}?")
    assert str(caught.value).startswith(f"here: unknown key {key}, expected one of ")


@pytest.mark.parametrize(("data", "key"), [({}, "name"), ({"name": "a", "env": {"prior": [1]}}, "env.prior.1")])
def test_a_missing_key(data: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError, match=f"^options: {key} is missing$") as caught:
        build(Run, data)
    assert (caught.value.key, caught.value.given) == (key, None)


def test_the_check_of_a_dataclass_keeps_its_words_and_fields() -> None:
    with pytest.raises(ConfigError) as caught:
        build(Run, {"name": "a", "train": {"compile": True, "rate": 2}}, where="here")
    assert str(caught.value) == "here: train: rate is 2.0, expected at most 1; leave out compile"
    assert (caught.value.key, caught.value.given, caught.value.expected) == ("rate", 2.0, "at most 1")


def test_an_error_is_one_line_made_of_its_fields() -> None:
    error = InputError("a\n b", key="k", given=1, expected="c", remedy="d", where="w")
    assert str(error) == "w: a b, expected c; d"
    back = pickle.loads(pickle.dumps(error))
    assert (str(back), back.key, back.given, back.expected, back.remedy) == (str(error), "k", 1, "c", "d")
    with pytest.raises(TypeError, match="needs a problem or a key"):
        InputError(expected="c")
    assert str(ConfigError.of(ValueError("other"), "w")) == "w: other"


@pytest.mark.parametrize(
    ("given", "valid", "close"),
    [
        ("dcn", ["dnc", "ntm"], "dnc"),
        ("CartPol-v1", ["Hopper-v5", "CartPole-v1"], "CartPole-v1"),
        ("Nope-v0", ["Hopper-v5", "CartPole-v1"], None),
        ("cartpole", ["Hopper-v5", "CartPole-v0", "CartPole-v1"], "CartPole-v1"),
        ("CartPole-v9", ["CartPole-v0", "CartPole-v1"], "CartPole-v1"),
        ("bandit", ["anil", "maml", "matching"], None),
        ("nothing", ["matching"], None),
        ("proto", ["prototypical", "matching"], "prototypical"),
        ("zzz", ["dnc"], None),
        ("dcn", [], None),
    ],
)
def test_only_what_is_close_is_suggested(given: str, valid: list[str], close: str | None) -> None:
    with pytest.raises(ConfigError) as caught:
        choice(given, valid, "store")
    assert (caught.value.key, caught.value.given) == ("store", given)
    assert all(name in str(caught.value.expected) for name in valid)
    assert caught.value.remedy == (close and f"did you mean {close!r}?")


def test_a_long_value_is_cut_in_the_error() -> None:
    with pytest.raises(ConfigError) as caught:
        build(Run, {"name": "a", "env": {"arms": "x\n" * 1000}})
    assert len(str(caught.value)) < 120
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("env.arms=7", (("env", "arms"), 7)),
        ("train.rate = 1e-3", (("train", "rate"), 1e-3)),
        ("env.reward=normal", (("env", "reward"), "normal")),
        ('env.reward="normal"', (("env", "reward"), "normal")),
        ("train.compile=true", (("train", "compile"), True)),
        ("env.prior=[1, 2]", (("env", "prior"), [1, 2])),
        ("env={arms = 3}", (("env",), {"arms": 3})),
        ("env.kwargs.slippery=False", (("env", "kwargs", "slippery"), False)),
        ("env.kwargs.slippery= True", (("env", "kwargs", "slippery"), True)),
        ("name=", (("name",), "")),
        ("name=a=b", (("name",), "a=b")),
        ("name=1\nother=2", (("name",), "1\nother=2")),
    ],
)
def test_assignments(text: str, expected: object) -> None:
    assert parse_assignment(text) == expected


def test_none_is_no_value() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_assignment("env.kwargs.map=None")
    assert (caught.value.key, caught.value.given) == ("env.kwargs.map", "None")
    assert parse_assignment('name="None"') == (("name",), "None")


@pytest.mark.parametrize("text", ["env.arms", "=3", "env.=3", ".arms=3", "env..arms=3", ""])
def test_assignments_that_cannot_be_read(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_assignment(text)
    assert caught.value.given == text
    assert "key=value" in str(caught.value.expected)


def test_apply_copies() -> None:
    data, table = {"env": {"arms": 10}, "name": "a"}, {"rate": 0.1}
    changed = apply(data, [(("env", "arms"), 7), (("train",), table), (("train", "rate"), 0.2), (("env", "arms"), 8)])
    assert changed == {"env": {"arms": 8}, "name": "a", "train": {"rate": 0.2}}
    assert (data, table) == ({"env": {"arms": 10}, "name": "a"}, {"rate": 0.1})


def test_apply_refuses_to_look_inside_a_value() -> None:
    with pytest.raises(ConfigError, match=r"env\.arms\.x") as caught:
        apply({"env": {"arms": 10}}, [(("env", "arms", "x"), 1)])
    assert (caught.value.key, caught.value.given, caught.value.expected) == ("env.arms", 10, "a table of keys")


def test_load_toml(tmp_path) -> None:
    path = tmp_path / "a.toml"
    path.write_text('name = "a"\n[env]\narms = 7\n')
    assert build(Run, load_toml(path), where=str(path)).env.arms == 7

    for content in (b"name = \n", b"\xff\xfe"):
        path.write_bytes(content)
        with pytest.raises(ConfigError, match="not valid TOML") as caught:
            load_toml(path)
        assert caught.value.key == str(path)
    with pytest.raises(ConfigError, match="No such file") as caught:
        load_toml(tmp_path / "none.toml")
    assert caught.value.expected == "a TOML file"


@pytest.mark.parametrize(
    "value", ["[" * 3000, "[" * 100 + "]" * 100, "9" * 400, "9" * 5000, "1e300", "1e400", "inf", "nan"]
)
def test_values_that_are_no_plain_data_are_refused(tmp_path: Path, value: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build(Own, apply({}, [parse_assignment(f"x={value}")]), "here")
    assert (caught.value.key or "").partition(".")[0] == "x"
    path = tmp_path / "a.toml"
    path.write_text(f"x = {value}")
    with pytest.raises(ConfigError) as caught:
        load_toml(path)
    assert str(path) in str(caught.value)


@dataclass
class Own:
    x: Any = 0
