"""Memories that are networks: fast weights by the delta rule, and an MLP that takes gradient steps."""

from typing import Any

import pytest
import torch
from store_toys import draw
from torch import Tensor

from metarl import tree
from metarl.config import ConfigError
from metarl.functional.kernels import unit
from metarl.memory.contract import Store, Write
from metarl.memory.stores.delta import DeltaRule, DeltaRuleOptions
from metarl.memory.stores.neural import NeuralMemory, NeuralOptions, bounded

KEY, VALUE, BATCH = 4, 6, 5
BIG = 100.0  # a control whose sigmoid is 1


def make(name: str, key_size: int = KEY, value_size: int = VALUE) -> Store:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if name == "neural":
            return NeuralMemory(key_size, value_size, None, NeuralOptions(hidden_size=64 if key_size > KEY else 7))
        return DeltaRule(key_size, value_size, None, DeltaRuleOptions(heads=2 if name == "delta, 2 heads" else 1))


DELTA = ["delta", "delta, 2 heads"]
EVERY = pytest.mark.parametrize("name", [*DELTA, "neural"])


def filled(store: Store) -> Any:
    """A state that every leaf of holds something."""
    state = store.initial_state(BATCH)
    for t in range(3):
        control = draw(BATCH, store.control_size, seed=t)
        state = store.write(state, Write(draw(BATCH, KEY, seed=t), draw(BATCH, VALUE, seed=t + 10), control))
    return tree.map_tensors(torch.Tensor.detach, state)


@EVERY
@torch.no_grad()
def test_donating_changes_nothing_but_the_buffers(name: str) -> None:
    store, rows = make(name), torch.tensor([True, True, False, True, False])
    before = filled(store)
    written = (draw(BATCH, KEY), draw(BATCH, VALUE), draw(BATCH, store.control_size))
    kept = tree.map_tensors(torch.Tensor.clone, before)
    plain = store.reset(store.write(before, Write(*written, rows=rows)), ~rows)
    given = tree.map_tensors(torch.Tensor.clone, before)
    donated = store.reset(store.write(given, Write(*written, rows=rows), donate=True), ~rows, donate=True)
    for a, b, c, d, e in zip(*(tree.leaves(s) for s in (before, kept, plain, donated, given)), strict=True):
        assert torch.equal(a, b)
        torch.testing.assert_close(c, d, atol=1e-6, rtol=1e-6)
        assert d.data_ptr() == e.data_ptr()


@EVERY
def test_queries_side_by_side_and_rows_in_any_order(name: str) -> None:
    store = make(name)
    state, query = filled(store), draw(BATCH, 3, KEY)
    together, after = store.read(state, query)
    assert after is state
    order = torch.tensor([3, 0, 4, 1, 2])
    shuffled, _ = store.read(tree.index(state, order), query[order])
    torch.testing.assert_close(shuffled.value, together.value[order])
    for i in range(3):
        alone, _ = store.read(state, query[:, i : i + 1])
        torch.testing.assert_close(alone.value[:, 0], together.value[:, i])


@pytest.mark.parametrize("name", DELTA)
def test_a_key_holds_what_was_written_last(name: str) -> None:
    store = make(name)
    certain = torch.full((BATCH, store.control_size), BIG)
    state, key = filled(store), draw(BATCH, KEY) * 100  # long, so that its unit is of length one to rounding
    for t in range(3):
        value = draw(BATCH, VALUE, seed=t)
        state = store.write(state, Write(key, value, certain))
        torch.testing.assert_close(store.read(state, key[:, None])[0].value[:, 0], value, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", DELTA)
def test_orthogonal_keys_leave_each_other_alone_and_forget_at_their_rate(name: str) -> None:
    store = make(name)
    state = store.initial_state(1)
    width = KEY // store.key_heads
    keys = 1e3 * torch.eye(width).repeat(1, store.key_heads)
    values = draw(width, VALUE)
    half = torch.cat(
        [torch.full((1, store.key_heads), BIG), torch.zeros(1, store.key_heads)], 1
    )  # b = 1, a = sigmoid(0)
    for key, value in zip(keys, values, strict=True):
        state = store.write(state, Write(key[None], value[None], half))
    read = store.read(state, keys[None])[0].value[0]
    age = torch.arange(width - 1, -1, -1)[:, None]
    torch.testing.assert_close(read, values * 0.5**age, atol=1e-5, rtol=1e-5)


def test_the_neural_memory_follows_its_equations() -> None:
    """Against a loop that knows nothing of W - W_0, of layers or of rows, and asks autograd for the gradient."""
    store = make("neural").double()
    assert isinstance(store, NeuralMemory)
    with torch.no_grad():
        store.outer.copy_(draw(*store.outer.shape, seed=5))
    keys, values, controls = draw(6, KEY).double(), 3 * draw(6, VALUE).double(), draw(6, 3).double()
    weights = [store.inner.detach().clone().requires_grad_(), store.outer.detach().clone().requires_grad_()]
    surprise = [torch.zeros_like(w) for w in weights]
    state = store.initial_state(1)
    for key, value, control in zip(keys, values, controls, strict=True):
        state = store.write(state, Write(key[None], value[None], control[None]))
        k, v = unit(key), value / (1 + value.square().mean()).sqrt()
        hidden = (k @ weights[0]).tanh()
        error = hidden @ weights[1] - v
        gradient = torch.autograd.grad(error.square().sum() / 2, weights)
        theta, eta, alpha = control.sigmoid()
        with torch.no_grad():
            steep = gradient[0].square().sum() / k.square().sum() + gradient[1].square().sum()
            length = 1 + steep / error.square().sum()
            surprise = [eta * s - theta * g / length for s, g in zip(surprise, gradient, strict=True)]
            weights = [(1 - alpha) * w + s for w, s in zip(weights, surprise, strict=True)]
        weights = [w.requires_grad_() for w in weights]
    kept = [state.inner + store.inner, state.outer + store.outer, state.inner_momentum, state.outer_momentum]
    for ours, expected in zip(kept, [*weights, *surprise], strict=True):
        torch.testing.assert_close(ours[0], expected, atol=1e-6, rtol=1e-6)  # a floor of 1e-6 is in the squared error
    query = draw(1, KEY).double()
    expected = (unit(query) @ weights[0]).tanh() @ weights[1]
    torch.testing.assert_close(store.read(state, query[None])[0].value[0], expected, atol=1e-6, rtol=1e-6)


def test_reading_an_empty_neural_memory_asks_the_learned_network_alone() -> None:
    store = make("neural")
    assert isinstance(store, NeuralMemory)
    query = draw(BATCH, 2, KEY)
    assert store.read(store.initial_state(BATCH), query)[0].value.abs().max() == 0
    with torch.no_grad():
        store.outer.copy_(draw(*store.outer.shape))
    expected = (unit(query) @ store.inner).tanh() @ store.outer
    after_reset = store.reset(filled(store), torch.ones(BATCH, dtype=torch.bool))
    for empty in (store.initial_state(BATCH), after_reset):
        torch.testing.assert_close(store.read(empty, query)[0].value, expected)


class WriteAndRead(torch.nn.Module):
    """Writes and a read, as a function of the store's parameters too."""

    def __init__(self, store: Store) -> None:
        super().__init__()
        self.store = store

    def forward(self, key: Tensor, value: Tensor, control: Tensor, query: Tensor) -> Tensor:
        state = tree.map_tensors(lambda leaf: leaf.to(key.dtype), self.store.initial_state(2))
        for t in range(len(key)):
            state = self.store.write(state, Write(key[t], value[t], control[t], rows=torch.tensor([True, t != 1])))
        return self.store.read(state, query)[0].value


@EVERY
def test_gradients_to_second_order(name: str) -> None:
    model = WriteAndRead(make(name, value_size=2)).double()
    parameters = {n: (p.detach() + 0.1).requires_grad_() for n, p in model.named_parameters()}
    shapes = [(2, 2, KEY), (2, 2, 2), (2, 2, model.store.control_size), (2, 1, KEY)]
    inputs = [draw(*shape, seed=i).double().requires_grad_() for i, shape in enumerate(shapes)]

    def run(*given: Tensor) -> Tensor:
        weights = dict(zip(parameters, given[len(inputs) :], strict=True))
        return torch.func.functional_call(model, weights, given[: len(inputs)])

    assert torch.autograd.gradcheck(run, [*inputs, *parameters.values()])
    assert torch.autograd.gradgradcheck(run, [*inputs, *parameters.values()])


@pytest.mark.parametrize("pairs", [8, 16])
@pytest.mark.parametrize("width", [32, 64])
@pytest.mark.parametrize("name", ["delta", "neural"])
@torch.no_grad()
def test_an_untrained_memory_recalls(name: str, width: int, pairs: int) -> None:
    """Random keys and values, written once each as start_control says: what is read is nearest to the right value."""
    store, batch = make(name, width, width), 200
    keys, values = draw(pairs, batch, width, seed=1), draw(pairs, batch, width, seed=2)
    state = store.initial_state(batch)
    for key, value in zip(keys, values, strict=True):
        state = store.write(state, Write(key, value, store.start_control().expand(batch, -1)))
    read = store.read(state, keys.transpose(0, 1))[0].value
    sought = values.transpose(0, 1)
    nearest = torch.cdist(read, bounded(sought) if name == "neural" else sought).argmin(-1)
    assert (nearest == torch.arange(pairs)).double().mean() > (0.98 if pairs == 8 else 0.9)


def test_sizes_that_the_heads_do_not_divide_are_refused() -> None:
    for key, value, wrong in ((4, 7, "value_size"), (5, 6, "key_size")):
        with pytest.raises(ConfigError) as caught:
            DeltaRule(key, value, None, DeltaRuleOptions(heads=2))
        assert caught.value.key == wrong


@EVERY
def test_a_network_has_no_slots(name: str) -> None:
    store = make(name)
    with pytest.raises(TypeError, match="slots"):
        store.content(store.initial_state(1))
    with pytest.raises(TypeError, match="control"):
        store.write(store.initial_state(1), Write(draw(1, KEY), draw(1, VALUE)))
