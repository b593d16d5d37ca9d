"""Operations and bytes of a computation, and the rate of matrix products."""

import pytest
import torch
from torch import nn

from metarl.evaluation.products import LiveBytes, counting, product_rates


@pytest.mark.parametrize(("kind", "gates"), [(nn.LSTM, 4), (nn.GRU, 3)])
def test_recurrent_nets_are_counted_though_their_kernels_are_fused(kind: type[nn.Module], gates: int) -> None:
    net, x = kind(16, 32), torch.randn(10, 4, 16)
    with counting() as counter:
        y = net(x)[0]
        assert counter.get_total_flops() == 2 * 10 * 4 * gates * 32 * (16 + 32)
        y.sum().backward()
    assert counter.get_total_flops() > 2 * 2 * 10 * 4 * gates * 32 * (16 + 32)


def test_attention_is_counted_though_its_kernel_is_fused() -> None:
    q = torch.randn(2, 3, 8, 4)
    with counting() as counter:
        nn.functional.scaled_dot_product_attention(q, q, q, is_causal=True)
    assert counter.get_total_flops() == 2 * (2 * 2 * 3 * 8 * 8 * 4)  # scores, and the weighted sum


def test_counting_leaves_the_kernels_as_they_were() -> None:
    enabled = torch.backends.mkldnn.is_available() and torch._C._get_mkldnn_enabled()
    with counting():
        pass
    assert torch._C._get_mkldnn_enabled() == enabled


def test_bytes_of_tensors_are_counted_once_and_as_long_as_they_live() -> None:
    outside = torch.zeros(100)
    with LiveBytes() as live:
        x = torch.zeros(1000)
        views = x[:10], x.view(10, 100)
        assert live.now == 4000
        outside.view(10, 10)
        outside.add_(1)
        assert live.now == 4000  # what was there before is not new
        del x
        assert live.now == 4000
        del views
        assert live.now == 0
        assert live.peak == 4000
        live.restart()
        assert live.added == 0
        torch.zeros(10).add(1)
    assert live.added == 80


def test_what_the_backward_pass_keeps_is_counted() -> None:
    x = torch.ones(1000, requires_grad=True)
    with LiveBytes() as live:
        y = x.exp().exp()
        assert live.now == 8000  # the first result is kept for the gradient
        y.sum().backward()
        del y
        assert live.now == 4000  # the gradient


def test_rates_of_products() -> None:
    rates = product_rates(torch.device("cpu"), (16, 64), 1e-3)
    assert list(rates) == [16, 64]
    assert all(1e6 < rate < 1e14 for rate in rates.values())
