"""The key-value store: learned slots beside written ones, and transforms that come before the weighted sum."""

import pytest
import torch
from store_toys import draw, filled
from torch import nn

from metarl.memory.access.attention import Attention, AttentionOptions
from metarl.memory.contract import Content, Query
from metarl.memory.memory import Memory
from metarl.memory.options import MemoryOptions
from metarl.memory.registry import build_memory
from metarl.memory.stores.key_value import KeyValue, KeyValueOptions

PLAIN = AttentionOptions(empty_slot=False)


def make(options: KeyValueOptions, access: AttentionOptions = PLAIN) -> Memory:
    torch.manual_seed(0)
    memory = Memory(KeyValue(4, 3, 6, options), Attention(4, 3, access), 4, 3)
    nn.init.eye_(memory.key.weight)
    nn.init.zeros_(memory.key.bias)
    return memory


def test_learned_slots_alone_are_the_classic_layer():
    memory = make(KeyValueOptions(learned=5, learned_only=True))
    query = draw(2, 7, 4)
    read, _ = memory.read(memory.initial_state(2), query)
    keys, values = memory.store.keys, memory.store.values
    torch.testing.assert_close(read, torch.softmax(query @ keys.T / 2.0, -1) @ values)
    read.sum().backward()
    assert keys.grad.abs().sum() > 0
    assert values.grad.abs().sum() > 0


@pytest.mark.parametrize("queries", [1, 3], ids=["apart, as in acting", "together"])
def test_written_slots_stand_behind_learned_ones_in_one_softmax(queries):
    memory = make(KeyValueOptions(learned=2))
    place, item, query = draw(2, 4), draw(2, 3, seed=1), draw(2, queries, 4, seed=2)
    read, _ = memory.read(memory.write(memory.initial_state(2), place, item), query)
    keys = torch.cat([memory.store.keys.expand(2, -1, -1), place[:, None]], 1)
    values = torch.cat([memory.store.values.expand(2, -1, -1), memory.value(item)[:, None]], 1)
    torch.testing.assert_close(read, torch.softmax(query @ keys.mT / 2.0, -1) @ values)


def test_transforms_change_what_is_found_and_what_is_summed():
    options = KeyValueOptions(learned=3, learned_only=True, key_transform="linear", value_transform="linear")
    memory, query = make(options), draw(1, 2, 4)
    plain, _ = memory.read(memory.initial_state(1), query)
    store = memory.store
    with torch.no_grad():
        store.key_transform.weight.copy_(draw(4, 4, seed=3))
        store.value_transform.bias.fill_(2.0)
    read, _ = memory.read(memory.initial_state(1), query)
    turned = store.key_transform(query) @ store.key_transform(store.keys).T / 2.0
    torch.testing.assert_close(read, torch.softmax(turned, -1) @ store.value_transform(store.values))
    assert not torch.allclose(read, plain + 2.0), "a key transform behind the sum could not have done that"


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_an_untrained_transform_is_the_identity(kind):
    memory = make(KeyValueOptions(learned=3, learned_only=True, key_transform=kind, value_transform=kind))
    plain = make(KeyValueOptions(learned=3, learned_only=True))
    plain.store.load_state_dict({"keys": memory.store.keys, "values": memory.store.values})
    query = draw(1, 2, 4)
    found, expected = (one.read(one.initial_state(1), query)[0] for one in (memory, plain))
    torch.testing.assert_close(found, expected)


def test_values_may_be_labels():
    """A matching network in two lines: one-hot labels as values, and what is read are probabilities."""
    store, access = KeyValue(4, 3, 6, KeyValueOptions(learned=0)), Attention(4, 3, PLAIN)
    keys, labels = 5 * torch.eye(4)[:3], torch.eye(3)
    state = filled(store, keys[:, None], labels[:, None])
    read = access(Query(keys[None]), store.content(state)).value
    torch.testing.assert_close(read.sum(-1), torch.ones(1, 3))
    assert read[0].argmax(-1).tolist() == [0, 1, 2]


def test_learned_slots_are_seen_by_every_query_of_a_causal_read():
    access = Attention(4, 3, PLAIN)
    slots = Content(draw(1, 5, 4), draw(1, 5, 3, seed=1), torch.ones(1, 5, dtype=torch.bool))
    read = access.weigh(Query(draw(1, 4, 4, seed=2), causal=True), slots)  # two slots for all, three one after another
    assert torch.isfinite(read.log_weights[0]).sum(-1).tolist() == [2, 3, 4, 5]


def test_no_written_slots_and_no_learned_ones_are_refused():
    options = MemoryOptions(store="key_value", store_options={"learned_only": True, "capacity": 3})
    with pytest.raises(ValueError, match="capacity"):
        build_memory(options, 4, 3, 6)
