"""Nested NamedTuples of tensors, the shape of every memory state: map, select, index and detach."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from metarl.config import InputError

Tree = TypeVar("Tree")


def map_tensors(fn: Callable[..., Tensor], tree: Tree, *others: Tree) -> Tree:
    """Apply ``fn`` to the tensors at the same place in each tree.

    Args:
        fn: takes one tensor ``[...]`` from each tree, and returns one.
        tree: the first tree, whose structure the result has.
        others: further trees of the same structure.

    Raises:
        ValueError: the trees differ in structure.
        TypeError: there is something other than tensors and tuples in a tree.
    """
    if isinstance(tree, Tensor):
        return cast(Tree, fn(tree, *others))
    if isinstance(tree, tuple):
        if any(not isinstance(o, tuple) or len(o) != len(tree) for o in others):
            raise ValueError(f"trees differ: {describe(tree)} against {', '.join(describe(o) for o in others)}")
        parts = [map_tensors(fn, *same) for same in zip(tree, *others, strict=True)]
        return cast(Tree, type(tree)(*parts) if hasattr(tree, "_fields") else tuple(parts))
    raise _not_a_tree(tree)


def leaves(tree: Any) -> Iterator[Tensor]:
    """The tensors ``[...]`` of a tree, in order.

    Raises:
        TypeError: there is something other than tensors and tuples in it.
    """
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, tuple):
        for part in tree:
            yield from leaves(part)
    else:
        raise _not_a_tree(tree)


def named_leaves(tree: Any, name: str) -> Iterator[tuple[str, Tensor]]:
    """The tensors ``[...]`` of a tree in order, each with its path: ``name`` and the fields that lead to it, by dots.

    Raises:
        TypeError: there is something other than tensors and tuples in it.
    """
    if isinstance(tree, Tensor):
        yield name, tree
    elif isinstance(tree, tuple):
        for field, part in zip(getattr(tree, "_fields", map(str, range(len(tree)))), tree, strict=True):
            yield from named_leaves(part, f"{name}.{field}")
    else:
        raise _not_a_tree(tree)


def _not_a_tree(found: object) -> TypeError:
    return TypeError(f"a state is made of tensors and NamedTuples of them, not of {type(found).__name__}")


def rows_like(mask: Tensor, leaf: Tensor) -> Tensor:
    """``mask`` ``[B]``, or ``[B, ...]`` as far as ``leaf`` goes, with ones appended to its shape to broadcast."""
    return mask.reshape(mask.shape + (1,) * (leaf.dim() - mask.dim()))


def where(mask: Tensor, yes: Tree, no: Tree) -> Tree:
    """Row by row one of two trees.

    Args:
        mask: ``[B]`` bool.
        yes: leaves ``[B, ...]``, taken where ``mask`` is true.
        no: leaves ``[B, ...]``, taken elsewhere.
    """
    return map_tensors(lambda a, b: torch.where(rows_like(mask, a), a, b), yes, no)


def index(tree: Tree, rows: Any) -> Tree:
    """``leaf[rows]`` for every leaf ``[B, ...]``; ``rows`` is anything that indexes a tensor."""
    return map_tensors(lambda leaf: leaf[rows], tree)


def detach(tree: Tree) -> Tree:
    """The same values without their gradients' graph."""
    return map_tensors(Tensor.detach, tree)


def describe(tree: Any) -> str:
    """The structure in words, for error messages."""
    if isinstance(tree, Tensor):
        return f"tensor{list(tree.shape)}"
    if isinstance(tree, tuple):
        return f"{type(tree).__name__}({', '.join(describe(part) for part in tree)})"
    return type(tree).__name__


def check_like(state: Any, template: Any, owner: str) -> None:
    """Check that a state has the structure and the shapes of another one, batch size included.

    Args:
        state: what is checked.
        template: a state as it should be.
        owner: what ``template`` belongs to, for the error.

    Raises:
        InputError: it belongs to something other than ``owner``, or to another batch.
    """
    given, expected = describe(state), describe(template)
    if given != expected:
        problem = f"this state belongs to another core or batch than {owner}: it is {given}"
        remedy = "start from initial_state(batch_size)"
        raise InputError(problem, key="state", given=given, expected=expected, remedy=remedy)
