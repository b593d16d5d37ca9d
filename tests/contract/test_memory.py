"""What every registered memory core promises; a new one is tested here by being registered."""

import re
from dataclasses import replace

import pytest
import torch
from memory_cases import (
    ACTIONS,
    BATCH,
    EPISODE,
    EVERY_CORE,
    FEEDBACK,
    INSIDE,
    NOW,
    RECALLING,
    STEPS,
    TRIAL,
    UNROLLED,
    assert_same_state,
    loop,
    make,
    random_begin,
    stream,
    whole_trial,
)
from safetensors.torch import load_file, save_file

from metarl import tree
from metarl.memory.ablation import ablated
from metarl.memory.registry import build_core
from metarl.types import CoreInput


def chunked(core, x, state, begin):
    parts = []
    for piece in (slice(0, 5), slice(5, 6), slice(6, STEPS)):
        y, state = core.unroll(CoreInput(x.now[piece], x.feedback[piece]), state, begin[piece])
        parts.append(y)
    return torch.cat(parts), state


@UNROLLED
def test_unrolls_of_the_whole_and_in_chunks_equal_looped_steps(options, begin):
    core, x = make(options), stream()
    runs = []
    for run in (type(core).unroll, loop, chunked):
        core.zero_grad()
        leaf = CoreInput(x.now.clone().requires_grad_(), x.feedback.clone().requires_grad_())
        y, state = run(core, leaf, core.initial_state(BATCH), begin)
        (y * torch.linspace(0.5, 1.5, y.numel()).view_as(y)).sum().backward()
        parameters = [torch.zeros_like(p) if p.grad is None else p.grad for p in core.parameters()]
        runs.append((y, state, [leaf.now.grad, leaf.feedback.grad, *parameters]))
    whole, last, gradients = runs[0]
    for y, state, others in runs[1:]:
        torch.testing.assert_close(y, whole, atol=1e-5, rtol=1e-5)
        assert_same_state(core, state, last)
        torch.testing.assert_close(others, gradients, atol=2e-5, rtol=1e-4)


@EVERY_CORE
def test_a_trial_boundary_wipes_one_row_and_no_other(options):
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
def test_rows_do_not_mix(options):
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
def test_extreme_inputs_stay_finite(options, precision):
    """Huge, tiny, zero and equal inputs, in every mixture of them along a trial."""
    rows = 80
    core, x = make(options).to(precision), stream(7, batch=rows)
    generator = torch.Generator().manual_seed(7)
    scales = torch.tensor([1e8, 1e-8, 0.0, 1.0])
    scale = scales[torch.randint(4, (STEPS, rows, 1), generator=generator)]
    scale[:, : rows // 4] = scale[0, : rows // 4]  # the same scale all along
    x = x.map(lambda part: (part * scale).to(precision))
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

    leaf = [part.double().requires_grad_() for part in (x.now, x.feedback)]
    assert torch.autograd.gradcheck(run, leaf, atol=1e-5, rtol=1e-3, fast_mode=True)


@RECALLING
def test_gradients_reach_what_is_read(options):
    core, x = make(options), stream(8)
    core.unroll(x, core.initial_state(BATCH), whole_trial())[0].square().sum().backward()
    detached = options.store_options.get("detach", False) or options.store == "lifelong"
    detached = detached or options.store_options.get("learned_only", False)
    grads = {name: p.grad for name, p in core.named_parameters()}
    addressing = [grads.get(name) for name in grads if re.match(r"memory\.(key|query)\.(observation\.)?weight", name)]
    assert any(grad is not None and grad.any() for grad in addressing), "neither keys nor queries are learned"
    if (name := "memory.value.weight") in grads:
        written = grads[name] is not None and bool(grads[name].any())
        assert written is not detached


@RECALLING
def test_the_gate_starts_as_a_no_op(options):
    if not options.gate or options.reinstate:
        pytest.skip("no gate on the controller's input")
    core, x, begin = build_core(options, NOW, FEEDBACK, STEPS, actions=ACTIONS), stream(9), whole_trial()
    plain = core.unroll(x, core.initial_state(BATCH), begin)[0]
    begin_same_working_memory = core.options.working_memory
    with ablated(core, "off"):
        core.options = replace(core.options, working_memory=begin_same_working_memory)
        assert torch.equal(core.unroll(x, core.initial_state(BATCH), begin)[0], plain)


@RECALLING
def test_off_forgets_what_a_slot_held(options):
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
