"""Two ways through a memory from a support to its queries: as a set, or as a stream."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metarl import tree
from metarl.config import ConfigError
from metarl.memory.contract import State
from metarl.memory.memory import Memory
from metarl.memory.options import MemoryOptions
from metarl.memory.registry import STORES, build_core, build_memory
from metarl.types import Boundary, CoreInput

NEVER = -1e4
"""The logit of a label that was not among those of the support."""


class Reader(Protocol):
    """What a classifier reads its support with; embeddings are ``[B, S, E]``, labels one-hot ``[B, S, W]``."""

    @property
    def memory(self) -> Memory | None:
        """The memory inside, if there is one."""
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
        self.inside = _memory(options, embedding_size, ways, longest, bare=False)
        self.head = nn.Linear(self.inside.read_size, ways)

    @property
    def memory(self) -> Memory:
        """See :meth:`Reader.memory`."""
        return self.inside

    def forward(self, support: Tensor, labels: Tensor, queries: Tensor) -> Tensor:
        """See :meth:`Reader.__call__`."""
        memory = self.inside
        state = memory.written(support, labels * labels.shape[-1] ** 0.5)
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
        self.inside = _memory(options, embedding_size, ways, ways if averaged else longest, bare=True)
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
        state = memory.written(support, labels, rows)
        read, slots = memory.recall(state, queries)
        assert read.log_weights is not None
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


def _memory(options: MemoryOptions, embedding_size: int, ways: int, longest: int, *, bare: bool) -> Memory:
    if options.store not in STORES:
        raise ConfigError(
            f"memory.store = {options.store!r} with mode = 'set': a set is read through a store, one of "
            f"{', '.join(STORES)}; a controller alone needs mode = 'stream'"
        )
    if options.store_options.get("holds") == "state":
        raise ConfigError(
            "memory.store_options.holds = 'state' with mode = 'set': there is no controller whose state could be "
            "held; leave it out, or use mode = 'stream'"
        )
    memory = build_memory(options, embedding_size, ways, longest, bare=bare)
    if not memory.store.written:
        raise ConfigError(
            "memory.store_options.learned_only = true with mode = 'set': nothing would be kept of a support; "
            "leave it out, or use mode = 'stream' with a controller that remembers"
        )
    return memory


class StreamReader(nn.Module):
    """A core sees one example after another, the label of each with the next one (Santoro et al. 2016, figure 1a).

    Each example is an episode of one step, and a stream a trial. Every query is put as the next example to a copy of
    the state behind the support, beside the label of the support's last example.
    """

    def __init__(self, options: MemoryOptions, embedding_size: int, ways: int, longest: int) -> None:
        super().__init__()
        self.core = build_core(options, embedding_size, ways, longest)
        self.head = nn.Linear(self.core.output_size, ways)

    @property
    def memory(self) -> Memory | None:
        """See :meth:`Reader.memory`."""
        inside: Memory | None = getattr(self.core, "memory", None)
        return inside

    def forward(self, support: Tensor, labels: Tensor, queries: Tensor) -> Tensor:
        """See :meth:`Reader.__call__`."""
        batch, asked, _ = queries.shape
        _, state = self.core.unroll(*self._stream(support, labels))
        every = tree.map_tensors(lambda leaf: leaf.repeat_interleave(asked, 0), state)
        x = CoreInput(queries.flatten(0, 1), labels[:, -1].repeat_interleave(asked, 0))
        begin = torch.full((batch * asked,), int(Boundary.EPISODE), device=queries.device)
        return self.head(self.core(x, every, begin)[0]).unflatten(0, (batch, asked))

    def stream(self, examples: Tensor, labels: Tensor) -> Tensor:
        """The logits at every step ``[B, T, W]``, knowing the labels of the steps before."""
        return self.head(self.core.unroll(*self._stream(examples, labels))[0].transpose(0, 1))

    def consolidate(self, support: Tensor, labels: Tensor) -> None:
        """See :meth:`Reader.consolidate`."""
        x, _, begin = self._stream(*(F.pad(part, (0, 0, 0, 1)) for part in (support, labels)))  # completes the last one
        self.core.consolidate(x, begin)

    def _stream(self, examples: Tensor, labels: Tensor) -> tuple[CoreInput, State, Tensor]:
        """What the core is run on: ``[T, B, ...]``, each example beside the label of the one before."""
        x = CoreInput(examples.transpose(0, 1), F.pad(labels, (0, 0, 1, -1)).transpose(0, 1))
        begin = torch.full(x.now.shape[:2], int(Boundary.EPISODE), device=examples.device)
        begin[0] = Boundary.TRIAL
        return x, self.core.initial_state(len(examples)), begin
