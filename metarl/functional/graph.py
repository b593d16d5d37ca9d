"""Search on a graph of memory slots: a walk whose first step is chosen by the query and all later ones by the edges."""

from __future__ import annotations

import torch
from torch import Tensor

from metarl.functional.addressing import keep_top
from metarl.functional.chunks import by_queries


def walk(
    start: Tensor, edges: Tensor, visible: Tensor, hops: int, *, empty_slot: bool, neighbours: int | None = None
) -> Tensor:
    """Weights of every slot after 0 to ``hops`` hops from where each query starts: ``[hops + 1, B, Q, N]``.

    p_{h+1} = p_h A, where A_ij = exp(e_ij) / (c + sum_j' exp(e_ij')) runs over the slots that the query sees; c is 1
    with ``empty_slot`` and 0 without (the random walk of a graph, with the softmax of attention for its transitions).
    No query gets a matrix of its own: its mask only enters the sums, Z = m E^T and p_{h+1} = ((p_h / Z) E) m.

    Mass is lost to the empty read where a walk ends: with ``empty_slot`` the less a node's best edge is worth against a
    logit of 0, the more of it; without, only at nodes from which no edge leads to a visible slot.

    Args:
        start: ``[B, Q, N]`` weights before the first hop, zero where a slot is not visible.
        edges: ``[B, N, N]`` logit of the edge from i to j; of a size within 20, so that its exponential is safe, or
            -inf where there is none.
        visible: ``[B, Q, N]`` bool
        hops: how many.
        empty_slot: whether every node also has an edge of logit 0 to nothing.
        neighbours: keep only the k best edges of each node among the visible slots, and those that tie with the last.
            Which these are differs between queries, so it takes ``[B, Q, N, N]``, in chunks over queries: many times
            slower than without.
    """
    if neighbours is None or neighbours >= edges.shape[-1]:
        mask = visible.to(start.dtype)
        weight = edges.exp()
        rate = _rate(mask @ weight.mT, empty_slot)
        steps = [start]
        for _ in range(hops):
            steps.append((steps[-1] * rate) @ weight * mask)
        return torch.stack(steps)

    def part(start: Tensor, visible: Tensor, edges: Tensor) -> Tensor:
        with torch.no_grad():
            shown = edges[:, None].masked_fill(~visible[:, :, None], -torch.inf)
            kept = ~torch.isneginf(keep_top(shown, neighbours))
        weight = edges.exp()[:, None] * kept
        rate = _rate(weight.sum(-1), empty_slot)
        steps = [start]
        for _ in range(hops):
            steps.append(((steps[-1] * rate)[:, :, None] @ weight).squeeze(2))
        return torch.stack(steps, 2)

    return by_queries(part, (start, visible), (edges,), edges.numel()).movedim(2, 0)


def _rate(total: Tensor, empty_slot: bool) -> Tensor:
    """1 / Z, and 0 where no edge leads on."""
    if empty_slot:
        return 1 / (1 + total)
    ends = total == 0
    return (1 / total.masked_fill(ends, 1.0)).masked_fill(ends, 0.0)
