"""What a full buffer does with a new item: random, balanced and nearest slots give way."""

import pytest
import torch
from scipy import stats

from metarl.config import ConfigError
from metarl.functional.branches import recording
from metarl.memory.contract import Write
from metarl.memory.options import MemoryOptions
from metarl.memory.registry import build_memory
from metarl.memory.stores.episodic import Episodic, EpisodicOptions
from metarl.memory.stores.replacing import drawn


def filled(replace, keys, values, capacity, **options):
    """The store, and its state after writing ``keys`` ``[S, B, K]`` and ``values`` ``[S, B, V]`` in order."""
    store = Episodic(keys.shape[-1], values.shape[-1], None, EpisodicOptions(capacity=capacity, replace=replace))
    return store, store.write_all(store.initial_state(keys.shape[1]), Write(keys, values, **options))


def numbers(*given):
    """``[S, 1, 1]``"""
    return torch.tensor(given, dtype=torch.float32)[:, None, None]


def test_what_is_drawn_is_even_and_repeats():
    count = torch.arange(21_000)
    below = drawn(count, torch.full_like(count, 7))
    assert stats.chisquare(torch.bincount(below, minlength=7)).pvalue > 0.01
    follows = torch.bincount(7 * below[:-1] + below[1:], minlength=49)
    assert stats.chisquare(follows).pvalue > 0.01
    assert torch.equal(below, drawn(count, torch.full_like(count, 7)))


def test_at_random_every_item_is_held_with_the_same_chance():
    items = torch.arange(3_000.0)[:, None, None]
    _, state = filled("random", items, items, 600)
    held = state.keys[0, :, 0]
    assert len(held.unique()) == 600
    assert torch.equal(held, state.values[0, :, 0])
    assert stats.chisquare(torch.bincount((held / 500).long(), minlength=6)).pvalue > 0.01


def test_balanced_keeps_as_many_of_each_value():
    values = numbers(*[0] * 30, *[1] * 5, *[2] * 30)
    store, state = filled("balanced", torch.arange(65.0)[:, None, None], values, 12)
    assert torch.bincount(state.values[0, :, 0].long()).tolist() == [4, 4, 4]
    state = store.write(state, Write(torch.zeros(1, 1), torch.full((1, 1), 7.0)))
    assert sorted(torch.bincount(state.values[0, :, 0].long()).tolist()) == [0] * 4 + [1, 3, 4, 4]


def test_nearest_merges_what_adds_least_to_the_distances_from_means():
    _, state = filled("nearest", numbers(0, 5, 0.5), numbers(1, 1, 1), 2)  # the new one with the first
    assert state.keys[0, :, 0].tolist() == [0.25, 5]
    assert state.counts[0].tolist() == [2, 1]
    _, state = filled("nearest", numbers(0, 0.5, 5), numbers(1, 1, 1), 2)  # two that are held
    assert state.keys[0, :, 0].tolist() == [0.25, 5]
    assert state.counts[0].tolist() == [2, 1]
    # Nearer keys of different values stay apart, and so do means of many: 3 * 3 / 6 * 1 > 1 * 1 / 2 * 1.4 ** 2.
    _, state = filled("nearest", numbers(0, 0, 0, 1, 1, 1, 0, 7, 8.4), numbers(1, 1, 1, 1, 1, 1, 2, 1, 1), 4)
    assert sorted(zip(state.keys[0, :, 0].tolist(), state.counts[0].tolist(), strict=True)) == [
        (0, 1),
        (0, 3),
        (1, 3),
        (pytest.approx(7.7), 2),
    ]


def test_nearest_forgets_no_value_while_there_is_room_for_each_and_keeps_their_means():
    generator = torch.Generator().manual_seed(0)
    keys, values = (
        torch.randn(60, 2, 3, generator=generator),
        torch.arange(6.0).repeat(10)[:, None, None].expand(-1, 2, 1),
    )
    _, state = filled("nearest", keys, values, 8)
    assert state.counts.sum(1).tolist() == [60, 60]
    for row in range(2):
        for value in range(6):
            of = state.values[row, :, 0] == value
            mean = (state.keys[row, of] * state.counts[row, of, None]).sum(0) / state.counts[row, of].sum()
            torch.testing.assert_close(mean, keys[value::6, row].mean(0))
    _, state = filled("nearest", keys, torch.arange(60.0)[:, None, None].expand(-1, 2, 1), 8)
    assert state.counts.tolist() == [[1] * 8] * 2
    assert len(state.values[0, :, 0].unique()) == 8
    assert 59 in state.values[0]  # where all values differ, the new one takes any slot


def test_a_slot_that_stands_for_several_votes_as_these_would():
    options = MemoryOptions(store_options={"capacity": 3, "replace": "nearest"}, access_options={"kernel": "euclidean"})
    memory = build_memory(options, 1, 1, None, project=False)
    keys, values = numbers(0, 0, 0, 4, 9).transpose(0, 1), numbers(1, 1, 1, 2, 3).transpose(0, 1)
    read, slots = memory.recall(memory.write_all(keys, values), torch.ones(1, 1, 1))
    every = build_memory(MemoryOptions(access_options={"kernel": "euclidean"}), 1, 1, 5, project=False)
    expected, _ = every.recall(every.write_all(keys, values), torch.ones(1, 1, 1))
    weights = dict(zip(slots.values[0, :, 0].tolist(), read.log_weights[0, 0].exp().tolist(), strict=True))
    assert weights[1] == pytest.approx(float(expected.log_weights[0, 0, :3].exp().sum()))
    assert weights[3] == pytest.approx(float(expected.log_weights[0, 0, 4].exp()))


@pytest.mark.parametrize("replace", ["random", "balanced", "nearest"])
def test_rows_that_are_full_and_others_are_written_as_if_alone_and_in_a_graph(replace):
    generator = torch.Generator().manual_seed(1)
    keys, values = torch.randn(9, 3, 2, generator=generator), torch.randint(3, (9, 3, 1), generator=generator).float()
    rows = torch.rand(9, 3, generator=generator) < torch.tensor([1.0, 0.7, 0.3])
    store, state = filled(replace, keys, values, 4, rows=rows)
    alone = store.initial_state(3)
    for step in range(9):
        new = store.initial_state(3)
        for row in range(3):
            one = type(alone)(*(leaf[row : row + 1] for leaf in alone))
            if rows[step, row]:
                one = store.write(one, Write(keys[step, row : row + 1], values[step, row : row + 1]))
            for leaf, part in zip(new, one, strict=True):
                leaf[row] = part[0]
        alone = new
    for leaf, part in zip(state, alone, strict=True):
        torch.testing.assert_close(leaf, part)
    with recording():
        _, graphed = filled(replace, keys, values, 4, rows=rows)
    for leaf, part in zip(state, graphed, strict=True):
        torch.testing.assert_close(leaf, part)


def test_nearest_is_refused_where_counts_are_not_read_and_beside_merge():
    for access, options in (("graph", {}), ("attention", {"top_k": 2})):
        memory = MemoryOptions(
            access=access, access_options=options, store_options={"replace": "nearest", "capacity": 4}
        )
        with pytest.raises(ConfigError, match=r"store_options\.replace is 'nearest', expected another rule"):
            build_memory(memory, 2, 2, None)
    with pytest.raises(ConfigError, match=r"store_options\.replace"):
        build_memory(MemoryOptions(store_options={"replace": "nearest", "merge": True}), 2, 2, 5)
