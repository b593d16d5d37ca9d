"""What metarl.from_env refuses, and what is said where an environment fails."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import family_toys as toys
import numpy as np
import pytest

from metarl import Integers, TrialEnv, TrialVectorEnv, Uniform, from_env
from metarl.tasks.family.env_family import SpacesError

LINE = "family_toys:toys/Line-v0"
SIZES: dict[str, Any] = {"size": "1..2"}


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"env": "CartPole-v1"}, "nothing varies"),
        ({"env": "CartPole-v1", "levels": [3]}, "nothing varies"),
        ({"env": "CartPol-v1", "levels": range(3)}, "CartPol-v1.*did you mean 'CartPole-v1'"),
        ({"env": "CartPole-v9", "levels": range(3)}, "CartPole-v9"),
        ({"env": "nowhere:A-v0", "levels": range(3)}, "import 'nowhere'"),
        ({"env": "A-v0", "levels": range(3), "imports": "nowhere"}, "import 'nowhere'"),
        ({"env": 3, "levels": range(3)}, "env is 3"),
        ({"env": [], "levels": range(3)}, "env is"),
        ({"env": ["CartPole-v1"] * 2}, "twice"),
        ({"env": "CartPole-v1", "vary": {"lenght": "1..2"}}, "'lenght'.*did you mean 'length'"),
        ({"env": LINE, "vary": {"_nothing": "1..2"}}, r"size, seen, name.*name, size"),
        ({"env": LINE, "vary": {"step": "1..2"}}, "'step'"),
        ({"env": LINE, "vary": {"spec": "1..2"}}, "'spec'"),
        ({"env": LINE, "vary": {"area": "1..2"}}, "'area'.*apply="),
        ({"env": LINE, "vary": {"size": "3"}}, "size: .*'3'"),
        ({"env": LINE, "vary": {"size": 3}}, "size: .*3"),
        ({"env": LINE, "vary": ["size"]}, "vary is"),
        ({"env": LINE, "vary": SIZES, "kwargs": {"size": 1}}, "'size'.*kwargs"),
        ({"env": LINE, "vary": SIZES, "kwargs": {"nix": 1}}, "cannot make toys/Line-v0"),
        ({"env": LINE, "vary": SIZES, "apply": "x"}, "apply is 'x'"),
        ({"env": LINE, "vary": SIZES, "episodes": 0}, "episodes is 0"),
        ({"env": LINE, "vary": SIZES, "steps": 1.5}, "steps is 1.5"),
        ({"env": LINE, "vary": SIZES, "split": "tests"}, "split is 'tests'"),
        ({"env": LINE, "vary": {"level": "1..2"}, "levels": range(3)}, "'level'"),
        ({"env": LINE, "levels": "3..1"}, "levels is '3..1'"),
        ({"env": "toys/Endless-v0", "vary": SIZES}, "time limit.*steps"),
        ({"env": lambda size: toys.Line(size), "vary": SIZES, "episodes": 2}, "time limit.*steps"),
        ({"env": lambda size: size, "vary": SIZES}, "made float"),
        ({"env": lambda size: toys.Line(size), "vary": {"sise": "1..2"}, "steps": 9}, "cannot make <lambda>"),
        ({"env": "metarl/BernoulliBandit-v0", "levels": range(3)}, "family of tasks already"),
        ({"env": "FrozenLake-v1", "vary": {"map_name": ["4x4", "8x8"]}}, "observation space.*8x8"),
        ({"env": ["CartPole-v1", "Acrobot-v1"]}, "space.*Acrobot-v1"),
        ({"env": LINE, "vary": {"seen": Integers(1, 3)}}, "space.*'seen': 3"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(options: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named) as error:
        from_env(**options)
    assert "\n" not in str(error.value)


def test_spaces_that_change_in_between_are_told_when_it_happens() -> None:
    made = from_env("toys/ChangesSpaces-v0", vary={"size": Uniform(0, 1)})
    env = made.make({"size": np.asarray(0.1)})
    with pytest.raises(SpacesError, match=r"in the task \{'size': 0.5\}"):
        made.remake(env, {"size": np.asarray(0.5)})


class Leaves(toys.Line):
    """In tasks that are not good it shows another shape than it says."""

    def __init__(self, good: bool = True) -> None:
        super().__init__()
        self.good = good

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        obs, info = super().reset(seed=seed, options=options)
        return (obs if self.good else np.zeros(7, np.float32)), info


def test_an_observation_that_leaves_its_space_is_told_with_row_and_task() -> None:
    family = from_env(Leaves, vary={"good": [True, False]}, steps=5)
    for env in (TrialEnv(family), TrialVectorEnv(family, 8)):
        with pytest.raises(SpacesError, match=r"\(7,\)") as told:
            [env.reset(seed=seed) for seed in range(20)]
        assert any("task {good=1}" in note for note in told.value.__notes__)


def test_environments_made_to_look_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    open_now: list[toys.Line] = []
    monkeypatch.setattr(toys.Line, "close", lambda self: open_now.remove(self) if self in open_now else None)
    made_by = toys.Line.__init__

    def counted(self: toys.Line, *args: Any, **kwargs: Any) -> None:
        made_by(self, *args, **kwargs)
        open_now.append(self)

    monkeypatch.setattr(toys.Line, "__init__", counted)
    from_env(lambda **given: toys.make_line(**given), vary={"size": "1..3"})
    assert open_now == []


def test_nothing_heavy_is_imported() -> None:
    code = (
        "import sys; from metarl import from_env, Uniform as U, TrialEnv;"
        "TrialEnv(from_env('CartPole-v1', vary={'length': U(1, 2)})).reset(seed=0);"
        "print([m for m in ('torch', 'stable_baselines3', 'scipy', 'pydantic') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "[]\n"


def test_what_the_code_of_a_user_raises_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "module_that_raises.py").write_text("raise RuntimeError('no licence')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=r"module_that_raises.*no licence"):
        from_env("module_that_raises:A-v0", levels=range(3))

    def refuse(size: float) -> Any:
        raise RuntimeError("no licence")

    with pytest.raises(ValueError, match=r"refuse.*no licence"):
        from_env(refuse, vary={"size": "1..2"}, steps=9)

    class Never(toys.Line):
        def reset(self, **_: Any) -> Any:
            raise RuntimeError("no ground to stand on")

    with pytest.raises(ValueError, match="no ground to stand on"):
        from_env(lambda size: Never(), vary={"size": Uniform(0, 1)}, steps=5)
