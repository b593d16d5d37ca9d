"""The gated delta rule: its chunks against its steps, and what it promises as an associative memory."""

from functools import partial

import pytest
import torch
from torch import Tensor

from metarl.functional.delta import LOG_NOTHING, delta_step, delta_unroll
from metarl.functional.kernels import unit

ROWS, STEPS, QUERIES, KEY, VALUE = 4, 13, 2, 3, 5
RULES = pytest.mark.parametrize("add", [False, True], ids=["delta", "sum"])


def sequence(dtype: torch.dtype = torch.float64, steps: int = STEPS, seed: int = 0) -> list[Tensor]:
    """W_0, queries, keys, values, strengths and log decays, with steps that write nothing and steps that reset."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=dtype)

    strength, log_decay = torch.sigmoid(draw(ROWS, steps)), -draw(ROWS, steps).abs()
    strength[torch.rand(ROWS, steps, generator=generator) < 0.2] = 0.0
    log_decay[torch.rand(ROWS, steps, generator=generator) < 0.2] = LOG_NOTHING
    query, key = unit(draw(ROWS, steps, QUERIES, KEY)), unit(draw(ROWS, steps, KEY))
    return [draw(ROWS, KEY, VALUE), query, key, draw(ROWS, steps, VALUE), strength, log_decay]


def stepped(
    memory: Tensor, query: Tensor, key: Tensor, value: Tensor, strength: Tensor, log_decay: Tensor, add: bool
) -> tuple[Tensor, Tensor]:
    reads = []
    for t in range(key.shape[1]):
        memory = delta_step(memory, key[:, t], value[:, t], strength[:, t], log_decay[:, t].exp(), add=add)
        reads.append(torch.einsum("nqk,nkv->nqv", query[:, t], memory))
    return torch.stack(reads, 1), memory


@RULES
@pytest.mark.parametrize("chunk", [1, 4, 5, STEPS, 25])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_chunks_equal_steps_forward_and_backward(chunk: int, dtype: torch.dtype, tolerance: float, add: bool) -> None:
    results = []
    for run in (partial(stepped, add=add), partial(delta_unroll, chunk=chunk, add=add)):
        inputs = [x.requires_grad_() for x in sequence(dtype)]
        reads, memory = run(*inputs)
        weights = torch.linspace(-1, 1, reads.numel(), dtype=dtype).view_as(reads)
        ((reads * weights).sum() + memory.square().sum()).backward()
        results.append([reads.detach(), memory.detach(), *(x.grad for x in inputs)])
    for left, right in zip(*results, strict=True):
        torch.testing.assert_close(left, right, atol=tolerance, rtol=tolerance)


def test_a_step_is_its_equation() -> None:
    memory, _, key, value, strength, log_decay = sequence()
    k, v, b, a = key[:, 0], value[:, 0], strength[:, 0, None, None], log_decay[:, 0].exp()[:, None, None]
    eye, outer = torch.eye(KEY, dtype=torch.float64), k[:, :, None] * k[:, None]
    expected = (eye - b * outer) @ (a * memory) + b * k[:, :, None] * v[:, None]  # Yang et al. 2025, eq. 10
    given = memory.clone()
    torch.testing.assert_close(delta_step(given, k, v, b[:, 0, 0], a[:, 0, 0]), expected)
    assert torch.equal(given, memory)
    added = a * memory + b * k[:, :, None] * v[:, None]
    torch.testing.assert_close(delta_step(given, k, v, b[:, 0, 0], a[:, 0, 0], add=True), added)
    torch.testing.assert_close(delta_step(given, k, v, b[:, 0, 0], a[:, 0, 0], donate=True), expected)


def test_a_small_decay_behind_a_large_one_is_kept() -> None:
    """Running sums of logarithms would round log 0.999 away after 24 steps that each leave exp(-400)."""
    steps = 25
    key = torch.eye(steps)[None]
    log_decay = torch.full((1, steps), -400.0)
    log_decay[0, -1] = -1e-3
    reads, _ = delta_unroll(
        torch.zeros(1, steps, 1), key[:, -2:-1].expand(1, steps, steps)[:, :, None], key, torch.ones(1, steps, 1),
        torch.ones(1, steps), log_decay,
    )  # fmt: skip
    torch.testing.assert_close(reads[0, -1, 0, 0], torch.tensor(-1e-3).exp(), atol=1e-6, rtol=0)


@RULES
def test_gradients_to_second_order(add: bool) -> None:
    inputs = [x[:2].clone().requires_grad_() for x in sequence(steps=3)]
    assert torch.autograd.gradcheck(lambda *x: delta_unroll(*x, chunk=2, add=add), inputs)
    assert torch.autograd.gradgradcheck(lambda *x: delta_unroll(*x, chunk=2, add=add), inputs)


def test_equal_keys_for_long_stay_bounded() -> None:
    """The worst case for the triangular system: every key of every step is the same."""
    steps = 200
    key = torch.zeros(2, steps, KEY)
    key[..., 0] = 1.0
    value = torch.randn(2, steps, VALUE, generator=torch.Generator().manual_seed(0))
    zeros = torch.zeros(2, steps)
    reads, _ = delta_unroll(torch.zeros(2, KEY, VALUE), key[:, :, None], key, value, zeros + 1.0, zeros)
    torch.testing.assert_close(reads[:, :, 0], value, atol=1e-5, rtol=1e-5)
