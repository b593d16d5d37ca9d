"""Attention over the slots of a store."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from annotated_types import Ge, Gt
from torch import Tensor, nn
from torch.nn import functional as F

from metarl.config import ConfigError
from metarl.functional import kernels
from metarl.functional.addressing import keep_top, log_weights
from metarl.functional.branches import every, in_graph
from metarl.functional.kernels import Kernel
from metarl.functional.scan import chosen_sums_before
from metarl.memory.contract import Access, Content
from metarl.memory.ops import Query, visible
from metarl.memory.options import check_heads
from metarl.types import Read

SIDE_BY_SIDE = 64  # queries up to which torch's fused kernel is slower on a CPU
SAFE = 60.0  # exp(-60) is far from what a float32 rounds to 0


@dataclass(frozen=True)
class AttentionOptions:
    """Options of the attention access.

    Args:
        kernel: how a key answers a query.
        heads: keys, queries and values are split into as many heads, each with weights of its own.
        split_keys: False: every head compares whole keys, in coordinates that it scales by factors of its own (learned,
            from one), and reads its own part of the values.
        top_k: read only the k best slots of each head, and those that tie with the last of them; None reads all.
        temperature: divides the logits: small is sharp.
        learned_temperature: learn a positive temperature for each head, starting at ``temperature``.
        empty_slot: one more slot of logit 0 that holds nothing, so that a query that nothing answers reads nothing.
        empty_spread: the logits of the heads' empty slots start evenly between 0 and this, and are learned: heads with
            a heavy one show how many slots answer, heads with a light one what they say. 0: all are 0 and stay so.
    """

    kernel: Kernel = "dot"
    heads: Annotated[int, Ge(1)] = 1
    split_keys: bool = True
    top_k: Annotated[int, Ge(1)] | None = None
    temperature: Annotated[float, Gt(0)] = 1.0
    learned_temperature: bool = False
    empty_slot: bool = True
    empty_spread: Annotated[float, Ge(0)] = 0.0


class Attention(Access):
    """Softmax attention (Vaswani et al. 2017; with ``inverse_distance`` and ``top_k`` the reading of a DND).

    With ``euclidean``, no empty slot and one averaged key per class it is the classifier of prototypical networks
    (Snell et al. 2017). A query that sees no slot gets the empty read: zeros. Long unrolls of all kernels but
    ``inverse_distance`` run by torch's fused kernel and return no weights; gradients reach queries, keys and values
    alike.
    """

    separate_learned: ClassVar[bool] = True

    def __init__(self, key_size: int, value_size: int, options: AttentionOptions) -> None:
        super().__init__()
        check_heads(options.heads, value_size=value_size, **({"key_size": key_size} if options.split_keys else {}))
        self.options, self.counts = options, options.top_k is None
        self.key_heads = options.heads if options.split_keys else 1
        start = torch.full((options.heads,), math.log(options.temperature))
        self.log_temperature = nn.Parameter(start) if options.learned_temperature else None
        if options.empty_spread and not options.empty_slot:
            raise ConfigError(key="memory.access_options.empty_slot", given=False, expected="true, or empty_spread = 0")
        spread = torch.linspace(0, options.empty_spread, options.heads)
        self.empty = nn.Parameter(spread) if options.empty_spread else None
        self.scale = None if options.split_keys else nn.Parameter(torch.ones(options.heads, key_size))

    def forward(self, query: Query, content: Content) -> Read:
        """See :meth:`metarl.memory.contract.Access.forward`."""
        o, queries = self.options, query.key.shape[1]
        if o.kernel == "inverse_distance" or o.top_k is not None or queries == 1 or not o.empty_slot:
            return self.weigh(query, content)
        plain = not query.causal and content.learned is None
        if plain and (in_graph() or queries <= SIDE_BY_SIDE) and not torch.is_grad_enabled():
            return Read(self._side_by_side(query, content), None)
        return self.weigh(query, content) if content.counts is not None else Read(self._fused(query, content), None)

    def prepare(self, address: Tensor) -> Tensor:
        """See :meth:`metarl.memory.contract.Access.prepare`; each head has a part of its own where keys are split."""
        if self.options.kernel != "cosine" or not self.options.split_keys:
            return kernels.prepare(self.options.kernel, address)
        return kernels.prepare("cosine", address.unflatten(-1, (self.options.heads, -1))).flatten(-2)

    def weigh(self, query: Query, content: Content) -> Read:
        """See :meth:`metarl.memory.contract.Access.weigh`; the weights are their mean over heads."""
        o = self.options
        seen = visible(query, content)[:, None]
        scores = self._scores(query.key, content.keys)
        if content.counts is not None:
            scores = scores + content.counts.clamp_min(1.0).log()[:, None, None]
        first = 0
        if content.learned is not None:
            first = len(content.learned[0])
            scores = torch.cat([self._scores(query.key, content.learned[0][None]), scores], -1)
            seen = F.pad(seen, (first, 0), value=True)
        if o.top_k is not None:
            scores = keep_top(scores.masked_fill(~seen, -torch.inf), o.top_k)
            seen = seen & ~torch.isneginf(scores)
        weights = log_weights(scores, seen, o.empty_slot if self.empty is None else self._empty(scores))
        value = self._sum(weights[..., first:].exp(), content.values)
        if content.learned is not None:
            value = value + self._sum(weights[..., :first].exp(), content.learned[1][None])
        return Read(value, weights[:, 0] if o.heads == 1 else _log_mean(weights))

    def running(
        self, query: Tensor, slots: Content, chosen: Tensor, filed: tuple[Tensor, Tensor] | None = None
    ) -> Tensor | None:
        """See :meth:`metarl.memory.contract.Access.running`: sums over the slots so far, one for each query.

        None where sums of weights could lose what a softmax at each step would keep.
        """
        if filed is not None and torch.equal(query, query[:, :, :1].expand_as(query)):
            query = query[:, :, :1]  # queries that differ by their action alone are compared with the slots once
        asked = self.running_weights(query.transpose(0, 1).flatten(1, 2), slots.keys)
        if asked is None:
            return None
        weights, nothing = (part.unflatten(3, (len(query), -1)) for part in asked)
        if filed is not None:
            about, under = filed
            weights = weights * torch.einsum("dbqa,bna->bndq", about, under)[:, :, None]
        values = slots.values.unflatten(-1, (self.options.heads, -1))
        both = chosen_sums_before(weights, F.pad(values, (0, 1), value=1.0), chosen.t())
        rows = torch.arange(len(values), device=chosen.device)
        empty = nothing[:, 0].transpose(1, 2)[rows, chosen].transpose(0, 1)  # [B, T, heads, Q]
        read = both[..., :-1] / (both[..., -1] + empty)[..., None]
        return read.permute(1, 0, 3, 2, 4).flatten(3)

    def running_weights(self, query: Tensor, keys: Tensor) -> tuple[Tensor, Tensor] | None:
        """Weights ``[B, N, heads, Q]`` of the slots and those of the empty ones ``[B, 1, heads, Q]``, whose sums over
        the slots so far, divided by their total, are what a softmax at each step gives. None where they might not be.

        Args:
            query: ``[B, Q, K]``
            keys: ``[B, N, K]``
        """
        o = self.options
        if o.top_k is not None or not o.empty_slot:
            return None
        scores = kernels.logits(o.kernel, self._compared(query), self._compared(keys), self._temperature(query))
        empty = self._empty(scores).expand(*scores.shape[:3], 1)
        top = torch.maximum(self._highest(scores), empty.detach())
        if bool((top - empty.detach()).max() > SAFE):
            return None
        return (scores - top).exp().movedim(3, 1), (empty - top).exp().movedim(3, 1)

    def _highest(self, scores: Tensor) -> Tensor:
        """What no score ``[B, heads, Q, N]`` of a query exceeds, without gradient; broadcasts against the scores."""
        temperature = torch.as_tensor(self._temperature(scores), dtype=scores.dtype, device=scores.device)
        if self.options.kernel == "cosine" and self.scale is None and every(temperature > 2 / SAFE):
            return (1 / temperature).detach()  # known without a pass over all of them
        return scores.detach().amax(-1, keepdim=True) if scores.shape[-1] else scores.new_full((1,), -torch.inf)

    def _empty(self, like: Tensor) -> Tensor:
        """The logits of the empty slots, ``[heads, 1, 1]``."""
        if self.empty is None:
            return like.new_zeros(self.options.heads, 1, 1)
        return self.empty.to(like.dtype)[:, None, None]

    def _scores(self, query: Tensor, keys: Tensor) -> Tensor:
        """Logits ``[B, heads, Q, N]``."""
        o = self.options
        if query.shape[1] > 1 and len(query) > 1 and query.stride(0) == 0:  # one product serves all rows
            asked, stored = self._compared(query[:1])[0], self._compared(keys).transpose(0, 1).flatten(1, 2)
            every = kernels.logits(o.kernel, asked, stored, self._temperature(query))
            return every.unflatten(2, keys.shape[:2]).movedim(2, 0)
        if query.shape[1] > 1 or o.heads == 1 or o.kernel in ("inverse_distance", "euclidean"):
            return kernels.logits(o.kernel, self._compared(query), self._compared(keys), self._temperature(query))
        # One query over many slots is bound by memory: queries padded with zeros leave the keys where they lie.
        own = self._own(query.shape[-1], query) if self.scale is None else self.scale * self.scale
        width = query.shape[-1] // (o.heads if o.split_keys else 1)
        return ((query * own) @ keys.mT)[:, :, None] / (self._temperature(query) * kernels.scale_of(o.kernel, width))

    def _temperature(self, like: Tensor) -> float | Tensor:
        """A number, or ``[heads, 1, 1]``."""
        if self.log_temperature is None:
            return self.options.temperature
        return self.log_temperature.exp().to(like.dtype)[:, None, None]

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

    def _side_by_side(self, query: Query, content: Content) -> Tensor:
        """A few queries over the slots that they see: fewer passes over the scores than :meth:`weigh` takes."""
        asked = query.key
        if query.mask is not None and not in_graph() and torch.equal(asked, asked[:, :1].expand_as(asked)):
            asked = asked[:, :1]  # they differ by what they see alone
        scores = self._scores(asked, content.keys)
        if in_graph():  # which has no branches
            scores = scores.masked_fill(~visible(query, content)[:, None], -torch.inf)
        empty = self._empty(scores)
        top = torch.maximum(self._highest(scores), empty)
        if not in_graph() and bool((top - empty).max() > SAFE):
            return self.weigh(query, content).value  # the top may be a hidden slot, and all that is seen round to 0
        stands_for = content.valid.to(scores.dtype) if content.counts is None else content.counts * content.valid
        often = stands_for[:, None, :, None].expand(-1, self.options.heads, -1, -1)
        # By hand: over few slots torch's softmax takes many times as long. One product sums values and weights.
        weights = scores.sub_(top).exp_()
        if query.mask is not None:
            weights = weights * query.mask[:, None].to(weights.dtype)
        sums = weights @ torch.cat([self._split(content.values) * often, often], -1)
        return (sums[..., :-1] / (sums[..., -1:] + (empty - top).exp())).transpose(1, 2).flatten(2)

    def _fused(self, query: Query, content: Content) -> Tensor:
        o = self.options
        queries, slots = query.key.shape[1], content.keys.shape[1]
        q, k, v = self._compared(query.key), self._compared(content.keys), self._split(content.values)
        scale, width = 1 / kernels.scale_of(o.kernel, q.shape[-1]), v.shape[-1]
        if o.kernel == "euclidean":  # one more coordinate carries the length of the key
            q, k = F.pad(q, (0, 1), value=1.0), torch.cat([k, -kernels.half_square(k)], -1)
            v = F.pad(v, (0, max(k.shape[-1] - width, 0)))  # the fused kernel wants values as wide as keys
        temperature = self._temperature(query.key)
        if isinstance(temperature, Tensor):
            q = q / temperature
        else:
            scale = scale / temperature
        k, v = F.pad(k, (0, 0, 1, 0)), F.pad(v, (0, 0, 1, 0))  # the empty slot stands first
        if self.empty is not None:  # one more coordinate carries its logit
            logit = torch.zeros_like(k[..., :1])
            logit[..., 0, 0] = self.empty.to(k.dtype) / scale
            q, k = F.pad(q, (0, 1), value=1.0), torch.cat([k, logit], -1)
            v = F.pad(v, (0, max(k.shape[-1] - v.shape[-1], 0)))
        alike = query.mask is None and every(content.valid)  # what a query sees is the same in every row
        if query.causal and alike and queries == slots + 1:
            value = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale)
        else:
            one = Content(content.keys[:1], content.values[:1], content.valid[:1])
            seen = F.pad(visible(query, one if alike else content), (1, 0), value=True)
            value = F.scaled_dot_product_attention(q, k, v, attn_mask=seen[:, None], scale=scale)
        return value[..., :width].transpose(1, 2).flatten(2)

    def _compared(self, x: Tensor) -> Tensor:
        """Keys or queries as each head compares them, ``[B, heads, N, K]``."""
        return self._split(x) if self.scale is None else x[:, None] * self.scale[:, None]

    def _split(self, x: Tensor) -> Tensor:
        """``[B, N, D]`` to ``[B, heads, N, D / heads]``."""
        return x.unflatten(-1, (self.options.heads, -1)).transpose(1, 2)


def _log_mean(weights: Tensor) -> Tensor:
    """The log of the mean over heads of ``exp(weights)`` ``[B, heads, Q, N]``, -inf where all are."""
    blind = torch.isneginf(weights).all(1)  # kept out of logsumexp, whose gradient there is undefined
    total = torch.logsumexp(weights.masked_fill(blind[:, None], 0.0), 1) - math.log(weights.shape[1])
    return total.masked_fill(blind, -torch.inf)
