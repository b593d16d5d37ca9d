"""The barcode bandit (Ritter et al. 2018): actors that know its structure, and what is attainable.

One arm of each context pays with probability ``high``, the others with ``low``. The posterior over which arm is the
good one is a softmax of per-arm evidence: each success adds ``ln(high / low)``, each failure
``ln((1 - high) / (1 - low))``. Both actors pull the most probable arm. With one good arm among others that are alike,
this myopic choice has the largest expected sum of rewards over every number of pulls (Feldman 1962, Rodman 1978), so
the value of playing so is a ceiling; the exact dynamic programme of :func:`episode_value` agrees.

Where barcodes are shown with flipped bits, the context of an episode must be recognised, and ideal memory is
:class:`FlippedMemory`. The value of a player who is told the context is a ceiling for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, partial
from math import log

import numpy as np

from metarl.agents.baselines.bayes import is_small, optimal_value
from metarl.agents.baselines.cache import cached
from metarl.agents.baselines.common import Strategy, feedback, random_argmax
from metarl.agents.baselines.recognition import Recognition, codes_of_one
from metarl.seeding import numpy_rng
from metarl.tasks.family.priors import BarcodePrior
from metarl.types import Array, Boundary, Floats, Ints, TrialObservation

_SIMULATED = 400_000
_VERSION = 1
_MOST_CODES = 5_000  # behind one barcode, of which recognition keeps each


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
        trial = boundary == Boundary.TRIAL
        self._log_odds[trial] = 0
        self._known[trial] = 0
        rows = np.flatnonzero(boundary != Boundary.INSIDE)
        context = _barcodes(obs)[rows]
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


class FlippedMemory(_PosteriorGreedy):
    """Ideal memory where barcodes are shown with flipped bits, as near as it can be computed.

    The posterior over the context of the running episode (:class:`metarl.agents.baselines.recognition.Recognition`)
    mixes what is known of the best arm in each context; the rewards of the episode count for arm and context alike.
    When the episode ends, its context is settled as the one most likely by barcode and rewards together, and later
    episodes take it as known. A posterior over all the ways in which a trial's episodes may belong together can't be
    computed. Where flips are few (1 of 20 bits: barcodes of a context differ in at most 2, those of others in about
    10) there is hardly ever a doubt, and the return is that of a player who is told the context; where they are many,
    this is a strong player and no bound.
    """

    def __init__(self, prior: BarcodePrior) -> None:
        super().__init__(prior, slots=prior.contexts + 1)  # the last one is the running episode

    def reset(self, n: int, rng: np.random.Generator) -> None:
        """Forget everything and prepare to play ``n`` trials."""
        super().reset(n, rng)
        self._slot[:] = self.prior.contexts
        self._recognition = Recognition(self.prior, n)
        self._weights = np.zeros((n, self.prior.contexts))  # the posterior over the context by its barcode
        self._expected = np.zeros((n, self.prior.arms))  # the log odds of arms when the episode began
        self._barcode = np.zeros((n, self.prior.bits), np.float32)
        self._under_way = np.zeros(n, dtype=bool)

    def _turn(self, obs: TrialObservation, boundary: Ints) -> None:
        barcodes, rows = _barcodes(obs), np.flatnonzero(boundary != Boundary.INSIDE)
        if not len(rows):
            return
        self._settle(np.flatnonzero((boundary == Boundary.EPISODE) & self._under_way))
        trial = np.flatnonzero(boundary == Boundary.TRIAL)
        self._log_odds[trial] = 0
        self._recognition.forget(trial)
        self._weights[rows] = self._recognition.weigh(rows, barcodes[rows])
        self._barcode[rows] = barcodes[rows]
        chances = np.einsum("mc,mca->ma", self._weights[rows], self._chances(rows))
        self._expected[rows] = self._log_odds[rows, -1] = np.log(chances.clip(1e-300))
        self._under_way[rows] = True

    def _settle(self, rows: Ints) -> None:
        """File the episodes that end in ``rows`` under the contexts that they most likely had."""
        gained = self._log_odds[rows, -1] - self._expected[rows]
        likelihood = np.exp(gained - gained.max(axis=1, keepdims=True))
        by_rewards = (self._chances(rows) * likelihood[:, None]).sum(2).clip(1e-200)
        context = (self._weights[rows] * by_rewards).argmax(axis=1)
        self._log_odds[rows, context] += gained
        self._recognition.file(rows, context, self._barcode[rows])

    def _chances(self, rows: Ints) -> Floats:
        """How probably each arm is the good one of each context ``[m, contexts, arms]``."""
        log_odds = self._log_odds[rows, :-1]
        weight = np.exp(log_odds - log_odds.max(axis=2, keepdims=True))
        return weight / weight.sum(axis=2, keepdims=True)


def _barcodes(obs: TrialObservation) -> Floats:
    """What is shown of the contexts ``[n, bits]``."""
    if "obs" not in obs:
        raise ValueError("the observation lacks 'obs', the context: switch this part of the trial on")
    return obs["obs"]


def strategies(prior: BarcodePrior) -> Mapping[str, Strategy]:
    """The actors for the barcode bandit, by name; a memory of contexts where its codes are not too many to be kept.

    It is ideal except with ``each_arm_best_once``: there one context says something about the others, which this memory
    does not use.
    """
    memory = FlippedMemory if prior.flips else IdealMemory
    name = "memory of contexts" if prior.each_arm_best_once else "ideal memory"
    ideal = {name: partial(memory, prior)} if codes_of_one(prior) <= _MOST_CODES else {}
    return {"within episode": partial(WithinEpisode, prior), **ideal}


def ceilings(prior: BarcodePrior) -> dict[str, float]:
    """Reward an episode; ``within episode`` where the bandit is small enough.

    With flipped bits the value of ideal memory isn't known; that of a player who is told the context is above it.

    Raises:
        ValueError: ``each_arm_best_once``, for which no ceiling is known.
    """
    remembered = float(exposure_values(prior).mean())
    return {
        "random": prior.pulls * (prior.high + (prior.arms - 1) * prior.low) / prior.arms,
        **({"within episode": episode_value(prior)} if is_small(prior.arms, prior.pulls) else {}),
        "context told" if prior.flips else "ideal memory": remembered,
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
