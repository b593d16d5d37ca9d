"""The inner loop: by hand, against finite differences, and where it can't be of second order."""

import gc

import pytest
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from metarl.functional.inner_loop import adapt, squared_error


def linear(params, x: Tensor) -> Tensor:
    return x @ params["w"] + params["b"][..., None, :]


def tanh(params, x: Tensor) -> Tensor:
    return torch.tanh(linear(params, x))


def attend(params, x: Tensor) -> Tensor:
    q = linear(params, x)[:, None]
    return F.scaled_dot_product_attention(q, q, q)[:, 0]


def problem(tasks: int = 2, dtype: torch.dtype = torch.float64):
    """Params of each task, data and weights: 3 examples of 2 numbers each."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(tasks, *shape, dtype=dtype, generator=generator).requires_grad_()

    return {"w": draw(2, 2), "b": draw(2)}, (draw(3, 2), draw(3, 2)), draw(3).detach().abs().requires_grad_()


def test_one_step_is_gradient_descent_by_hand_for_every_task():
    params, (x, y), weights = problem()
    found = adapt(linear, params, (x, y), weights, steps=1, lr=0.1)
    error = weights[..., None] * (x @ params["w"] + params["b"][:, None] - y)
    torch.testing.assert_close(found["w"], params["w"] - 0.1 * x.mT @ error)
    torch.testing.assert_close(found["b"], params["b"] - 0.1 * error.sum(1))


def test_several_steps_are_sgd():
    params, data, _ = problem(1)
    leaves = {name: p.detach().clone().requires_grad_() for name, p in params.items()}
    sgd = torch.optim.SGD([{"params": [leaves["w"]], "lr": 0.3}, {"params": [leaves["b"]], "lr": 0.1}])
    for _ in range(5):
        sgd.zero_grad()
        squared_error(tanh(leaves, data[0]), data[1]).mean().backward()
        sgd.step()
    for second_order in (False, True):
        lr = {"b": torch.tensor(0.1), "w": 0.3}
        found = adapt(tanh, params, data, steps=5, lr=lr, second_order=second_order)
        torch.testing.assert_close(found, leaves)


def test_another_loss():
    params, (x, _), _ = problem(1)
    labels = torch.tensor([[0, 1, 1]])
    found = adapt(
        linear, params, (x, labels), steps=1, lr=1.0, loss=lambda f, y: F.cross_entropy(f.mT, y, reduction="none")
    )
    w = params["w"].detach().requires_grad_()
    loss = F.cross_entropy(linear({"w": w, "b": params["b"]}, x)[0], labels[0])
    torch.testing.assert_close(found["w"], params["w"] - torch.autograd.grad(loss, w)[0])


def outer(second_order: bool, w: Tensor, b: Tensor, x: Tensor, y: Tensor, weights: Tensor, lr: Tensor) -> Tensor:
    """A learner's loss after adaptation."""
    adapted = adapt(tanh, {"w": w, "b": b}, (x, y), weights, steps=2, lr=lr, second_order=second_order)
    return squared_error(tanh(adapted, x.detach() + 1), y.detach()).sum()


def test_second_order_gradients_of_all_that_goes_in():
    params, data, weights = problem()
    inputs = (*params.values(), *data, weights, torch.tensor(0.2, dtype=torch.float64, requires_grad=True))

    def steps(*inputs: Tensor) -> tuple[Tensor, ...]:
        w, b, x, y, weights, lr = inputs
        return tuple(adapt(tanh, {"w": w, "b": b}, (x, y), weights, steps=2, lr=lr, second_order=True).values())

    assert torch.autograd.gradcheck(steps, inputs)
    assert torch.autograd.gradgradcheck(steps, inputs)


def test_the_meta_gradient_equals_finite_differences_and_first_order_does_not():
    params, data, weights = problem()
    rest = (params["b"], *data, weights, torch.tensor(0.2, dtype=torch.float64))
    exact, first = (torch.autograd.grad(outer(order, params["w"], *rest), params["w"])[0] for order in (True, False))
    numeric, h = torch.zeros_like(exact), 1e-5
    for at in range(numeric.numel()):
        bump = torch.zeros_like(exact).flatten().index_fill(0, torch.tensor(at), h).view_as(exact)
        with torch.no_grad():
            ahead, behind = (outer(True, params["w"] + s * bump, *rest) for s in (1, -1))
        numeric.view(-1)[at] = (ahead - behind) / (2 * h)
    torch.testing.assert_close(exact, numeric, atol=1e-8, rtol=1e-6)
    assert (first - numeric).abs().max() > 1e-2


def test_first_order_depends_on_params_and_step_size_alone():
    params, data, weights = problem()
    lr = torch.tensor(0.2, dtype=torch.float64, requires_grad=True)
    found = adapt(tanh, params, data, weights, steps=2, lr=lr)
    inputs = [*params.values(), lr, *data, weights]
    grads = torch.autograd.grad(found["w"].sum(), inputs, allow_unused=True)
    torch.testing.assert_close(grads[0], torch.ones_like(params["w"]))
    assert grads[2].abs() > 0
    assert [g is None for g in grads] == [False, True, False, True, True, True]


@pytest.mark.parametrize("second_order", [False, True])
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_it_works_where_no_gradients_are_recorded(mode, second_order):
    params, data, weights = problem()
    recorded = adapt(tanh, params, data, weights, steps=2, lr=0.1, second_order=second_order)
    with mode():
        data = tuple(x * 1.0 for x in data)
        found = adapt(tanh, params, data, weights, steps=2, lr=0.1, second_order=second_order)
        assert not torch.is_grad_enabled()
    assert not any(p.requires_grad for p in found.values())
    torch.testing.assert_close(found, {name: p.detach() for name, p in recorded.items()})


def test_params_that_are_not_used_or_not_learned_are_fine():
    params, data, _ = problem()
    more = {**{name: p.detach() for name, p in params.items()}, "unused": torch.ones(3, dtype=torch.float64)}
    found = adapt(linear, more, data, steps=1, lr=0.1, second_order=True)
    assert torch.equal(found["unused"], more["unused"])
    assert torch.autograd.grad(found["w"].sum(), data[0])[0].any()


def test_second_order_through_fused_attention_falls_back_by_itself():
    params, data, _ = problem(dtype=torch.float32)
    with torch.no_grad():
        expected = adapt(attend, params, data, steps=1, lr=0.1)
    found = adapt(attend, params, data, steps=1, lr=0.1, second_order=True)
    torch.testing.assert_close(found["w"], expected["w"])
    assert torch.autograd.grad(found["w"].square().sum(), data[0])[0].any()


class Once(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor) -> Tensor:
        return 2 * ctx.saved_tensors[0] * gradient


def flash(x: Tensor) -> Tensor:
    q = x[:, None]
    return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q, q, q)[0][:, 0]


@pytest.mark.parametrize(("op", "named"), [(Once.apply, "once_differentiable"), (flash, "flash_attention")])
def test_an_operation_without_a_second_derivative_is_refused(op, named):
    params, data, _ = problem(dtype=torch.float32)
    with pytest.raises(RuntimeError, match=rf"{named}.*use second_order=False") as caught:
        adapt(lambda p, x: op(linear(p, x)), params, data, steps=1, lr=0.1, second_order=True)
    assert "\n" not in str(caught.value)
    adapt(lambda p, x: op(linear(p, x)), params, data, steps=1, lr=0.1)


def test_a_step_size_for_the_wrong_names_is_refused():
    params, data, _ = problem()
    with pytest.raises(ValueError, match="lr"):
        adapt(linear, params, data, steps=1, lr={"w": 0.1})


@pytest.mark.parametrize("second_order", [False, True])
def test_nothing_is_kept_from_one_call_to_the_next(second_order):
    params, data, weights = problem()

    def alive() -> int:
        return sum(issubclass(type(thing), Tensor) for thing in gc.get_objects())

    def calls(n: int) -> None:
        for _ in range(n):
            found = adapt(tanh, params, data, weights, steps=2, lr=0.1, second_order=second_order)
            found["w"].sum().backward()

    calls(2)
    gc.collect()
    before = alive()
    gc.disable()  # a cycle would have to be collected, and would be found
    try:
        calls(200)
        assert alive() <= before
    finally:
        gc.enable()
