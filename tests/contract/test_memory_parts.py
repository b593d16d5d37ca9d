"""What particular memory cores do, and which parts are refused together."""

from dataclasses import replace

import pytest
import torch
from memory_cases import BATCH, EPISODE, EPISODIC, FEEDBACK, NOW, REGISTERED, STEPS, TRIAL, loop, make, stream

from metarl import tree
from metarl.config import ConfigError
from metarl.memory.ablation import shuffle_keys
from metarl.memory.access.attention import Attention, AttentionOptions
from metarl.memory.contract import Content
from metarl.memory.options import MemoryOptions
from metarl.memory.registry import build_core, parallel, register_access, runnable
from metarl.types import CoreInput


def test_every_reward_but_the_last_is_stored():
    """One-step episodes, each with a reward of its own: the slot written at t holds the reward of t-1."""
    for write in ("step", "episode"):
        options = replace(EPISODIC, controller="feedforward", store_options={"write": write}, working_memory="episode")
        core = make(options)
        weight = torch.zeros_like(core.memory.value.weight)
        weight[0, 2 * NOW - NOW + 1 :][0] = 1.0  # the second number of the feedback
        with torch.no_grad():
            core.memory.value.weight.copy_(weight)
            core.memory.value.bias.zero_()
        begin = torch.full((STEPS, 1), int(EPISODE))
        begin[0] = TRIAL
        x = CoreInput(torch.zeros(STEPS, 1, NOW), torch.zeros(STEPS, 1, FEEDBACK))
        x.feedback[1:, 0, 1] = torch.arange(1.0, STEPS)  # reward r_{t-1} = t arrives with input t
        with torch.no_grad():
            _, state = loop(core, x, core.initial_state(1), begin)
        content = core.memory.store.content(state.store)
        assert content.values[0, :, 0].tolist() == list(range(1, STEPS))


def test_reading_sees_only_completed_transitions():
    """The slot for o_t does not exist before its outcome has arrived: the first read of a trial is the empty read."""
    core, x = make(EPISODIC), stream(11)
    first = core(CoreInput(x.now[0], x.feedback[0]), core.initial_state(BATCH), torch.full((BATCH,), int(TRIAL)))
    assert int(core.memory.store.content(first[1].store).valid.sum()) == 0


def test_unrolls_are_parallel_where_the_registry_says_so():
    for name, options in runnable():
        core = build_core(options, NOW, FEEDBACK, STEPS)
        stepped = options.emit == "controller" or "holds" in options.store_options
        loops = options.store in ("lifelong", "ntm", "lrua", "dnc", "neural")
        if options.store == "none":
            stepped = loops = False
        assert parallel(core) is not (stepped or loops), name


def test_shuffled_keys_come_from_other_contexts():
    generator = torch.Generator().manual_seed(0)
    contexts = torch.randn(4, 6, generator=generator)
    which = torch.tensor([[0, 1, 2, 3, 0, 1, 2, 3, 0, 1], [0, 0, 0, 1, 1, 2, 2, 2, 3, 3]])
    keys, values = contexts[which], torch.randn(2, 10, 2, generator=generator)
    valid = torch.ones(2, 10, dtype=torch.bool)
    valid[0, 8:] = False
    moved = shuffle_keys(Content(keys, values, valid))
    assert torch.equal(moved.values, values)
    assert torch.equal(moved.valid, valid), "here every slot finds another context"
    for row in range(2):
        given = moved.keys[row][valid[row]]
        assert not (given == keys[row][valid[row]]).all(-1).any(), "no slot keeps its context"
        assert torch.equal(given.sort(0).values, keys[row][valid[row]].sort(0).values), "a permutation"


def test_parts_that_cannot_be_registered_are_refused():
    refused = [("dnc", Attention, AttentionOptions, ConfigError), ("mine", MemoryOptions, AttentionOptions, TypeError)]
    for name, part, options, error in (*refused, ("mine", Attention, dict, TypeError)):
        with pytest.raises(error):
            register_access(name, part, options)


def test_a_core_shows_its_parts_and_their_options():
    said = repr(make(EPISODIC))
    assert all(text in said for text in ("store='episodic'", "access='attention'", "capacity=", "empty_slot=True"))


def test_a_state_of_another_core_is_refused():
    gru, lstm = make(REGISTERED["gru"]), make(REGISTERED["lstm"])
    with pytest.raises(ValueError, match="another core"):
        tree.check_like(lstm.initial_state(2), gru.initial_state(2), "gru")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (MemoryOptions(controller="grue"), "'gru'"),
        (MemoryOptions(store="dcn"), "'dnc'"),
        (MemoryOptions(access="grpah"), "'graph'"),
        (MemoryOptions(access="native"), "attention, graph, meta_gradient"),
        (MemoryOptions(store="delta"), "native"),
        (MemoryOptions(store="ntm", access="native", access_options={"heads": 2}), "native"),
        (MemoryOptions(store="lifelong", emit="controller"), "'input'"),
        (MemoryOptions(store="ntm", store_options={"slots": 0}), "slots"),
        (MemoryOptions(store="key_value", store_options={"learned_only": True, "learned": 0}), "learned = 1"),
        (MemoryOptions(store_options={"capacity": 0}), "capacity"),
        (MemoryOptions(store_options={"capacitiy": 3}), "'capacity'"),
        (MemoryOptions(access_options={"heads": 3}), "3 heads"),
        (MemoryOptions(store_options={"holds": "state"}), "gru, lstm, mingru"),
        (MemoryOptions(controller="gru", reinstate=True), "'lstm'"),
        (MemoryOptions(controller="gru", store="none"), "access = 'none'"),
        (MemoryOptions(controller="gru", store_options={"holds": "state"}, value_size=3), "leave it out"),
    ],
)
def test_parts_that_do_not_fit_are_refused(options, named):
    with pytest.raises(ConfigError, match=named):
        build_core(options, NOW, FEEDBACK, STEPS)


def test_an_unknown_length_of_trials_asks_for_a_capacity():
    with pytest.raises(ConfigError, match="capacity"):
        build_core(EPISODIC, NOW, FEEDBACK, None)
