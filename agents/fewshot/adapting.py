"""The common part of few-shot learners that adapt by gradient descent: options, net and checks of inputs."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

import torch
from annotated_types import Ge, Gt
from torch import Tensor, nn
from torch.nn import functional as F

from metarl.agents.fewshot.examples import class_labels, examples, same_episodes
from metarl.agents.fewshot.learner import Examples, FewShotLearner
from metarl.config import ConfigError, InputError
from metarl.data.episodes import Episodes
from metarl.functional.inner_loop import adapt
from metarl.nets.adaptable import HEAD, AdaptableNet, Params
from metarl.nets.images import Precision

Algorithm = Literal["maml", "fomaml", "anil", "reptile"]
Net = Callable[[Params, Tensor], Tensor]  # parameters and examples to outputs


@dataclass(frozen=True)
class GradientOptions:
    """How a learner adapts by gradient descent, and how it is trained.

    Args:
        algorithm: the meta-gradient goes through the whole adaptation (``maml``), only through its end (``fomaml``;
            Finn et al. 2017, section 5.2), through that of the head alone (``anil``), or is the change of the
            parameters (``reptile``).
        steps: steps of an adaptation in training.
        eval_steps: steps of an adaptation in prediction.
        inner_lr: step size of an adaptation; its initial value with ``learned_lr``.
        learned_lr: whether each adapted number has its own step size, which is learned (Meta-SGD, Li et al. 2017).
        head: the head before adaptation: weights for each class; the same weights for all classes (Ye & Chao 2022,
            section 5); or those of a nearest-mean classifier of the support (Proto-MAML, Triantafillou et al. 2020,
            section 3). The last two take any number of classes.
        batch: examples of one step of ``reptile`` in training, taken in turn from those of an episode; None: all of
            them.
        width: channels of the net.
        precision: of the net's convolutions; ``bfloat16`` is faster on processors that compute in it, and
            ``float32`` on others.
    """

    algorithm: Algorithm = "maml"
    steps: Annotated[int, Ge(1)] = 1
    eval_steps: Annotated[int, Ge(0)] = 3
    inner_lr: Annotated[float, Gt(0)] = 0.4
    learned_lr: bool = False
    head: Literal["each", "one", "prototypes"] = "each"
    batch: Annotated[int, Ge(1)] | None = None
    width: Annotated[int, Ge(1)] = 64
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        if self.algorithm == "reptile" and self.learned_lr:
            expected = "false with algorithm = 'reptile', which has no gradient of step sizes"
            raise ConfigError(key="learned_lr", given=True, expected=expected)
        if self.algorithm != "reptile" and self.batch is not None:
            expected = f"none with algorithm = {self.algorithm!r}, which adapts to the whole support at every step"
            raise ConfigError(key="batch", given=self.batch, expected=expected)


class GradientLearner(FewShotLearner):
    """Adapts a convolutional net to the support of an episode by a few steps of gradient descent.

    The net adapts to all episodes of a batch in parallel by :func:`metarl.functional.inner_loop.adapt`; nothing of an
    episode is kept for the next one.

    Args:
        observation: shape of one example, an image ``[H, W]``, ``[H, W, C]`` or ``[C, H, W]`` of bytes or of numbers
            from 0 to 1.
        ways: classes of every episode; only used with ``head = "each"``, as the other heads take any number.
        options: how it adapts.
        transductive: batch norm of queries takes its statistics from all queries of the episode, as in MAML; otherwise
            from the support.

    Raises:
        ValueError: another shape, or fewer than two classes.
    """

    def __init__(
        self, observation: tuple[int, ...], ways: int, options: GradientOptions, *, transductive: bool = False
    ) -> None:
        super().__init__()
        if ways < 2:
            raise InputError(key="ways", given=ways, expected="2 or more classes")
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
    def adapted(self, support_x: Examples, support_y: Examples) -> dict[str, Tensor]:
        """The adapted parameters after ``eval_steps``, one set for each episode.

        Args:
            support_x: examples ``[B, S, *observation]``.
            support_y: their labels ``[B, S]`` from 0 to ``ways - 1``, each at least once.

        Returns:
            ``[B, ...]`` by name.

        Raises:
            InputError: shapes that don't fit, or other labels.
        """

    def resized(self, ways: int, longest: int) -> Self:
        """See :meth:`metarl.agents.fewshot.learner.FewShotLearner.resized`; only the head ``each`` has a size."""
        if self.options.head == "each" and ways > self.ways:
            expected = f"{self.ways}, as the head 'each' of this learner has weights for each class"
            remedy = "train one with gradient.head = 'prototypes'"
            raise InputError(key="ways", given=ways, expected=expected, remedy=remedy)
        return self

    @abstractmethod
    def _fast(self) -> dict[str, Tensor]:
        """The parameters that are adapted, before they are."""

    @abstractmethod
    def _answers(self, support: Tensor, labels: Tensor, queries: Tensor, steps: int) -> Tensor:
        """The logits ``[B, Q, ways]`` of queries after adaptation."""

    def forward(self, support_x: Examples, support_y: Examples, query_x: Examples) -> Tensor:
        """See :meth:`metarl.agents.fewshot.learner.FewShotLearner.forward`; adapts for ``eval_steps``.

        Raises:
            InputError: shapes that don't fit, or labels that are not those of all classes.
        """
        return self._answers(*self._checked(support_x, support_y, query_x), self.options.eval_steps)

    def loss(self, episodes: Episodes) -> Tensor:
        """See :meth:`metarl.agents.fewshot.learner.FewShotLearner.loss`; adapts for ``steps``."""
        support, labels, queries = self._checked(episodes.support_x, episodes.support_y, episodes.query_x)
        answers = class_labels(episodes.query_y, queries.shape[:2], "query_y", self._ways(labels), queries.device)
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

    def _adapt(
        self, fn: Net, params: dict[str, Tensor], support: Tensor, labels: Tensor, steps: int
    ) -> dict[str, Tensor]:
        """The parameters of ``fn`` after ``steps`` from ``params``."""
        lr = {name: self.step_sizes[name] for name in params} if self.options.learned_lr else self.options.inner_lr
        second, data = not self.first_order, (support, labels)
        return adapt(fn, params, data, steps=steps, lr=lr, second_order=second, loss=cross_entropy)

    def _ways(self, labels: Tensor) -> int:
        return self.ways if self.options.head == "each" else int(labels.max()) + 1

    def _checked(self, support_x: Examples, support_y: Examples, query_x: Examples) -> tuple[Tensor, Tensor, Tensor]:
        support, labels = self._checked_support(support_x, support_y)
        return support, labels, same_episodes(self._examples(query_x, "query_x"), support)

    def _checked_support(self, support_x: Examples, support_y: Examples) -> tuple[Tensor, Tensor]:
        support = self._examples(support_x, "support_x")
        ways = self.ways if self.options.head == "each" else None
        labels = class_labels(support_y, support.shape[:2], "support_y", ways, support.device)
        present = F.one_hot(labels, self._ways(labels)).any(1)
        if not present.all():
            episode, missing = (~present).nonzero()[0].tolist()
            problem = f"support_y of episode {episode} has no example of class {missing}"
            expected, remedy = f"all {present.shape[1]} classes", "add one, or make the learner with fewer ways"
            raise InputError(problem, key="support_y", expected=expected, remedy=remedy)
        return support, labels

    def _examples(self, x: Examples, name: str) -> Tensor:
        x = examples(x, name, self.observation, self.net.weight.device)
        return x.to(self.net.weight) / 255 if x.dtype == torch.uint8 else x.to(self.net.weight)

    def _described(self) -> dict[str, Any]:
        options, common = self.options, {"observation": self.observation, "ways": self.ways}
        steps = (options.steps, options.eval_steps)
        return common | {"algorithm": options.algorithm, "head": options.head, "steps": steps}


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
