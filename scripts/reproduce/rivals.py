"""What the tables of bandits and MDPs share: their options, the references played alone, and rows from them."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from common import Measured, save
from results.rows import Row

from metarl.agents import baselines
from metarl.evaluation.play import rollout_trials
from metarl.files import write_json
from metarl.functional.stats import standard_error
from metarl.tasks.family.distribution import TaskDistribution
from metarl.tasks.vector.env import TrialVectorEnv
from metarl.types import Actor, Floats, Split

TUNING_TASKS = 2_000
PUBLISHED_TASKS = 1_000  # that each figure of RL²'s tables is the mean of
ROWS_AT_ONCE = 500  # as in `metarl eval`, so that tasks are those of an agent with seed 0


class Reference(NamedTuple):
    """What an actor reached.

    Args:
        value: its return.
        minus: its return less that of the base, on the same tasks.
        parameter: the one that did best on validation tasks; None where there is nothing to tune.
    """

    value: Measured
    minus: Measured
    parameter: float | None


def options(about: str, rows: Sequence[str], out: str) -> argparse.Namespace:
    """The options of a table's script; ``only`` holds the rows to run.

    Args:
        about: what the script does.
        rows: names of the table's rows, in the order in which they are run.
        out: the folder that runs go to.
    """
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--only", nargs="+", choices=rows, default=list(rows), metavar="ROW", help=", ".join(rows))
    parser.add_argument("--references", action="store_true", help="play the references alone, and train nothing")
    parser.add_argument("--seeds", nargs="+", type=int, help="of the training runs, in place of those of the table")
    parser.add_argument("--jobs", type=int, help="training runs at a time, one thread each; 2 if not given")
    parser.add_argument("--out", type=Path, default=Path(out), help="folder of runs; what is there already is taken")
    given = parser.parse_args()
    if given.references and (given.seeds or given.jobs):
        parser.error("--seeds and --jobs are about training, and --references trains nothing: leave them out")
    given.jobs = given.jobs or 2
    return given


def play(family: TaskDistribution, base: str, tasks: int, folder: Path) -> dict[str, Reference]:
    """Tune all references on validation tasks and play test tasks with them.

    What was done is kept in files, so that a run that was cut off goes on where it was.

    Args:
        family: whose test tasks are played.
        base: the name of the one that others are compared with.
        tasks: how many test tasks.
        folder: of the files.

    Raises:
        ValueError: the folder holds another number of tasks.
    """
    prior = family.prior
    assert prior is not None

    def returns(actor: Actor, split: Split, trials: int) -> Floats:
        made = partial(TrialVectorEnv, family.with_split(split), max_restarts=0)
        rows = min(ROWS_AT_ONCE if split == "test" else 1_000, trials)
        return rollout_trials(actor, made, trials, rows=rows).returns

    folder.mkdir(parents=True, exist_ok=True)
    tuning = folder / "tuning.json"
    validated: list[float] = json.loads(tuning.read_text()) if tuning.is_file() else []
    calls = count()

    def validate(actor: Actor) -> float:
        call = next(calls)  # tuning asks for the same actors in the same order each time
        if call == len(validated):
            validated.append(float(returns(actor, "validation", TUNING_TASKS).mean()))
            write_json(tuning, validated)
        return validated[call]

    tuned = baselines.tune(prior, validate, published=True)
    actors: dict[str, Callable[[], Actor]] = {"random": partial(baselines.Random, family.action_space)}
    actors |= baselines.references(prior, tuned, published=True)
    reached: dict[str, Floats] = {}
    for name, make in actors.items():
        path = folder / f"{name}.json"
        if not path.is_file():
            write_json(path, returns(make(), "test", tasks).tolist())
        reached[name] = np.array(json.loads(path.read_text()))
        if len(reached[name]) != tasks:
            raise ValueError(f"{path} holds {len(reached[name])} tasks, expected {tasks}: remove the folder")
    return {
        name: Reference(_measured(one), _measured(one - reached[base]), tuned.get(name))
        for name, one in reached.items()
    }


def _measured(numbers: Floats) -> Measured:
    return float(numbers.mean()), standard_error(numbers)


def apart(ours: Measured, tasks: int, published: float) -> float:
    """How many standard errors ours lies above a published mean of 1,000 tasks that was rounded to one digit."""
    mean, error = ours
    return (mean - published) / float(np.sqrt(error**2 * (1 + tasks / PUBLISHED_TASKS) + 0.1**2 / 12))


def write_references(
    name: str,
    played: Mapping[str, Reference],
    base: str,
    published: Mapping[str, float],
    tasks: int,
    values: Mapping[str, Any],
) -> None:
    """Write a row for each reference, with the published figure beside it where there is one.

    Args:
        name: of the file of results.
        played: the references by name.
        base: the one that others were compared with.
        published: what was published of them, by the same names.
        tasks: that were played.
        values: the other fields of the rows.
    """
    rows = []
    for actor, one in played.items():
        beside = {} if one.parameter is None else {"parameter": round(one.parameter, 6)}
        beside |= {} if actor == base else {f"less {base} on the same tasks": round(one.minus[0], 3)}
        if actor in published:
            beside |= {"published": published[actor]}
            beside |= {"standard errors above it": round(apart(one.value, tasks, published[actor]), 2)}
        row = Row(
            method=f"{actor}, reference",
            ours=one.value[0],
            se=one.value[1],
            n_tasks=tasks,
            seeds=(0,),
            goal=(None, None),
            references=beside,
            train_seconds=0,
            train_steps=0,
            **values,
        )
        rows.append(row)
    save(name, *rows)
