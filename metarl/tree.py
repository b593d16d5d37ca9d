"""Nested NamedTuples of tensors, the shape of every memory state: map, select, index and detach."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

Tree = TypeVar("Tree")


def map_tensors(fn: Callable[..., Tensor], tree: Tree, *others: Tree) -> Tree:
    """Apply ``fn`` to the tensors that stand at the same place in each tree; the structure is kept."""
    if isinstance(tree, Tensor):
        return cast(Tree, fn(tree, *others))
    if isinstance(tree, tuple):
        if any(not isinstance(o, tuple) or len(o) != len(tree) for o in others):
            raise ValueError(f"trees differ: {describe(tree)} against {', '.join(describe(o) for o in others)}")
        parts = [map_tensors(fn, *same) for same in zip(tree, *others, strict=True)]
        return cast(Tree, type(tree)(*parts) if hasattr(tree, "_fields") else tuple(parts))
    raise TypeError(f"a state is made of tensors and NamedTuples of them, not of {type(tree).__name__}")


def leaves(tree: Any) -> Iterator[Tensor]:
    """The tensors of a tree, in order."""
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, tuple):
        for part in tree:
            yield from leaves(part)
    else:
        raise TypeError(f"a state is made of tensors and NamedTuples of them, not of {type(tree).__name__}")


def rows_like(mask: Tensor, leaf: Tensor) -> Tensor:
    """A mask over rows ``[B]`` shaped to broadcast against a leaf ``[B, ...]``."""
    return mask.reshape(mask.shape + (1,) * (leaf.dim() - mask.dim()))


def where(mask: Tensor, yes: Tree, no: Tree) -> Tree:
    """Row ``i`` of ``yes`` where ``mask[i]``, else row ``i`` of ``no``."""
    return map_tensors(lambda a, b: torch.where(rows_like(mask, a), a, b), yes, no)


def index(tree: Tree, rows: Any) -> Tree:
    """Some rows of every leaf."""
    return map_tensors(lambda leaf: leaf[rows], tree)


def detach(tree: Tree) -> Tree:
    """The same values without their history."""
    return map_tensors(Tensor.detach, tree)


def describe(tree: Any) -> str:
    """The structure in words, for error messages."""
    if isinstance(tree, Tensor):
        return f"tensor{list(tree.shape)}"
    if isinstance(tree, tuple):
        return f"{type(tree).__name__}({', '.join(describe(part) for part in tree)})"
    return type(tree).__name__


def check_like(state: Any, template: Any, owner: str) -> None:
    """Raise ValueError unless ``state`` has the structure and the shapes of ``template``, batch size included."""
    if describe(state) != describe(template):
        raise ValueError(
            f"this state belongs to another core or batch: {owner} expects {describe(template)}, "
            f"got {describe(state)}; start from initial_state(batch_size) of this core"
        )
