"""What external memories share: a matrix of words that is read and written by weights over its slots.

A word is ``[key | value]``. The write heads of the NTM and the DNC emit their own words and keys; here key and value
come from the core, and the head emits the rest.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, NamedTuple

import torch
from annotated_types import Ge
from torch import Tensor
from torch.nn import functional as F

from metarl.functional import external as fx
from metarl.functional import kernels
from metarl.memory.contract import Access, Content, MemoryOps, State, Store, Write
from metarl.memory.ops import by_step, only_rows
from metarl.types import Read

WORD_LIMIT = 1e4
"""The largest entry of a stored word; larger words are scaled down to it, or gradients through many writes overflow."""
NOTICED = 0.05  # a slot counts as written once the weights of its writes sum to more


@dataclass(frozen=True)
class ExternalOptions:
    """Options that all external memories have.

    Args:
        slots: slots of the memory, each of which holds a word: a key and a value.
        read_heads: heads that read side by side; what they read is put one behind the other.
    """

    slots: Annotated[int, Ge(1)] = 32
    read_heads: Annotated[int, Ge(1)] = 1


Parts = dict[str, Tensor]  # what controls a head: the named parts of its control, and the key that it looks for


class Matrix(NamedTuple):
    """The words ``[B, N, W]``, and the sum ``[B, N]`` of the weights that each was written with, without gradient."""

    words: Tensor
    write_weight: Tensor

    def overwritten(self, words: Tensor, weights: Tensor) -> Matrix:
        """The matrix with new words ``[B, N, W]``, after a write with ``weights`` ``[B, N]``."""
        return Matrix(words, self.write_weight + weights.detach())


class Layout:
    """The named parts of a control, in order: how wide each is, and the numbers with which it starts."""

    def __init__(self, **parts: tuple[int, float | list[float]]) -> None:
        self.parts = parts
        self.widths = [width for width, _ in parts.values()]
        self.size = sum(self.widths)

    def split(self, control: Tensor) -> Parts:
        """The parts ``[..., width]`` of a control ``[..., size]``."""
        return dict(zip(self.parts, control.split(self.widths, -1), strict=True))

    def start(self) -> Tensor:
        """The control ``[size]`` of the start."""
        return torch.cat([torch.as_tensor(start).expand(width) for width, start in self.parts.values()])


class External(Store):
    """A matrix of words with a write head and ``read_heads`` read heads.

    The key by which a read head looks is (query, 0) plus a part of its control, so that heads may differ and look for
    values, too. A write looks for (key, 0). A read of the empty memory is zeros.

    Subclasses give the layout of the write head's control and that of one read head's, with ``key`` among its parts,
    and say what a head does with it.
    """

    ranges: ClassVar[dict[str, Callable[[Tensor], Tensor]]] = {
        "key": lambda x: x,
        "strength": lambda x: fx.bounded(x, fx.STRENGTH_LIMIT),
        "sharpness": lambda x: 1.0 + fx.bounded(x, fx.SHARPNESS_LIMIT),
        "shift": lambda x: torch.softmax(x, -1),
        "mode": lambda x: torch.softmax(x, -1),
    }
    """What brings a part of a control into its range; all others are gates, by a sigmoid."""

    def __init__(self, key_size: int, value_size: int, options: ExternalOptions, write: Layout, read: Layout) -> None:
        super().__init__()
        self.key_size, self.value_size, self.options = key_size, value_size, options
        self.word_size = key_size + value_size
        self.slots, self.heads = options.slots, options.read_heads
        self.read_size = self.heads * self.word_size
        self.write_layout, self.read_layout = write, read
        self.control_size, self.read_control_size = write.size, self.heads * read.size

    @abstractmethod
    def _put(self, state: Any, head: Parts, rows: Tensor | None, in_place: bool) -> State:
        """The state after a write; ``head`` holds ``key`` and the control's parts ``[B, 1, ...]``, ``word`` ``[B, W]``.

        The word is zeros outside of ``rows``.
        """

    @abstractmethod
    def _look(self, state: Any, head: Parts) -> Tensor:
        """Weights ``[B, Q H, N]`` of Q queries by H heads; ``head`` holds keys and controls ``[B, Q H, ...]``."""

    def _after_read(self, state: Any, weights: Tensor) -> State:
        """The state after one read with weights ``[B, H, N]``."""
        return state._replace(read_weights=weights)

    def start_control(self) -> Tensor:
        """See :meth:`metarl.memory.contract.Store.start_control`."""
        return self.write_layout.start()

    def start_read_control(self) -> Tensor:
        """See :meth:`metarl.memory.contract.Store.start_read_control`."""
        return self.read_layout.start().repeat(self.heads)

    def empty(self, batch_size: int) -> Matrix:
        """A matrix of zeros: nothing is written."""
        return Matrix(torch.zeros(batch_size, self.slots, self.word_size), torch.zeros(batch_size, self.slots))

    def content(self, state: Any) -> Content:
        """The slots that were written with a weight that counts."""
        words, weight = state.matrix
        return Content(words[..., : self.key_size], words[..., self.key_size :], weight > NOTICED)

    def write(self, state: State, item: Write, donate: bool = False) -> State:
        """See :meth:`metarl.memory.contract.Store.write`; no control is the one of the start."""
        in_place = donate and not torch.is_grad_enabled()
        return self._put(state, self._write_head(item), item.rows, in_place)

    def read(self, state: Any, query: Tensor, control: Tensor | None = None) -> tuple[Read, State]:
        """See :meth:`metarl.memory.contract.Store.read`; no control is the one of the start."""
        weights = self._look(state, self._read_head(query, control))
        value = torch.bmm(weights, state.matrix.words).reshape(*query.shape[:2], self.read_size)
        return Read(value, None), self._after_read(state, weights) if query.shape[1] == 1 else state

    def note_read(self, state: State, read: Read) -> State:
        """See :meth:`metarl.memory.contract.Store.note_read`: all heads take the weights of the access, if known."""
        if read.log_weights is None:
            return state
        return self._after_read(state, read.log_weights.exp().repeat(1, self.heads, 1))

    def unroll(self, state: Any, ops: MemoryOps, access: Access | None) -> tuple[Tensor, State]:
        """See :meth:`metarl.memory.contract.Store.unroll`: steps, but all controls are computed beforehand."""
        if access is not None or ops.query_mask is not None or ops.query.shape[2] != 1:
            return super().unroll(state, ops, access)
        writes = _steps(self._write_head(Write(ops.key, ops.value, ops.write_control, ops.write_mask)))
        reads = _steps(self._read_head(ops.query, ops.read_control))
        resets, some, full = (m.tolist() for m in (ops.reset.any(1), ops.write_mask.any(1), ops.write_mask.all(1)))
        values = []
        for t in range(len(resets)):
            if resets[t]:
                state = self.reset(state, ops.reset[t])
            if some[t]:
                state = self._put(state, writes[t], None if full[t] else ops.write_mask[t], False)
            weights = self._look(state, reads[t])
            values.append(torch.bmm(weights, state.matrix.words))
            state = self._after_read(state, weights)
        return torch.stack(values).flatten(2)[:, :, None], state

    def _parts(self, layout: Layout, control: Tensor) -> Parts:
        """The parts of a control, each in its range."""
        return {name: self.ranges.get(name, torch.sigmoid)(part) for name, part in layout.split(control).items()}

    def _write_head(self, item: Write) -> Parts:
        """What :meth:`_put` takes, from a write of one step or of many."""
        key, value, control, rows = item
        if control is None:
            control = self.start_control().to(key).expand(*key.shape[:-1], -1)
        head = self._parts(self.write_layout, control[..., None, :])
        word = torch.cat([key, value], -1)
        word = word * (WORD_LIMIT / word.detach().abs().amax(-1, keepdim=True).clamp_min(WORD_LIMIT))
        head["word"] = only_rows(rows, word)
        head["key"] = kernels.unit(F.pad(key, (0, self.value_size)))[..., None, :]
        return head

    def _read_head(self, query: Tensor, control: Tensor | None) -> Parts:
        """What :meth:`_look` takes, from queries ``[..., Q, K]`` and controls of one step or of many."""
        if control is None:
            control = self.start_read_control().to(query).expand(*query.shape[:-1], -1)
        head = self._parts(self.read_layout, control.unflatten(-1, (self.heads, -1)).flatten(-3, -2))
        words = F.pad(query, (0, self.value_size))
        if self.heads > 1:
            words = words.repeat_interleave(self.heads, -2)
        head["key"] = kernels.unit(words + head["key"])
        return head


def _steps(parts: Parts) -> list[Parts]:
    """Parts ``[T, ...]`` step by step."""
    return [dict(zip(parts, step, strict=True)) for step in by_step(*parts.values())]
