"""The life-long store: hits are averaged, misses take the oldest slot, and what is kept outlasts trials."""

import pytest
import torch
from store_toys import draw, filled

from metarl.config import InputError
from metarl.memory.contract import Write
from metarl.memory.options import MemoryOptions
from metarl.memory.registry import build_core
from metarl.memory.stores.lifelong import Lifelong, LifelongOptions
from metarl.types import Boundary, CoreInput

K, V = 6, 4


def store(slots: int = 4, hit: float = 0.9) -> Lifelong:
    return Lifelong(K, V, None, LifelongOptions(slots, hit))


def test_a_hit_averages_and_a_miss_takes_the_first_free_slot():
    memory, keys, values = store(), torch.eye(K)[:3], torch.eye(V)[:3]
    state = filled(memory, keys[:, None], values[:, None])
    near = keys[1] + 0.2 * keys[2]
    state = memory.write(state, Write(near[None], values[1][None]))
    content = memory.content(state)
    assert content.valid.tolist() == [[True, True, True, False]]
    torch.testing.assert_close(content.keys[0, 1], (keys[1] + near) / 2)
    torch.testing.assert_close(content.values[0, :3], values)
    assert state.age[0].tolist() == [3, 0, 1, -1], "a hit is as good as new"
    key = draw(1, 1, K)  # an equal key of another value is a miss
    assert memory.content(filled(memory, key.expand(2, 1, K), torch.eye(V)[:2, None])).valid.sum() == 2


def test_a_full_store_loses_its_oldest_slot():
    memory, keys, values = store(slots=3), torch.eye(K), draw(K, V)
    order = [0, 1, 2, 0, 4]  # the second 0 is a hit: the oldest is now slot 1
    state = filled(memory, keys[order, None], values[order, None])
    torch.testing.assert_close(memory.content(state).keys[0], keys[[0, 4, 2]])


def test_consolidated_at_once_equals_what_was_written_one_by_one_where_no_two_meet():
    one, together = store(slots=8), store(slots=8)
    keys, values = torch.eye(K), draw(K, V)
    together.consolidate(keys, values)
    state = filled(one, keys[:, None], values[:, None])
    torch.testing.assert_close(together.keys, state.keys[0])
    torch.testing.assert_close(together.values, state.values[0])


def test_of_more_misses_than_slots_the_last_are_kept_and_hits_are_averaged_together():
    memory, keys, values = store(slots=2), torch.eye(K), draw(K, V)
    memory.consolidate(keys[:5], values[:5])
    torch.testing.assert_close(memory.keys, keys[3:5])
    near = torch.stack([keys[4] + 0.1 * keys[0], keys[4] - 0.1 * keys[0]])
    memory.consolidate(near, values[4].expand(2, -1))
    torch.testing.assert_close(memory.keys[1], keys[4])
    assert memory.age.tolist() == [1, 0]


def test_rows_see_their_own_writes_and_a_trial_begins_with_what_is_kept():
    memory, keys, values = store(), torch.eye(K), torch.eye(V)
    memory.consolidate(keys[:1], values[:1])
    state = memory.initial_state(2)
    rows = torch.tensor([True, False])
    state = memory.write(state, Write(keys[[1, 1]], values[[1, 1]], rows=rows))
    assert memory.content(state).valid.sum(1).tolist() == [2, 1]
    assert memory.age.tolist() == [0, -1, -1, -1], "acting leaves what is kept alone"
    state = memory.reset(state, torch.tensor([True, True]))
    assert memory.content(state).valid.sum(1).tolist() == [1, 1]


def test_a_core_keeps_for_life_what_sequences_have_shown():
    options = MemoryOptions(store="lifelong", controller_options={"hidden_size": 8}, key_size=4, value_size=4)
    torch.manual_seed(0)
    core = build_core(options, 3, 2, None)
    x = CoreInput(draw(5, 2, 3), draw(5, 2, 2, seed=1))
    begin = torch.full((5, 2), int(Boundary.INSIDE))
    begin[0] = Boundary.TRIAL
    begin[3, 0] = Boundary.TRIAL  # completes nothing
    before = core.unroll(x, core.initial_state(2), begin)[0]
    core.consolidate(x, begin)
    kept = core.memory.store
    assert int((kept.age >= 0).sum()) == 7
    keys = core.memory.key(x.now[0])
    assert torch.isclose(keys[1], kept.keys).all(-1).any()
    after = core.unroll(x, core.initial_state(2), begin)[0]
    core.gate.data.fill_(1.0)
    assert not torch.equal(core.unroll(x, core.initial_state(2), begin)[0], after)
    assert torch.equal(before, after), "a closed gate hides it"
    assert "memory.store.keys" in core.state_dict(), "it is part of a checkpoint"


@pytest.mark.parametrize("field", [{"slots": 0}, {"hit": 0.0}, {"hit": 1.5}])
def test_settings_out_of_range_are_refused(field):
    with pytest.raises(InputError) as error:
        build_core(MemoryOptions(store="lifelong", store_options=field), 3, 2, None)
    assert error.value.given == next(iter(field.values()))
