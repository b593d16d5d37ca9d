"""Does an environment keep the rules of a trial?"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import NamedTuple

from metarl.tasks.check import effect, family_rules, rules
from metarl.tasks.check.recorder import BrokenRuleError
from metarl.tasks.family.distribution import TaskDistribution
from metarl.tasks.trial.layout import TrialInputs

Rule = Callable[[TaskDistribution, TrialInputs], str]
RULES: dict[str, Rule] = {
    "Gymnasium's check_env": rules.gymnasium_rules,
    "Stable-Baselines3's check_env": rules.sb3_rules,
    "spaces": rules.inner_spaces,
    "finite numbers": rules.finite_numbers,
    "previous action and reward": rules.feedback,
    "ends of episodes": rules.boundaries,
    "one task a trial": rules.one_task,
    "drawing tasks": family_rules.sampling,
    "what varies": effect.effect,
    "seeds": rules.seeds,
    "global generators": rules.global_generators,
    "splits": family_rules.splits,
    "vector environment": family_rules.vector,
}
"""What is checked."""


class Finding(NamedTuple):
    """What came of one rule."""

    name: str
    ok: bool
    message: str


def check_env(family: TaskDistribution, inputs: TrialInputs | None = None) -> list[Finding]:
    """Check the environments of a family as trials, and the family itself.

    Runs the ``check_env`` of Gymnasium and of Stable-Baselines3, and plays trials with random actions.

    Args:
        family: any split of it.
        inputs: the parts that travel beside the inner observation.

    Returns:
        One finding a rule, in the order of :data:`RULES`; where one is broken, its message says what to do.
    """
    inputs = inputs or TrialInputs()
    shown = _find("spaces", rules.supported, family, inputs)
    return [_find(name, rule, family, inputs) for name, rule in RULES.items()] if shown.ok else [shown]


def _find(name: str, rule: Rule, family: TaskDistribution, inputs: TrialInputs) -> Finding:
    with warnings.catch_warnings(record=True) as noted:
        warnings.simplefilter("always")
        try:
            message = rule(family, inputs)
        except BrokenRuleError as broken:
            return Finding(name, False, str(broken))
        except Exception as error:  # whatever a user's environment may raise
            notes = "; ".join(getattr(error, "__notes__", []))
            return Finding(name, False, f"{type(error).__name__}: {error}{f' ({notes})' if notes else ''}")
    said = dict.fromkeys(_plain(str(warning.message)) for warning in noted)
    return Finding(name, True, "; ".join(filter(None, [message, *said])))


def _plain(text: str) -> str:
    """Without the colours and the first words that Gymnasium gives its warnings."""
    return " ".join(text.replace("\x1b[33m", "").replace("\x1b[0m", "").removeprefix("WARN: ").split())
