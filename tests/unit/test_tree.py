"""Nested NamedTuples of tensors."""

from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from metarl import tree
from metarl.config import InputError


class Inner(NamedTuple):
    a: Tensor
    b: Tensor


class Outer(NamedTuple):
    inner: Inner
    nothing: tuple[()]
    c: Tensor


def make(fill: float) -> Outer:
    return Outer(Inner(torch.full((3,), fill), torch.full((3, 2), fill)), (), torch.full((3, 2, 2), fill))


def test_mapping_keeps_the_structure() -> None:
    doubled = tree.map_tensors(torch.add, make(1.0), make(2.0))
    assert isinstance(doubled, Outer)
    assert isinstance(doubled.inner, Inner)
    assert all(torch.equal(leaf, torch.full_like(leaf, 3.0)) for leaf in tree.leaves(doubled))
    assert [leaf.dim() for leaf in tree.leaves(doubled)] == [1, 2, 3]


def test_where_picks_rows_in_leaves_of_any_rank() -> None:
    mixed = tree.where(torch.tensor([True, False, True]), make(1.0), make(0.0))
    for leaf in tree.leaves(mixed):
        assert leaf.flatten(1).mean(1).tolist() == [1, 0, 1] if leaf.dim() > 1 else leaf.tolist() == [1, 0, 1]


def test_index_and_detach() -> None:
    state = Inner(torch.arange(3.0, requires_grad=True), torch.arange(6.0).view(3, 2))
    some = tree.index(state, torch.tensor([2, 0]))
    assert some.a.tolist() == [2, 0]
    assert some.b.tolist() == [[4, 5], [0, 1]]
    assert some.a.requires_grad
    assert not tree.detach(state).a.requires_grad


def test_trees_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match="differ"):
        tree.map_tensors(torch.add, make(0.0).inner, (torch.zeros(3),))
    for refuses in (lambda: tree.map_tensors(torch.neg, [torch.zeros(1)]), lambda: list(tree.leaves({"a": 1}))):
        with pytest.raises(TypeError, match="tensors"):
            refuses()


def test_a_state_is_compared_with_a_template() -> None:
    tree.check_like(make(1.0), make(0.0), "this core")
    with pytest.raises(InputError, match="core") as caught:
        tree.check_like(tree.index(make(0.0), [0]), make(0.0), "this core")
    assert (caught.value.key, caught.value.expected) == ("state", tree.describe(make(0.0)))
