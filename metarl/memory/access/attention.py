"""Attention over the slots of a store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge, Gt
from torch import Tensor
from torch.nn import functional as F

from metarl.functional import kernels
from metarl.functional.addressing import keep_top, log_weights
from metarl.functional.kernels import Kernel
from metarl.memory.contract import Access, Content
from metarl.types import Read


@dataclass(frozen=True)
class AttentionOptions:
    """Options of the attention access."""

    kernel: Kernel = "dot"
    """How a key answers a query."""
    heads: Annotated[int, Ge(1)] = 1
    """Keys, queries and values are split into as many heads, each with weights of its own."""
    top_k: Annotated[int, Ge(1)] | None = None
    """Read only the k best slots of each head, and those that tie with the last of them; None reads all."""
    temperature: Annotated[float, Gt(0)] = 1.0
    """Divides the logits: small is sharp."""
    empty_slot: bool = True
    """One more slot of logit 0 that holds nothing, so that a query that nothing answers reads nothing."""


class Attention(Access):
    """Softmax attention (Vaswani et al. 2017; with ``inverse_distance`` and ``top_k`` the reading of a DND).

    A query that sees no slot gets the empty read: zeros. Long unrolls of the ``dot`` and ``cosine`` kernels run by
    torch's fused kernel and return no weights; gradients reach queries, keys and values alike.
    """

    def __init__(self, key_size: int, value_size: int, options: AttentionOptions) -> None:
        super().__init__()
        for name, size in (("key_size", key_size), ("value_size", value_size)):
            if size % options.heads:
                raise ValueError(
                    f"memory.{name} is {size}, which {options.heads} heads do not divide; choose a multiple"
                )
        self.options = options

    def forward(
        self,
        query: Tensor,
        content: Content,
        mask: Tensor | None = None,
        control: Tensor | None = None,
        *,
        causal: bool = False,
    ) -> Read:
        """See :meth:`metarl.memory.contract.Access.forward`."""
        fused = self.options.kernel != "inverse_distance" and self.options.top_k is None and query.shape[1] > 1
        if fused and self.options.empty_slot:
            return Read(self._fused(query, content, mask, causal), None)
        return self.weigh(query, content, mask, causal=causal)

    def prepare(self, address: Tensor) -> Tensor:
        """See :meth:`metarl.memory.contract.Access.prepare`; each head has a part of its own."""
        if self.options.kernel != "cosine":
            return address
        return kernels.prepare("cosine", address.unflatten(-1, (self.options.heads, -1))).flatten(-2)

    def weigh(self, query: Tensor, content: Content, mask: Tensor | None = None, *, causal: bool = False) -> Read:
        """The same read written out, with the weights (their mean over heads)."""
        o = self.options
        visible = self._visible(query, content, mask, causal)[:, None]
        scores = self._scores(query, content.keys)
        if o.top_k is not None:
            scores = keep_top(scores.masked_fill(~visible, -torch.inf), o.top_k)
            visible = visible & ~torch.isneginf(scores)
        weights = log_weights(scores, visible, o.empty_slot)
        value = self._sum(weights.exp(), content.values)
        mean = weights[:, 0] if o.heads == 1 else torch.logsumexp(weights, 1) - torch.tensor(float(o.heads)).log()
        return Read(value, mean)

    def _scores(self, query: Tensor, keys: Tensor) -> Tensor:
        """Logits ``[B, heads, Q, N]``."""
        o = self.options
        if query.shape[1] > 1 or o.heads == 1 or o.kernel == "inverse_distance":
            return kernels.logits(o.kernel, self._split(query), self._split(keys), o.temperature)
        # One query over many slots is bound by memory: queries padded with zeros leave the keys where they lie.
        apart = query * self._own(query.shape[-1], query)
        scale = o.temperature * kernels.scale_of(o.kernel, query.shape[-1] // o.heads)
        return (apart @ keys.mT / scale)[:, :, None]

    def _sum(self, weights: Tensor, values: Tensor) -> Tensor:
        """Values ``[B, Q, V]`` summed with ``weights`` ``[B, heads, Q, N]``."""
        if weights.shape[2] > 1 or self.options.heads == 1:
            return (weights @ self._split(values)).transpose(1, 2).flatten(2)
        every = weights[:, :, 0] @ values  # each head over all of the values, of which its own part is kept
        return (every * self._own(values.shape[-1], values)).sum(1, keepdim=True)

    def _own(self, width: int, like: Tensor) -> Tensor:
        """``[heads, width]``: one where a column belongs to the head."""
        return torch.eye(self.options.heads, dtype=like.dtype, device=like.device).repeat_interleave(
            width // self.options.heads, 1
        )

    def _fused(self, query: Tensor, content: Content, mask: Tensor | None, causal: bool) -> Tensor:
        o = self.options
        q, k, v = (self._split(x) for x in (query, content.keys, content.values))
        k, v = F.pad(k, (0, 0, 1, 0)), F.pad(v, (0, 0, 1, 0))  # the empty slot stands first
        scale = 1 / (o.temperature * kernels.scale_of(o.kernel, q.shape[-1]))
        if causal:
            value = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale)
        else:
            visible = F.pad(self._visible(query, content, mask, causal), (1, 0), value=True)
            value = F.scaled_dot_product_attention(q, k, v, attn_mask=visible[:, None], scale=scale)
        return value.transpose(1, 2).flatten(2)

    def _visible(self, query: Tensor, content: Content, mask: Tensor | None, causal: bool) -> Tensor:
        visible = content.valid[:, None, :].expand(-1, query.shape[1], -1)
        if causal:
            slots = content.keys.shape[1]
            if query.shape[1] != slots + 1:
                raise ValueError(f"a causal read takes one query more than slots; got {query.shape[1]} for {slots}")
            ones = torch.ones(slots + 1, slots, dtype=torch.bool, device=query.device)
            visible = visible & torch.tril(ones, -1)
        return visible if mask is None else visible & mask

    def _split(self, x: Tensor) -> Tensor:
        """``[B, N, D]`` to ``[B, heads, N, D / heads]``."""
        return x.unflatten(-1, (self.options.heads, -1)).transpose(1, 2)
