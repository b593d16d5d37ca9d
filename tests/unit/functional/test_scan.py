"""The linear recurrence: equal to a plain loop, with exact gradients of first and second order."""

import pytest
import torch
from torch import Tensor

from metarl.functional.scan import linear_scan


def inputs(steps: int, batch: int = 3, width: int = 2, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(steps)
    shapes = [(steps, batch, width), (steps, batch, width), (batch, width)]
    return [torch.randn(shape, generator=generator, dtype=dtype).requires_grad_() for shape in shapes]


def loop(a: Tensor, b: Tensor, h: Tensor) -> Tensor:
    states = []
    for a_t, b_t in zip(a, b, strict=True):
        h = a_t * h + b_t
        states.append(h)
    return torch.stack(states)


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_it_equals_a_plain_loop_with_its_gradients(steps: int) -> None:
    leaves = inputs(steps)
    results = [run(*leaves) for run in (linear_scan, loop)]
    torch.testing.assert_close(*results)
    weight = torch.linspace(-1, 2, results[0].numel(), dtype=torch.float64).view_as(results[0])
    gradients = [torch.autograd.grad((y * y * weight).sum(), leaves) for y in results]
    for fast, slow in zip(*gradients, strict=True):
        torch.testing.assert_close(fast, slow)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_gradients_of_first_and_second_order(steps: int) -> None:
    leaves = inputs(steps)
    assert torch.autograd.gradcheck(linear_scan, leaves)
    assert torch.autograd.gradgradcheck(linear_scan, leaves)


def test_the_third_order_equals_that_of_the_loop() -> None:
    leaves = inputs(4)
    thirds = []
    for run in (linear_scan, loop):
        g = run(*leaves).pow(3).sum()
        for _ in range(3):
            g = sum(part.square().sum() for part in torch.autograd.grad(g, leaves, create_graph=True))
        thirds.append(g)
    torch.testing.assert_close(*thirds)


@pytest.mark.parametrize("which", [0, 1, 2])
def test_one_input_alone_may_want_a_gradient(which: int) -> None:
    leaves = [x.detach().requires_grad_(n == which) for n, x in enumerate(inputs(4))]
    fast, slow = (torch.autograd.grad(run(*leaves).square().sum(), leaves[which])[0] for run in (linear_scan, loop))
    torch.testing.assert_close(fast, slow)


def test_inputs_may_lie_anyhow_in_memory() -> None:
    a, b, h0 = (x.detach() for x in inputs(6, batch=4, width=4))
    turned = a.transpose(1, 2).contiguous().transpose(1, 2).requires_grad_()
    spread = b[:, :, :1].expand_as(b)
    y = linear_scan(turned, spread, h0)
    torch.testing.assert_close(y, loop(a, spread, h0))
    y.sum().backward()  # the gradient that arrives is one number, expanded
    assert turned.grad is not None
    plain = a.clone().requires_grad_()
    loop(plain, spread, h0).sum().backward()
    torch.testing.assert_close(turned.grad, plain.grad)


def test_where_a_is_zero_it_begins_afresh() -> None:
    a, b, h0 = inputs(6)
    with torch.no_grad():
        a[3, 1] = 0.0
    y = linear_scan(a, b, h0)
    torch.testing.assert_close(y[3:, 1], linear_scan(a, b, torch.zeros_like(h0))[3:, 1])
    before = torch.autograd.grad(y[3:, 1].sum(), [b, h0])
    assert before[0][:3].abs().sum() == 0
    assert before[1].abs().sum() == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("scale", [1e8, 1e-30, 0.0])
def test_extremes_stay_finite(dtype: torch.dtype, scale: float) -> None:
    a, b, h0 = (x.detach() for x in inputs(50, dtype=dtype))
    leaves = [torch.sigmoid(a), b * scale, h0 * scale]
    leaves = [x.requires_grad_() for x in leaves]
    y = linear_scan(*leaves)
    assert y.dtype == dtype
    for result in (y, *torch.autograd.grad(y.sum(), leaves)):
        assert torch.isfinite(result).all()


@pytest.mark.parametrize(
    ("a", "b", "h0"),
    [((3, 2, 4), (3, 2, 5), (2, 4)), ((3, 2, 4), (3, 2, 4), (1, 4)), ((0, 2, 4), (0, 2, 4), (2, 4))],
    ids=["b unlike a", "h0 of another batch", "no step"],
)
def test_shapes_that_do_not_fit_are_named(a: tuple[int, ...], b: tuple[int, ...], h0: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="scan") as caught:
        linear_scan(torch.zeros(a), torch.zeros(b), torch.zeros(h0))
    assert all(str(list(shape)) in str(caught.value) for shape in (a, b, h0))
