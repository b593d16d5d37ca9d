"""Graph search whose edges are the transitions themselves: what is read for an action looks ahead from where it led."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metarl.functional.branches import every
from metarl.functional.scan import sums_before
from metarl.memory.access.attention import Attention, AttentionOptions
from metarl.memory.contract import Content
from metarl.memory.ops import Query, groups
from metarl.types import Read


class Plan(Attention):
    """Attention over transitions that are filed under (s, a), and ``hops`` along them.

    Slot i says what (s, a) paid and to which s'_i it led. What is worth knowing of a state is made from what is read
    for each of its actions, the maximum over actions taken number by number,

        u(s) = M max_a relu(F read(s, a)),      read(s, a) = sum_i w_i(s, a) (v_i + u(s'_i)),

    as in value iteration (Tamar et al. 2016), here in the model that the slots are. Reads without u make the first u,
    and each further hop makes it anew. Weights are those of attention, for u those of the first head. The transition
    that ends an episode leads nowhere.

    Args:
        key_size: width of keys and queries.
        value_size: width of what is read. After it, the value of each slot has the part of a key that comes from s',
            and whether there is one.
        hops: how far it looks ahead.
        options: of the attention.
    """

    signs: Tensor
    """``[A, K]``: what makes the key of (s, a) from the part that comes from s; the memory gives it."""

    def __init__(self, key_size: int, value_size: int, hops: int, options: AttentionOptions) -> None:
        super().__init__(key_size, value_size, options)
        self.hops, self.value_size, self.key_size, self.counts = hops, value_size, key_size, False
        self.look = nn.Linear(value_size, value_size)
        self.bring = nn.Linear(value_size, value_size, bias=False)

    def forward(self, query: Query, content: Content) -> Read:
        """See :meth:`metarl.memory.contract.Access.forward`."""
        values, following, inside = self._parts(content.values)
        if not content.keys.shape[1]:
            return Read(values.new_zeros(*query.key.shape[:2], self.value_size), None)
        first, place = groups(following.transpose(0, 1))
        rows = torch.arange(len(values), device=values.device)[:, None]
        asked = self.prepare(following[rows, first.t()][:, :, None] * self.signs).flatten(1, 2)
        scores = self._scores(torch.cat([asked, query.key], 1), content.keys)
        if not every(content.valid):
            scores = scores.masked_fill(~content.valid[:, None, None], -torch.inf)
        empty = self._empty(scores)
        top = torch.maximum(self._highest(scores), empty.detach())
        weights = (scores - top).exp() if torch.is_grad_enabled() else scores.sub_(top).exp_()
        both = weights @ F.pad(self._split(values), (0, 1), value=1.0)
        total = both[..., -1:] + (empty - top).exp()  # weights need not be divided: what they weigh is smaller
        reads = (both[..., :-1] / total).transpose(1, 2).flatten(2)
        leads = weights[:, 0] @ self._places(place, first, inside) / total[:, 0]
        count = asked.shape[1]
        ahead = self._ahead(reads[:, :count], leads[:, :count])
        return Read(reads[:, count:] + leads[:, count:] @ ahead, None)

    def weigh(self, query: Query, content: Content) -> Read:
        """See :meth:`metarl.memory.contract.Access.weigh`: weights before the first hop."""
        values, _, _ = self._parts(content.values)
        weights = super().weigh(query, content._replace(values=values)).log_weights
        return Read(self(query, content).value, weights)

    def running(
        self, query: Tensor, slots: Content, chosen: Tensor, filed: tuple[Tensor, Tensor] | None = None
    ) -> Tensor | None:
        """See :meth:`metarl.memory.contract.Access.running`."""
        values, _, inside = self._parts(slots.values)
        asked = self.running_weights(query.transpose(0, 1).flatten(1, 2), slots.keys)
        if asked is None:
            return None
        weights, nothing = asked  # [B, N, heads, D * A] and [B, 1, heads, D * A]
        values = F.pad(values.unflatten(-1, (self.options.heads, 1, -1)), (0, 1), value=1.0)
        both = self._so_far(weights[..., None] * values)
        total = both[..., -1:] + nothing[..., None]
        reads = (both[..., :-1] / total).transpose(2, 3).flatten(3)
        at = self._places(chosen[1:], query, inside)
        leads = self._so_far(weights[:, :, 0, :, None] * at[:, :, None]) / total[:, :, 0]  # by the first head
        ahead = self._ahead(reads, leads)
        rows = torch.arange(len(values), device=chosen.device)[:, None]
        steps = torch.arange(len(chosen), device=chosen.device)[None]
        reads, leads = (x.unflatten(2, (len(query), -1))[rows, steps, chosen.t()] for x in (reads, leads))
        return (reads + leads @ ahead).transpose(0, 1)

    def _parts(self, values: Tensor) -> tuple[Tensor, ...]:
        """What is read, what makes the keys of the states that followed, and where there are such, ``[B, N, 1]``."""
        return values.split([self.value_size, self.key_size, 1], -1)

    @staticmethod
    def _places(place: Tensor, among: Tensor, inside: Tensor) -> Tensor:
        """``[B, N, D]``: one where slot i leads to state ``place`` ``[N, B]`` of the D in ``among`` ``[D, ...]``."""
        return F.one_hot(place.t(), len(among)).to(inside.dtype) * inside

    @staticmethod
    def _so_far(each: Tensor) -> Tensor:
        """Sums over the slots before each step, ``[B, N + 1, ...]``."""
        return sums_before(each.flatten(2)).unflatten(2, each.shape[2:])

    def _ahead(self, reads: Tensor, leads: Tensor) -> Tensor:
        """What is worth knowing of each state, ``[..., D, V]``.

        Args:
            reads: ``[..., D * A, V]``, before any hop.
            leads: ``[..., D * A, D]``: the weights by which each pair leads to each state.
        """
        ahead, actions = None, len(self.signs)
        for _ in range(self.hops):
            seen = reads if ahead is None else reads + leads @ ahead
            made = torch.relu(self.look(seen)).unflatten(-2, (-1, actions))
            ahead = self.bring(made.amax(-2))
        assert ahead is not None
        return ahead
