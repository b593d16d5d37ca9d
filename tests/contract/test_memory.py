"""What every registered memory core promises; a new one is tested here by being registered."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from metarl import tree
from metarl.config import ConfigError
from metarl.memory.ablation import ablated, misled
from metarl.memory.contract import Content, MemoryCore
from metarl.memory.options import MemoryOptions
from metarl.memory.registry import build_core, parallel, runnable
from metarl.memory.stores.episodic import Episodic
from metarl.types import Boundary, CoreInput

NOW, FEEDBACK, STEPS, BATCH = 3, 4, 12, 5
INSIDE, EPISODE, TRIAL = Boundary.INSIDE, Boundary.EPISODE, Boundary.TRIAL

SMALL = {
    "feedforward": {"hidden_size": 8},
    "gru": {"hidden_size": 8},
    "lstm": {"hidden_size": 8},
    "mingru": {"hidden_size": 8},
    "window": {"hidden_size": 8, "heads": 2, "window": 5},
}
EPISODIC = MemoryOptions(controller="gru", controller_options=SMALL["gru"], key_size=4, value_size=8)
VARIANTS = {
    "ring": replace(EPISODIC, store_options={"capacity": 3}),
    "ring of one": replace(EPISODIC, store_options={"capacity": 1}),
    "per episode": replace(EPISODIC, store_options={"write": "episode"}),
    "per episode, ring": replace(EPISODIC, store_options={"write": "episode", "capacity": 2}),
    "least used": replace(EPISODIC, store_options={"replace": "least_used", "capacity": 3}),
    "least used, per episode": replace(
        EPISODIC, store_options={"replace": "least_used", "capacity": 2, "write": "episode"}
    ),
    "state per step": replace(EPISODIC, store_options={"holds": "state"}),
    "detached": replace(EPISODIC, store_options={"detach": True}),
    "heads": replace(EPISODIC, access_options={"heads": 2}),
    "cosine": replace(EPISODIC, access_options={"kernel": "cosine", "temperature": 0.1}),
    "inverse distance": replace(EPISODIC, access_options={"kernel": "inverse_distance"}),
    "top-k": replace(EPISODIC, access_options={"top_k": 2, "heads": 2}),
    "no empty slot": replace(EPISODIC, access_options={"empty_slot": False}),
    "address of a transition": replace(EPISODIC, address="transition"),
    "own query": replace(EPISODIC, shared_key=False, gate=False),
    "working memory per episode": replace(EPISODIC, working_memory="episode"),
    "read once an episode": replace(EPISODIC, read_every="episode"),
    "read every third step": replace(EPISODIC, read_every=3),
    "native read every third step": replace(EPISODIC, store="ntm", access="native", read_every=3),
    "state per episode, read once": replace(
        EPISODIC, store_options={"write": "episode", "holds": "state"}, read_every="episode"
    ),
    "emitted by the controller": replace(EPISODIC, emit="controller"),
    "transforms": replace(
        EPISODIC,
        store="key_value",
        store_options={"key_transform": "mlp", "value_transform": "linear", "learned": 3, "capacity": 4},
        access_options={"kernel": "cosine"},
    ),
    "learned slots alone": replace(EPISODIC, store="key_value", store_options={"learned_only": True}),
    "learned slots under heads": replace(EPISODIC, store="key_value", access_options={"heads": 2}),
    "graph of nearest": replace(
        EPISODIC, access="graph", store_options={"capacity": 5}, access_options={"edges": "nearest", "neighbours": 2}
    ),
    "second order": replace(EPISODIC, access="meta_gradient", access_options={"second_order": True, "steps": 2}),
    "external, two heads": replace(EPISODIC, store="dnc", access="native", store_options={"slots": 4, "read_heads": 2}),
    "external under heads": replace(EPISODIC, store="lrua", access_options={"heads": 2}),
    "external, few slots": replace(EPISODIC, store="lrua", access="native", store_options={"slots": 3}),
    "delta rule, two heads": replace(EPISODIC, store="delta", access="native", store_options={"heads": 2}),
    "horizon of an episode": replace(EPISODIC, horizon="episode"),
}
REGISTERED = {
    name: replace(
        options,
        controller_options=SMALL[options.controller],
        key_size=4,
        value_size=None if options.store == "none" or "holds" in options.store_options else 8,
    )
    for name, options in runnable()
}
CASES = REGISTERED | VARIANTS
EVERY_CORE = pytest.mark.parametrize("options", CASES.values(), ids=CASES.keys())
RECALLING = pytest.mark.parametrize(
    "options", [o for o in CASES.values() if o.store != "none"], ids=[n for n, o in CASES.items() if o.store != "none"]
)


def make(options: MemoryOptions, seed: int = 0) -> MemoryCore:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        core = build_core(options, NOW, FEEDBACK, STEPS)
        gate = getattr(core, "gate", None)
        if gate is not None:  # opened, so that what is read shows in the output
            torch.nn.init.ones_(gate)
    return core


def stream(seed: int = 0, steps: int = STEPS, batch: int = BATCH, scale: float = 1.0) -> CoreInput:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(steps, batch, NOW + FEEDBACK, generator=generator) * scale
    return CoreInput(x[..., :NOW], x[..., NOW:])


def random_begin(seed: int = 0) -> torch.Tensor:
    """Boundaries that differ from row to row, with trials that begin within the unroll."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.rand(STEPS, BATCH, generator=generator)
    begin = torch.where(drawn < 0.15, int(TRIAL), torch.where(drawn < 0.5, int(EPISODE), int(INSIDE)))
    begin[0] = TRIAL
    begin[0, -1] = INSIDE  # a first input that nobody announced
    return begin


def whole_trial() -> torch.Tensor:
    begin = torch.full((STEPS, BATCH), int(INSIDE))
    begin[::4] = EPISODE
    begin[0] = TRIAL
    return begin


def unequal_episodes() -> torch.Tensor:
    """A whole trial in which some row, but never every row, begins an episode at each step."""
    begin = torch.full((STEPS, BATCH), int(INSIDE))
    begin[torch.arange(STEPS), torch.arange(STEPS) % BATCH] = EPISODE
    begin[0] = TRIAL
    return begin


def unequal_trials() -> torch.Tensor:
    """Trials of five steps that begin apart from each other; one row begins one at every step, one row none."""
    begin = torch.full((STEPS, BATCH), int(INSIDE))
    for row in range(BATCH - 2):
        begin[row::5, row] = TRIAL
        begin[row + 2 :: 5, row] = EPISODE
    begin[:, -1] = TRIAL
    return begin


PATTERNS = pytest.mark.parametrize(
    "begin",
    [random_begin(), whole_trial(), unequal_episodes(), unequal_trials()],
    ids=["ragged", "whole trial", "unequal episodes", "unequal trials"],
)


def loop(core: MemoryCore, x: CoreInput, state, begin, donate: bool = False):
    outputs = []
    for t in range(begin.shape[0]):
        y, state = core(CoreInput(x.now[t], x.feedback[t]), state, begin[t], donate=donate)
        outputs.append(y)
    return torch.stack(outputs), state


def readable(core: MemoryCore, state):
    """A state without what can't be read any more: slots that are not valid."""
    memory = getattr(core, "memory", None)
    if memory is None or not isinstance(memory.store, Episodic):
        return state
    content = memory.store.content(state.store)
    visible = content.valid[..., None]
    return state._replace(store=state.store._replace(keys=content.keys * visible, values=content.values * visible))


def assert_same_state(core: MemoryCore, a, b, tolerance: float = 1e-5) -> None:
    for left, right in zip(tree.leaves(readable(core, a)), tree.leaves(readable(core, b)), strict=True):
        torch.testing.assert_close(left, right, atol=tolerance, rtol=tolerance)


@EVERY_CORE
@PATTERNS
def test_unroll_equals_looped_step(options, begin):
    core, x = make(options), stream()
    gradients = []
    results = []
    for run in (core.unroll, lambda *a: loop(core, *a)):
        core.zero_grad()
        leaf = CoreInput(x.now.clone().requires_grad_(), x.feedback.clone().requires_grad_())
        y, state = run(leaf, core.initial_state(BATCH), begin)
        (y * torch.linspace(0.5, 1.5, y.numel()).view_as(y)).sum().backward()
        results.append((y, state))
        parameters = [torch.zeros_like(p) if p.grad is None else p.grad for p in core.parameters()]
        gradients.append([leaf.now.grad, leaf.feedback.grad, *parameters])
    torch.testing.assert_close(results[0][0], results[1][0], atol=1e-5, rtol=1e-5)
    assert_same_state(core, results[0][1], results[1][1])
    for fast, slow in zip(*gradients, strict=True):
        torch.testing.assert_close(fast, slow, atol=2e-5, rtol=1e-4)


@EVERY_CORE
@PATTERNS
def test_chunked_equals_whole(options, begin):
    core, x = make(options), stream(1)
    whole, last = core.unroll(x, core.initial_state(BATCH), begin)
    state, parts = core.initial_state(BATCH), []
    for piece in (slice(0, 5), slice(5, 6), slice(6, STEPS)):
        y, state = core.unroll(CoreInput(x.now[piece], x.feedback[piece]), state, begin[piece])
        parts.append(y)
    torch.testing.assert_close(torch.cat(parts), whole, atol=1e-5, rtol=1e-5)
    assert_same_state(core, state, last)


@EVERY_CORE
def test_trap_1_and_14_a_trial_boundary_wipes_one_row_and_no_other(options):
    core, x = make(options), stream(2)
    begin = whole_trial()
    begin[6, 1] = TRIAL
    y, _ = core.unroll(x, core.initial_state(BATCH), begin)
    alone, _ = core.unroll(CoreInput(x.now[6:], x.feedback[6:]), core.initial_state(BATCH), begin[6:])
    torch.testing.assert_close(y[6:, 1], alone[:, 1], atol=1e-5, rtol=1e-5)
    untouched, _ = core.unroll(x, core.initial_state(BATCH), whole_trial())
    others = [0, 2, 3, 4]
    torch.testing.assert_close(y[:, others], untouched[:, others], atol=1e-5, rtol=1e-5)


@EVERY_CORE
def test_trap_13_rows_do_not_mix(options):
    core, x, begin = make(options), stream(3), random_begin(3)
    y, _ = core.unroll(x, core.initial_state(BATCH), begin)
    order = torch.randperm(BATCH, generator=torch.Generator().manual_seed(0))
    permuted, _ = core.unroll(
        CoreInput(x.now[:, order], x.feedback[:, order]), core.initial_state(BATCH), begin[:, order]
    )
    torch.testing.assert_close(permuted, y[:, order], atol=1e-5, rtol=1e-5)
    leaf = x.now.clone().requires_grad_()
    y, _ = core.unroll(CoreInput(leaf, x.feedback), core.initial_state(BATCH), begin)
    (gradient,) = torch.autograd.grad((y[:, 2] ** 3).sum(), leaf)
    assert gradient[:, 2].abs().sum() > 0
    assert gradient[:, [0, 1, 3, 4]].abs().sum() == 0


@EVERY_CORE
def test_the_future_and_the_last_trial_do_not_leak(options):
    core, x = make(options), stream(4)
    begin = whole_trial()
    begin[6] = TRIAL
    leaf = torch.cat([x.now, x.feedback], -1).requires_grad_()
    y, _ = core.unroll(CoreInput(leaf[..., :NOW], leaf[..., NOW:]), core.initial_state(BATCH), begin)
    (gradient,) = torch.autograd.grad((y[9] ** 3).sum(), leaf)
    assert gradient[:6].abs().sum() == 0, "the trial before"
    assert gradient[6, :, NOW:].abs().sum() == 0, "the feedback at the beginning of a trial belongs to the one before"
    assert gradient[10:].abs().sum() == 0, "the future"
    assert gradient[9].abs().sum() > 0


@EVERY_CORE
def test_a_state_is_a_value_unless_it_is_donated(options):
    core, x, begin = make(options), stream(5), random_begin(5)
    with torch.no_grad():
        state = loop(core, x, core.initial_state(BATCH), begin)[1]
        kept = tree.map_tensors(torch.Tensor.clone, state)
        plain = loop(core, x, state, begin)
        for left, right in zip(tree.leaves(state), tree.leaves(kept), strict=True):
            assert torch.equal(left, right)
        given = loop(core, x, state, begin, donate=True)
    assert torch.equal(plain[0], given[0])
    assert_same_state(core, plain[1], given[1])


@EVERY_CORE
def test_batch_first_in_every_leaf_and_trip_through_numpy_and_disk(options, tmp_path):
    core, x, begin = make(options), stream(6), random_begin(6)
    with torch.no_grad():
        _, state = core.unroll(x, core.initial_state(BATCH), begin)
        assert all(leaf.shape[0] == BATCH for leaf in tree.leaves(state))
        save_file({str(i): leaf.contiguous() for i, leaf in enumerate(tree.leaves(state))}, tmp_path / "state")
        kept = load_file(tmp_path / "state")
        names = iter(range(len(kept)))
        state = tree.map_tensors(lambda leaf: kept[str(next(names))], state)
        back = tree.map_tensors(lambda leaf: torch.from_numpy(leaf.numpy().copy()), state)
        again = core.unroll(x, back, begin)[0]
        assert torch.equal(core.unroll(x, state, begin)[0], again)
        rows = torch.tensor([3, 1])
        some, _ = core.unroll(CoreInput(x.now[:, rows], x.feedback[:, rows]), tree.index(state, rows), begin[:, rows])
    torch.testing.assert_close(some, again[:, rows], atol=1e-5, rtol=1e-5)


@EVERY_CORE
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_trap_35_ten_thousand_extreme_inputs_stay_finite(options, precision):
    """Huge, tiny, zero and equal inputs, in every mixture of them along a trial."""
    rows = 10_000 // STEPS + 1
    core, x = make(options).to(precision), stream(7, batch=rows)
    generator = torch.Generator().manual_seed(7)
    scales = torch.tensor([1e8, 1e-8, 0.0, 1.0])
    scale = scales[torch.randint(4, (STEPS, rows, 1), generator=generator)]
    scale[:, : rows // 4] = scale[0, : rows // 4]  # the same scale all along
    x = CoreInput(*((part * scale).to(precision) for part in x))
    x.now[:, rows // 8 : rows // 2] = x.now[0, rows // 8 : rows // 2]  # equal keys
    begin = torch.where(torch.rand(STEPS, rows, generator=generator) < 0.3, int(EPISODE), int(INSIDE))
    begin[0] = TRIAL
    y, state = core.unroll(x, core.initial_state(rows), begin)
    y.float().square().sum().backward()
    assert y.dtype == precision
    assert all(leaf.dtype == precision for leaf in tree.leaves(state) if leaf.is_floating_point())
    assert torch.isfinite(y).all()
    assert all(torch.isfinite(leaf).all() for leaf in tree.leaves(state))
    for name, p in core.named_parameters():
        assert p.grad is None or torch.isfinite(p.grad).all(), name


@EVERY_CORE
def test_gradients_are_those_of_finite_differences(options):
    """In double precision; what is written without gradient, and inner gradients of first order, are constants."""
    if options.store == "lifelong" or options.store_options.get("detach") or options.store_options.get("replace"):
        pytest.skip("written, or chosen, without gradient")
    if options.access == "meta_gradient":
        options = replace(options, access_options={"second_order": True})
    core, x = make(options).double(), stream(12, steps=6, batch=2)
    begin = torch.tensor([[TRIAL, TRIAL], [INSIDE, EPISODE], [INSIDE, INSIDE], [EPISODE, TRIAL], [INSIDE] * 2] * 2)[:6]

    def run(now: torch.Tensor, feedback: torch.Tensor) -> torch.Tensor:
        return core.unroll(CoreInput(now, feedback), core.initial_state(2), begin)[0]

    leaf = [part.double().requires_grad_() for part in x]
    assert torch.autograd.gradcheck(run, leaf, atol=1e-5, rtol=1e-3, fast_mode=True)


@RECALLING
def test_trap_15_gradients_reach_what_is_read(options):
    core, x = make(options), stream(8)
    core.unroll(x, core.initial_state(BATCH), whole_trial())[0].square().sum().backward()
    detached = options.store_options.get("detach", False) or options.store == "lifelong"
    detached = detached or options.store_options.get("learned_only", False)
    grads = {name: p.grad for name, p in core.named_parameters()}
    reached = [
        n
        for n in ("memory.key.weight", "memory.query.weight")
        if n in grads and grads[n] is not None and grads[n].any()
    ]
    assert reached, "neither keys nor queries are learned"
    if (name := "memory.value.weight") in grads:
        written = grads[name] is not None and bool(grads[name].any())
        assert written is not detached


@RECALLING
def test_the_gate_starts_as_a_no_op(options):
    if not options.gate or options.reinstate:
        pytest.skip("no gate on the controller's input")
    core, x, begin = build_core(options, NOW, FEEDBACK, STEPS), stream(9), whole_trial()
    plain = core.unroll(x, core.initial_state(BATCH), begin)[0]
    begin_same_working_memory = core.options.working_memory
    with ablated(core, "off"):
        core.options = replace(core.options, working_memory=begin_same_working_memory)
        assert torch.equal(core.unroll(x, core.initial_state(BATCH), begin)[0], plain)


@RECALLING
def test_trap_12_off_forgets_what_a_slot_held(options):
    """Perturb the first episode: the last one feels it through the memory, and not at all with memory off."""
    core, x = make(options), stream(10)
    begin = whole_trial()
    moved = CoreInput(x.now.clone(), x.feedback.clone())
    moved.now[1] += 1.0
    moved.feedback[4] += 1.0

    def change() -> float:
        with torch.no_grad():
            before = core.unroll(x, core.initial_state(BATCH), begin)[0]
            after = core.unroll(moved, core.initial_state(BATCH), begin)[0]
        return float((before - after)[-3:].abs().max())

    forgets = (
        options.horizon == "episode"
        or options.store_options.get("learned_only", False)
        or options.store_options.get("capacity", STEPS) < 3
    )
    if not forgets:
        assert change() > 1e-6
    with ablated(core, "off"):
        assert change() == 0.0


@EVERY_CORE
@pytest.mark.parametrize("often", ["episode", "step"])
def test_emptied_so_often_is_as_if_nothing_had_been_before(options, often):
    """With all memory emptied at each episode or step, what follows equals a trial that begins there."""
    core, x = make(options), stream(11)
    begin = whole_trial()
    start = int((begin[1:] != INSIDE).any(1).nonzero()[0]) + 1 if often == "episode" else 2
    if often == "episode":
        assert (begin[start] == EPISODE).all()
    later, afresh = CoreInput(x.now[start:], x.feedback[start:]), begin[start:].clone()
    afresh[0] = TRIAL
    with torch.no_grad(), ablated(core, often):
        emptied = core.unroll(x, core.initial_state(BATCH), begin)[0][start:]
        fresh = core.unroll(later, core.initial_state(BATCH), afresh)[0]
    torch.testing.assert_close(emptied, fresh, atol=1e-6, rtol=1e-6)


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


def test_trap_16_reading_sees_only_completed_transitions():
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
    moved = misled(Content(keys, values, valid))
    assert torch.equal(moved.values, values)
    assert torch.equal(moved.valid, valid), "here every slot finds another context"
    for row in range(2):
        given = moved.keys[row][valid[row]]
        assert not (given == keys[row][valid[row]]).all(-1).any(), "no slot keeps its context"
        assert torch.equal(given.sort(0).values, keys[row][valid[row]].sort(0).values), "a permutation"


def test_a_state_of_another_core_is_refused():
    gru, lstm = make(REGISTERED["gru"]), make(REGISTERED["lstm"])
    with pytest.raises(ValueError, match="another core"):
        tree.check_like(lstm.initial_state(2), gru.initial_state(2), "gru")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (MemoryOptions(controller="grue"), "did you mean 'gru'"),
        (MemoryOptions(store="dcn"), "did you mean 'dnc'"),
        (MemoryOptions(access="grpah"), "did you mean 'graph'"),
        (MemoryOptions(access="native"), "episodic.*use attention, graph, meta_gradient"),
        (MemoryOptions(store="delta"), "reading is evaluating it; use native"),
        (MemoryOptions(store="ntm", access="native", access_options={"heads": 2}), "has none"),
        (MemoryOptions(store="lifelong", emit="controller"), "emit = 'input'"),
        (MemoryOptions(store="ntm", store_options={"slots": 0}), "slots"),
        (MemoryOptions(store="key_value", store_options={"learned_only": True, "learned": 0}), "learned to 1 or more"),
        (MemoryOptions(store_options={"capacity": 0}), "capacity"),
        (MemoryOptions(store_options={"capacitiy": 3}), "did you mean capacity"),
        (MemoryOptions(access_options={"heads": 3}), "heads do not divide"),
        (MemoryOptions(store_options={"holds": "state"}), "gru, lstm, mingru"),
        (MemoryOptions(controller="gru", reinstate=True), "lstm controller"),
        (MemoryOptions(controller="gru", store="none"), "memory.access = 'none'"),
        (MemoryOptions(controller="gru", store_options={"holds": "state"}, value_size=3), "leave it out"),
    ],
)
def test_parts_that_do_not_fit_are_refused_in_one_line(options, message):
    with pytest.raises(ConfigError, match=message) as caught:
        build_core(options, NOW, FEEDBACK, STEPS)
    assert "\n" not in str(caught.value)


def test_an_unknown_length_of_trials_asks_for_a_capacity():
    with pytest.raises(ConfigError, match="capacity"):
        build_core(EPISODIC, NOW, FEEDBACK, None)
