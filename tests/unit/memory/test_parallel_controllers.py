"""Controllers that are parallel over time: resets inside, stepping, chunks, and what each sees of the past."""

import math

import pytest
import torch
from torch import Tensor

from metarl import tree
from metarl.memory.contract import Controller, State
from metarl.memory.controllers import window
from metarl.memory.controllers.mingru import MinGRU, MinGRUOptions
from metarl.memory.controllers.window import WindowOptions, WindowState, WindowTransformer

STEPS, BATCH, INPUTS = 12, 5, 3


def make(name: str, dtype: torch.dtype = torch.float32) -> Controller:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        controller: Controller
        if name.startswith("mingru"):
            controller = MinGRU(INPUTS, MinGRUOptions(8, layers=2 if name.endswith("2") else 1))
        else:
            options = WindowOptions(8, heads=2, layers=1 + name.endswith("2"), window=int(name.split()[1]))
            controller = WindowTransformer(INPUTS, options)
            for layer in controller.layers:
                torch.nn.init.normal_(layer.attention.bias)  # so that a wrong distance shows
    return controller.to(dtype)


EVERY = pytest.mark.parametrize("name", ["mingru", "mingru 2", "window 1", "window 4", "window 4 2", "window 30 2"])


def sequence(seed: int = 0, steps: int = STEPS, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(steps, BATCH, INPUTS, generator=torch.Generator().manual_seed(seed)).to(dtype)


def anywhere(seed: int = 0, steps: int = STEPS) -> Tensor:
    """Rows that are cleared anywhere: one at every step, one never."""
    cleared = torch.rand(steps, BATCH, generator=torch.Generator().manual_seed(seed)) < 0.2
    cleared[:, 0], cleared[:, 1] = True, False
    return cleared


def warm(controller: Controller) -> State:
    """A state with some past, which differs from row to row."""
    cleared = torch.zeros(3, BATCH, dtype=torch.bool)
    cleared[1, 2] = cleared[2, 3] = True
    with torch.no_grad():
        return controller.unroll(sequence(9, 3), controller.initial_state(BATCH), cleared=cleared)[1]


@EVERY
@pytest.mark.parametrize("sizes", [[1] * STEPS, [5, 1, 6], [2, 10]], ids=["stepped", "chunked", "long after short"])
def test_pieces_equal_the_whole_with_gradients_and_state(name: str, sizes: list[int]) -> None:
    controller, x, cleared = make(name), sequence(), anywhere()
    runs = []
    for parts in ([STEPS], sizes):
        controller.zero_grad()
        leaf = x.clone().requires_grad_()
        state, outputs = warm(controller), []
        for part, begun in zip(leaf.split(parts), cleared.split(parts), strict=True):
            y, state = controller.unroll(part, state, cleared=begun)
            outputs.append(y)
        y = torch.cat(outputs)
        (y * torch.linspace(0.5, 1.5, y.numel()).view_as(y)).sum().backward()
        runs.append(([y, *tree.leaves(state)], [leaf.grad, *(p.grad for p in controller.parameters())]))
    for left, right in zip(*(values for values, _ in runs), strict=True):
        torch.testing.assert_close(left, right, atol=1e-5, rtol=1e-5)
    for left, right in zip(*(gradients for _, gradients in runs), strict=True):
        torch.testing.assert_close(left, right, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["mingru 2", "window 4 2"])
def test_gradients_of_first_and_second_order(name: str) -> None:
    controller = make(name, torch.float64)
    x = sequence(steps=4, dtype=torch.float64)[:, 1:3].requires_grad_()
    cleared, state = anywhere(steps=4)[:, 1:3], controller.initial_state(2)
    cleared[2, 1] = True

    def outputs(leaf: Tensor) -> Tensor:
        return controller.unroll(leaf, state, cleared=cleared)[0]

    assert torch.autograd.gradcheck(outputs, x)
    assert torch.autograd.gradgradcheck(outputs, x)


def test_mingru_is_the_published_recurrence() -> None:
    controller, x = make("mingru"), sequence()
    gate_weight, candidate_weight = controller.first.linear.weight.chunk(2)
    gate_bias, candidate_bias = controller.first.linear.bias.chunk(2)
    state = warm(controller)
    h, expected = state.h[:, 0], []
    for x_t in x:
        z = torch.sigmoid(x_t @ gate_weight.t() + gate_bias)
        h = (1 - z) * h + z * (x_t @ candidate_weight.t() + candidate_bias)
        expected.append(h)
    y, last = controller.unroll(x, state)
    torch.testing.assert_close(y, torch.stack(expected), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(controller.cell(last), h, atol=1e-6, rtol=1e-5)
    deep = make("mingru 2")
    _, state = deep.unroll(x, deep.initial_state(BATCH))
    assert MinGRU.has_cell
    assert torch.equal(deep.cell(state), state.h[:, 1])
    assert not torch.equal(state.h[:, 0], state.h[:, 1])


def test_an_untrained_mingru_remembers_for_steps_and_for_a_hundred() -> None:
    bias = MinGRU(INPUTS, MinGRUOptions(16)).first.linear.bias[:16]
    steps = 1 / torch.sigmoid(bias)
    assert steps[0].item() == pytest.approx(2, rel=1e-4)
    assert steps[-1].item() == pytest.approx(100, rel=1e-4)
    assert torch.allclose(steps.log().diff(), torch.tensor(math.log(50) / 15), atol=1e-4)


@pytest.mark.parametrize(("layers", "reach"), [(1, 3), (2, 6)])
def test_a_window_of_four_reaches_three_inputs_back_in_each_layer(layers: int, reach: int) -> None:
    controller = make("window 4 2" if layers == 2 else "window 4")
    leaf = sequence().requires_grad_()
    y, _ = controller.unroll(leaf, controller.initial_state(BATCH))
    (gradient,) = torch.autograd.grad((y[10] ** 3).sum(), leaf)
    seen = gradient.abs().sum((1, 2)) > 0
    assert seen.tolist() == [10 - reach <= t <= 10 for t in range(STEPS)]


def plain_attention(controller: WindowTransformer, x: Tensor) -> Tensor:
    """One layer of one sequence ``[T, D]``, each query by itself."""
    (layer,), size = controller.layers, controller.options.window
    x = controller.embed(x)
    query, key, value = layer.attention.inputs(layer.norm(x)).chunk(3, -1)
    read = []
    for t in range(len(x)):
        seen = range(max(0, t - size + 1), t + 1)
        heads = []
        for q, k, v, bias in zip(*(p.chunk(2, -1) for p in (query, key, value)), layer.attention.bias, strict=True):
            logits = torch.stack([q[t] @ k[j] / q.shape[-1] ** 0.5 + bias[t - j] for j in seen])
            heads.append(logits.softmax(0) @ v[list(seen)])
        read.append(torch.cat(heads))
    return controller.norm(layer.block(x + layer.attention.output(torch.stack(read))))


@pytest.mark.parametrize("size", [1, 4, 30])
@pytest.mark.parametrize("chunk", [2, 5, 32])
def test_the_window_is_attention_written_out(size: int, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(window, "CHUNK", chunk)
    controller, x = make(f"window {size}"), sequence()
    assert isinstance(controller, WindowTransformer)
    y, _ = controller.unroll(x, controller.initial_state(BATCH))
    torch.testing.assert_close(y[:, 2], plain_attention(controller, x[:, 2]), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("chunk", [2, 3, 5])
def test_chunks_within_an_unroll_change_nothing(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    controller, x, cleared = make("window 4 2"), sequence(), anywhere()
    whole, last = controller.unroll(x, warm(controller), cleared=cleared)
    monkeypatch.setattr(window, "CHUNK", chunk)
    y, state = controller.unroll(x, warm(controller), cleared=cleared)
    for found, expected in zip([y, *tree.leaves(state)], [whole, *tree.leaves(last)], strict=True):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_the_cache_is_canonical() -> None:
    controller, x = make("window 6 2"), sequence()
    cleared = torch.zeros(STEPS, BATCH, dtype=torch.bool)
    cleared[STEPS - 2, 1] = cleared[3, 2] = True
    _, state = controller.unroll(x, controller.initial_state(BATCH), cleared=cleared)
    assert state.length.tolist() == [5, 2, 5, 5, 5]
    assert state.keys[1, :, :3].abs().sum() == state.values[1, :, :3].abs().sum() == 0
    assert (state.keys[1, :, 3:].abs().sum(-1) > 0).all()
    _, short = controller.unroll(x[:2], controller.initial_state(BATCH))
    assert short.length.tolist() == [2] * BATCH
    assert short.keys[:, :, :3].abs().sum() == 0
    _, next_one = controller.unroll(x[2:3], short)
    assert torch.equal(next_one.keys[:, :, 2:4], short.keys[:, :, 3:]), "the oldest first, moved up by one"


@pytest.mark.parametrize("steps", [1, STEPS])
def test_what_is_not_valid_in_the_cache_never_shows(steps: int) -> None:
    controller, x, cleared = make("window 6 2"), sequence(steps=steps), anywhere(steps=steps)
    state = warm(controller)
    valid = (torch.arange(5) >= 5 - state.length[:, None])[:, None, :, None]
    garbage = WindowState(
        state.keys.where(valid, torch.tensor(1e30)), state.values.where(valid, torch.tensor(-1e30)), state.length
    )
    results = []
    for given in (state, garbage):
        leaf = x.clone().requires_grad_()
        y, _ = controller.unroll(leaf, given, cleared=cleared)
        results.append((y, *torch.autograd.grad((y**3).sum(), [leaf, *controller.parameters()])))
    for clean, dirty in zip(*results, strict=True):
        assert torch.equal(clean, dirty)


def test_memory_is_linear_in_the_length_of_the_sequence() -> None:
    """Numbers kept for the gradient, per step: no more for long sequences than for ones of a few chunks."""
    controller = WindowTransformer(INPUTS, WindowOptions(8, heads=2, window=16))

    def kept(steps: int) -> float:
        held: dict[int, int] = {}

        def note(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            held[storage.data_ptr()] = storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            y, _ = controller.unroll(sequence(steps=steps), controller.initial_state(BATCH))
        assert y.requires_grad
        return sum(held.values()) / steps

    assert kept(32 * 32) < 1.2 * kept(4 * 32)


def test_what_a_window_transformer_cannot_do_is_refused() -> None:
    with pytest.raises(ValueError, match="hidden_size"):
        WindowTransformer(INPUTS, WindowOptions(hidden_size=10, heads=4))
    controller = make("window 4")
    assert not WindowTransformer.has_cell
    with pytest.raises(TypeError, match="cell"):
        controller.cell(controller.initial_state(1))
