"""What every few-shot learner is: episodes in, logits of the queries out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metarl.data.episodes import Episodes
from metarl.types import Array

Protocol = Literal["episodes", "streams"]


class FewShotLearner(nn.Module, ABC):
    """Tells which class of an episode a query belongs to, from the episode's support.

    ``loss`` is what training minimises; its gradient is what an optimiser is given. Queries are answered alone, unless
    the learner is ``transductive``.
    """

    protocol: ClassVar[Protocol] = "episodes"
    """What it is trained on: episodes of support and queries, or streams of examples with late labels."""
    transductive: bool = False
    """Whether the answer to a query depends on the other queries."""

    @abstractmethod
    def forward(self, support_x: Tensor | Array, support_y: Tensor | Array, query_x: Tensor | Array) -> Tensor:
        """The logits ``[B, Q, ways]`` of the queries.

        Args:
            support_x: examples ``[B, S, *observation]``: bytes, or numbers from 0 to 1.
            support_y: their labels ``[B, S]`` from 0 to ``ways - 1``.
            query_x: ``[B, Q, *observation]``
        """

    def embed(self, x: Tensor | Array) -> Tensor | None:
        """Examples ``[N, *observation]`` each by itself ``[N, E]``, for :meth:`classify`.

        None where an embedding depends on the other examples of its episode, or there is none.
        """
        return None

    def classify(self, support: Tensor | Array, support_y: Tensor | Array, queries: Tensor | Array) -> Tensor:
        """The logits ``[B, Q, ways]`` of queries that are embedded already, as :meth:`embed` does it.

        Args:
            support: embeddings ``[B, S, E]``.
            support_y: labels ``[B, S]`` from 0 to ``ways - 1``.
            queries: ``[B, Q, E]``

        Raises:
            TypeError: a learner that embeds nothing by itself.
        """
        raise TypeError(f"a {type(self).__name__} embeds no example by itself; call it on the examples")

    def loss(self, episodes: Any) -> Tensor:
        """Cross-entropy of the queries' labels, in nats, unless a learner has an objective of its own.

        ``episodes`` is a batch of what ``protocol`` says: :class:`metarl.data.episodes.Episodes`, or ``Streams``.
        """
        logits = self(episodes.support_x, episodes.support_y, episodes.query_x)
        target = torch.as_tensor(episodes.query_y, device=logits.device).long()
        return F.cross_entropy(logits.flatten(0, 1), target.flatten())

    @torch.no_grad()
    def predict(self, support_x: Tensor | Array, support_y: Tensor | Array, query_x: Tensor | Array) -> Tensor:
        """The most probable class of each query, ``[B, Q]``; see :meth:`forward`."""
        return self(support_x, support_y, query_x).argmax(-1)

    @torch.no_grad()
    def predict_embedded(self, support: Tensor | Array, support_y: Tensor | Array, queries: Tensor | Array) -> Tensor:
        """The most probable class of each query, ``[B, Q]``; see :meth:`classify`."""
        return self.classify(support, support_y, queries).argmax(-1)

    @torch.no_grad()
    def weights(self, support_x: Tensor | Array, support_y: Tensor | Array, query_x: Tensor | Array) -> Tensor | None:
        """What each query read of the support ``[B, Q, N]``: of its examples, or where N is not S of its classes.

        None where it isn't told.
        """
        return None

    def predict_streams(self, x: Tensor | Array, y: Tensor | Array) -> Tensor:
        """The most probable digits ``[B, T, L]`` of the label at every step, from the labels of steps before it.

        Raises:
            TypeError: a learner of episodes.
        """
        raise TypeError(
            f"a {type(self).__name__} is a learner of episodes and sees no streams; make a StreamClassifier"
        )

    def right(self, episodes: Episodes) -> Tensor:
        """Which queries are classified rightly, ``[B, Q]`` bool."""
        found = self.predict(episodes.support_x, episodes.support_y, episodes.query_x)
        return found == torch.as_tensor(episodes.query_y, device=found.device)
