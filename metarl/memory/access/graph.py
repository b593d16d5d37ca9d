"""Graph search: what one slot says leads to the next, several hops within one read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from annotated_types import Ge, Gt
from torch import Tensor, nn

from metarl.config import ConfigError
from metarl.functional import kernels
from metarl.functional.addressing import log_weights
from metarl.functional.graph import walk
from metarl.functional.kernels import Kernel
from metarl.memory.access.attention import AttentionOptions
from metarl.memory.access.plan import Plan
from metarl.memory.contract import Access, Content
from metarl.memory.ops import Query, visible
from metarl.types import Read

WEIGHT_FLOOR = 1e-12  # weights of visible slots are taken for no less in their logarithm


@dataclass(frozen=True)
class GraphSearchOptions:
    """Options of the graph access.

    Args:
        hops: the longest walk; each query may stop earlier.
        edges: what joins slot i to slot j: a learned map of i's value that meets j's key; the similarity of their
            keys; or, where memory is asked ``per_action``, the transition: j is filed under the state that i led to
            (:class:`metarl.memory.access.plan.Plan`).
        neighbours: keep only the k strongest edges of each slot among those that the query sees; None keeps all, and is
            many times faster.
        kernel: how a key answers a query, where the walk begins.
        temperature: divides the logits of the beginning: small is sharp.
        edge_temperature: divides the cosine that is the strength of an edge; no less than 0.05, so that its exponential
            is safe.
        empty_slot: one more slot of logit 0 that holds nothing, in the beginning and after every hop.
        heads: as in attention, as are the next two; more than one with transitions alone.
        learned_temperature: with transitions alone.
        empty_spread: with transitions alone.
    """

    hops: Annotated[int, Ge(1)] = 2
    edges: Literal["learned", "nearest", "transition"] = "learned"
    neighbours: Annotated[int, Ge(1)] | None = None
    kernel: Kernel = "cosine"
    temperature: Annotated[float, Gt(0)] = 0.1
    edge_temperature: Annotated[float, Ge(0.05)] = 0.1
    empty_slot: bool = True
    heads: Annotated[int, Ge(1)] = 1
    learned_temperature: bool = False
    empty_spread: Annotated[float, Ge(0)] = 0.0


TRANSITIONS_ALONE, NO_TRANSITIONS = ("heads", "learned_temperature", "empty_spread"), ("neighbours", "edge_temperature")


class GraphSearch(Access):
    """A soft walk over slots that begins where the query points and follows edges that don't depend on the query.

    p_0 is attention. p_{h+1} = p_h A with A_ij = softmax over the visible j of cos(U v_i, k_j) / temperature
    (``learned``: what slot i says, meeting the key of slot j, as in the multi-hop reads of Sukhbaatar et al. 2015, but
    from slot to slot) or of cos(k_i, k_j) / temperature (``nearest``, without an edge from a slot to itself). The value
    is sum_h mix_h p_h V, where mix is a softmax of learned parameters plus the control, so that each query may choose
    how far to go. A walk at a dead end, a slot that nothing follows, gives its mass to the empty read
    (:func:`metarl.functional.graph.walk`); a learned edge may also lead from a slot to itself, where a walk then rests.

    All queries of a trial are answered at once, in O(N^2 (K + hops Q)) per row; a single query still needs all edges,
    O(N^2 K). Gradients reach queries, keys and values alike.
    """

    def __init__(self, key_size: int, value_size: int, options: GraphSearchOptions) -> None:
        super().__init__()
        self.options = options
        self._check()
        self.plan = None
        if options.edges == "transition":
            shared = {name: getattr(options, name) for name in ("kernel", "temperature", *TRANSITIONS_ALONE)}
            self.plan, self.leads = Plan(key_size, value_size, options.hops, AttentionOptions(**shared)), key_size + 1
            return
        self.control_size = options.hops + 1
        self.follow = nn.Linear(value_size, key_size) if options.edges == "learned" else None
        self.mix = nn.Parameter(torch.zeros(options.hops + 1))

    def prepare(self, address: Tensor) -> Tensor:
        """See :meth:`metarl.memory.contract.Access.prepare`."""
        return kernels.prepare(self.options.kernel, address) if self.plan is None else self.plan.prepare(address)

    def follow_by(self, signs: Tensor) -> None:
        """See :meth:`metarl.memory.contract.Access.follow_by`."""
        assert self.plan is not None
        self.plan.signs = signs

    def weigh(self, query: Query, content: Content) -> Read:
        """See :meth:`metarl.memory.contract.Access.weigh`; along transitions the weights before the first hop."""
        return self(query, content) if self.plan is None else self.plan.weigh(query, content)

    def running(
        self, query: Tensor, slots: Content, chosen: Tensor, filed: tuple[Tensor, Tensor] | None = None
    ) -> Tensor | None:
        """See :meth:`metarl.memory.contract.Access.running`; along transitions alone."""
        return None if self.plan is None else self.plan.running(query, slots, chosen)

    def forward(self, query: Query, content: Content) -> Read:
        """See :meth:`metarl.memory.contract.Access.forward`; no control leaves the mixture of hops as learned."""
        if self.plan is not None:
            return self.plan(query, content)
        o = self.options
        seen = visible(query, content)
        scores = kernels.logits(o.kernel, query.key, content.keys, o.temperature)
        start = log_weights(scores, seen, o.empty_slot).exp()
        steps = walk(start, self._edges(content), seen, o.hops, empty_slot=o.empty_slot, neighbours=o.neighbours)
        mix = self.mix if query.control is None else self.mix + query.control
        mix = mix.softmax(-1).expand(*query.key.shape[:2], -1)
        weights = (mix.movedim(-1, 0)[..., None] * steps).sum(0)
        logs = weights.clamp_min(WEIGHT_FLOOR).log().masked_fill(~seen, -torch.inf)
        return Read(weights @ content.values, logs)

    def _check(self) -> None:
        """Refuse options that would do nothing."""
        o, plain = self.options, GraphSearchOptions()
        useless, edges = (
            ((*NO_TRANSITIONS, "empty_slot"), "'learned' or 'nearest'")
            if o.edges == "transition"
            else (TRANSITIONS_ALONE, "'transition'")
        )
        for name in useless:
            if getattr(o, name) != getattr(plain, name):
                expected = f"{getattr(plain, name)!r}, or edges = {edges}"
                raise ConfigError(key=f"memory.access_options.{name}", given=getattr(o, name), expected=expected)

    def _edges(self, content: Content) -> Tensor:
        """Logits ``[B, N, N]`` of the edges from i to j."""
        keys = kernels.unit(content.keys)
        leads = keys if self.follow is None else kernels.unit(self.follow(content.values))
        edges = leads @ keys.mT / self.options.edge_temperature
        if self.follow is not None:
            return edges
        itself = torch.eye(keys.shape[1], dtype=torch.bool, device=keys.device)
        return edges.masked_fill(itself, -torch.inf)
