"""Two ways to read queries from a memory with a support: through learned maps, or by votes of its slots."""

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
    """Writes a support and reads queries; embeddings are ``[B, S, E]``, one-hot labels ``[B, S, W]``."""

    memory: Memory

    def __call__(self, support: Tensor, labels: Tensor, queries: Tensor) -> Tensor:
        """The logits ``[B, Q, W]`` of the queries ``[B, Q, E]``; no query sees another."""
        ...

    def consolidate(self, support: Tensor, labels: Tensor) -> None:
        """Store the support for all later episodes, if the memory can."""
        ...


class SetReader(nn.Module):
    """Writes labels under the embeddings of their examples, then reads all queries side by side.

    Keys, values and queries go through learned maps; another maps reads to logits.

    Args:
        options: which memory.
        embedding_size: width of the embeddings.
        ways: classes.
        longest: examples of the longest support.

    Raises:
        ConfigError: a memory that can't store a set.
    """

    def __init__(self, options: MemoryOptions, embedding_size: int, ways: int, longest: int) -> None:
        super().__init__()
        self.memory = _memory(options, embedding_size, ways, longest, project=True)
        self.head = nn.Linear(self.memory.read_size, ways)

    def forward(self, support: Tensor, labels: Tensor, queries: Tensor) -> Tensor:
        """See :meth:`Reader.__call__`."""
        memory = self.memory
        state = memory.write_all(support, labels * labels.shape[-1] ** 0.5)
        return self.head(memory.read(state, queries)[0])

    def consolidate(self, support: Tensor, labels: Tensor) -> None:
        """See :meth:`Reader.consolidate`."""
        rows = torch.ones(support.shape[1::-1], dtype=torch.bool, device=support.device)
        self.memory.consolidate(support.transpose(0, 1), labels.transpose(0, 1) * labels.shape[-1] ** 0.5, rows)


class VotingReader(nn.Module):
    """Slots vote for their labels with the weights that a query gives them: p(y | q) = sum_i w_i(q) y_i.

    With attention over slots this is a matching network (Vinyals et al. 2016, eq. 1); with one averaged key for each
    class and the Euclidean kernel a prototypical network (Snell et al. 2017, eq. 1-2). Keys and queries are the
    embeddings themselves, and values the labels. The weight of the empty slot counts for no class.

    Args:
        options: which memory.
        embedding_size: width of the embeddings.
        ways: classes.
        longest: examples of the longest support.
        averaged: write the mean of each class's embeddings instead of every example's.

    Raises:
        ConfigError: a memory that can't store a set, or whose reads are not weighted sums of labels.
    """

    def __init__(
        self, options: MemoryOptions, embedding_size: int, ways: int, longest: int, *, averaged: bool = False
    ) -> None:
        super().__init__()
        self.memory = _memory(options, embedding_size, ways, ways if averaged else longest, project=False)
        self.averaged = averaged
        access = self.memory.access
        if access is None or not access.sums:
            raise ConfigError(
                f"memory.access = {options.access!r} with readout = 'votes': what it reads is no weighted sum of the "
                "slots' labels, so that they have no votes; use attention or graph, or readout = 'linear'"
            )
        learned = self.memory.store.learned()
        if learned is not None and len(learned[0]):
            raise ConfigError(
                f"memory.store = {options.store!r} with readout = 'votes': learned slots hold no labels to vote for; "
                "set memory.store_options.learned = 0, or readout = 'linear'"
            )

    def forward(self, support: Tensor, labels: Tensor, queries: Tensor) -> Tensor:
        """See :meth:`Reader.__call__`; the logits are log probabilities, :data:`NEVER` for labels that no slot has."""
        return self.recall(support, labels, queries)[0]

    def recall(self, support: Tensor, labels: Tensor, queries: Tensor) -> tuple[Tensor, Tensor]:
        """The logits ``[B, Q, W]``, and the log weights ``[B, Q, N]`` of the slots in the order of their writes."""
        rows = None
        if self.averaged:
            count = labels.sum(1)
            support, rows = labels.mT @ support / count.clamp_min(1)[..., None], count > 0
            labels = torch.eye(labels.shape[-1], dtype=labels.dtype, device=labels.device).expand(len(labels), -1, -1)
        memory = self.memory
        state = memory.write_all(support, labels, rows)
        read, slots = memory.recall(state, queries)
        assert read.log_weights is not None
        if self.averaged and torch.equal(slots.values, labels):  # slot by slot the classes in their order
            return read.log_weights.clamp_min(NEVER), read.log_weights
        return votes(read.log_weights, slots.values), read.log_weights

    def consolidate(self, support: Tensor, labels: Tensor) -> None:
        """See :meth:`Reader.consolidate`."""
        rows = torch.ones(support.shape[1::-1], dtype=torch.bool, device=support.device)
        self.memory.consolidate(support.transpose(0, 1), labels.transpose(0, 1), rows)


def votes(log_weights: Tensor, labels: Tensor) -> Tensor:
    """Log sum_n w_n y_n, at least :data:`NEVER` (Vinyals et al. 2016, eq. 1).

    Sums in the log domain keep the gradient of a class however small its weight.

    Args:
        log_weights: ``[B, Q, N]``
        labels: one-hot ``[B, N, W]``.

    Returns:
        ``[B, Q, W]``
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
