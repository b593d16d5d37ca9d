"""Whether a query is of a remembered class at all: scores of an answer, calibrated on classes unseen in training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from metarl.agents.fewshot.embedded import embedded
from metarl.agents.fewshot.learner import FewShotLearner, alone
from metarl.config import InputError
from metarl.data.pool import Pool
from metarl.functional.stats import auroc, logistic_fit
from metarl.types import Floats

WAYS, SHOTS = (5, 20), (1, 5)
"""The sizes of the episodes of a calibration, as far as learner and classes allow them."""
EPISODES = 60  # of each size
EPISODES_SLOW = 10  # of learners that take every episode from its images
REJECTED = 0.05  # share of known queries that the threshold takes for unknown
CLASSES, EXAMPLES = 80, 7  # of the images that a calibration embeds, at most, so that it takes seconds
LEAST = 3  # classes with two images or more, without which there is nothing unknown
TINY = 1e-12


@dataclass(frozen=True)
class OpenSet:
    """Says how probable it is that a query is of a known class, where half of all queries are.

    A logistic model of the scores of an answer, see :func:`scores`.

    Args:
        weights: of the scores.
        bias: added to their weighted sum.
        threshold: queries less probable than this are taken for unknown; :data:`REJECTED` of the known queries of the
            calibration were.
        auroc: of episodes of the calibration that it was not fitted to.
    """

    weights: tuple[float, ...]
    bias: float
    threshold: float
    auroc: float

    def known(self, scores: Floats) -> Floats:
        """The probability ``[Q]`` that queries with these scores ``[Q, F]`` are of known classes.

        Raises:
            InputError: it was fitted to scores of another kind of learner.
        """
        if scores.shape[1] != len(self.weights):
            remedy = "calibrate the learner anew"
            raise InputError(
                key="the weights of open_set", given=len(self.weights), expected=str(scores.shape[1]), remedy=remedy
            )
        logit = scores @ np.array(self.weights) + self.bias
        return np.exp(-np.logaddexp(0, -logit))

    def __post_init__(self) -> None:
        if not 0 <= self.threshold <= 1:
            raise InputError(key="threshold", given=self.threshold, expected="0 to 1")


class Answer(NamedTuple):
    """The answer to queries of one episode.

    Args:
        logits: ``[Q, ways]``
        scores: ``[Q, F]``, see :func:`scores`.
    """

    logits: Tensor
    scores: Floats


@torch.no_grad()
def answer(
    learner: FewShotLearner, support: Tensor, labels: Tensor, queries: Tensor, ways: int, embedded: bool
) -> Answer:
    """Ask a learner.

    Args:
        learner: in evaluation mode.
        support: ``[S, ...]`` images, or what the learner embedded.
        labels: ``[S]`` from 0 to ``ways - 1``.
        queries: ``[Q, ...]``
        ways: number of classes.
        embedded: whether both are embeddings.
    """
    ask = learner.classify if embedded else learner
    logits = ask(support[None], labels[None], queries[None])[0, :, :ways]
    return Answer(logits, scores(logits, labels, *((support, queries) if embedded else ())))


def scores(logits: Tensor, labels: Tensor, support: Tensor | None = None, queries: Tensor | None = None) -> Floats:
    """What tells known from unknown queries.

    The log probability of the nearest class, and the log of the number of classes. With embeddings also the log of the
    squared distance to the nearest class mean, and by how much the second nearest is further. A mean of K examples of a
    class of variance s^2 is itself s^2 / K away from the true one, so distances are divided by 1 + 1/K. Without
    embeddings, the greatest logit.

    Args:
        logits: ``[Q, ways]``, two ways or more.
        labels: ``[S]``
        support: embeddings ``[S, ...]``.
        queries: embeddings ``[Q, ...]``.

    Returns:
        ``[Q, F]``
    """
    ways = logits.shape[1]
    best = logits.amax(1)
    columns = [best - logits.logsumexp(1), torch.full_like(best, float(np.log(ways)))]
    if support is None or queries is None:
        columns.append(best)
    else:
        known, asked = support.flatten(1).double(), queries.flatten(1).double()
        of_class = torch.nn.functional.one_hot(labels.to(known.device), ways).to(known)
        count = of_class.sum(0)
        means = of_class.T @ known / count[:, None]
        squares = asked.square().sum(1, keepdim=True) - 2 * asked @ means.T + means.square().sum(1)
        nearest = (squares.clamp_min(0) / known.shape[1] / (1 + 1 / count) + TINY).log().sort(dim=1).values
        columns += [nearest[:, 0], nearest[:, 1] - nearest[:, 0]]
    return torch.stack([column.double().cpu() for column in columns], 1).numpy()


def calibrated(learner: FewShotLearner, pool: Pool, rng: np.random.Generator) -> OpenSet:
    """Fit an :class:`OpenSet` to episodes in which half of the queries are of other classes than the support.

    Args:
        learner: in evaluation mode.
        pool: images of classes that it was not trained on; some of them are drawn. A class with too few images for the
            shots of an episode is left out of that.
        rng: all randomness comes from it.

    Raises:
        InputError: too few classes or examples, or a learner that can't be asked about so few classes.
    """
    usable = _with_examples(pool, 2)
    if usable is None:
        given = f"{pool.classes} classes, {int((pool.counts > 1).sum())} of them with 2 images or more"
        expected, remedy = f"{LEAST} with 2 images, or more", "give more images of them"
        raise InputError(key="the classes to calibrate by", given=given, expected=expected, remedy=remedy)
    some = usable.some(rng, CLASSES, EXAMPLES)
    whole = embedded(learner, some)
    held = some if whole is None else whole
    parts = _by_shots(held)
    known: list[Floats] = []
    unknown: list[Floats] = []
    refused: InputError | None = None
    own = getattr(learner, "ways", WAYS[0])
    sizes = {(min(ways, max(2, part.classes // 2)), k) for k, part in parts.items() for ways in (*WAYS, own)}
    for ways, shots in sorted(sizes):
        try:
            ready = learner.resized(ways, ways * shots)
            with alone(ready):
                for _ in range(EPISODES_SLOW if whole is None else EPISODES):
                    inside, outside = _episode(ready, parts[shots], rng, ways, shots, whole is not None)
                    known.append(inside)
                    unknown.append(outside)
        except InputError as error:  # this learner is for other numbers of classes
            refused = error
    if not known:
        assert refused is not None
        raise refused
    fitted, held_out = slice(0, None, 2), slice(1, None, 2)
    model = _fit(np.concatenate(known[fitted]), np.concatenate(unknown[fitted]))
    inside, outside = (model.known(np.concatenate(part[held_out])) for part in (known, unknown))
    return OpenSet(model.weights, model.bias, float(np.quantile(inside, REJECTED)), auroc(inside, outside))


def _by_shots(pool: Pool) -> dict[int, Pool]:
    """By the shots of episodes, the classes that have an image more; at least half of them and :data:`LEAST`.

    Where fewer have enough images for :data:`SHOTS`, the episodes have as many as that half allows.
    """
    most = int(np.sort(pool.counts)[-max(LEAST, (pool.classes + 1) // 2)]) - 1
    found = {shots: _with_examples(pool, shots + 1) for shots in {min(shots, most) for shots in SHOTS}}
    return {shots: part for shots, part in found.items() if part is not None}


def _with_examples(pool: Pool, count: int) -> Pool | None:
    """The classes with so many examples or more; None where these are fewer than :data:`LEAST`."""
    fit = pool.counts >= count
    if fit.sum() < LEAST:
        return None
    return pool if fit.all() else Pool(pool.flat[np.repeat(fit, pool.counts)], counts=pool.counts[fit])


def _fit(inside: Floats, outside: Floats) -> OpenSet:
    x = np.concatenate([inside, outside])
    weights, bias = logistic_fit(x, np.repeat([1.0, 0.0], [len(inside), len(outside)]))
    return OpenSet(tuple(weights.tolist()), float(bias), 0.5, 0.5)


def _episode(
    learner: FewShotLearner, pool: Pool, rng: np.random.Generator, ways: int, shots: int, embedded: bool
) -> tuple[Floats, Floats]:
    """The scores of a query of each known class, and of as many queries of other classes."""
    others = min(ways, pool.classes - ways)
    drawn = torch.as_tensor(pool.draw(rng, 1, ways + others, shots + 1)[0], device=learner.device)
    order = rng.permutation(ways * shots)
    support = drawn[:ways, :shots].flatten(0, 1)[order]
    labels = torch.as_tensor(np.repeat(np.arange(ways), shots)[order])
    both = answer(learner, support, labels, drawn[:, shots], ways, embedded).scores
    return both[:ways], both[ways:]
