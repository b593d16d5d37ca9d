"""Several learners as one: each is trained on the same episodes, and their predictions are averaged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from metarl.agents.fewshot.learner import Examples, FewShotLearner
from metarl.config import InputError


class Ensemble(FewShotLearner):
    """Learners with different initial weights whose log probabilities are averaged (Dvornik et al. 2019, section 3.2).

    Args:
        members: two or more learners of episodes.

    Raises:
        InputError: fewer members, or learners of streams.
    """

    def __init__(self, members: Sequence[FewShotLearner]) -> None:
        super().__init__()
        if len(members) < 2 or any(member.protocol != "episodes" for member in members):
            given = [type(member).__name__ for member in members]
            raise InputError(key="members", given=given, expected="two or more learners of episodes")
        self.members: Sequence[FewShotLearner] = nn.ModuleList(members)  # type: ignore[assignment]  # its items are typed as modules
        self.transductive = any(member.transductive for member in members)

    def forward(self, support_x: Examples, support_y: Examples, query_x: Examples) -> Tensor:
        """See :meth:`FewShotLearner.forward`; the logits ``[B, Q, ways]`` are log probabilities."""
        return _mean([member(support_x, support_y, query_x) for member in self.members])

    def loss(self, episodes: Any) -> Tensor:
        """See :meth:`FewShotLearner.loss`; the mean over the members, none of which learns from another."""
        return torch.stack([member.loss(episodes) for member in self.members]).mean()

    def embed(self, x: Examples) -> Tensor | None:
        """See :meth:`FewShotLearner.embed`; the members' embeddings side by side ``[N, M, E]``."""
        return _stacked([member.embed(x) for member in self.members], 1)

    def fit_metric(self, embedded: Examples, labels: Examples) -> None:
        """See :meth:`FewShotLearner.fit_metric`; each member has its own."""
        for member, own in zip(self.members, torch.as_tensor(embedded).unbind(1), strict=True):
            member.fit_metric(own, labels)

    def classify(self, support: Examples, support_y: Examples, queries: Examples) -> Tensor:
        """See :meth:`FewShotLearner.classify`."""
        own = zip(self.members, torch.as_tensor(support).unbind(2), torch.as_tensor(queries).unbind(2), strict=True)
        return _mean([member.classify(known, support_y, new) for member, known, new in own])

    def weights(self, support_x: Examples, support_y: Examples, query_x: Examples) -> Tensor | None:
        """See :meth:`FewShotLearner.weights`; the mean over the members."""
        each = _stacked([member.weights(support_x, support_y, query_x) for member in self.members], 0)
        return None if each is None else each.mean(0)

    @torch.no_grad()
    def support_weights(self, support: Examples, support_y: Examples, queries: Examples) -> Tensor | None:
        """See :meth:`FewShotLearner.support_weights`; the mean over the members."""
        own = zip(self.members, torch.as_tensor(support).unbind(2), torch.as_tensor(queries).unbind(2), strict=True)
        each = _stacked([member.support_weights(known, support_y, new) for member, known, new in own], 0)
        return None if each is None else each.mean(0)

    def resized(self, ways: int, longest: int) -> Self:
        """See :meth:`FewShotLearner.resized`."""
        return type(self)([member.resized(ways, longest) for member in self.members]).train(self.training)

    def _described(self) -> dict[str, Any]:
        return {"members": len(self.members), "each": self.members[0]}


def _stacked(parts: list[Tensor | None], axis: int) -> Tensor | None:
    """The parts as one tensor; None if a member has none."""
    known = [part for part in parts if part is not None]
    return torch.stack(known, axis) if len(known) == len(parts) else None


def _mean(logits: list[Tensor]) -> Tensor:
    return torch.stack([each - each.logsumexp(-1, keepdim=True) for each in logits]).mean(0)
