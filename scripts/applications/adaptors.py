"""What can be done where images come from another domain than those of training; used by ``domain.py``."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from metarl.agents.fewshot.domains import ShiftRecogniser, with_norm_of
from metarl.agents.fewshot.embedded import embedded
from metarl.data.episodes import Episodes
from metarl.data.pool import Pool
from metarl.data.shifts import Shift
from metarl.data.sources import FewShotSource
from metarl.evaluation.accuracy import correct, parts, prepared
from metarl.evaluation.pooling import variance_over_seeds
from metarl.experiments.fewshot.evaluate import evaluation_rng
from metarl.experiments.fewshot.options import EpisodeShape
from metarl.fewshot import FewShotClassifier, SupervisedOptions, fit
from metarl.functional.stats import standard_error
from metarl.seeding import numpy_rng
from metarl.types import Array, Bools, Floats

KNOWN = [*(Shift(rotation=angle) for angle in range(0, 360, 10)), Shift(inverted=True), Shift(growth=1)]
"""What is told apart: turns by tens of degrees (so 15 and 45 degrees lie between two), and two others."""
PRIOR = 20.0  # images that training counts for beside those of an episode; chosen on validation characters
STEPS = (1, 2, 5, 10)
WAYS, LONGEST = 20, 100  # of the memories that are made here
SHOWN = 1000  # training images that the recogniser is fitted to; chosen on validation characters
CLASSES, UPDATES = 400, 300  # training characters, and updates, of the memory that is read by meta-gradient
OWN = 300  # episodes that methods meet which embed each of them by itself
SLOW = 100  # and those that fit a map to each query, or take statistics of all queries
AT_ONCE = 4  # episodes that go through a net together, few enough for the processor's cache

PIXELS, BEFORE, ANEW = "raw pixels, nearest mean", "none: memory written before the shift", "memory written anew"
UNDONE_QUERIES = "memory written before the shift, shift recognised from all queries and undone"
NORM, NORM_ALL = f"{ANEW}, norm of the support", f"{ANEW}, norm of support and queries"
UNDONE = f"{ANEW}, shift recognised from the support and undone"
UNDONE_NORM = f"{UNDONE}, norm of the support"
TOLD = f"{ANEW}, shift known and undone"
"""What the best recogniser could reach, which no method knows."""
GRADIENT = f"{ANEW}, read by meta-gradient, {{}} steps"
TRANSDUCTIVE = (UNDONE_QUERIES, NORM_ALL)
"""Methods whose answer to a query depends on other queries."""


class Adaptors:
    """All methods for one trained learner; none sees a label of a query.

    Args:
        learner: a trained classifier that takes the norm of training.
        pool: the images that it was trained on, as they are.
        seed: of the memory that is read by meta-gradient.
    """

    def __init__(self, learner: FewShotClassifier, pool: Pool, seed: int) -> None:
        self.learner = learner.resized(WAYS, LONGEST)
        shown = numpy_rng(seed, "data", 3).choice(len(pool.flat), min(SHOWN, len(pool.flat)), replace=False)
        self.recogniser = ShiftRecogniser(learner, pool.flat[np.sort(shown)], KNOWN)
        some = pool.some(numpy_rng(seed, "data", 4), CLASSES, pool.per_class)
        self.readers = readers(prepared(learner, some, len(some.flat) + 1)[0], seed)

    def accuracies(
        self,
        target: Pool,
        shape: EpisodeShape,
        episodes: int,
        source: Pool | None = None,
        shift: Shift | None = None,
    ) -> dict[str, Floats]:
        """The share of queries that each method gets right, by method ``[episodes]``, all in the same episodes.

        Slow methods meet only the first :data:`OWN` or :data:`SLOW` of them.

        Args:
            target: the images of the other domain.
            shape: of an episode.
            episodes: how many.
            source: the same images before the shift; None: there is nothing like them, as with digits.
            shift: from one to the other, for the bound; None: nobody knows.
        """

        def drawn(pool: FewShotSource) -> Episodes:
            found: Episodes = shape.sample(pool, evaluation_rng(shape, 0), episodes, "one_hot")
            return found

        def embedded(pool: Pool, rows: Bools) -> Episodes:
            """Some of the episodes, embedded; the whole pool first, where that is less."""
            if rows.sum() * shape.images > len(pool.flat):
                return some(drawn(prepared(self.learner, pool, len(pool.flat) + 1)[0]), rows)
            made = some(drawn(pool), rows)
            support, queries = (_embedded(self.learner, x) for x in (made.support_x, made.query_x))
            return made._replace(support_x=support, query_x=queries)

        def led_back(likely: Floats, keys: Episodes | None = None) -> Floats:
            """With the most likely shift of each episode ``[episodes, shifts]`` undone; ``keys``: on queries alone."""
            number, found = likely.argmax(1), np.empty(episodes)
            for one in np.unique(number):
                rows, shift = number == one, self.recogniser.shifts[one]
                back = some(slots, rows)
                if shift != Shift():
                    back = embedded(target.replaced(shift.undo(target.flat)), rows)
                if keys is not None:
                    back = back._replace(support_x=keys.support_x[rows])
                found[rows] = shares(correct(self.learner, back, embedded=True))
            return found

        every = np.ones(episodes, bool)
        images, slots = drawn(target), embedded(target, every)
        likely = drawn(target.replaced(self.recogniser.log_likelihood(target.flat)))
        own, slow = (np.arange(episodes) < most for most in (OWN, SLOW))
        means: Any = {"access_options": {"kernel": "euclidean", "empty_slot": False}}
        flat = {"net": "flat", "embedding_size": 0}
        pixels = FewShotClassifier(target.shape, WAYS, means, readout="mean_votes", encoder=flat).eval()
        found = {PIXELS: shares(correct(pixels, images))}
        if source is not None:
            keys = embedded(source, every)
            mixed = slots._replace(support_x=keys.support_x)
            found[BEFORE] = shares(correct(self.learner, mixed, embedded=True))
            found[UNDONE_QUERIES] = led_back(likely.query_x.sum(1), keys)
        if shift is not None:
            found[TOLD] = shares(
                correct(self.learner, embedded(target.replaced(shift.undo(target.flat)), every), embedded=True)
            )
        found[ANEW] = shares(correct(self.learner, slots, embedded=True))
        found[UNDONE] = led_back(likely.support_x.sum(1))
        normed = with_norm_of(self.learner, prior=PRIOR)
        found[NORM] = each(normed, some(images, own))
        back = some(images, own)
        support, queries = back.support_x.copy(), back.query_x.copy()
        for row, number in enumerate(likely.support_x[own].sum(1).argmax(1)):
            for part in (support, queries):
                part[row] = self.recogniser.shifts[number].undo(part[row])
        found[UNDONE_NORM] = each(normed, back._replace(support_x=support, query_x=queries))
        both = with_norm_of(self.learner, prior=PRIOR, transductive=True)
        found[NORM_ALL] = each(both, some(images, slow))
        for steps, reader in self.readers.items():
            found[GRADIENT.format(steps)] = shares(correct(reader.eval(), some(slots, slow)))
        return found


def some(episodes: Episodes, rows: Bools) -> Episodes:
    """Some of the episodes."""
    return Episodes._make(part[rows] for part in episodes)


def each(learner: FewShotClassifier, episodes: Episodes) -> Floats:
    """The share of right answers in each episode, a few episodes at a time."""
    return np.concatenate([shares(correct(learner, part)) for part in parts(episodes, AT_ONCE)])


def shares(right: Bools) -> Floats:
    """The share of right answers in each episode ``[B, Q]``."""
    return right.mean(1, dtype=np.float64)


def readers(pool: FewShotSource, seed: int) -> dict[int, FewShotClassifier]:
    """A memory that is read by meta-gradient, trained with one step on embeddings, then read with more; by steps."""

    def made(steps: int) -> FewShotClassifier:
        options = {"access": "meta_gradient", "key_size": 64, "value_size": 32}
        access = {"second_order": True, "width": 32, "steps": steps}
        return FewShotClassifier(
            pool.shape, WAYS, {**options, "access_options": access}, longest=LONGEST, encoder={"embedding_size": 64}
        )

    rng = numpy_rng(seed, "data", 5)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        trained, several = made(1), {steps: made(steps) for steps in STEPS}
        batches = (pool.sample(rng, 4, WAYS, 1, 2) for _ in range(UPDATES))
        fit(trained, FewShotClassifier.loss, batches, SupervisedOptions(updates=UPDATES, learning_rate_end=0.0))
    for reader in several.values():
        reader.load_state_dict(trained.state_dict())
    return several


def _embedded(learner: FewShotClassifier, x: Array) -> Array:
    """Images ``[B, N, H, W]`` as embeddings ``[B, N, E]``."""
    flat = x.reshape(-1, *x.shape[2:])
    held = embedded(learner, Pool(flat, counts=[len(flat)]))
    assert held is not None  # the net embeds images one by one
    return held.flat.reshape(*x.shape[:2], -1)


def mean(accuracy: Floats) -> tuple[float, float]:
    """Mean and standard error of accuracies ``[seeds, episodes]`` in the same episodes."""
    means, errors = accuracy.mean(1), np.array([standard_error(one) for one in accuracy])
    return float(means.mean()), float(variance_over_seeds(means, errors, shared=True)) ** 0.5


def won_back(before: Floats, after: Floats, adapted: Floats) -> tuple[float, float]:
    """How much of what a shift takes a method gives back, in per cent, and its standard error over episodes.

    Args:
        before: accuracies ``[seeds, episodes]`` without the shift.
        after: with it, in the same episodes.
        adapted: the same, of the method.
    """
    lost, won = (before - after).mean(0), (adapted - after).mean(0)
    share = float(won.mean() / lost.mean())
    return 100 * share, 100 * standard_error(won - share * lost) / abs(float(lost.mean()))  # of a ratio, first order
