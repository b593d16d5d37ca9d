"""The barcode bandit (Ritter et al. 2018): actors that know its structure, and what is attainable.

One arm of each context pays with probability ``high``, the others with ``low``. The posterior over which arm is the
good one is a softmax of per-arm evidence: each success adds ``ln(high / low)``, each failure
``ln((1 - high) / (1 - low))``. Both actors pull the most probable arm. With one good arm among others that are alike,
this myopic choice has the largest expected sum of rewards over every number of pulls (Feldman 1962, Rodman 1978), so
the value of playing so is a ceiling; the exact dynamic programme of :func:`episode_value` agrees.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, partial
from math import log

import numpy as np

from metarl.agents.baselines.bayes import is_small, optimal_value
from metarl.agents.baselines.cache import cached
from metarl.agents.baselines.common import Strategy, feedback, random_argmax
from metarl.seeding import numpy_rng
from metarl.tasks.family.priors import BarcodePrior
from metarl.types import Array, Boundary, Floats, Ints, TrialObservation

_SIMULATED = 400_000
_VERSION = 1


def evidence(prior: BarcodePrior) -> tuple[float, float]:
    """What a success and a failure of an arm add to its log-odds of being the good one.

    Raises:
        ValueError: not 0 <= low < high <= 1.
    """
    if not 0 <= prior.low < prior.high <= 1:
        raise ValueError(f"low is {prior.low} and high {prior.high}, expected 0 <= low < high <= 1")
    # Kept off 0 and 1, so that proof is merely overwhelming evidence, and sums stay finite.
    high, low = min(prior.high, 1 - 1e-9), max(prior.low, 1e-9)
    return log(high / low), log((1 - high) / (1 - low))


class _PosteriorGreedy:
    """Pulls the arm most probably good by the evidence filed under each row's current slot."""

    def __init__(self, prior: BarcodePrior, slots: int) -> None:
        self.prior = prior
        self._slots = slots
        self._success, self._failure = evidence(prior)
        self.reset(0, np.random.default_rng(0))

    def reset(self, n: int, rng: np.random.Generator) -> None:
        """Forget everything and prepare to play ``n`` trials."""
        self._rng = rng
        self._rows = np.arange(n)
        self._slot = np.zeros(n, dtype=np.intp)
        self._log_odds = np.zeros((n, self._slots, self.prior.arms))

    def act(self, obs: TrialObservation, boundary: Ints) -> Array:
        """Choose arms ``[n]``."""
        action, reward = feedback(obs, len(self._rows), self.prior.arms)
        # The feedback belongs to the episode of the input before, so it is filed before the slot may change.
        self._log_odds[self._rows, self._slot] += action * np.where(reward > 0.5, self._success, self._failure)[:, None]
        self._turn(obs, boundary)
        return random_argmax(self._log_odds[self._rows, self._slot], self._rng)

    def _turn(self, obs: TrialObservation, boundary: Ints) -> None:
        """Choose each row's slot for the input that begins."""
        raise NotImplementedError


class WithinEpisode(_PosteriorGreedy):
    """The best agent without episodic memory: forgets at each EPISODE; worth :func:`episode_value` an episode."""

    def __init__(self, prior: BarcodePrior) -> None:
        super().__init__(prior, slots=1)

    def _turn(self, obs: TrialObservation, boundary: Ints) -> None:
        self._log_odds[boundary != Boundary.INSIDE] = 0


class IdealMemory(_PosteriorGreedy):
    """Remembers all evidence of the trial under the context shown in ``obs``; worth :func:`exposure_values`."""

    def __init__(self, prior: BarcodePrior) -> None:
        super().__init__(prior, slots=prior.contexts)

    def reset(self, n: int, rng: np.random.Generator) -> None:
        """Forget everything and prepare to play ``n`` trials."""
        super().reset(n, rng)
        self._known = np.zeros(n, dtype=np.intp)
        self._contexts: Floats | None = None  # [n, slots, bits], once the number of bits has been seen

    def _turn(self, obs: TrialObservation, boundary: Ints) -> None:
        if "obs" not in obs:
            raise ValueError("the observation lacks 'obs', the context: switch this part of the trial on")
        trial = boundary == Boundary.TRIAL
        self._log_odds[trial] = 0
        self._known[trial] = 0
        rows = np.flatnonzero(boundary != Boundary.INSIDE)
        context = obs["obs"][rows]
        if self._contexts is None:
            self._contexts = np.zeros((len(self._rows), self._slots, context.shape[1]), dtype=np.float32)
        same = (self._contexts[rows] == context[:, None]).all(axis=2)
        same &= np.arange(self._slots) < self._known[rows, None]
        new = ~same.any(axis=1)
        if (self._known[rows[new]] == self._slots).any():
            raise ValueError(f"a trial has shown more than {self._slots} contexts, the number that the prior gives")
        self._slot[rows] = np.where(new, self._known[rows], same.argmax(axis=1))
        self._contexts[rows, self._slot[rows]] = context
        self._known[rows] += new


def strategies(prior: BarcodePrior) -> Mapping[str, Strategy]:
    """The actors for the barcode bandit, by name."""
    return {"within episode": partial(WithinEpisode, prior), "ideal memory": partial(IdealMemory, prior)}


def ceilings(prior: BarcodePrior) -> dict[str, float]:
    """Reward an episode; ``within episode`` where the bandit is small enough.

    Raises:
        ValueError: ``each_arm_best_once``, for which no ceiling is known.
    """
    remembered = float(exposure_values(prior).mean())
    return {
        "random": prior.pulls * (prior.high + (prior.arms - 1) * prior.low) / prior.arms,
        **({"within episode": episode_value(prior)} if is_small(prior.arms, prior.pulls) else {}),
        "ideal memory": remembered,
        "oracle": prior.pulls * prior.high,
    }


@cache
def episode_value(prior: BarcodePrior) -> float:
    """The best expected reward of one episode in a context never seen before, exactly.

    It is the ceiling of every agent without episodic memory, by dynamic programming over the multiset of the arms'
    (successes, failures) with the posterior above: 4.436 for 10 arms, 10 pulls, .9 / .1.

    Raises:
        ValueError: ``each_arm_best_once`` (contexts are not independent), or too many states (above 22 pulls or so).
    """
    _refuse_dependent(prior)
    return optimal_value(prior.arms, prior.pulls, partial(_posterior_chances, prior))


def _posterior_chances(prior: BarcodePrior, successes: Ints, failures: Ints) -> Floats:
    """Success probabilities of the arms touched so far, and of an arm not yet pulled."""
    success, failure = evidence(prior)
    log_odds = np.zeros((len(successes), successes.shape[1] + 1))
    log_odds[:, :-1] = successes * success + failures * failure
    weight = np.exp(log_odds - log_odds.max(axis=1, keepdims=True))
    new_arms = prior.arms - successes.shape[1]
    total = weight[:, :-1].sum(axis=1, keepdims=True) + new_arms * weight[:, -1:]
    return prior.low + (prior.high - prior.low) * weight / total


@cache
def exposure_values(prior: BarcodePrior) -> Floats:
    """The expected reward of an episode with ideal memory, by exposure of its context ``[repeats]``.

    The policy is :class:`IdealMemory`'s, posterior-greedy, whose running sums are the best possible. Simulated on
    400,000 contexts from a fixed seed, counting the chosen arm's success probability instead of its reward and with
    every arm good equally often; for 10 arms, 10 pulls and .9 / .1 the standard error is below .005 everywhere.

    Raises:
        ValueError: ``each_arm_best_once``, where contexts are not independent and no ceiling is known.
    """
    _refuse_dependent(prior)
    name = f"barcode-{prior.arms}-{prior.repeats}-{prior.pulls}-{prior.high!r}-{prior.low!r}-v{_VERSION}"
    return cached(name, (prior.repeats,), lambda: _simulate(prior))


def _simulate(prior: BarcodePrior) -> Floats:
    success, failure = evidence(prior)
    rng = numpy_rng(0, "baseline")
    totals = np.zeros(prior.repeats)
    parts = 40  # few enough contexts at a time for the processor's cache
    n = _SIMULATED // parts
    rows, good = np.arange(n), np.arange(n) % prior.arms
    for _ in range(parts):
        log_odds = np.zeros((n, prior.arms))
        for exposure in range(prior.repeats):
            for _ in range(prior.pulls):
                arm = log_odds.argmax(axis=1)
                chance = np.where(arm == good, prior.high, prior.low)
                log_odds[rows, arm] += np.where(rng.random(n) < chance, success, failure)
                totals[exposure] += chance.sum()
    return totals / (parts * n)


def _refuse_dependent(prior: BarcodePrior) -> None:
    if prior.each_arm_best_once:
        raise ValueError(
            "no ceiling is known for a barcode bandit where each arm is best once, as contexts depend on each other: "
            "use each_arm_best_once=False"
        )
