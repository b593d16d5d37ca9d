"""The common part of few-shot learners that adapt by gradient descent: options, the net, and checks of inputs."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge, Gt
from torch import Tensor, nn
from torch.nn import functional as F

from metarl.agents.fewshot.examples import class_labels, examples, same_episodes
from metarl.agents.fewshot.learner import FewShotLearner
from metarl.config import ConfigError
from metarl.data.episodes import Episodes
from metarl.nets.adaptable import HEAD, AdaptableNet
from metarl.nets.images import Precision
from metarl.types import Array

Algorithm = Literal["maml", "fomaml", "anil", "reptile"]


@dataclass(frozen=True)
class GradientOptions:
    """How a learner adapts by gradient descent, and how it is trained."""

    algorithm: Algorithm = "maml"
    """The gradient of training goes through the whole adaptation (``maml``), only through its end (``fomaml``, the
    first-order MAML of Finn et al. 2017, section 5.2), through the adaptation of the head alone (``anil``), or is the
    change of the parameters (``reptile``)."""
    steps: Annotated[int, Ge(1)] = 1
    """Steps of an adaptation in training."""
    eval_steps: Annotated[int, Ge(0)] = 3
    """Steps of an adaptation in prediction."""
    inner_lr: Annotated[float, Gt(0)] = 0.4
    """Step size of an adaptation; its initial value with ``learned_lr``."""
    learned_lr: bool = False
    """Whether every adapted number has a step size of its own, which is learned (Meta-SGD, Li et al. 2017)."""
    head: Literal["each", "one", "prototypes"] = "each"
    """The head before adaptation: weights for each class; the same weights for all classes (Ye & Chao 2022, section
    5); or the weights of a classifier by the nearest mean of the support's features (Proto-MAML, Triantafillou et al.
    2020, section 3). The last two depend on neither the labels nor the number of classes."""
    batch: Annotated[int, Ge(1)] | None = None
    """Examples of one step of ``reptile`` in training, taken in turn from those of an episode; None: all of them."""
    width: Annotated[int, Ge(1)] = 64
    """Channels of the net."""
    precision: Precision = "float32"
    """Of the net's convolutions; ``bfloat16`` is faster on processors that compute in it."""

    def __post_init__(self) -> None:
        if self.algorithm == "reptile" and self.learned_lr:
            raise ConfigError(
                "learned_lr = true with algorithm = 'reptile': its gradient says nothing of step sizes; "
                "use 'maml', 'fomaml' or 'anil', or leave it out"
            )
        if self.algorithm != "reptile" and self.batch is not None:
            raise ConfigError(
                f"batch = {self.batch} with algorithm = {self.algorithm!r}: it adapts to the whole support at every "
                "step; leave it out, or use algorithm = 'reptile'"
            )


class GradientLearner(FewShotLearner):
    """Adapts a convolutional net to the support of an episode by a few steps of gradient descent.

    All episodes of a batch are adapted to in parallel by :func:`metarl.functional.inner_loop.adapt`; nothing of one
    episode is kept for the next.

    Args:
        observation: shape of one example, an image ``[H, W]``, ``[H, W, C]`` or ``[C, H, W]`` of bytes or of numbers
            from 0 to 1.
        ways: classes of every episode; only used with ``head = "each"``, as the other heads take any number.
        options: how it adapts.
        transductive: batch norm of queries takes its statistics from all queries of the episode, as in MAML; else from
            the support.

    Raises:
        ValueError: another shape, or fewer than two classes.
    """

    def __init__(
        self, observation: tuple[int, ...], ways: int, options: GradientOptions, *, transductive: bool = False
    ) -> None:
        super().__init__()
        if ways < 2:
            raise ValueError(f"ways is {ways}, expected 2 or more classes")
        self.observation, self.ways, self.options, self.transductive = tuple(observation), ways, options, transductive
        outputs = {"each": ways, "one": 1, "prototypes": 0}[options.head]
        self.net = AdaptableNet(self.observation, outputs, width=options.width, precision=options.precision)
        sizes = {
            name: torch.full((*p.shape[:-1], p.shape[-1] or 1), options.inner_lr) for name, p in self._fast().items()
        }
        self.step_sizes = nn.ParameterDict(sizes if options.learned_lr else {})

    @property
    def first_order(self) -> bool:
        """Whether the meta-gradient leaves out the second derivatives of the inner loop."""
        return self.options.algorithm in ("fomaml", "reptile")

    @abstractmethod
    def adapted(self, support_x: Tensor | Array, support_y: Tensor | Array) -> dict[str, Tensor]:
        """The adapted parameters after ``eval_steps``, ``[B, ...]`` by name.

        Args:
            support_x: examples ``[B, S, *observation]``.
            support_y: their labels ``[B, S]`` from 0 to ``ways - 1``, each at least once.

        Raises:
            ValueError: shapes that don't fit, or other labels.
        """

    @abstractmethod
    def _fast(self) -> dict[str, Tensor]:
        """The parameters that are adapted, before they are."""

    @abstractmethod
    def _answers(self, support: Tensor, labels: Tensor, queries: Tensor, steps: int) -> Tensor:
        """The logits of queries after adaptation."""

    def forward(self, support_x: Tensor | Array, support_y: Tensor | Array, query_x: Tensor | Array) -> Tensor:
        """The logits ``[B, Q, ways]`` of the queries, after ``eval_steps`` on the support.

        For the arguments see :meth:`metarl.agents.fewshot.learner.FewShotLearner.forward`.

        Raises:
            ValueError: shapes that don't fit, or labels that are not those of all classes.
        """
        return self._answers(*self._checked(support_x, support_y, query_x), self.options.eval_steps)

    def loss(self, episodes: Episodes) -> Tensor:
        """Cross-entropy of the queries' labels after ``steps`` of adaptation, a scalar in nats."""
        support, labels, queries = self._checked(episodes.support_x, episodes.support_y, episodes.query_x)
        answers = self._labels(episodes.query_y, queries, "query_y", self._ways(labels))
        return cross_entropy(self._answers(support, labels, queries, self.options.steps), answers).mean()

    def _side_by_side(self, labels: Tensor, features: Callable[[], Tensor]) -> dict[str, Tensor]:
        """The parameters before adaptation, expanded (not copied) to ``[B, ...]`` for the episodes of these labels.

        ``features`` computes those of the support; it is only called for prototypes.
        """
        tasks, ways = len(labels), self._ways(labels)
        params = {
            name: p.expand(tasks, *p.shape[:-1], ways if name in HEAD and p.numel() else p.shape[-1])
            for name, p in self._fast().items()
        }
        return params | prototypes(features(), labels, ways) if self.options.head == "prototypes" else params

    def _ways(self, labels: Tensor) -> int:
        return self.ways if self.options.head == "each" else int(labels.max()) + 1

    def _lr(self) -> float | dict[str, Tensor]:
        return dict(self.step_sizes) if self.options.learned_lr else self.options.inner_lr

    def _checked(
        self, support_x: Tensor | Array, support_y: Tensor | Array, query_x: Tensor | Array
    ) -> tuple[Tensor, Tensor, Tensor]:
        support, labels = self._checked_support(support_x, support_y)
        return support, labels, same_episodes(self._examples(query_x, "query_x"), support)

    def _checked_support(self, support_x: Tensor | Array, support_y: Tensor | Array) -> tuple[Tensor, Tensor]:
        support = self._examples(support_x, "support_x")
        labels = self._labels(support_y, support, "support_y", self.ways if self.options.head == "each" else None)
        present = F.one_hot(labels, self._ways(labels)).any(1)
        if not present.all():
            episode, missing = (~present).nonzero()[0].tolist()
            raise ValueError(
                f"the support of episode {episode} has no example of class {missing}, but there are "
                f"{present.shape[1]} classes; give an example of each, or make the learner with fewer ways"
            )
        return support, labels

    def _examples(self, x: Tensor | Array, name: str) -> Tensor:
        x = examples(x, name, self.observation, self.net.weight.device)
        return x.to(self.net.weight) / 255 if x.dtype == torch.uint8 else x.to(self.net.weight)

    def _labels(self, y: Tensor | Array, x: Tensor, name: str, ways: int | None) -> Tensor:
        return class_labels(y, x.shape[:2], name, ways, x.device)

    def _described(self) -> dict[str, Any]:
        return {
            "observation": self.observation,
            "ways": self.ways,
            "algorithm": self.options.algorithm,
            "head": self.options.head,
            "steps": (self.options.steps, self.options.eval_steps),
        }


def prototypes(features: Tensor, labels: Tensor, ways: int) -> dict[str, Tensor]:
    """The head of a classifier by the nearest mean (Triantafillou et al. 2020, section 3).

    Its outputs are -|f - c_k|^2 / sqrt(D) plus a term equal for all classes k, with c_k the mean of their features.

    Args:
        features: ``[T, S, D]``
        labels: ``[T, S]``
        ways: number of classes.

    Returns:
        ``weight`` ``[T, D, ways]`` and ``bias`` ``[T, ways]``.
    """
    of_class = F.one_hot(labels, ways).to(features)
    means = features.mT @ (of_class / of_class.sum(1, keepdim=True))
    scale = features.shape[-1] ** -0.5
    return {"weight": 2 * scale * means, "bias": -scale * means.square().sum(1)}


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """-log p of the label of each example in nats, ``[B, n]``, from logits ``[B, n, ways]`` and labels ``[B, n]``."""
    return F.cross_entropy(logits.mT, labels, reduction="none")
