"""Walks over slots: against the matrix of every query written out, at dead ends, and with few neighbours."""

import pytest
import torch
from torch import Tensor

from metarl.functional import chunks
from metarl.functional.graph import walk

EMPTY = pytest.mark.parametrize("empty_slot", [True, False])


def problem(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    """Start, edges and visible of 2 rows, 5 queries, 4 slots; the first query sees nothing."""
    generator = torch.Generator().manual_seed(0)
    visible = torch.ones(5, 4, dtype=torch.bool).tril(-1).expand(2, -1, -1).clone()
    visible[1, 4, 2] = False
    start = torch.rand(2, 5, 4, dtype=dtype, generator=generator) * visible
    start = 0.9 * start / start.sum(-1, keepdim=True).clamp_min(1e-9)
    return start, 3 * torch.randn(2, 4, 4, dtype=dtype, generator=generator), visible


def written_out(start: Tensor, edges: Tensor, visible: Tensor, hops: int, empty: bool, k: int | None = None) -> Tensor:
    """The same with a transition matrix for every query."""
    logits = edges[:, None].masked_fill(~visible[:, :, None], -torch.inf)
    if k is not None:
        logits = logits.masked_fill(logits < logits.topk(k).values[..., -1:], -torch.inf)
    if empty:
        logits = torch.cat([logits, torch.zeros_like(logits[..., :1])], -1)
    matrix = logits.softmax(-1).nan_to_num()[..., : edges.shape[-1]]
    steps = [start]
    for _ in range(hops):
        steps.append(torch.einsum("bqi,bqij->bqj", steps[-1], matrix))
    return torch.stack(steps)


@EMPTY
@pytest.mark.parametrize("neighbours", [None, 2])
def test_a_walk_equals_the_matrices_written_out(empty_slot, neighbours):
    start, edges, visible = problem()
    found = walk(start, edges, visible, 3, empty_slot=empty_slot, neighbours=neighbours)
    torch.testing.assert_close(found, written_out(start, edges, visible, 3, empty_slot, neighbours))


def test_mass_is_kept_without_an_empty_slot_and_never_grows_with_one():
    start, edges, visible = problem()
    mass = walk(start, edges, visible, 3, empty_slot=False).sum(-1)
    torch.testing.assert_close(mass[-1], mass[0])
    mass = walk(start, edges, visible, 3, empty_slot=True).sum(-1)
    assert (mass.diff(dim=0)[:, :, 1:] < 0).all()


@EMPTY
def test_a_dead_end_gives_its_mass_to_the_empty_read(empty_slot):
    edges = torch.full((1, 2, 2), -torch.inf)
    edges[0, 0, 1] = 20.0  # slot 0 leads to slot 1, and slot 1 nowhere
    start, visible = torch.tensor([[[1.0, 0.0]]]), torch.ones(1, 1, 2, dtype=torch.bool)
    steps = walk(start, edges.requires_grad_(), visible, 2, empty_slot=empty_slot)
    torch.testing.assert_close(steps[:, 0, 0], torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]))
    steps.sum().backward()
    assert edges.grad is not None
    assert edges.grad.isfinite().all()


@pytest.mark.parametrize("neighbours", [None, 2])
def test_gradients(neighbours):
    start, edges, visible = problem()
    torch.autograd.gradcheck(
        lambda s, e: walk(s * visible, e, visible, 2, empty_slot=True, neighbours=neighbours),
        (start.requires_grad_(), edges.requires_grad_()),
    )


def test_equal_edges_are_neighbours_together():
    edges = torch.tensor([1.0, 1.0, 1.0, 0.0]).expand(1, 4, 4)
    start, visible = torch.tensor([[[0.0, 0.0, 0.0, 1.0]]]), torch.ones(1, 1, 4, dtype=torch.bool)
    last = walk(start, edges, visible, 1, empty_slot=False, neighbours=1)[-1, 0, 0]
    torch.testing.assert_close(last, torch.tensor([1 / 3, 1 / 3, 1 / 3, 0.0]))


def test_chunks_change_neither_values_nor_first_or_second_gradients(monkeypatch):
    start, edges, visible = problem()
    inputs = (start.requires_grad_(), (edges + start.sum()).detach().requires_grad_())

    def everything() -> list[Tensor]:
        steps = walk(inputs[0], inputs[1] + inputs[0].sum(), visible, 2, empty_slot=True, neighbours=2)
        first = torch.autograd.grad(steps.square().sum(), inputs, create_graph=True)
        return [steps, *first, *torch.autograd.grad(sum(g.square().sum() for g in first), inputs)]

    whole = everything()
    monkeypatch.setattr(chunks, "LIMIT", 2 * edges.numel())
    for chunked, found in zip(everything(), whole, strict=True):
        torch.testing.assert_close(chunked, found)
