"""The signs by which the keys of actions are told apart."""

import pytest
import torch

from metarl.memory.actions import signs_apart


@pytest.mark.parametrize(
    ("count", "width", "heads", "furthest"),
    [(10, 96, 6, 0.0), (5, 48, 6, 0.0), (4, 16, 1, 0.0), (10, 96, 12, 0.0), (50, 96, 6, 0.2), (50, 96, 4, 0.2)],
)
def test_no_two_actions_have_like_signs_in_all_heads_or_most(
    count: int, width: int, heads: int, furthest: float
) -> None:
    torch.manual_seed(0)
    signs = signs_apart(count, width, heads)
    assert set(signs.unique().tolist()) <= {1.0, -1.0}
    others = ~torch.eye(count, dtype=torch.bool)
    assert (signs @ signs.T / width)[others].abs().max() <= furthest
    parts = signs.unflatten(1, (heads, -1)).transpose(0, 1)
    alike = (parts @ parts.mT / parts.shape[-1]).abs()[:, others] > 0.99  # equal, or opposite
    assert alike.sum(0).max() <= heads // 6, "heads in which a pair cannot be told apart"


@pytest.mark.parametrize(("count", "width"), [(12, 8), (16, 4), (50, 6), (300, 32), (1, 3)])
def test_signs_differ_where_there_are_too_few_for_right_angles(count: int, width: int) -> None:
    for seed in range(20):
        torch.manual_seed(seed)
        assert len(signs_apart(count, width).unique(dim=0)) == count
