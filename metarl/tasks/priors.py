"""What a hand-made baseline may know about a family: the prior that its tasks are drawn from, as plain numbers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class BernoulliPrior:
    """``arms`` success rates drawn independently from Beta(1, 1); ``pulls`` pulls in a trial."""

    arms: int
    pulls: int


@dataclass(frozen=True)
class BarcodePrior:
    """``contexts`` contexts, each met ``repeats`` times for ``pulls`` pulls; one arm pays ``high``, others ``low``."""

    arms: int
    contexts: int
    repeats: int
    pulls: int
    high: float
    low: float
    each_arm_best_once: bool = False


Prior = BernoulliPrior | BarcodePrior
