"""Does what varies from task to task change anything?"""

from __future__ import annotations

import copy
import time
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from metarl.tasks.check.recorder import allowed
from metarl.tasks.check.subject import Subject
from metarl.tasks.family.distribution import TaskDistribution
from metarl.tasks.family.env_family import EnvFamily
from metarl.types import Array

STEPS = 200  # steps that are compared at most
SECONDS = 3.0  # time after which two environments that were equal so far count as equal


def without_effect(family: TaskDistribution) -> list[str]:
    """The names in ``vary`` of an :class:`EnvFamily` whose least and largest values give the same environment.

    Both are seeded alike and get the same actions; all other values stay. What shows later than in the first 200
    steps, or 3 seconds, is not seen.
    """
    if not isinstance(family, EnvFamily):
        return []
    first = family.probe()
    found = []
    for name, part in family.vary.items():
        ends = [{**first, name: part.probes[i]} for i in (0, -1)]
        if _alike(family, *ends):
            found.append(name)
    return found


def effect(subject: Subject) -> str:
    """Every value that varies makes a difference; training warns of one that makes none."""
    family = subject.family
    if idle := without_effect(family):
        warnings.warn(
            f"{', '.join(idle)} can be anything and changes nothing that is seen or paid in {STEPS} steps; give what "
            "switches it on in kwargs, use apply=function(env, values) where it is computed from, or leave it out",
            stacklevel=1,
        )
        return ""
    return (
        f"seen to change something: {', '.join(family.vary)}" if isinstance(family, EnvFamily) and family.vary else ""
    )


def _alike(family: EnvFamily, one: Mapping[str, Array], other: Mapping[str, Array]) -> bool:
    began = time.monotonic()
    for step, (a, b) in enumerate(zip(_play(family, one), _play(family, other), strict=True)):
        if not _equal(a, b):
            return False
        if step == STEPS or time.monotonic() - began > SECONDS:
            return True
    return True


def _play(family: EnvFamily, task: Mapping[str, Array]) -> Iterator[tuple[Any, ...]]:
    """What an environment returns to random actions that are the same each time."""
    env = family.make(task)
    try:
        actions = copy.deepcopy(env.action_space)
        actions.seed(0)
        obs, _ = env.reset(seed=0)
        yield (copy.deepcopy(obs),)
        while True:
            obs, *rest, _ = env.step(actions.sample(**allowed(env.action_space, obs)))
            yield copy.deepcopy(obs), *rest
            if rest[1] or rest[2]:
                obs, _ = env.reset()
    finally:
        env.close()


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, Mapping):
        return a.keys() == b.keys() and all(_equal(a[key], b[key]) for key in a)
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(_equal, a, b))
    return np.array_equal(np.asarray(a), np.asarray(b), equal_nan=np.asarray(a).dtype.kind == "f")
