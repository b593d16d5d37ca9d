"""Few-shot episodes: a few labelled examples of classes never met before, and queries to classify with them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from metarl.data.glyphs import GlyphOptions, Pictures, glyph_pool
from metarl.types import Array, Floats, Ints, Split


class Episodes(NamedTuple):
    """``B`` episodes of ``ways`` classes each: ``S = ways * shots`` support and ``Q = ways * queries`` query examples.

    Labels are given to classes at random in every episode, and support and queries are shuffled apart from each other.
    """

    support_x: Floats
    """``[B, S, ...]`` float32"""
    support_y: Ints
    """``[B, S]`` labels from 0 to ``ways - 1``"""
    query_x: Floats
    """``[B, Q, ...]`` float32"""
    query_y: Ints
    """``[B, Q]``"""


class FewShotSource(ABC):
    """Where episodes come from."""

    shape: tuple[int, ...]
    """Of one example."""
    classes: int | None = None
    """How many classes there are; None: no end of them."""
    per_class: int | None = None
    """How many examples a class has; None: no end of them."""

    @abstractmethod
    def draw(self, rng: np.random.Generator, n: int, ways: int, count: int) -> Floats:
        """``count`` different examples of each of ``ways`` different classes in random order.

        Returns ``[n, ways, count, *shape]`` float32; pure in ``rng``.
        """

    def sample(self, rng: np.random.Generator, n: int, ways: int, shots: int, queries: int) -> Episodes:
        """Draw ``n`` episodes with ``shots`` support and ``queries`` query examples of each class; pure in ``rng``.

        Raises:
            ValueError: more classes or examples than there are, or fewer than one.
        """
        self._check(n, ways, shots, queries)
        x = self.draw(rng, n, ways, shots + queries)
        y = np.broadcast_to(np.arange(ways)[:, None], (n, ways, shots + queries))
        support, support_y = _shuffled(rng, x[:, :, :shots], y[:, :, :shots])
        query, query_y = _shuffled(rng, x[:, :, shots:], y[:, :, shots:])
        return Episodes(support, support_y, query, query_y)

    def _check(self, n: int, ways: int, shots: int, queries: int) -> None:
        for name, number in (("n", n), ("ways", ways), ("shots", shots), ("queries", queries)):
            if number < 1:
                raise ValueError(f"{name} is {number}, expected 1 or more")
        if self.classes is not None and ways > self.classes:
            raise ValueError(
                f"{ways} ways were asked of {type(self).__name__}, which has {self.classes} classes; "
                "ask for fewer ways, or make a source of more classes"
            )
        if self.per_class is not None and shots + queries > self.per_class:
            raise ValueError(
                f"{shots} shots and {queries} queries were asked of {type(self).__name__}, which has "
                f"{self.per_class} examples of a class; ask for fewer, or make a source of more"
            )


class Clusters(FewShotSource):
    """Classes are points drawn from N(0, 1) in ``size`` dimensions, examples these with N(0, ``noise``²) added.

    Every episode has classes of its own, so splits need nothing but generators that never meet.
    """

    def __init__(self, size: int = 16, noise: float = 0.5) -> None:
        if size < 1 or not noise >= 0:
            raise ValueError(f"clusters of size={size} and noise={noise}; expected a size of 1 or more, and noise >= 0")
        self.shape, self.noise = (size,), np.float32(noise)

    def draw(self, rng: np.random.Generator, n: int, ways: int, count: int) -> Floats:
        """See :meth:`FewShotSource.draw`."""
        centres = rng.standard_normal((n, ways, 1, *self.shape), np.float32)
        return centres + self.noise * rng.standard_normal((n, ways, count, *self.shape), np.float32)


class Pool(FewShotSource):
    """Classes from an array ``[C, M, ...]``, ``M`` examples of each; bytes become numbers from 0 to 1."""

    def __init__(self, examples: Array) -> None:
        if examples.ndim < 2 or examples.size == 0:
            raise ValueError(f"the examples are an array {examples.shape}, expected [classes, examples of each, ...]")
        self.examples = examples
        self.classes, self.per_class, *shape = examples.shape
        self.shape = tuple(shape)
        self._scale = np.float32(1 / 255 if examples.dtype == np.uint8 else 1)

    def draw(self, rng: np.random.Generator, n: int, ways: int, count: int) -> Floats:
        """See :meth:`FewShotSource.draw`."""
        classes, per_class = self.examples.shape[:2]
        which = rng.random((n, classes)).argsort(-1)[:, :ways, None]
        example = rng.random((n, ways, per_class)).argsort(-1)[..., :count]
        return self.examples[which, example].astype(np.float32) * self._scale


class Glyphs(Pool):
    """Drawn glyphs ``[28, 28]`` from 0 (paper) to 1 (ink), ``classes`` of them in each split and none in two.

    The pictures are drawn once in a process and kept.
    """

    def __init__(
        self,
        split: Split,
        classes: int = 200,
        per_class: int = 20,
        *,
        seed: int = 0,
        options: GlyphOptions | None = None,
    ) -> None:
        if classes < 1 or per_class < 1:
            raise ValueError(f"glyphs with classes={classes} and per_class={per_class}; expected 1 or more of each")
        super().__init__(_kept_pool(split, classes, per_class, seed, options or GlyphOptions()))


@lru_cache(maxsize=8)
def _kept_pool(split: Split, classes: int, per_class: int, seed: int, options: GlyphOptions) -> Pictures:
    pool = glyph_pool(split, classes, per_class, seed, options)
    pool.flags.writeable = False
    return pool


def _shuffled(rng: np.random.Generator, x: Floats, y: Ints) -> tuple[Floats, Ints]:
    """``[n, ways, k, ...]`` as ``[n, ways * k, ...]``, each episode in an order of its own."""
    n, ways, k = y.shape
    order = rng.random((n, ways * k)).argsort(-1)
    row = np.arange(n)[:, None]
    return x.reshape(n, ways * k, *x.shape[3:])[row, order], y.reshape(n, ways * k)[row, order]
