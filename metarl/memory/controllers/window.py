"""A Transformer that attends to a sliding window of its inputs, with a cache for stepping."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, ClassVar, NamedTuple

import torch
from annotated_types import Ge
from torch import Tensor, nn

from metarl.functional.branches import in_graph
from metarl.memory.contract import Controller
from metarl.memory.controllers.feedforward import Block
from metarl.memory.options import check_heads

CHUNK = 32  # queries that attend together along a sequence, so that memory grows linearly with its length


@dataclass(frozen=True)
class WindowOptions:
    """Options of the sliding-window Transformer.

    Args:
        hidden_size: width of the residual stream and of the output; a multiple of the heads.
        heads: attention heads of each layer.
        layers: number of layers; L of them reach L (window - 1) inputs back.
        window: inputs that each layer sees, the present one included.
        expansion: units of the feed-forward part of a layer, as a multiple of the width.
    """

    hidden_size: Annotated[int, Ge(1)] = 64
    heads: Annotated[int, Ge(1)] = 4
    layers: Annotated[int, Ge(1)] = 1
    window: Annotated[int, Ge(1)] = 64
    expansion: Annotated[int, Ge(1)] = 2


class WindowState(NamedTuple):
    """The cache: what each layer made of the last window - 1 inputs, the oldest first and the newest in the last place.

    Keys and values are ``[B, L, W - 1, H]``, and ``length`` ``[B]`` says how many places are valid: those of inputs
    that were never read, or were read before the state was cleared, hold zeros.
    """

    keys: Tensor
    values: Tensor
    length: Tensor


class Sight(NamedTuple):
    """What a chunk of queries sees. Places are counted along the cache and on along the sequence, from 0.

    ``queries`` are where the chunk lies in the sequence. ``first`` is the first place that any of them sees; the last
    one is that of the last query. ``distance`` ``[C, S]`` is how far back each place lies, and 0 for those ``outside``
    ``[C, S]`` (bool) of the query's window. ``cleared`` ``[B, 1, C, S]`` (bool) are the places in which nothing valid
    stands for the row, None where there are none.
    """

    queries: slice
    first: int
    outside: Tensor
    distance: Tensor
    cleared: Tensor | None


def sights(begin: Tensor, window: int) -> Iterator[Sight]:
    """Cut a sequence into chunks; ``begin`` ``[T, B]`` is the first valid place for each query, never falling."""
    cached = window - 1
    for start in range(0, len(begin), CHUNK):
        stop = min(start + CHUNK, len(begin))
        first = start if in_graph() else max(start, int(begin[start].min()))
        places = torch.arange(first, cached + stop, device=begin.device)
        distance = torch.arange(cached + start, cached + stop, device=begin.device)[:, None] - places
        outside = (distance < 0) | (distance >= window)
        cleared = None
        if in_graph() or int(begin[stop - 1].max()) > first:
            cleared = (places < begin[start:stop].t()[..., None])[:, None]
        yield Sight(slice(start, stop), first, outside, distance.masked_fill(outside, 0), cleared)


class Attention(nn.Module):
    """Causal multi-head attention over a window (Vaswani et al. 2017, section 3.2; Beltagy et al. 2020, section 3.1).

    Each head adds to its logits a learned bias for the distance to the query (Raffel et al. 2020, section 2.1, with a
    bias for every distance); it starts at zero.
    """

    own: Tensor
    """``[heads, H]``: one where a column belongs to the head."""

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.inputs = nn.Linear(width, 3 * width)
        self.output = nn.Linear(width, width)
        self.bias = nn.Parameter(torch.zeros(heads, window))
        self.register_buffer("own", torch.eye(heads).repeat_interleave(width // heads, 1), persistent=False)

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, seen: list[Sight]) -> tuple[Tensor, Tensor, Tensor]:
        """Attend to the cache and to the sequence.

        Args:
            x: ``[B, T, H]``
            keys: ``[B, W - 1, H]`` of the cache.
            values: ``[B, W - 1, H]`` of the cache.
            seen: what each chunk of queries sees.

        Returns:
            What was read, new keys and new values, all ``[B, T, H]``.
        """
        query, new_keys, new_values = self.inputs(x).chunk(3, -1)
        query = query * (x.shape[-1] // len(self.own)) ** -0.5
        lines = [query, keys, values, new_keys, new_values]
        if x.shape[1] > 1:  # a single query leaves keys and values as they lie, which costs less
            lines = [line.unflatten(-1, (len(self.own), -1)).transpose(1, 2) for line in lines]
        query, old, new = lines[0], lines[1:3], lines[3:]
        cached, read = keys.shape[1], []
        for sight in seen:
            now, first = sight.queries, sight.first
            parts = [[line[..., max(first - cached, 0) : now.stop, :] for line in new]]
            if first < cached:
                parts.insert(0, [line[..., first:, :] for line in old])
            read.append(self._attend(query[..., now, :], parts, sight))
        return self.output(torch.cat(read, 1)), new_keys, new_values

    def _attend(self, query: Tensor, parts: list[list[Tensor]], sight: Sight) -> Tensor:
        """``[B, C, H]``; keys and values come in parts, cache and sequence, so that nothing is copied to join them."""
        bias = self.bias[:, sight.distance].masked_fill(sight.outside, -torch.inf)
        every = [self._match(query, keys) for keys, _ in parts]
        logits = (every[0] if len(every) == 1 else torch.cat(every, -1)) + bias
        if sight.cleared is not None:
            logits = logits.masked_fill(sight.cleared, -torch.inf)
        weights = logits.softmax(-1).split([part.shape[-1] for part in every], -1)
        reads = [self._mix(weight, values) for weight, (_, values) in zip(weights, parts, strict=True)]
        return reads[0] if len(reads) == 1 else reads[0] + reads[1]

    def _match(self, query: Tensor, keys: Tensor) -> Tensor:
        """Logits ``[B, heads, C, N]``."""
        if keys.dim() == 4:
            return query @ keys.mT
        return ((query * self.own) @ keys.mT)[:, :, None]  # each head's query, with zeros for the others' columns

    def _mix(self, weights: Tensor, values: Tensor) -> Tensor:
        """Values ``[B, C, H]`` summed with ``weights`` ``[B, heads, C, N]``."""
        if values.dim() == 4:
            return (weights @ values).transpose(1, 2).flatten(2)
        return ((weights[:, :, 0] @ values) * self.own).sum(1, keepdim=True)


class Layer(nn.Module):
    """Attention and a feed-forward block, both pre-norm and residual (Xiong et al. 2020)."""

    def __init__(self, options: WindowOptions) -> None:
        super().__init__()
        width = options.hidden_size
        self.norm = nn.LayerNorm(width)
        self.attention = Attention(width, options.heads, options.window)
        self.block = Block(width, options.expansion * width)

    def forward(self, x: Tensor, keys: Tensor, values: Tensor, seen: list[Sight]) -> tuple[Tensor, Tensor, Tensor]:
        """See :meth:`Attention.forward`; the first result is the input of the next layer."""
        read, keys, values = self.attention(self.norm(x), keys, values, seen)
        return self.block(x + read), keys, values


class WindowTransformer(Controller):
    """A linear map, Transformer layers that see the last ``window`` inputs, and a normalisation."""

    resets_inside: ClassVar[bool] = True

    def __init__(self, input_size: int, options: WindowOptions) -> None:
        super().__init__()
        width = options.hidden_size
        check_heads(options.heads, hidden_size=width)
        self.options = options
        self.embed = nn.Linear(input_size, width)
        self.layers = nn.ModuleList(Layer(options) for _ in range(options.layers))
        self.norm = nn.LayerNorm(width)
        self.output_size = width

    def initial_state(self, batch_size: int) -> WindowState:
        """See :meth:`metarl.memory.contract.Controller.initial_state`."""
        o, weight = self.options, self.embed.weight
        empty = weight.new_zeros(batch_size, o.layers, o.window - 1, o.hidden_size)
        return WindowState(empty, empty.clone(), weight.new_zeros(batch_size, dtype=torch.int64))

    def unroll(
        self, x: Tensor, state: WindowState, reinstated: Tensor | None = None, cleared: Tensor | None = None
    ) -> tuple[Tensor, WindowState]:
        """See :meth:`metarl.memory.contract.Controller.unroll`; memory is linear in T."""
        steps, cached = len(x), self.options.window - 1
        begin = (cached - state.length).expand(steps, -1)
        if cleared is not None:
            here = torch.arange(cached, cached + steps, device=x.device)[:, None]
            begin = torch.where(cleared, here, begin).cummax(0).values
        seen = list(sights(begin, self.options.window))
        y, keys, values = self.embed(x).transpose(0, 1), [], []
        for n, layer in enumerate(self.layers):
            y, key, value = layer(y, state.keys[:, n], state.values[:, n], seen)
            keys.append(key)
            values.append(value)
        length = (cached + steps - begin[-1]).clamp(max=cached)
        emptied = None
        if cleared is not None:
            emptied = torch.arange(x.shape[1]) if in_graph() else cleared.any(0).nonzero()[:, 0]
        state = WindowState(
            shift(state.keys, keys, length, emptied), shift(state.values, values, length, emptied), length
        )
        return self.norm(y).transpose(0, 1), state


def shift(cache: Tensor, new: list[Tensor], length: Tensor, emptied: Tensor | None) -> Tensor:
    """The cache ``[B, L, W - 1, H]`` after a sequence.

    Args:
        cache: ``[B, L, W - 1, H]`` before it.
        new: ``[B, T, H]`` of each layer.
        length: ``[B]`` how many of the last entries are valid.
        emptied: indices of rows in which all entries before these become zero; None: no row.
    """
    room, steps = cache.shape[2], new[0].shape[1]
    latest = torch.stack([part[:, max(steps - room, 0) :] for part in new], 1)
    if steps < room:
        latest = torch.cat([cache[:, :, steps:], latest], 2)
    if emptied is not None and len(emptied):  # few rows at a time, where trials begin at different steps
        gone = torch.arange(room, device=length.device) < room - length[emptied, None]
        latest[emptied] = latest[emptied].masked_fill(gone[:, None, :, None], 0.0)
    return latest
