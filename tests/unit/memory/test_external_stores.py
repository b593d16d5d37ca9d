"""NTM, LRUA and DNC: what their papers promise, what an untrained one does, and what nothing may break."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from stream_ops import every_step
from torch import Tensor

from metarl import tree
from metarl.functional.kernels import unit
from metarl.memory.contract import MemoryOps, State, Write
from metarl.memory.stores.dnc import DNC
from metarl.memory.stores.external import External, ExternalOptions
from metarl.memory.stores.lrua import LRUA, LRUAOptions
from metarl.memory.stores.ntm import NTM, NTMOptions
from metarl.types import Read

BATCH, KEY, VALUE, SLOTS = 4, 3, 2, 6
KINDS: dict[str, Any] = {"ntm": (NTM, NTMOptions), "lrua": (LRUA, LRUAOptions), "dnc": (DNC, ExternalOptions)}
EVERY = pytest.mark.parametrize("kind", KINDS)
HEADS = pytest.mark.parametrize("heads", [1, 2])


def build(kind: str, key: int = KEY, value: int = VALUE, slots: int = SLOTS, heads: int = 1) -> External:
    store, options = KINDS[kind]
    return store(key, value, None, options(slots=slots, read_heads=heads))


def draw(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def random_ops(store: External, steps: int, batch: int = BATCH, seed: int = 0, spread: float = 1.0) -> MemoryOps:
    """Random writes and reads with controls around those of the start; some rows are not written or begin anew."""
    drawn = torch.rand(2, steps, batch, generator=torch.Generator().manual_seed(seed))
    return every_step(
        drawn[0] < 0.1,
        drawn[1] < 0.7,
        draw(steps, batch, store.key_size, seed=seed),
        draw(steps, batch, store.value_size, seed=seed + 1),
        store.start_control() + spread * draw(steps, batch, store.control_size, seed=seed + 2),
        draw(steps, batch, store.key_size, seed=seed + 3),
        store.start_read_control() + spread * draw(steps, batch, store.read_control_size, seed=seed + 4),
    )


def written(store: External, steps: int = 4, batch: int = BATCH) -> Any:
    """A state after some steps."""
    return store.unroll(store.initial_state(batch), random_ops(store, steps, batch), None)[1]


def one_step(store: External, state: State, ops: MemoryOps, t: int, **how: bool) -> tuple[Tensor, State]:
    assert ops.write_control is not None
    assert ops.read_control is not None
    state = store.reset(state, ops.reset[t], **how)
    rows = ops.write_mask[t]
    state = store.write(state, Write(ops.key[t], ops.value[t], ops.write_control[t], rows=rows), **how)
    read, state = store.read(state, ops.query[t], ops.read_control[t])
    return read.value[:, 0], state


def control_of(store: External, reading: bool = False, **parts: float | list[float]) -> Tensor:
    """The control of the start with some parts set by hand, ``[1, ...]``."""
    layout, start = (
        (store.read_layout, store.start_read_control()) if reading else (store.write_layout, store.start_control())
    )
    for name, part in layout.split(start).items():
        if name in parts:
            part.copy_(torch.as_tensor(parts[name]))
    return start[None]


def assert_same(ours: State, theirs: State, exactly: bool = False) -> None:
    for a, b in zip(tree.leaves(ours), tree.leaves(theirs), strict=True):
        torch.testing.assert_close(a, b, **({"rtol": 0, "atol": 0} if exactly else {"rtol": 1e-5, "atol": 1e-5}))


@EVERY
@HEADS
def test_what_is_stored_is_recalled_before_any_training(kind: str, heads: int) -> None:
    store = build(kind, key=16, value=16, slots=16, heads=heads)
    keys, values = unit(draw(10, 50, 16)), unit(draw(10, 50, 16, seed=1))
    state = store.initial_state(50)
    for key, value in zip(keys, values, strict=True):
        state = store.write(state, Write(key, value))
        _, state = store.read(state, key[:, None])
    read, _ = store.read(state, keys.transpose(0, 1))
    for head in read.value.unflatten(-1, (heads, -1)).unbind(2):
        likeness = torch.einsum("bqv,ibv->bqi", unit(head[..., 16:]), values)
        assert (likeness.argmax(-1) == torch.arange(10)).float().mean() > 0.95


@EVERY
@HEADS
def test_the_empty_memory_reads_as_zeros_and_shows_no_slot(kind: str, heads: int) -> None:
    store = build(kind, heads=heads)
    state = store.initial_state(BATCH)
    read, after = store.read(state, draw(BATCH, 1, KEY))
    assert read.value.shape == (BATCH, 1, store.read_size) == (BATCH, 1, heads * (KEY + VALUE))
    assert not read.value.any()
    assert all(leaf.isfinite().all() for leaf in tree.leaves(after))
    assert not store.content(state).valid.any()


@EVERY
def test_an_access_sees_keys_and_values_of_the_slots_that_were_written(kind: str) -> None:
    store = build(kind)
    keys, values = draw(3, BATCH, KEY), draw(3, BATCH, VALUE, seed=1)
    state = store.initial_state(BATCH)
    for t in range(3):
        state = store.write(state, Write(keys[t], values[t]))
    content = store.content(state)
    assert (content.keys.shape, content.values.shape) == ((BATCH, SLOTS, KEY), (BATCH, SLOTS, VALUE))
    assert (content.valid.sum(1) == 3).all()
    assert content.valid[:, 0].all()
    for t in range(3):
        there = torch.cdist(content.keys, keys[t][:, None])[..., 0].argmin(1)
        assert content.valid[torch.arange(BATCH), there].all()
        torch.testing.assert_close(content.keys[torch.arange(BATCH), there], keys[t], rtol=0.1, atol=0.1)
        torch.testing.assert_close(content.values[torch.arange(BATCH), there], values[t], rtol=0.1, atol=0.1)


@EVERY
@HEADS
def test_an_unroll_equals_stepping_also_with_buffers_given_away(kind: str, heads: int) -> None:
    store = build(kind, heads=heads)
    ops = random_ops(store, 12)
    first = store.initial_state(BATCH)
    reads, last = store.unroll(first, ops, None)
    assert reads.shape == (12, BATCH, 1, store.read_size)
    stepped, given, kept = first, tree.map_tensors(Tensor.clone, first), tree.map_tensors(Tensor.clone, first)
    for t in range(12):
        read, stepped = one_step(store, stepped, ops, t)
        with torch.no_grad():
            _, given = one_step(store, given, ops, t, donate=True)
        torch.testing.assert_close(read, reads[t, :, 0], rtol=1e-5, atol=1e-5)
        assert_same(given, stepped, exactly=True)
    assert_same(stepped, last)
    assert_same(first, kept, exactly=True)


@EVERY
def test_the_gradients_of_an_unroll_equal_those_of_stepping(kind: str) -> None:
    store = build(kind)
    gradients = []
    for unrolled in (True, False):
        ops = MemoryOps(
            *(m.requires_grad_() if m is not None and m.is_floating_point() else m for m in random_ops(store, 8))
        )
        state = store.initial_state(BATCH)
        if unrolled:
            reads = store.unroll(state, ops, None)[0][:, :, 0]
        else:
            each = []
            for t in range(8):
                read, state = one_step(store, state, ops, t)
                each.append(read)
            reads = torch.stack(each)
        inputs = [m for m in ops if m is not None and m.requires_grad]
        gradients.append(torch.autograd.grad(reads.square().sum(), inputs))
    for ours, theirs in zip(*gradients, strict=True):
        assert ours.abs().sum() > 0
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@EVERY
@HEADS
def test_rows_that_are_not_written_stay_exactly_as_they_were(kind: str, heads: int) -> None:
    store = build(kind, heads=heads)
    state = written(store)
    rows = torch.tensor([True, False, True, False])
    key, value = draw(BATCH, KEY), draw(BATCH, VALUE)
    key[1], value[3] = torch.nan, torch.inf
    after = store.write(state, Write(key, value, rows=rows))
    assert_same(tree.index(after, ~rows), tree.index(state, ~rows), exactly=True)
    assert_same(tree.index(after, rows), tree.index(store.write(state, Write(key, value)), rows))
    assert not torch.equal(after.matrix.words[rows], state.matrix.words[rows])


@EVERY
@HEADS
def test_a_reset_empties_its_rows_alone(kind: str, heads: int) -> None:
    store = build(kind, heads=heads)
    state = written(store)
    rows = torch.tensor([True, False, True, False])
    after = store.reset(state, rows)
    assert_same(tree.index(after, rows), store.initial_state(2), exactly=True)
    assert_same(tree.index(after, ~rows), tree.index(state, ~rows), exactly=True)
    assert_same(store.reset(tree.map_tensors(Tensor.clone, state), rows, donate=True), after, exactly=True)


@EVERY
@HEADS
def test_queries_side_by_side_are_asked_one_by_one_of_the_same_state(kind: str, heads: int) -> None:
    store = build(kind, heads=heads)
    state = written(store)
    queries = draw(BATCH, 5, KEY)
    controls = store.start_read_control() + draw(BATCH, 5, store.read_control_size, seed=1)
    together, after = store.read(state, queries, controls)
    assert after is state
    for q in range(5):
        alone, _ = store.read(state, queries[:, q : q + 1], controls[:, q : q + 1])
        torch.testing.assert_close(alone.value[:, 0], together.value[:, q])


@EVERY
@HEADS
def test_weights_sum_to_one_at_most_and_usage_keeps_its_bounds(kind: str, heads: int) -> None:
    store = build(kind, heads=heads)
    ops = random_ops(store, 60, spread=5.0)
    state: Any = store.initial_state(BATCH)
    for t in range(60):
        _, state = one_step(store, state, ops, t)
        for name in {"write_weights", "read_weights", "precedence"} & set(state._fields):
            weights = getattr(state, name)
            assert (weights >= 0).all()
            assert (weights.sum(-1) <= 1 + 1e-5).all()
        if kind == "dnc":
            assert (state.usage >= 0).all()
            assert (state.usage <= 1).all()
            assert (state.links.diagonal(dim1=1, dim2=2) == 0).all()
            for axis in (1, 2):
                assert (state.links.sum(axis) <= 1 + 1e-5).all()


def test_an_untrained_ntm_is_a_tape_that_wraps() -> None:
    store = build("ntm", slots=3)
    state = store.initial_state(1)
    for item in range(7):
        word = draw(1, KEY + VALUE, seed=item)
        state = store.write(state, Write(word[:, :KEY], word[:, KEY:]))
        assert state.write_weights.argmax() == item % 3
        assert state.write_weights.max() > 0.99
        torch.testing.assert_close(state.matrix.words[:, item % 3], word, rtol=0.05, atol=0.05)
    assert store.content(state).valid.all()


def test_a_read_head_of_the_ntm_can_follow_the_tape_without_a_key() -> None:
    store = build("ntm", slots=5)
    state = store.initial_state(1)
    words = draw(5, 1, KEY + VALUE)
    for word in words:
        state = store.write(state, Write(word[:, :KEY], word[:, KEY:]))
    onwards = control_of(store, reading=True, gate=-10.0, shift=[0.0, 0.0, 9.0], sharpness=5.0)
    for word in words:
        read, state = store.read(state, torch.zeros(1, 1, KEY), onwards[:, None])
        torch.testing.assert_close(read.value[0], word, rtol=0.05, atol=0.05)


def test_a_head_may_ask_for_a_value() -> None:
    store = build("ntm", key=4, value=4)
    keys, values = torch.eye(4), torch.eye(4).flip(0)
    state = store.initial_state(1)
    for key, value in zip(keys, values, strict=True):
        state = store.write(state, Write(key[None], value[None]))
    for key, value in zip(keys, values, strict=True):
        asking = control_of(store, reading=True, key=[0.0] * 4 + value.tolist(), strength=30.0)
        read, _ = store.read(state, torch.zeros(1, 1, 4), asking[:, None])
        assert read.value[0, 0, :4].argmax() == key.argmax()


def test_lrua_empties_the_least_used_slot_before_it_writes() -> None:
    store = build("lrua", slots=3)
    state = store.initial_state(1)._replace(usage=torch.tensor([[3.0, 1.0, 2.0]]))
    state = state._replace(matrix=state.matrix._replace(words=draw(1, 3, KEY + VALUE)))
    key, value = draw(1, KEY, seed=1), draw(1, VALUE, seed=2)
    after = store.write(state, Write(key, value, control_of(store, alpha=0.0)))
    half = torch.cat([key, value], -1) / 2  # the other half would have gone to what was read last
    torch.testing.assert_close(after.matrix.words[:, 1], half)
    assert torch.equal(after.matrix.words[:, [0, 2]], state.matrix.words[:, [0, 2]])
    torch.testing.assert_close(after.usage, 0.95 * state.usage + torch.tensor([[0.0, 0.5, 0.0]]))


def test_lrua_can_write_to_what_was_read_last() -> None:
    store = build("lrua")
    state = written(store, batch=1)._replace(read_weights=torch.eye(SLOTS)[None, 3:4])
    key, value = draw(1, KEY), draw(1, VALUE)
    after = store.write(state, Write(key, value, control_of(store, alpha=20.0)))
    grown = state.matrix.words[:, 3] + torch.cat([key, value], -1)
    torch.testing.assert_close(after.matrix.words[:, 3], grown)


def test_lrua_spares_what_is_read_when_it_is_full() -> None:
    store = build("lrua", key=8, value=8, slots=4)
    keys = torch.eye(8)
    state = store.initial_state(1)
    for item in range(4):
        state = store.write(state, Write(keys[item : item + 1], keys[item : item + 1]))
    for _ in range(3):
        _, state = store.read(state, 3 * keys[None, :1], control_of(store, reading=True, strength=40.0)[:, None])
    state = store.write(state, Write(keys[5:6], keys[5:6]))
    held = state.matrix.words[0, :, :8].argmax(-1).tolist()
    assert held == [0, 5, 2, 3]


@EVERY
def test_what_another_access_read_counts_as_read(kind: str) -> None:
    store = build(kind, heads=2)
    state = written(store)
    weights = torch.full((BATCH, 1, SLOTS), -torch.inf)
    weights[..., 2] = 0.0
    after: Any = store.note_read(state, Read(torch.zeros(BATCH, 1, VALUE), weights))
    assert torch.equal(after.read_weights, weights.exp().expand(-1, 2, -1))
    if kind == "lrua":
        torch.testing.assert_close(after.usage - state.usage, 2 * weights[:, 0].exp())
    assert store.note_read(state, Read(torch.zeros(BATCH, 1, VALUE), None)) is state


def test_the_dnc_fills_one_free_slot_after_the_other_and_then_hardly_writes() -> None:
    store = build("dnc", slots=4)
    state = store.initial_state(1)
    words = draw(6, 1, KEY + VALUE)
    for count, word in enumerate(words[:4], 1):
        state = store.write(state, Write(word[:, :KEY], word[:, KEY:]))
        assert (state.usage > 0.9).sum() == count
        assert (state.usage < 0.1).sum() == 4 - count
    full = state.matrix.words
    for word in words[4:]:
        state = store.write(state, Write(word[:, :KEY], word[:, KEY:]))
    torch.testing.assert_close(state.matrix.words, full, rtol=0.2, atol=0.2)


def test_a_free_gate_of_the_dnc_gives_the_slot_that_was_read_to_the_next_write() -> None:
    store = build("dnc", key=8, value=8, slots=4)
    keys = torch.eye(8)
    state = store.initial_state(1)
    for item in range(4):
        state = store.write(state, Write(keys[item : item + 1], keys[item : item + 1]))
    _, state = store.read(state, keys[None, 2:3], control_of(store, reading=True, strength=50.0)[:, None])
    kept = store.write(state, Write(keys[5:6], keys[5:6]))
    freed = store.write(state, Write(keys[5:6], keys[5:6], control_of(store, free_gates=10.0)))
    assert sorted(kept.matrix.words[0, :, :8].argmax(-1).tolist()) == [0, 1, 2, 3]
    assert sorted(freed.matrix.words[0, :, :8].argmax(-1).tolist()) == [0, 1, 3, 5]


@pytest.mark.parametrize(("mode", "by"), [([0.0, 0.0, 20.0], 1), ([20.0, 0.0, 0.0], -1)])
def test_the_links_of_the_dnc_lead_to_what_was_written_next_and_before(mode: list[float], by: int) -> None:
    store = build("dnc", key=8, value=8, slots=8)
    keys = torch.eye(8)
    state = store.initial_state(1)
    for item in range(6):
        state = store.write(state, Write(keys[item : item + 1], keys[item : item + 1]))
    _, state = store.read(state, keys[None, 3:4], control_of(store, reading=True, strength=50.0)[:, None])
    for expected in (3 + by, 3 + 2 * by):
        read, state = store.read(state, torch.zeros(1, 1, 8), control_of(store, reading=True, mode=mode)[:, None])
        assert read.value[0, 0, 8:].argmax() == expected


def extremes(*shape: int, dtype: torch.dtype, seed: int) -> Tensor:
    """Numbers of every size; in a tenth of the rows all are alike, in a tenth all are zero."""
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.tensor([0.0, 1e-30, 1e-8, 1.0, 1e3, 1e8])
    x = torch.randn(*shape, generator=generator) * sizes[torch.randint(len(sizes), shape, generator=generator)]
    x = torch.where(torch.rand(*shape[:2], 1, generator=generator) < 0.1, x[..., :1], x)
    return torch.where(torch.rand(*shape[:2], 1, generator=generator) < 0.1, 0.0, x).to(dtype)


@EVERY
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_ten_thousand_extreme_inputs_give_finite_reads_and_gradients(kind: str, dtype: torch.dtype) -> None:
    store, steps, rows = build(kind), 100, 100
    sizes = (store.key_size, store.value_size, store.control_size, store.key_size, store.read_control_size)
    key, value, control, query, asked = (
        extremes(steps, rows, size, dtype=dtype, seed=seed).requires_grad_() for seed, size in enumerate(sizes)
    )
    equal = torch.where(torch.rand(steps, rows, 1, generator=torch.Generator().manual_seed(9)) < 0.5, key[:1], key)
    state = tree.map_tensors(lambda leaf: leaf.to(dtype), store.initial_state(rows))
    ops = every_step(
        torch.zeros(steps, rows, dtype=torch.bool), torch.ones(steps, rows, dtype=torch.bool),
        equal, value, control, query, asked,
    )  # fmt: skip
    reads, last = store.unroll(state, ops, None)
    assert reads.dtype == dtype
    assert reads.isfinite().all()
    assert all(leaf.isfinite().all() for leaf in tree.leaves(last))
    reads.sum().backward()
    for leaf in (key, value, control, query, asked):
        assert leaf.grad is not None
        assert leaf.grad.isfinite().all()
