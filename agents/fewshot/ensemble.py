"""Several learners as one: each is trained by itself on the same episodes, and their predictions are averaged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from metarl.agents.fewshot.learner import FewShotLearner
from metarl.types import Array


class Ensemble(FewShotLearner):
    """Learners with different initial weights whose log probabilities are averaged (Dvornik et al. 2019, section 3.2).

    Args:
        members: two or more learners of episodes.

    Raises:
        ValueError: fewer members, or learners of streams.
    """

    def __init__(self, members: Sequence[FewShotLearner]) -> None:
        super().__init__()
        if len(members) < 2 or any(member.protocol != "episodes" for member in members):
            raise ValueError(
                f"an ensemble of {[type(member).__name__ for member in members]}, expected two or more learners of "
                "episodes"
            )
        self.members: Sequence[FewShotLearner] = nn.ModuleList(members)  # type: ignore[assignment]  # its items are typed as modules
        self.transductive = any(member.transductive for member in members)

    def forward(self, support_x: Tensor | Array, support_y: Tensor | Array, query_x: Tensor | Array) -> Tensor:
        """See :meth:`FewShotLearner.forward`; the logits are log probabilities."""
        return _mean([member(support_x, support_y, query_x) for member in self.members])

    def loss(self, episodes: Any) -> Tensor:
        """The mean of the members' losses, a scalar; no member learns from another."""
        return torch.stack([member.loss(episodes) for member in self.members]).mean()

    def embed(self, x: Tensor | Array) -> Tensor | None:
        """See :meth:`FewShotLearner.embed`; the members' embeddings side by side ``[N, M, E]``."""
        each = [member.embed(x) for member in self.members]
        known = [embedded for embedded in each if embedded is not None]
        return torch.stack(known, 1) if len(known) == len(each) else None

    def classify(self, support: Tensor | Array, support_y: Tensor | Array, queries: Tensor | Array) -> Tensor:
        """See :meth:`FewShotLearner.classify`."""
        own = zip(self.members, torch.as_tensor(support).unbind(2), torch.as_tensor(queries).unbind(2), strict=True)
        return _mean([member.classify(known, support_y, new) for member, known, new in own])

    def weights(self, support_x: Tensor | Array, support_y: Tensor | Array, query_x: Tensor | Array) -> Tensor | None:
        """See :meth:`FewShotLearner.weights`; the mean over the members."""
        each = [member.weights(support_x, support_y, query_x) for member in self.members]
        known = [weights for weights in each if weights is not None]
        return torch.stack(known).mean(0) if len(known) == len(each) else None

    def _described(self) -> dict[str, Any]:
        return {"members": len(self.members), "each": self.members[0]}


def _mean(logits: list[Tensor]) -> Tensor:
    return torch.stack([each - each.logsumexp(-1, keepdim=True) for each in logits]).mean(0)
