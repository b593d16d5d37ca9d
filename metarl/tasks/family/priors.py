"""What a hand-written baseline may know about a family: the prior that its tasks are drawn from, as plain numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

LOWER_RATES: Mapping[str, float] = {"easy": 0.1, "medium": 0.25, "hard": 0.4}
"""The lower of the two rates of dependent arms that have one of two, by how hard they are to tell apart."""
DEPENDENCES = ("none", "uniform", *LOWER_RATES)


@dataclass(frozen=True)
class BernoulliPrior:
    """``arms`` success rates; ``pulls`` pulls in a trial.

    With the dependence "none" they are drawn independently from Beta(1, 1). Otherwise there are two arms whose rates
    add up to one (Wang et al. 2016): that of the first is uniform, or one of :data:`LOWER_RATES` and what it lacks to
    one, with equal chances.
    """

    arms: int
    pulls: int
    dependence: str = "none"


@dataclass(frozen=True)
class GaussianPrior:
    """``arms`` mean rewards drawn independently from N(0, 1); rewards add N(0, ``noise``²); ``pulls`` in a trial."""

    arms: int
    pulls: int
    noise: float


@dataclass(frozen=True)
class BarcodePrior:
    """``contexts`` contexts, each met ``repeats`` times for ``pulls`` pulls; one arm pays ``high``, others ``low``.

    A context has a barcode of ``bits`` bits, of which ``flips`` are shown flipped, others each time it is met.
    """

    arms: int
    contexts: int
    repeats: int
    pulls: int
    high: float
    low: float
    each_arm_best_once: bool = False
    bits: int = 20
    flips: int = 0


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
