"""Two ways through a memory from a support to its queries: as a set, or as a stream."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metarl import tree
from metarl.config import ConfigError
from metarl.memory.contract import State
from metarl.memory.core import like
from metarl.memory.memory import Memory
from metarl.memory.options import MemoryOptions
from metarl.memory.registry import STORES, build_core, build_memory
from metarl.memory.slots import Course
from metarl.types import Boundary, CoreInput


class Reader(Protocol):
    """What a classifier reads its support with; embeddings are ``[B, S, E]``, labels one-hot ``[B, S, W]``."""

    output_size: int

    @property
    def memory(self) -> Memory | None:
        """The memory inside, if there is one."""
        ...

    def __call__(self, support: Tensor, labels: Tensor, queries: Tensor) -> Tensor:
        """What each of the queries ``[B, Q, E]`` gets, ``[B, Q, output_size]``; no query sees another."""
        ...

    def consolidate(self, support: Tensor, labels: Tensor) -> None:
        """Keep the support for life, if the memory is one that does."""
        ...


class SetReader(nn.Module):
    """Labels are written under the embeddings of their examples; all queries are then read side by side.

    With attention over slots this is a matching network (Vinyals et al. 2016, eq. 1): what is read is a weighted sum of
    the support's labels, through a learned linear map.
    """

    def __init__(self, options: MemoryOptions, embedding_size: int, ways: int, longest: int) -> None:
        super().__init__()
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
        self.inside = build_memory(options, embedding_size, ways, longest)
        if not self.inside.store.written:
            raise ConfigError(
                "memory.store_options.learned_only = true with mode = 'set': nothing would be kept of a support; "
                "leave it out, or use mode = 'stream' with a controller that remembers"
            )
        self.output_size = self.inside.read_size

    @property
    def memory(self) -> Memory:
        """See :meth:`Reader.memory`."""
        return self.inside

    def forward(self, support: Tensor, labels: Tensor, queries: Tensor) -> Tensor:
        """See :meth:`Reader.__call__`."""
        memory = self.inside
        state = like(self, memory.initial_state(len(support)))
        place, item = support.transpose(0, 1), labels.transpose(0, 1)
        if memory.parallel:
            never = torch.zeros(place.shape[:2], dtype=torch.bool, device=place.device)
            _, state = memory.unroll(state, Course(never, ~never, place, item, never, place))
        else:
            for where, what in zip(place, item, strict=True):
                state = memory.write(state, where, what)
        return memory.read(state, queries)[0]

    def consolidate(self, support: Tensor, labels: Tensor) -> None:
        """See :meth:`Reader.consolidate`."""
        rows = torch.ones(support.shape[1::-1], dtype=torch.bool, device=support.device)
        self.inside.consolidate(support.transpose(0, 1), labels.transpose(0, 1), rows)


class StreamReader(nn.Module):
    """A core sees one example after another, the label of each with the next one (Santoro et al. 2016, figure 1a).

    Each example is an episode of one step, and a stream a trial. Every query is put as the next example to a copy of
    the state behind the support, beside the label of the support's last example.
    """

    def __init__(self, options: MemoryOptions, embedding_size: int, ways: int, longest: int) -> None:
        super().__init__()
        self.core = build_core(options, embedding_size, ways, longest)
        self.output_size = self.core.output_size

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
        return self.core(x, every, begin)[0].unflatten(0, (batch, asked))

    def stream(self, examples: Tensor, labels: Tensor) -> Tensor:
        """What comes out at every step ``[B, T, output_size]``, knowing the labels of the steps before."""
        return self.core.unroll(*self._stream(examples, labels))[0].transpose(0, 1)

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
