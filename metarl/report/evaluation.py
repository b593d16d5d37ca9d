"""What pictures and tables share: the fields of an evaluation (``evaluation.json``) and the words for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from metarl.types import Floats

Evaluation = Mapping[str, Any]
"""One evaluation as plain data: ``env``, ``split``, ``trials``, ``return_mean``, ``by_episode``, ``references``, ..."""

ABLATIONS = {"off": "memory off", "shuffled": "keys shuffled"}
"""The keys of ``ablations``, in the order of display, and what they are called."""

_NEEDED = ("env", "split", "trials", "steps_per_trial", "return_mean", "by_episode")
_BEST = ("Gittins", "ideal memory")


def check(evaluation: Evaluation) -> None:
    """Refuse what is no evaluation.

    Raises:
        ValueError: a field is missing, or no episode was played.
    """
    if missing := [name for name in _NEEDED if name not in evaluation]:
        raise ValueError(f"the evaluation lacks {', '.join(missing)}; make it again with `metarl eval RUN`")
    if not evaluation["by_episode"]:
        raise ValueError("the evaluation has an empty by_episode; make it again with `metarl eval RUN`")


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
    """How many trials of which split, such as ``10,000 trials of test tasks``."""
    return f"{evaluation['trials']:,} trials of {evaluation['split']} tasks"


def best_reference(evaluation: Evaluation) -> str | None:
    """What shares are measured against: Gittins, ideal memory, or else the reference with the largest return."""
    references = evaluation.get("references", {})
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
