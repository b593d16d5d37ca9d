"""Two ways to read queries from a memory that a support was written to: by learned maps, or by votes of slots."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from metarl.config import ConfigError
from metarl.memory.memory import Memory
from metarl.memory.options import MemoryOptions
from metarl.memory.registry import STORES, build_memory

NEVER = -1e4
"""The logit of a label that was not among those of the support."""


class Reader(Protocol):
    """What a classifier reads its support with; embeddings are ``[B, S, E]``, labels one-hot ``[B, S, W]``."""

    @property
    def memory(self) -> Memory:
        """The memory inside."""
        ...

    def __call__(self, support: Tensor, labels: Tensor, queries: Tensor) -> Tensor:
        """The logits ``[B, Q, W]`` of the queries ``[B, Q, E]``; no query sees another."""
        ...

    def consolidate(self, support: Tensor, labels: Tensor) -> None:
        """Keep the support for life, if the memory is one that does."""
        ...


class SetReader(nn.Module):
    """Labels are written under the embeddings of their examples; all queries are then read side by side.

    Keys, values and queries go through learned maps; what is read becomes logits by another.
    """

    def __init__(self, options: MemoryOptions, embedding_size: int, ways: int, longest: int) -> None:
        super().__init__()
        self.inside = _memory(options, embedding_size, ways, longest, project=True)
        self.head = nn.Linear(self.inside.read_size, ways)

    @property
    def memory(self) -> Memory:
        """See :meth:`Reader.memory`."""
        return self.inside

    def forward(self, support: Tensor, labels: Tensor, queries: Tensor) -> Tensor:
        """See :meth:`Reader.__call__`."""
        memory = self.inside
        state = memory.write_all(support, labels * labels.shape[-1] ** 0.5)
        return self.head(memory.read(state, queries)[0])

    def consolidate(self, support: Tensor, labels: Tensor) -> None:
        """See :meth:`Reader.consolidate`."""
        rows = torch.ones(support.shape[1::-1], dtype=torch.bool, device=support.device)
        self.inside.consolidate(support.transpose(0, 1), labels.transpose(0, 1) * labels.shape[-1] ** 0.5, rows)


class VotingReader(nn.Module):
    """Slots vote for their labels with the weights that a query gives them: p(y | q) = sum_i w_i(q) y_i.

    With attention over slots this is a matching network (Vinyals et al. 2016, eq. 1); with one averaged key for each
    class and the Euclidean kernel a prototypical network (Snell et al. 2017, eq. 1-2). Keys and queries are the
    embeddings themselves, and values the labels. What empty slots take of the weights counts for no class.

    Args:
        averaged: write the mean of each class's embeddings instead of every example's.
    """

    def __init__(
        self, options: MemoryOptions, embedding_size: int, ways: int, longest: int, *, averaged: bool = False
    ) -> None:
        super().__init__()
        self.inside = _memory(options, embedding_size, ways, ways if averaged else longest, project=False)
        self.averaged = averaged
        access = self.inside.access
        if access is None or not access.sums:
            raise ConfigError(
                f"memory.access = {options.access!r} with readout = 'votes': what it reads is no weighted sum of the "
                "slots' labels, so that they have no votes; use attention or graph, or readout = 'linear'"
            )
        learned = self.inside.store.learned()
        if learned is not None and len(learned[0]):
            raise ConfigError(
                f"memory.store = {options.store!r} with readout = 'votes': learned slots hold no labels to vote for; "
                "set memory.store_options.learned = 0, or readout = 'linear'"
            )

    @property
    def memory(self) -> Memory:
        """See :meth:`Reader.memory`."""
        return self.inside

    def forward(self, support: Tensor, labels: Tensor, queries: Tensor) -> Tensor:
        """See :meth:`Reader.__call__`; the logits are log probabilities, :data:`NEVER` for labels that no slot has."""
        return self.recall(support, labels, queries)[0]

    def recall(self, support: Tensor, labels: Tensor, queries: Tensor) -> tuple[Tensor, Tensor]:
        """The logits and the log weights ``[B, Q, N]`` of the slots, in the order in which they were written."""
        rows = None
        if self.averaged:
            count = labels.sum(1)
            support, rows = labels.mT @ support / count.clamp_min(1)[..., None], count > 0
            labels = torch.eye(labels.shape[-1]).to(labels).expand(len(labels), -1, -1)
        memory = self.inside
        state = memory.write_all(support, labels, rows)
        read, slots = memory.recall(state, queries)
        assert read.log_weights is not None
        if self.averaged and torch.equal(slots.values, labels):  # slot by slot the classes in their order
            return read.log_weights.clamp_min(NEVER), read.log_weights
        return votes(read.log_weights, slots.values), read.log_weights

    def consolidate(self, support: Tensor, labels: Tensor) -> None:
        """See :meth:`Reader.consolidate`."""
        rows = torch.ones(support.shape[1::-1], dtype=torch.bool, device=support.device)
        self.inside.consolidate(support.transpose(0, 1), labels.transpose(0, 1), rows)


def votes(log_weights: Tensor, labels: Tensor) -> Tensor:
    """The log of sum_n w_n y_n, ``[B, Q, W]``, from log weights ``[B, Q, N]`` and labels ``[B, N, W]``.

    No less than :data:`NEVER`. Sums of logarithms keep the gradient of a class however little weight it has.
    """
    each = log_weights.clamp_min(NEVER)[..., None] + labels.clamp_min(0).log()[:, None]
    none = (labels <= 0).all(1)[:, None]
    return torch.logsumexp(each.masked_fill(none[:, :, None], 0.0), 2).masked_fill(none, NEVER)


def _memory(options: MemoryOptions, embedding_size: int, ways: int, longest: int, *, project: bool) -> Memory:
    if options.store not in STORES:
        raise ConfigError(
            f"memory.store = {options.store!r} to classify sets: a set is read through a store, one of "
            f"{', '.join(STORES)}; a controller alone reads streams, as a StreamClassifier does"
        )
    if options.store_options.get("holds") == "state":
        raise ConfigError(
            "memory.store_options.holds = 'state' to classify sets: there is no controller whose state could be held; "
            "leave it out, or use a StreamClassifier"
        )
    memory = build_memory(options, embedding_size, ways, longest, project=project)
    if not memory.store.writable:
        raise ConfigError(
            "memory.store_options.learned_only = true to classify sets: nothing would be kept of a support; "
            "leave it out, or use a StreamClassifier with a controller that remembers"
        )
    return memory
