from dataclasses import dataclass, field
from typing import Annotated, Literal

import pytest
from annotated_types import Ge, Gt

from metarl.config import ConfigError, apply, build, load_toml, parse_assignment, to_plain


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
            raise ValueError("compile needs a rate of at most 1\nreally")


@dataclass(frozen=True)
class Run:
    name: str
    env: Env = Env()
    train: Train = Train()
    evals: tuple[Env, ...] = ()
    extra: dict[str, Env] = field(default_factory=dict)
    probe: Env | None = None


def test_build_nests_and_keeps_types() -> None:
    data = {
        "name": "a",
        "env": {"arms": 7, "prior": [1, 2]},
        "train": {"rate": 1, "entropy": "auto", "sizes": [3, 4]},
        "evals": [{"arms": 3}],
        "extra": {"hard": {"arms": 50}},
        "probe": {"limit": 5},
    }
    run = build(Run, data)
    assert run == Run(
        "a",
        Env(arms=7, prior=(1.0, 2.0)),
        Train(rate=1.0, entropy="auto", sizes=(3, 4)),
        evals=(Env(arms=3),),
        extra={"hard": Env(arms=50)},
        probe=Env(limit=5),
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
    ("data", "message"),
    [
        ({"env": {"arms": "abc"}}, "here: env.arms is 'abc', expected an integer"),
        ({"env": {"arms": "7"}}, "here: env.arms is '7', expected an integer"),
        ({"env": {"arms": True}}, "here: env.arms is True, expected an integer"),
        ({"env": {"arms": 2.0}}, "here: env.arms is 2.0, expected an integer"),
        ({"env": {"arms": 1}}, "here: env.arms is 1, expected greater than or equal to 2"),
        ({"train": {"rate": 0}}, "here: train.rate is 0, expected greater than 0"),
        ({"train": {"rate": True}}, "here: train.rate is True, expected a number"),
        ({"train": {"rate": float("inf")}}, "here: train.rate is inf, expected a finite number"),
        ({"train": {"compile": 1}}, "here: train.compile is 1, expected true or false"),
        ({"train": {"entropy": "x"}}, "here: train.entropy is 'x', expected a number or 'auto'"),
        ({"train": {"sizes": [1, "x"]}}, "here: train.sizes.1 is 'x', expected an integer"),
        ({"train": {"sizes": 3}}, "here: train.sizes is 3, expected a list"),
        ({"train": {"compile": True, "rate": 2}}, "here: train: compile needs a rate of at most 1 really"),
        ({"env": {"reward": "bin"}}, "here: env.reward is 'bin', expected 'binary' or 'normal'"),
        ({"env": 3}, "here: env is 3, expected a table of keys"),
        ({"name": None}, "here: name is None, expected a string"),
        ({"nam": "b"}, "here: unknown key nam; did you mean name? valid keys: name, env, train, evals, extra, probe"),
        (
            {"env": {"arm": 3}},
            "here: unknown key env.arm; did you mean arms? valid keys: arms, reward, prior, limit",
        ),
        ({"env": {"zzz": 3}}, "here: unknown key env.zzz; valid keys: arms, reward, prior, limit"),
        (
            {"probe": {"arm": 3}},
            "here: unknown key probe.arm; did you mean arms? valid keys: arms, reward, prior, limit",
        ),
        (
            {"evals": [{"limt": 3}]},
            "here: unknown key evals.0.limt; did you mean limit? valid keys: arms, reward, prior, limit",
        ),
        ({"extra": {"a": {"zzz": 3}}}, "here: unknown key extra.a.zzz; valid keys: arms, reward, prior, limit"),
    ],
)
def test_what_does_not_fit_is_one_line(data: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build(Run, {"name": "a"} | data, where="here")
    assert str(caught.value) == message


def test_missing_options_and_no_table_at_all() -> None:
    with pytest.raises(ConfigError, match=r"^options: name is missing and has no default$"):
        build(Run, {})
    with pytest.raises(ConfigError, match=r"^options: the options are 3, expected a table of keys$"):
        build(Run, 3)  # type: ignore[arg-type]


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
        ("name=", (("name",), "")),
        ("name=a=b", (("name",), "a=b")),
        ("name=1\nother=2", (("name",), "1\nother=2")),
    ],
)
def test_assignments(text: str, expected: object) -> None:
    assert parse_assignment(text) == expected


@pytest.mark.parametrize("text", ["env.arms", "=3", "env.=3", ".arms=3", "env..arms=3", ""])
def test_assignments_that_cannot_be_read(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^cannot read the setting '.*', expected key=value such as env\.arms=7$"):
        parse_assignment(text)


def test_apply_copies() -> None:
    data = {"env": {"arms": 10}, "name": "a"}
    changed = apply(data, [(("env", "arms"), 7), (("train", "rate"), 0.1), (("env", "arms"), 8)])
    assert changed == {"env": {"arms": 8}, "name": "a", "train": {"rate": 0.1}}
    assert data == {"env": {"arms": 10}, "name": "a"}


def test_apply_leaves_given_tables_alone() -> None:
    table = {"arms": 3}
    assert apply({}, [(("env",), table), (("env", "arms"), 4)]) == {"env": {"arms": 4}}
    assert table == {"arms": 3}


def test_apply_refuses_to_look_inside_a_value() -> None:
    with pytest.raises(ConfigError, match=r"^cannot set env\.arms\.x: env\.arms is 10, expected a table of keys$"):
        apply({"env": {"arms": 10}}, [(("env", "arms", "x"), 1)])


def test_load_toml(tmp_path) -> None:
    path = tmp_path / "a.toml"
    path.write_text('name = "a"\n[env]\narms = 7\n')
    assert build(Run, load_toml(path), where=str(path)).env.arms == 7

    path.write_text("name = \n")
    with pytest.raises(ConfigError, match=r"a\.toml is not valid TOML: .*line 1"):
        load_toml(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"a\.toml is not valid TOML"):
        load_toml(path)
    with pytest.raises(ConfigError, match=r"^cannot read .*none\.toml: No such file .*; expected a TOML file$"):
        load_toml(tmp_path / "none.toml")


@dataclass(frozen=True)
class Either:
    which: Env | Train = Env()


def test_an_option_of_several_dataclasses_is_refused() -> None:
    with pytest.raises(TypeError, match="which can be several kinds of table"):
        build(Either, {"which": {"arms": 3}})


def test_tables_of_anything_and_unions_of_containers() -> None:
    @dataclass
    class Loose:
        free: dict = field(default_factory=dict)  # type: ignore[type-arg]
        mixed: list[int] | dict[str, int] | None = None

    assert build(Loose, {"free": {"a": {"b": [1]}}, "mixed": {"x": 1}}).free == {"a": {"b": [1]}}
    assert build(Loose, {"mixed": [1, 2]}).mixed == [1, 2]
    with pytest.raises(ConfigError, match=r"free\.a\.0 is nan, expected a finite number"):
        build(Loose, {"free": {"a": [float("nan")]}})
