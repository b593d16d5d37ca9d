"""The functions of external memories: their formulas, their published invariants, and that nothing makes them NaN."""

from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from metarl.functional import external as fx
from metarl.functional.kernels import unit

BATCH, HEADS, SLOTS, WIDTH = 3, 2, 5, 4


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def weigh(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """Weights over the last axis that sum to somewhat less than one."""
    return 0.9 * draw(*shape, seed=seed, dtype=dtype).softmax(-1)


def test_content_weights_are_the_softmax_of_the_cosine_times_the_strength() -> None:
    key, memory = draw(BATCH, HEADS, WIDTH), 50 * draw(BATCH, SLOTS, WIDTH, seed=1)
    strength = torch.arange(BATCH * HEADS).reshape(BATCH, HEADS, 1)
    cosine = F.cosine_similarity(key[:, :, None], memory[:, None], dim=-1)
    weights = fx.content_weights(unit(key), memory, strength)
    torch.testing.assert_close(weights, torch.softmax(strength * cosine, -1), rtol=1e-3, atol=1e-4)


def test_an_empty_memory_is_weighed_evenly_and_a_faint_trace_is_not_taken_for_a_word() -> None:
    key = torch.tensor([[[1.0, 0.0]]])
    even = fx.content_weights(unit(key), torch.zeros(1, 4, 2), torch.full((1, 1, 1), 10.0))
    assert even.tolist() == [[[0.25] * 4]]
    trace = torch.tensor([[[1.0, 0.0], [1e-3, 0.0]]])
    found = fx.content_weights(unit(key), trace, torch.full((1, 1, 1), 10.0))
    assert found[0, 0, 0] > 0.99


def test_interpolation_lies_between_its_ends() -> None:
    first, second = weigh(BATCH, HEADS, SLOTS), weigh(BATCH, HEADS, SLOTS, seed=1)
    gate = torch.tensor([1.0, 0.0, 0.25])[:, None, None].expand(-1, HEADS, -1)
    mixed = fx.interpolate(first, second, gate)
    torch.testing.assert_close(mixed[:2], torch.stack([first[0], second[1]]))
    torch.testing.assert_close(mixed[2], 0.25 * first[2] + 0.75 * second[2])


@pytest.mark.parametrize("reach", [1, 2])
@pytest.mark.parametrize("slots", [1, 2, SLOTS])
def test_a_shift_is_the_circular_convolution_of_the_paper(reach: int, slots: int) -> None:
    weights, kernel = weigh(BATCH, HEADS, slots), draw(BATCH, HEADS, 2 * reach + 1, seed=1).softmax(-1)
    expected = torch.zeros_like(weights)
    for i in range(slots):
        for by in range(-reach, reach + 1):
            expected[..., i] += weights[..., (i - by) % slots] * kernel[..., by + reach]
    moved = fx.shift(weights, kernel)
    torch.testing.assert_close(moved, expected)
    torch.testing.assert_close(moved.sum(-1), weights.sum(-1))


def test_sharpening_is_a_power_made_to_sum_to_one() -> None:
    weights = draw(BATCH, HEADS, SLOTS).softmax(-1)
    power = torch.tensor([1.0, 2.0, 7.5])[:, None, None]
    expected = weights**power / (weights**power).sum(-1, keepdim=True)
    torch.testing.assert_close(fx.sharpen(weights, power), expected, rtol=1e-5, atol=1e-6)


def test_erasing_and_adding_are_the_formula_of_the_paper_also_in_place() -> None:
    memory, weights = draw(BATCH, SLOTS, WIDTH), weigh(BATCH, SLOTS, seed=1)
    erase, word = draw(BATCH, WIDTH, seed=3).sigmoid(), draw(BATCH, WIDTH, seed=2)
    outer = weights[:, :, None] * erase[:, None]
    expected = memory * (1 - outer) + weights[:, :, None] * word[:, None]
    torch.testing.assert_close(fx.erase_and_add(memory, weights, erase, word), expected)
    owned = memory.clone()
    assert fx.erase_and_add(owned, weights, erase, word, in_place=True) is owned
    torch.testing.assert_close(owned, expected)


def test_clearing_empties_a_slot_before_the_word_is_added() -> None:
    memory, word = draw(1, 3, 2), torch.tensor([[1.0, 2.0]])
    cleared, weights = torch.tensor([[0.0, 1.0, 0.0]]), torch.tensor([[0.5, 0.5, 0.0]])
    expected = torch.stack([memory[0, 0] + word[0] / 2, word[0] / 2, memory[0, 2]])
    torch.testing.assert_close(fx.clear_and_add(memory, cleared, weights, word)[0], expected)
    torch.testing.assert_close(fx.clear_and_add(memory.clone(), cleared, weights, word, in_place=True)[0], expected)


def test_the_least_used_slot_is_the_first_of_those_that_tie_whatever_the_rounding() -> None:
    usage = torch.tensor([[0.5, 0.2, 0.2, 0.9], [0.0, 0.0, 0.0, 0.0], [0.5, 0.2 + 1e-6, 0.2, 0.9]])
    assert fx.least_used(usage).argmax(-1).tolist() == [1, 0, 1]
    assert fx.least_used(usage).sum(-1).tolist() == [1, 1, 1]


def test_a_slot_is_retained_unless_a_head_that_read_it_frees_it() -> None:
    read = torch.tensor([[[1.0, 0.0, 0.0], [0.0, 0.5, 0.0]]])
    assert fx.retention(torch.tensor([[[1.0], [1.0]]]), read).tolist() == [[0.0, 0.5, 1.0]]
    assert fx.retention(torch.tensor([[[0.0], [0.0]]]), read).tolist() == [[1.0, 1.0, 1.0]]


def test_usage_grows_with_each_write_and_stays_within_one() -> None:
    usage = torch.zeros(BATCH, SLOTS)
    for step in range(20):
        weights = weigh(BATCH, SLOTS, seed=step)
        grown = fx.use(usage, weights)
        torch.testing.assert_close(grown, usage + weights - usage * weights)
        assert (grown >= usage).all()
        assert (grown <= 1).all()
        usage = grown


def test_allocation_is_the_formula_of_the_paper_and_goes_to_free_slots_in_their_order_if_there_are_any() -> None:
    usage = draw(BATCH, SLOTS).sigmoid()
    expected = torch.zeros_like(usage)
    for row in range(BATCH):
        before = 1.0
        for slot in usage[row].argsort().tolist():
            expected[row, slot] = (1 - usage[row, slot]) * before
            before *= float(usage[row, slot])
    torch.testing.assert_close(fx.allocation(usage), expected)
    usage = torch.tensor([[1.0, 0.0, 0.0, 0.5], [1.0, 1.0, 0.3, 1.0], [1.0, 1.0, 1.0, 1.0]])
    weights = fx.allocation(usage)
    torch.testing.assert_close(weights[0], torch.tensor([0.0, 1.0, 0.0, 0.0]))
    torch.testing.assert_close(weights[1], torch.tensor([0.0, 0.0, 0.7, 0.0]))
    assert weights[2].tolist() == [0, 0, 0, 0]
    assert (fx.allocation(draw(1000, 9).sigmoid()).sum(-1) <= 1 + 1e-5).all()


def test_links_keep_their_invariants_over_many_writes() -> None:
    links, precedence = torch.zeros(BATCH, SLOTS, SLOTS), torch.zeros(BATCH, SLOTS)
    for step in range(100):
        weights = weigh(BATCH, SLOTS, seed=step) if step % 3 else F.one_hot(torch.arange(BATCH), SLOTS).float()
        expected = torch.zeros_like(links)
        for i in range(SLOTS):
            for j in range(SLOTS):
                if i != j:
                    kept = (1 - weights[:, i] - weights[:, j]) * links[:, i, j]
                    expected[:, i, j] = kept + weights[:, i] * precedence[:, j]
        links, precedence = fx.link(links, precedence, weights), fx.precede(precedence, weights)
        torch.testing.assert_close(links, expected)
        assert (links >= -1e-6).all()
        assert (links <= 1).all()
        assert (links.diagonal(dim1=1, dim2=2) == 0).all()
        assert (links.sum(1) <= 1 + 1e-5).all()
        assert (links.sum(2) <= 1 + 1e-5).all()
        assert (precedence.sum(-1) <= 1 + 1e-5).all()


def test_links_lead_from_each_write_to_the_next_and_back() -> None:
    links, precedence = torch.zeros(1, SLOTS, SLOTS), torch.zeros(1, SLOTS)
    places = [3, 0, 4, 1]
    for place in places:
        weights = F.one_hot(torch.tensor([place]), SLOTS).float()
        links, precedence = fx.link(links, precedence, weights), fx.precede(precedence, weights)
    assert precedence.argmax() == places[-1]
    for here, after in pairwise(places):
        at, then = (F.one_hot(torch.tensor([[place]]), SLOTS).float() for place in (here, after))
        torch.testing.assert_close(fx.follow(links, at)[0], then)
        torch.testing.assert_close(fx.follow(links, then)[1], at)


def test_what_grows_levels_off_at_its_limit() -> None:
    x = torch.tensor([-1e8, -5.0, 1.0, 10.0, 1e8])
    y = fx.bounded(x, 50.0)
    torch.testing.assert_close(y[:3], F.softplus(x[:3]), rtol=1e-3, atol=1e-6)
    assert 9.5 < y[3] < 10
    assert y[4] == 50


def chain(memory: Tensor, x: Tensor) -> Tensor:
    """Every function once, from raw numbers ``x`` ``[B, 4 N + 2 W + 3]``."""
    slots, width = memory.shape[1:]
    key, word, usage, read, written, previous, rest = x.split([width, width, slots, slots, slots, slots, 3], -1)
    strength, gate, power = (part[:, None] for part in rest.split(1, -1))
    key, word = unit(key)[:, None], word * (1e4 / word.detach().abs().amax(-1, keepdim=True).clamp_min(1e4))
    found = fx.content_weights(key, memory, fx.bounded(strength, fx.STRENGTH_LIMIT))
    gated = fx.interpolate(found, previous.softmax(-1)[:, None], gate.sigmoid())
    moved = fx.shift(gated, torch.softmax(torch.cat([strength, gate, power], -1), -1))
    sharp = fx.sharpen(moved, 1 + fx.bounded(power, fx.SHARPNESS_LIMIT))
    used = usage.sigmoid() * fx.retention(gate.sigmoid(), read.softmax(-1)[:, None])
    weights = fx.interpolate(fx.allocation(used), sharp[:, 0], gate[:, 0].sigmoid())
    changed = fx.erase_and_add(memory, weights, word.sigmoid(), word)
    links = fx.link(torch.zeros(len(x), slots, slots, dtype=x.dtype), fx.precede(weights, sharp[:, 0]), weights)
    later, earlier = fx.follow(links, written.softmax(-1)[:, None])
    wiped = fx.clear_and_add(changed, fx.least_used(fx.use(used, weights)), weights, word)
    return torch.bmm(later + earlier + sharp, wiped)


def extremes(*shape: int, dtype: torch.dtype) -> Tensor:
    """Numbers of every size, with rows of zeros and rows all alike."""
    generator = torch.Generator().manual_seed(0)
    sizes = torch.tensor([0.0, 1e-30, 1e-8, 1e-3, 1.0, 1e3, 1e8])
    x = torch.randn(*shape, generator=generator)
    for where in (shape, (shape[0],) + (1,) * (len(shape) - 1)):  # each entry, and each row, has a size of its own
        x = x * sizes[torch.randint(len(sizes), where, generator=generator)]
    x = x.clamp(-1e8, 1e8)
    x[: shape[0] // 10] = x[: shape[0] // 10].flatten(1)[:, :1].reshape(-1, *(1,) * (len(shape) - 1))
    return x.to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_ten_thousand_extreme_inputs_give_finite_values_and_gradients(dtype: torch.dtype) -> None:
    memory = (extremes(10_000, SLOTS, WIDTH, dtype=dtype) / 1e4).requires_grad_()
    x = extremes(10_000, 4 * SLOTS + 2 * WIDTH + 3, dtype=dtype).requires_grad_()
    value = chain(memory, x)
    assert value.isfinite().all()
    value.sum().backward()
    for leaf in (memory, x):
        assert leaf.grad is not None
        assert leaf.grad.isfinite().all()


def test_gradients_are_exact() -> None:
    memory = draw(2, 3, 2, dtype=torch.float64).requires_grad_()
    x = draw(2, 4 * 3 + 2 * 2 + 3, seed=1, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(chain, (memory, x))


def second(function: Callable[..., Tensor], *inputs: Tensor) -> bool:
    return torch.autograd.gradgradcheck(function, tuple(x.requires_grad_() for x in inputs))


def test_second_gradients_are_exact() -> None:
    memory, key = draw(2, 3, 2, dtype=torch.float64), draw(2, 2, 2, seed=1, dtype=torch.float64)
    assert second(fx.content_weights, key, memory, draw(2, 2, 1, seed=2, dtype=torch.float64).exp())
    assert second(lambda m, k: fx._Cosine.apply(k, m), memory, key)
    weights, erase = weigh(2, 3, dtype=torch.float64), draw(2, 2, seed=3, dtype=torch.float64).sigmoid()
    assert second(fx.erase_and_add, memory, weights, erase, draw(2, 2, seed=2, dtype=torch.float64))
