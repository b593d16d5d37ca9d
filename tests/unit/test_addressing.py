"""From logits to weights over slots."""

import torch

from metarl.functional.addressing import keep_top, log_weights

INF = torch.inf


def test_the_k_largest_are_kept() -> None:
    logits = torch.tensor([[3.0, -1.0, 2.0, 5.0], [0.0, 1.0, -INF, -INF]])
    assert keep_top(logits, 2).tolist() == [[3.0, -INF, -INF, 5.0], [0.0, 1.0, -INF, -INF]]
    assert torch.equal(keep_top(logits, 4), logits)
    assert keep_top(torch.tensor([[1.0, -INF, -INF]]), 2).tolist() == [[1.0, -INF, -INF]]


def test_ties_are_kept_together_whatever_the_rounding() -> None:
    for scale in (1.0, 1e6):
        equal = torch.tensor([[2.0, 1.0, 1.0, 0.5]]) * scale
        rounded = torch.nextafter(equal, torch.tensor([[0.0, 0.0, INF, 0.0]]))
        assert keep_top(equal, 2).isfinite().tolist() == [[True, True, True, False]]
        assert keep_top(rounded, 2).isfinite().tolist() == [[True, True, True, False]]


def test_weights_sum_to_one_or_less_with_the_empty_slot() -> None:
    logits = torch.tensor([[0.0, 1.0, 2.0], [0.0, 0.0, 0.0]])
    visible = torch.tensor([[True, True, False], [False, False, False]])
    without, with_empty = log_weights(logits, visible, False).exp(), log_weights(logits, visible, True).exp()
    torch.testing.assert_close(without[0], torch.tensor([0.0, 1.0, -INF]).softmax(0))
    assert without[1].tolist() == [0, 0, 0]
    torch.testing.assert_close(with_empty[0, :2], torch.tensor([0.0, 1.0, 0.0]).softmax(0)[:2])
    assert with_empty[1].tolist() == [0, 0, 0]


def test_the_gradient_of_a_blind_query_is_zero() -> None:
    logits = torch.zeros(1, 3, requires_grad=True)
    log_weights(logits, torch.zeros(1, 3, dtype=torch.bool), False).exp().sum().backward()
    assert logits.grad.tolist() == [[0, 0, 0]]
