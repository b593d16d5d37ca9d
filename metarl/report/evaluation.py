"""What pictures and tables share: the fields of an evaluation (``evaluation.json``) and the words for them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from metarl.runs.folder import RunError, RunFolder
from metarl.types import Floats

Evaluation = Mapping[str, Any]
"""One evaluation as plain data: ``env``, ``split``, ``trials``, ``return_mean``, ``by_episode``, ``references``, ..."""

ABLATIONS = {
    "off": "memory off",
    "shuffled": "keys shuffled",
    "episode": "emptied at each episode",
    "step": "emptied at each step",
}
"""The keys of ``ablations``, in the order of display, and what they are called."""

_NEEDED = ("env", "split", "trials", "steps_per_trial", "return_mean", "by_episode")
_BEST = ("Gittins", "ideal memory")


def check(evaluation: Evaluation) -> None:
    """Refuse what is no evaluation.

    Raises:
        ValueError: a field is missing or holds something else, or no episode was played.
    """
    again = "make it again with `metarl eval RUN`"
    if missing := [name for name in _NEEDED if name not in evaluation]:
        raise ValueError(f"the evaluation lacks {', '.join(missing)}; {again}")
    if not evaluation["by_episode"]:
        raise ValueError(f"the evaluation has an empty by_episode; {again}")
    results = [evaluation]
    for kind in ("references", "ablations"):
        if not isinstance(evaluation.get(kind, {}), dict):
            raise ValueError(f"the evaluation's {kind} are no table; {again}")
        results += evaluation.get(kind, {}).values()
    if wrong := [name for result in results for name in _wrong(result)]:
        raise ValueError(f"the evaluation holds a {wrong[0]} that is no number, or not as many as expected; {again}")


def _wrong(result: Any) -> list[str]:
    """The fields of one actor's result that should be numbers, or as many as there are episodes, and are not."""
    if not isinstance(result, dict):
        return ["result"]
    numbers = [name for name in ("return_mean", "return_se", "steps_to_adapt") if name in result]
    wrong = [name for name in numbers if not _is_number(result[name])]
    for name in ("by_episode", "by_exposure"):
        if name not in result:
            continue
        values, errors = result[name], result.get(f"{name}_se")
        lists = [values] if errors is None else [values, errors]
        if not all(isinstance(v, list) and all(n is None or _is_number(n) for n in v) for v in lists):
            wrong.append(name)
        elif len({len(v) for v in lists}) > 1:
            wrong.append(f"{name}_se")
    interval = result.get("return_interval", [0, 0])
    if not (isinstance(interval, list) and len(interval) == 2 and all(map(_is_number, interval))):
        wrong.append("return_interval")
    return wrong


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def read_evaluation(run: RunFolder) -> dict[str, Any] | None:
    """The evaluation of a run folder; None where there is none.

    Raises:
        RunError: the file is damaged.
    """
    if not run.evaluation.is_file():
        return None
    told = f"{run.evaluation} is damaged%s; remove it and make it again with metarl eval {run.path}"
    try:
        evaluation = json.loads(run.evaluation.read_text(encoding="utf-8"))
    except ValueError:
        raise RunError(told % "") from None
    if not isinstance(evaluation, dict):
        raise RunError(told % f" (it holds a {type(evaluation).__name__})")
    try:
        check(evaluation)
    except ValueError as error:
        raise RunError(told % f" ({str(error).partition(';')[0]})") from None
    return evaluation


def one_step_episodes(evaluation: Evaluation) -> bool:
    """Whether every inner episode is a single step, as in a bandit without contexts."""
    return bool(evaluation["steps_per_trial"] == len(evaluation["by_episode"]))


def step_word(evaluation: Evaluation) -> str:
    """What the field calls a step: a ``pull`` of a bandit's arm, else a ``step``."""
    return "pull" if "bandit" in evaluation["env"].lower() else "step"


def return_unit(evaluation: Evaluation) -> tuple[str, float]:
    """What returns are given per, and how many of these a trial has: the trial itself, or its longer episodes."""
    return ("trial", 1.0) if one_step_episodes(evaluation) else ("episode", float(len(evaluation["by_episode"])))


def headline(evaluation: Evaluation) -> str:
    """Environment and options, such as ``metarl/BernoulliBandit-v0 (arms=10, pulls=100)``."""
    options = ", ".join(f"{name}={value}" for name, value in evaluation.get("env_options", {}).items())
    return f"{evaluation['env']} ({options})" if options else str(evaluation["env"])


def held_out(evaluation: Evaluation) -> str:
    """How many trials of which split, such as ``10,000 trials of test tasks``; or that none could be held out."""
    if evaluation.get("in_distribution"):
        return f"{evaluation['trials']:,} trials in distribution (too few tasks to hold any out)"
    return f"{evaluation['trials']:,} trials of {evaluation['split']} tasks"


def best_reference(evaluation: Evaluation) -> str | None:
    """What shares are measured against: Gittins, ideal memory, or else the best reference that is not random."""
    references = {name: value for name, value in evaluation.get("references", {}).items() if name != "random"}
    for name in _BEST:
        if name in references:
            return name
    return max(references, key=lambda name: references[name]["return_mean"], default=None)


def random_return(evaluation: Evaluation) -> float | None:
    """The mean return of random actions: as played among the references, else as stated, else unknown."""
    played = evaluation.get("references", {}).get("random", {})
    value = played.get("return_mean", evaluation.get("random_return"))
    return None if value is None else float(value)


def floats(values: Any) -> Floats:
    """Numbers of a JSON list ``[n]``; null, where a trial had fewer episodes, becomes nan."""
    return np.array(values, dtype=np.float64)
