"""Which earlier context a barcode belongs to, where some of its bits are flipped: a Bayesian posterior."""

from __future__ import annotations

from itertools import combinations
from math import comb

import numpy as np

from metarl.tasks.family.priors import BarcodePrior
from metarl.types import Floats, Ints

_IMPOSSIBLE = 1e-30  # far below the chance of any barcode, so it counts where nothing else explains what is shown


def codes_of_one(prior: BarcodePrior) -> int:
    """How many codes could lie behind one barcode that is shown: the ways to choose the flipped bits."""
    return comb(prior.bits, prior.flips)


class Recognition:
    """The posterior over the context of the running episode, for many trials side by side.

    A context has a code of uniform random bits. Each time it is met, its code is shown with exactly ``flips`` bits
    flipped, all choices alike. So a code explains a barcode if it differs from it in just as many bits, and of each
    context all codes are kept that explain every barcode filed under it. They are equally likely. A barcode is then
    as likely as the share of these codes that explain it, divided by the ways to flip; under a new context, as any
    other, 2^-bits. In a shuffled order the next context is one of those known, in proportion to how often each is
    still to come, or a new one, in proportion to the episodes that all of those not yet met have left.

    This is exact given to which context each earlier barcode belongs, but for one thing: that codes of different
    contexts are different is left out, which matters as little as ``contexts / 2^bits``.

    Args:
        prior: of the family.
        n: trials side by side.

    Raises:
        ValueError: see :meth:`weigh`.
    """

    def __init__(self, prior: BarcodePrior, n: int) -> None:
        self._prior = prior
        flipped = np.array(list(combinations(range(prior.bits), prior.flips)), np.intp)  # [ways, flips]
        self._flips = np.zeros((prior.bits, len(flipped)), np.float32)  # each column is one way to flip
        self._flips[flipped, np.arange(len(flipped))[:, None]] = 1
        self._known = np.zeros(n, np.intp)
        self._met = np.zeros((n, prior.contexts), np.intp)
        self._first = np.zeros((n, prior.contexts, prior.bits), np.float32)
        # A code is kept as the way to flip that leads to it from the first barcode of its context.
        self._codes = np.ones((n, prior.contexts, len(flipped)), bool)

    def forget(self, rows: Ints) -> None:
        """Begin new trials in ``rows`` ``[m]``."""
        self._known[rows] = 0
        self._met[rows] = 0

    def weigh(self, rows: Ints, shown: Floats) -> Floats:
        """The posterior over contexts ``[m, contexts]`` of episodes that show ``shown`` ``[m, bits]`` in ``rows``.

        Contexts are numbered as they were first met; a new one has the first free number.

        Raises:
            ValueError: barcodes of another size, or a trial of more episodes than the prior gives.
        """
        contexts, bits = self._prior.contexts, self._prior.bits
        if shown.shape[1] != bits:
            raise ValueError(f"a barcode has {shown.shape[1]} bits, expected {bits}: give the actor the family's prior")
        known, number = self._known[rows, None], np.arange(contexts)
        codes = self._codes[rows]
        likely = (codes & self._explains(self._first[rows], shown[:, None])).sum(2) / codes.sum(2) / codes.shape[2]
        likely = np.where(number < known, likely + _IMPOSSIBLE, 2.0**-bits)
        left = (self._prior.repeats - self._met[rows]).astype(float)
        left[number > known] = 0
        left *= np.where(number == known, contexts - known, 1)
        weight = left * likely
        total = weight.sum(1, keepdims=True)
        if not total.all():
            most = contexts * self._prior.repeats
            raise ValueError(f"a trial has shown more than {most} episodes, the number that the prior gives")
        return weight / total

    def file(self, rows: Ints, context: Ints, shown: Floats) -> None:
        """Take it as settled that some episodes belonged to some contexts.

        Args:
            rows: ``[m]`` the trials.
            context: ``[m]``
            shown: ``[m, bits]`` what the episodes showed.
        """
        new = context == self._known[rows]
        self._first[rows[new], context[new]] = shown[new]
        self._codes[rows[new], context[new]] = True
        self._known[rows] += new
        self._met[rows, context] += 1
        kept = self._codes[rows, context]
        kept = kept & (self._explains(self._first[rows, context], shown) | new[:, None])
        # An episode filed under the wrong context may leave no code; what was known before is then kept.
        some = kept.any(1)
        self._codes[rows[some], context[some]] = kept[some]

    def _explains(self, first: Floats, shown: Floats) -> Floats:
        """Which ways to flip ``first`` ``[..., bits]`` give codes that may be shown as ``shown``: ``[..., ways]``.

        Such a code differs from both in ``flips`` bits, so it takes its flips half from where they differ.
        """
        differs = np.abs(first - shown)
        return 2 * (differs @ self._flips) == differs.sum(-1, keepdims=True)
