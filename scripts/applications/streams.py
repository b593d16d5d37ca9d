"""Streams of classes, each class shown once, and what meets them: memories of so many bytes, and their rivals."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metarl.agents.fewshot.bounded import BoundedMemory
from metarl.agents.fewshot.learner import FewShotLearner
from metarl.data.pool import Pool
from metarl.evaluation.pooling import variance_over_seeds
from metarl.functional.stats import standard_error
from metarl.nets.images import ImageEncoder
from metarl.runs.progress import Progress
from metarl.seeding import numpy_rng
from metarl.types import Bools, Floats, Ints

AT_ONCE = 250  # examples that are embedded or compared at once
Correct = dict[int, Bools]
"""By the number of classes shown so far: which held-out examples of these were named ``[R, classes, held out]``."""


@dataclass(frozen=True)
class Streams:
    """Streams side by side, one for each of ``R`` orders of the classes, which are numbered as they come.

    Args:
        shown: ``[R, S, E]`` examples in the order of the stream.
        labels: ``[R, S]`` their classes.
        asked: ``[R, C, Q, E]`` held-out examples of each class.
        steps: examples of the stream after which each number of classes has been shown, by that number.
    """

    shown: Tensor
    labels: Tensor
    asked: Tensor
    steps: dict[int, int]

    def shuffled(self, seed: int = 0) -> Streams:
        """The same examples in any order; tested at the end alone."""
        order = torch.from_numpy(numpy_rng(seed, "data").permutation(self.shown.shape[1]))
        last = self.asked.shape[1]
        return replace(self, shown=self.shown[:, order], labels=self.labels[:, order], steps={last: self.steps[last]})


def orders(pool: Pool, classes: int, held: int, count: int) -> tuple[Ints, Ints, Ints]:
    """``count`` orders of some of a pool's classes: these ``[R, C]``, and which examples of each are shown and held.

    Examples have the numbers of ``pool.flat``: shown ``[R, C, M - held]``, held ``[R, C, held]``.
    """
    each = []
    for seed in range(count):
        rng = numpy_rng(seed, "evaluation")
        chosen = rng.permutation(pool.classes)[:classes]
        number = (
            rng.permuted(np.tile(np.arange(pool.per_class), (classes, 1)), axis=1) + chosen[:, None] * pool.per_class
        )
        each.append((chosen, number[:, held:], number[:, :held]))
    chosen, shown, asked = (np.stack(part) for part in zip(*each, strict=True))
    return chosen, shown, asked


def streams(examples: Tensor, shown: Ints, held: Ints, counts: list[int]) -> Streams:
    """The streams of some ``orders`` of examples ``[N, E]``, tested after so many classes."""
    rows, classes, each = shown.shape
    labels = torch.arange(classes).repeat_interleave(each).expand(rows, -1)
    return Streams(examples[shown].flatten(1, 2), labels, examples[held], {n: n * each for n in counts})


@torch.no_grad()
def embedded(learner: FewShotLearner, pool: Pool) -> Tensor:
    """The embeddings ``[N, E]`` of all examples of a pool."""
    parts, found = torch.from_numpy(pool.flat.copy()).split(AT_ONCE), []
    with Progress("embedding", len(parts), "part") as progress:
        for part in parts:
            found.append(learner.embed(part))
            progress.add()
    return torch.cat([part for part in found if part is not None])


def remembered(learner: FewShotLearner, met: Streams, size: int, **options: Any) -> Correct:
    """A memory of ``size`` bytes, written example by example and asked on the way."""
    memory, begun, found = BoundedMemory(learner, size, rows=len(met.shown), **options), 0, {}
    for count, end in met.steps.items():
        memory.write(met.shown[:, begun:end], met.labels[:, begun:end])
        found[count] = named(memory.logits(met.asked[:, :count].flatten(1, 2), count).argmax(-1), count)
        begun = end
    return found


def nearest_mean(met: Streams, size: int) -> Correct:
    """The mean of each class and its count, of as many classes as there are bytes for, the latest (Mensink 2013)."""
    room, found = size // (met.shown.element_size() * (met.shown.shape[-1] + 1)), {}
    for count, end in met.steps.items():
        mine = F.one_hot(met.labels[:, :end], count).to(met.shown)
        means = mine.mT @ met.shown[:, :end] / mine.sum(1)[..., None].clamp_min(1)
        apart = torch.cdist(met.asked[:, :count].flatten(1, 2), means)
        apart[..., : max(count - room, 0)] = torch.inf
        found[count] = named(apart.argmin(-1), count)
    return found


def neighbours(met: Streams, k: int) -> Correct:
    """The most frequent class among the ``k`` nearest of all examples so far, and of several the nearest."""
    found = {}
    for count, end in met.steps.items():
        answers = []
        for part in met.asked[:, :count].flatten(1, 2).split(AT_ONCE, 1):
            near = torch.cdist(part, met.shown[:, :end]).topk(min(k, end), largest=False)
            votes = 1 + 1e-3 / (1 + torch.arange(near.indices.shape[-1]))  # the nearer ones break ties
            labels = met.labels[:, None, :end].expand(-1, part.shape[1], -1).gather(2, near.indices)
            tally = torch.zeros(*part.shape[:2], count).scatter_add(2, labels, votes.expand_as(near.values))
            answers.append(tally.argmax(-1))
        found[count] = named(torch.cat(answers, 1), count)
    return found


def tuned(met: Streams, rate: float) -> Correct:
    """A linear layer over the examples, made of as many classes as come, that takes a step of SGD for each example."""
    classes, begun, found = met.asked.shape[1], 0, {}
    scale = met.shown.square().mean().sqrt()
    weight = torch.zeros(len(met.shown), classes, met.shown.shape[-1])
    for count, end in met.steps.items():
        for x, y in zip((met.shown[:, begun:end] / scale).unbind(1), met.labels[:, begun:end].unbind(1), strict=True):
            error = (weight @ x[..., None])[..., 0].softmax(-1) - F.one_hot(y, classes)
            weight.baddbmm_(error[..., None], x[:, None], alpha=-rate)
        begun = end
        logits = met.asked[:, :count].flatten(1, 2) @ weight.mT
        found[count] = named(logits[..., :count].argmax(-1), count)
    return found


def finetuned(encoder: ImageEncoder, met: Streams, rate: float) -> Correct:
    """The whole net with a linear layer on top, both of which take a step of SGD for each image.

    The norm's statistics stay those of training, and each image is seen as it is, without further views.

    Args:
        encoder: of the learner; a copy of it goes on learning.
        met: streams of images.
        rate: the step size.
    """
    classes, found = met.asked.shape[1], dict[int, list[Tensor]]()
    for shown, labels, asked in zip(met.shown, met.labels, met.asked, strict=True):
        net, begun = deepcopy(encoder).eval(), 0
        net.options = replace(net.options, views=False)
        layer = nn.Linear(net.size, classes, bias=False)
        nn.init.zeros_(layer.weight)
        with torch.no_grad():
            scale = net(shown[None, :AT_ONCE]).square().mean().sqrt()
        optimizer = torch.optim.SGD([*net.parameters(), *layer.parameters()], rate)
        for count, end in met.steps.items():
            for x, y in zip(shown[begun:end].split(1), labels[begun:end].split(1), strict=True):
                optimizer.zero_grad()
                F.cross_entropy(layer(net(x[None])[0] / scale), y).backward()
                optimizer.step()
            begun = end
            with torch.no_grad():
                parts = asked[:count].flatten(0, 1).split(AT_ONCE)
                answers = torch.cat([layer(net(x[None])[0] / scale)[:, :count].argmax(-1) for x in parts])
            found.setdefault(count, []).append(answers)
    return {count: named(torch.stack(answers), count) for count, answers in found.items()}


def named(answers: Tensor, classes: int) -> Bools:
    """Which answers ``[R, C * Q]`` are right, as ``[R, C, Q]``."""
    right: Bools = (answers.unflatten(1, (classes, -1)) == torch.arange(classes)[:, None]).numpy()
    return right


def measured(share: Floats) -> tuple[float, float]:
    """Mean and standard error of shares ``[orders, classes]``, of classes that the orders have in common."""
    means, errors = share.mean(1), np.array([standard_error(one) for one in share])
    return float(means.mean()), float(variance_over_seeds(means, errors, shared=True)) ** 0.5
