"""What the rules look at: a family, the trials that were played of it, and the time there is to play more."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from gymnasium import spaces

from metarl.tasks.check.recorder import STEPS, Log, Trial, play, watched
from metarl.tasks.family.distribution import TaskDistribution
from metarl.tasks.trial.env import TrialEnv
from metarl.tasks.trial.layout import TrialInputs, TrialLayout


@dataclass
class Played:
    """Trials that were played with random actions, and what the inner environments did in them.

    Args:
        shown: the spaces of observations and actions of the inner environment of each trial.
        drawn_from: the global generators that playing drew from.
    """

    layout: TrialLayout
    log: Log
    trials: list[Trial] = field(default_factory=list)
    shown: list[tuple[spaces.Space[Any], spaces.Space[Any]]] = field(default_factory=list)
    drawn_from: list[str] = field(default_factory=list)


@dataclass
class Subject:
    """A family under a check.

    Args:
        family: any split of it.
        inputs: the parts that travel beside the inner observation.
        seconds: how long a rule may play.
        stopped: whether the rule at hand had too little time.
    """

    family: TaskDistribution
    inputs: TrialInputs
    seconds: float
    stopped: bool = False

    def start(self) -> None:
        """The next rule begins."""
        self._until, self.stopped = time.monotonic() + self.seconds, False

    def late(self) -> bool:
        """Whether the rule at hand has used its time."""
        late = time.monotonic() > self._until
        self.stopped |= late
        return late

    def env(self) -> TrialEnv:
        """A new trial environment."""
        return TrialEnv(self.family, inputs=self.inputs)

    def play(self, env: TrialEnv, seed: int | None, *, most: int = STEPS, share: float = 1.0) -> Trial:
        """Play a trial as :func:`metarl.tasks.check.recorder.play` does.

        Args:
            env: where to play.
            seed: of the reset; None continues with the generators at hand.
            most: steps after which to stop.
            share: of the rule's time that this trial may take.
        """
        trial = play(env, seed, most, min(self._until, time.monotonic() + share * self.seconds))
        self.stopped |= trial.late
        return trial

    def watch(self, seeds: Sequence[int], cut: int | None = None) -> Played:
        """Play a trial for each seed, with episodes that are cut after ``cut`` steps, if given."""
        same, log = watched(self.family, cut)
        before = _global_state()
        with closing(TrialEnv(same, inputs=self.inputs)) as env:
            played = Played(env.layout, log)
            for seed in seeds:
                played.trials.append(self.play(env, seed, share=1 / len(seeds)))
                inner = env._inner.env
                assert inner is not None
                played.shown.append((inner.observation_space, inner.action_space))
        after = _global_state()
        played.drawn_from = [name for name in before if before[name] != after[name]]
        return played

    @cached_property
    def played(self) -> Played:
        """Three trials, which most rules look at."""
        return self.watch(range(3))


def _global_state() -> dict[str, Any]:
    """What tells whether a global generator was drawn from."""
    ours = np.random.get_state(legacy=False)["state"]  # noqa: NPY002 (looked at, not drawn from)
    return {"numpy.random": (ours["pos"], ours["key"].tolist()), "random": random.getstate()}
