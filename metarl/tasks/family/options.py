"""The options of a family of environments, read and put into one form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metarl.config import InputError
from metarl.tasks.family.checks import info_names, whole_number
from metarl.tasks.family.code import as_callable
from metarl.tasks.family.ranges import Range
from metarl.tasks.family.reading import as_vary, parse_levels
from metarl.tasks.family.samplers import Together
from metarl.tasks.family.splits import HELD
from metarl.types import Split

EPISODES = 5  # inner episodes of a trial where nothing else is said


def read_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """The options of an :class:`metarl.tasks.family.env_family.EnvFamily` in the one form that they are kept in.

    Raises:
        InputError: one is none.
    """
    env = given["env"][0] if isinstance(given["env"], list | tuple) and len(given["env"]) == 1 else given["env"]
    envs = several(env)
    if not envs or not all(isinstance(e, str) or callable(e) for e in envs):
        expected = 'an id, a function that makes an environment, "module:function", or several of these in a list'
        raise InputError(key="env", given=env, expected=expected)
    for name in ("kwargs", "observe"):
        if not isinstance(given[name], Mapping):
            raise InputError(key=name, given=given[name], expected="a dict of names and values")
    if not isinstance(given["weights"], Mapping):
        raise InputError(key="weights", given=given["weights"], expected="a dict of names and lists of numbers")
    vary = as_vary(given["vary"])
    if both := sorted(set(varied(vary)) & set(given["kwargs"])):
        raise InputError(f"{both[0]!r} is in vary and in kwargs; it cannot both vary and stay the same", key=both[0])
    for name in ("episodes", "steps"):
        if given[name] is not None:
            whole_number(name, given[name], at_least=1)
    wrap = several(given["wrap"])
    for key, code in [*(("wrap", one) for one in wrap), *((("apply", given["apply"]),) if given["apply"] else ())]:
        as_callable(key, code)
    return {
        "env": tuple(env) if isinstance(env, list) else env,
        "vary": vary,
        "levels": None if given["levels"] is None else parse_levels(given["levels"]),
        "episodes": EPISODES if given["episodes"] is None and given["steps"] is None else given["episodes"],
        "wrap": wrap,
        "kwargs": dict(given["kwargs"]),
        "imports": several(given["imports"]),
        "hold_out": as_held(given["hold_out"]),
        "infos": info_names(given["infos"]),
    }


def as_held(given: Any) -> tuple[Split, ...]:
    """The splits that members are held out for, in order.

    Raises:
        InputError: another is named.
    """
    hold_out = several(given)
    if not set(hold_out) <= set(HELD):
        raise InputError(key="hold_out", given=given, expected=f"some of {list(HELD)}, or none")
    return tuple(split for split in HELD if split in hold_out)


def varied(vary: Any) -> Mapping[str, Range]:
    """A range for each name in ``vary``, drawn together or not."""
    parts: Mapping[str, Range] = vary.parts if isinstance(vary, Together) else vary
    return parts


def several(given: Any) -> tuple[Any, ...]:
    """A list or one thing as a tuple."""
    return tuple(given) if isinstance(given, list | tuple) else (given,)
