"""What a hand-written baseline may know about a family: the prior that its tasks are drawn from, as plain numbers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class BernoulliPrior:
    """``arms`` success rates drawn independently from Beta(1, 1); ``pulls`` pulls in a trial."""

    arms: int
    pulls: int


@dataclass(frozen=True)
class GaussianPrior:
    """``arms`` mean rewards drawn independently from N(0, 1); rewards add N(0, ``noise``²); ``pulls`` in a trial."""

    arms: int
    pulls: int
    noise: float


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


@dataclass(frozen=True)
class TabularPrior:
    """Random MDPs: transitions from Dirichlet(1, ..., 1), mean rewards from N(``reward_mean``, 1).

    Rewards add N(0, ``noise``²). A trial is ``episodes`` episodes of ``horizon`` steps, each begun in state 0.
    """

    states: int
    actions: int
    horizon: int
    episodes: int
    noise: float
    reward_mean: float = 1.0


Prior = BernoulliPrior | GaussianPrior | BarcodePrior | TabularPrior
