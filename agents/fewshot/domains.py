"""Adaptation of a trained few-shot classifier to another domain of images, without labels of queries."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace

import numpy as np
import torch

from metarl.agents.fewshot.classifier import FewShotClassifier
from metarl.config import InputError
from metarl.data.shifts import Shift
from metarl.nets.images import ImageEncoder
from metarl.nets.renorm import renormed
from metarl.types import Array, Floats, Ints

CHUNK = 250  # images that go through the net at once; with more, activations no longer fit the cache
RIDGE = 0.01  # of the mean variance, added to all variances


def with_norm_of(learner: FewShotClassifier, *, prior: float = 0.0, transductive: bool = False) -> FewShotClassifier:
    """A copy whose batch norm takes its statistics anew from the images of each episode.

    They are those of the support, so that a query is still answered alone; or, if ``transductive``, those of support
    and queries. No labels are used. The statistics of training count for ``prior`` images beside them (Schneider et al.
    2020); choose it on validation classes. Class means are compared by Euclidean distance, as a metric (``plda``) was
    fitted to embeddings of the old norms.

    Args:
        learner: trained with the norm ``running``.
        prior: images that those of training count for; 0: not at all.
        transductive: whether queries count too.

    Raises:
        InputError: a learner with another norm, or a prior that is negative or infinite.
    """
    norm = learner.encoder_options.norm
    made = deepcopy(learner)
    if norm != "running" or not renormed(made.encoder, prior):
        raise InputError(key="encoder.norm", given=norm, expected="'running', whose statistics can be estimated again")
    made.drop_metric()
    made.encoder_options = replace(made.encoder_options, norm="batch")  # embeddings now depend on the episode
    made.transductive = transductive
    return made


class ShiftRecogniser:
    """Tells which of some shifts a set of images went through, so that it can be undone.

    It is fitted to images of the source domain alone and learns what each shift does to them, which needs no labels.
    What it sees of an image are the means of the channels of the learner's net after each block. Each shift makes a
    normal distribution of them, all with the same covariance (Fisher's linear discriminants). The shift of a set of
    images is the one with the greatest sum of log likelihoods, as it is the same for all of them.

    Args:
        learner: a trained classifier of grey images.
        images: of the source domain, ``[n, H, W]`` uint8.
        shifts: to tell apart; the first should leave images as they are.
        rng: of the noise of shifts that have it.

    Raises:
        InputError: another learner, fewer than two images or two shifts.
    """

    def __init__(
        self,
        learner: FewShotClassifier,
        images: Array,
        shifts: Sequence[Shift],
        rng: np.random.Generator | None = None,
    ) -> None:
        if not isinstance(learner.encoder, ImageEncoder) or learner.encoder_options.net == "flat":
            raise InputError(key="learner", given=repr(learner), expected="a classifier with a net for images")
        for key, count in (("images", len(images)), ("shifts", len(shifts))):
            if count < 2:
                raise InputError(key=f"len({key})", given=count, expected="2 or more")
        self.encoder, self.device, self.shifts = learner.encoder, learner.device, list(shifts)
        seen = [self._seen(shift(images, rng)) for shift in self.shifts]
        self.centres = np.stack([one.mean(0) for one in seen])
        spread = np.concatenate([one - one.mean(0) for one in seen])
        covariance = spread.T @ spread / len(spread)
        ridge = RIDGE * np.trace(covariance) / len(covariance) + np.finfo(float).tiny
        self.precision = np.linalg.inv(covariance + ridge * np.eye(len(covariance)))

    def log_likelihood(self, images: Array) -> Floats:
        """How well each shift explains each image, up to a number of its own: ``[n, H, W]`` to ``[n, shifts]``."""
        towards = self.centres @ self.precision
        return self._seen(images) @ towards.T - (towards * self.centres).sum(1) / 2

    def recognise(self, images: Array) -> Ints:
        """The number of the shift of each set of images ``[B, n, H, W]``: ``[B]``."""
        each = self.log_likelihood(images.reshape(-1, *images.shape[2:]))
        return each.reshape(*images.shape[:2], -1).sum(1).argmax(1)

    def undone(self, support: Array, queries: Array) -> tuple[Array, Array]:
        """Support and queries of episodes, led back by the shift of each, which its support alone decides.

        Args:
            support: ``[B, S, H, W]`` uint8.
            queries: ``[B, Q, H, W]``
        """
        support, queries = support.copy(), queries.copy()
        for row, number in enumerate(self.recognise(support)):
            for images in (support, queries):
                images[row] = self.shifts[number].undo(images[row])
        return support, queries

    @torch.no_grad()
    def _seen(self, images: Array) -> Floats:
        """The means of channels ``[n, M]``."""
        parts = (
            torch.as_tensor(images[first : first + CHUNK].copy(), device=self.device)
            for first in range(0, len(images), CHUNK)
        )
        return np.concatenate([self.encoder.channel_means(part).double().cpu().numpy() for part in parts])
