"""The interface of few-shot learners: episodes in, logits of the queries out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metarl.config import InputError
from metarl.data.episodes import Episodes
from metarl.types import Array, Split

if TYPE_CHECKING:
    from metarl.agents.fewshot.open_set import OpenSet

Protocol = Literal["episodes", "streams"]
Examples = Tensor | Array  # examples or labels: a tensor on any device, or a NumPy array


class FewShotLearner(nn.Module, ABC):
    """Predicts the classes of an episode's queries from its support.

    Inputs may be tensors on any device or NumPy arrays; they are moved to the learner's device, where all results are
    too. Queries are classified independently unless the learner is ``transductive``.
    """

    protocol: ClassVar[Protocol] = "episodes"
    """What it is trained on: episodes with support and queries, or streams of examples with late labels."""
    transductive: bool = False
    """Whether the prediction for a query depends on the other queries."""
    open_set: OpenSet | None = None
    """Tells queries of no remembered class, as calibrated after training; None where it wasn't."""
    met: Mapping[Split, tuple[str, ...]] = MappingProxyType({})
    """The names of the classes of training and of validation, where these have names."""

    @property
    def device(self) -> torch.device | None:
        """The device of the parameters; None without parameters, when inputs stay where they are."""
        return next((parameter.device for parameter in self.parameters()), None)

    @property
    def dtype(self) -> torch.dtype:
        """The type of the parameters; float32 without parameters."""
        return next((parameter.dtype for parameter in self.parameters()), torch.float32)

    @abstractmethod
    def forward(self, support_x: Examples, support_y: Examples, query_x: Examples) -> Tensor:
        """The logits of the queries.

        Args:
            support_x: examples ``[B, S, *observation]``; images are bytes, or numbers from 0 to 1.
            support_y: their labels ``[B, S]`` from 0 to ``ways - 1``.
            query_x: ``[B, Q, *observation]``

        Returns:
            ``[B, Q, ways]``
        """

    def embed(self, x: Examples) -> Tensor | None:
        """Embeddings of single examples, for :meth:`classify`.

        Args:
            x: examples ``[N, *observation]``.

        Returns:
            ``[N, E]``; None if embeddings depend on the rest of the episode, or the learner makes none.
        """
        return None

    def fit_metric(self, embedded: Examples, labels: Examples) -> None:
        """Learn how embeddings are to be compared from now on, from classes of training; do it again after training.

        Args:
            embedded: as :meth:`embed` makes them in evaluation mode, ``[N, ...]``.
            labels: ``[N]`` whole numbers, one for each class.

        Raises:
            TypeError: a learner without a metric to be fitted.
        """
        raise TypeError(f"a {type(self).__name__} has no metric to fit; make a FewShotClassifier with plda=True")

    def classify(self, support: Examples, support_y: Examples, queries: Examples) -> Tensor:
        """The logits ``[B, Q, ways]`` of queries that were embedded by :meth:`embed`.

        Args:
            support: embeddings ``[B, S, E]``.
            support_y: labels ``[B, S]`` from 0 to ``ways - 1``.
            queries: ``[B, Q, E]``

        Raises:
            TypeError: a learner without embeddings of single examples.
        """
        raise TypeError(f"a {type(self).__name__} has no embeddings of single examples; call it on the examples")

    def support_weights(self, support: Examples, support_y: Examples, queries: Examples) -> Tensor | None:
        """How much each example of the support counts for each query; arguments as in :meth:`classify`.

        Where a slot is the mean of a class, its weight is shared by the examples of the class.

        Args:
            support: embeddings ``[B, S, E]``.
            support_y: ``[B, S]``
            queries: ``[B, Q, E]``

        Returns:
            ``[B, Q, S]``, at least 0 and at most 1 in total; None where a query doesn't weigh single examples.
        """
        return None

    def resized(self, ways: int, longest: int) -> Self:
        """A learner with the same weights for episodes of that many classes and labelled examples.

        It is the learner itself where neither is part of it.

        Args:
            ways: most classes.
            longest: most examples in a support or stream.

        Raises:
            InputError: its weights are made for another number.
        """
        return self

    def loss(self, episodes: Any) -> Tensor:
        """The training objective, a scalar: cross-entropy of the queries in nats unless a learner says otherwise.

        Args:
            episodes: a batch of what ``protocol`` names: :class:`metarl.data.episodes.Episodes`, with images or vectors
                ``[B, S, ...]``, or :class:`metarl.data.episodes.Streams`.
        """
        logits = self(episodes.support_x, episodes.support_y, episodes.query_x)
        target = torch.as_tensor(episodes.query_y, device=logits.device).long()
        return F.cross_entropy(logits.flatten(0, 1), target.flatten())

    @torch.no_grad()
    def predict(self, support_x: Examples, support_y: Examples, query_x: Examples) -> Tensor:
        """The most probable class of each query, ``[B, Q]``; arguments as in :meth:`forward`.

        Args:
            support_x: ``[B, S, *observation]``
            support_y: ``[B, S]``
            query_x: ``[B, Q, *observation]``
        """
        return self(support_x, support_y, query_x).argmax(-1)

    @torch.no_grad()
    def weights(self, support_x: Examples, support_y: Examples, query_x: Examples) -> Tensor | None:
        """How much each query reads of each support example; that of a mean is shared by the examples of its class.

        Args:
            support_x: ``[B, S, *observation]``
            support_y: ``[B, S]``
            query_x: ``[B, Q, *observation]``

        Returns:
            ``[B, Q, S]``; None for a learner without such weights.
        """
        return None

    def predict_streams(self, x: Examples, y: Examples) -> Tensor:
        """The most probable digits ``[B, T, L]`` of the label at every step, from the labels of earlier steps.

        Args:
            x: examples ``[B, T, *observation]``.
            y: labels ``[B, T, L]``.

        Raises:
            TypeError: a learner of episodes.
        """
        raise TypeError(f"a {type(self).__name__} takes episodes, not streams; make a StreamClassifier")

    def correct(self, episodes: Episodes) -> Tensor:
        """Which queries are classified correctly, ``[B, Q]`` bool."""
        predicted = self.predict(episodes.support_x, episodes.support_y, episodes.query_x)
        return predicted == torch.as_tensor(episodes.query_y, device=predicted.device)

    def __repr__(self) -> str:
        shown = self._described() | {"parameters": sum(parameter.numel() for parameter in self.parameters())}
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in shown.items())})"

    def _described(self) -> dict[str, Any]:
        """What ``repr`` shows besides the number of parameters."""
        return {}


def check_evaluating(learner: FewShotLearner) -> None:
    """Refuse a learner in training mode, whose norms would learn from what it is asked.

    Raises:
        InputError: it is in training mode.
    """
    if learner.training:
        expected = "evaluation mode, so that norms don't learn from what is shown"
        raise InputError(key="the learner", given="in training mode", expected=expected, remedy="call its eval() first")


@contextmanager
def alone(learner: FewShotLearner) -> Iterator[None]:
    """Within, a query's answer does not depend on other queries, even if the learner is transductive."""
    parts = [part for part in learner.modules() if isinstance(part, FewShotLearner)]
    before = [part.transductive for part in parts]
    for part in parts:
        part.transductive = False
    try:
        yield
    finally:
        for part, was in zip(parts, before, strict=True):
            part.transductive = was
