"""NTM, LRUA and DNC: what their papers promise, what an untrained one does, and what nothing may break."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from store_toys import draw, filled
from torch import Tensor

from metarl import tree
from metarl.functional.kernels import unit
from metarl.memory.contract import Write
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


def states(store: External, steps: int, batch: int = BATCH, spread: float = 1.0) -> Iterator[Any]:
    """After random resets, writes and reads, with controls around those of the start."""
    drawn = torch.rand(2, steps, batch, generator=torch.Generator().manual_seed(0))
    sizes = (store.key_size, store.value_size, store.control_size, store.key_size, store.read_control_size)
    parts = [draw(steps, batch, size, seed=seed) for seed, size in enumerate(sizes)]
    state = store.initial_state(batch)
    for reset, rows, key, value, control, query, asked in zip(drawn[0] < 0.1, drawn[1] < 0.7, *parts, strict=True):
        state = store.reset(state, reset)
        state = store.write(state, Write(key, value, store.start_control() + spread * control, rows=rows))
        _, state = store.read(state, query[:, None], (store.start_read_control() + spread * asked)[:, None])
        yield state


def written(store: External, batch: int = BATCH) -> Any:
    return list(states(store, 4, batch))[-1]


def control_of(store: External, reading: bool = False, **parts: float | list[float]) -> Tensor:
    """The control of the start with some parts set by hand, ``[1, ...]``."""
    layout = store.read_layout if reading else store.write_layout
    start = store.start_read_control() if reading else store.start_control()
    for name, part in layout.split(start).items():
        if name in parts:
            part.copy_(torch.as_tensor(parts[name]))
    return start[None]


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
    content = store.content(filled(store, keys, values))
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
    for state in states(store, 60, spread=5.0):
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
    store, words = build("ntm", slots=5), draw(5, 1, KEY + VALUE)
    state = filled(store, words[..., :KEY], words[..., KEY:])
    onwards = control_of(store, reading=True, gate=-10.0, shift=[0.0, 0.0, 9.0], sharpness=5.0)
    for word in words:
        read, state = store.read(state, torch.zeros(1, 1, KEY), onwards[:, None])
        torch.testing.assert_close(read.value[0], word, rtol=0.05, atol=0.05)


def test_a_head_may_ask_for_a_value() -> None:
    store = build("ntm", key=4, value=4)
    keys, values = torch.eye(4), torch.eye(4).flip(0)
    state = filled(store, keys[:, None], values[:, None])
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
    store, keys = build("lrua", key=8, value=8, slots=4), torch.eye(8)
    state = filled(store, keys[:4, None], keys[:4, None])
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
    store, words = build("dnc", slots=4), draw(6, 1, KEY + VALUE)
    after = [filled(store, words[:count, :, :KEY], words[:count, :, KEY:]) for count in range(7)]
    for count, state in enumerate(after[:5]):
        assert (state.usage > 0.9).sum() == count
        assert (state.usage < 0.1).sum() == 4 - count
    torch.testing.assert_close(after[6].matrix.words, after[4].matrix.words, rtol=0.2, atol=0.2)


def test_a_free_gate_of_the_dnc_gives_the_slot_that_was_read_to_the_next_write() -> None:
    store, keys = build("dnc", key=8, value=8, slots=4), torch.eye(8)
    state = filled(store, keys[:4, None], keys[:4, None])
    _, state = store.read(state, keys[None, 2:3], control_of(store, reading=True, strength=50.0)[:, None])
    kept = store.write(state, Write(keys[5:6], keys[5:6]))
    freed = store.write(state, Write(keys[5:6], keys[5:6], control_of(store, free_gates=10.0)))
    assert sorted(kept.matrix.words[0, :, :8].argmax(-1).tolist()) == [0, 1, 2, 3]
    assert sorted(freed.matrix.words[0, :, :8].argmax(-1).tolist()) == [0, 1, 3, 5]


@pytest.mark.parametrize(("mode", "by"), [([0.0, 0.0, 20.0], 1), ([20.0, 0.0, 0.0], -1)])
def test_the_links_of_the_dnc_lead_to_what_was_written_next_and_before(mode: list[float], by: int) -> None:
    store, keys = build("dnc", key=8, value=8, slots=8), torch.eye(8)
    state = filled(store, keys[:6, None], keys[:6, None])
    _, state = store.read(state, keys[None, 3:4], control_of(store, reading=True, strength=50.0)[:, None])
    for expected in (3 + by, 3 + 2 * by):
        read, state = store.read(state, torch.zeros(1, 1, 8), control_of(store, reading=True, mode=mode)[:, None])
        assert read.value[0, 0, 8:].argmax() == expected
