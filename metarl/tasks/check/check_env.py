"""Does an environment keep the rules of a trial?"""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from metarl.runs.progress import Progress
from metarl.tasks.check import effect, family_rules, observations, rules
from metarl.tasks.check.recorder import BrokenRuleError
from metarl.tasks.check.subject import Subject
from metarl.tasks.family.distribution import TaskDistribution
from metarl.tasks.family.errors import told
from metarl.tasks.trial.layout import TrialInputs

Rule = Callable[[Subject], str]
RULES: dict[str, Rule] = {
    "spaces": rules.inner_spaces,
    "finite numbers": rules.finite_numbers,
    "observations": observations.observations,
    "previous action and reward": rules.feedback,
    "ends of episodes": rules.boundaries,
    "one task a trial": rules.one_task,
    "drawing tasks": family_rules.sampling,
    "what varies": effect.effect,
    "seeds": rules.seeds,
    "global generators": rules.global_generators,
    "splits": family_rules.splits,
    "vector environment": family_rules.vector,
    "Gymnasium's check_env": rules.gymnasium_rules,
    "Stable-Baselines3's check_env": rules.sb3_rules,
}
"""What is checked. Where the first is broken, nothing can be played, and the others are not looked at."""
SECONDS = 8.0  # how long a rule plays
DEVELOPERS = (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning)


class Finding(NamedTuple):
    """What came of one rule.

    ``broken``: training would fail, or learn something else than is meant. ``advice``: it works, but could be better.
    """

    name: str
    level: Literal["kept", "advice", "broken"]
    message: str

    @property
    def ok(self) -> bool:
        """Whether training works."""
        return self.level != "broken"


def check_env(
    family: TaskDistribution, inputs: TrialInputs | None = None, *, seconds: float = SECONDS, quiet: bool = True
) -> list[Finding]:
    """Check the environments of a family as trials, and the family itself.

    Plays trials with random actions, and runs the ``check_env`` of Gymnasium and of Stable-Baselines3.

    Args:
        family: any split of it.
        inputs: the parts that travel beside the inner observation.
        seconds: how long each rule may play; what it saw until then counts.
        quiet: no progress bar.

    Returns:
        One finding a rule, in the order of :data:`RULES`; where one is broken, its message says what to do.
    """
    subject = Subject(family, inputs or TrialInputs(), seconds)
    findings: list[Finding] = []
    told_by: dict[Any, str] = {}  # which rule was the first to tell a fault, or to give an advice
    with Progress("checking", len(RULES), "rule", quiet=quiet) as progress:
        for name, rule in RULES.items():
            progress.now(f"checking {name}")
            findings.append(_find(name, rule, subject, told_by))
            progress.add()
            if not findings[0].ok:
                break
    return findings


def _find(name: str, rule: Rule, subject: Subject, told_by: dict[Any, str]) -> Finding:
    subject.start()
    with warnings.catch_warnings(record=True) as noted:
        warnings.simplefilter("always")
        try:
            message = rule(subject)
        except Exception as error:  # whatever a user's environment may raise
            place = traceback.extract_tb(error.__traceback__)[-1]
            fault = type(error), str(error), place.filename, place.lineno
            if (first := told_by.setdefault(fault, name)) != name:
                return Finding(name, "broken", f"as above: {first}")
            said = str(error) if isinstance(error, BrokenRuleError) else told(error)
            notes = "; ".join(getattr(error, "__notes__", []))
            return Finding(name, "broken", f"{said}{f' ({notes})' if notes else ''}")
    warned = (_plain(str(one.message)) for one in noted if not issubclass(one.category, DEVELOPERS))
    advice = [text for text in dict.fromkeys(warned) if told_by.setdefault(text, name) == name]
    if subject.stopped:
        message = "; ".join(filter(None, [message, f"stopped after {subject.seconds:g} s"]))
    return Finding(name, "advice" if advice else "kept", "; ".join(filter(None, [*advice, message])))


def _plain(text: str) -> str:
    """Without the colours and the first words that Gymnasium gives its warnings."""
    return " ".join(text.replace("\x1b[33m", "").replace("\x1b[0m", "").removeprefix("WARN: ").split())
