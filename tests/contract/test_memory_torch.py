"""Every registered core under autocast, ``torch.func`` and inference mode, and what doesn't fit together."""

from collections.abc import Callable

import pytest
import torch
from memory_cases import BATCH, EVERY_CORE, TRIAL, loop, make, random_begin, stream, whole_trial
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from metarl import tree
from metarl.memory.contract import MemoryCore
from metarl.memory.memory import Memory
from metarl.memory.options import MemoryOptions
from metarl.memory.registry import build_memory, matrix
from metarl.types import CoreInput

ADDRESS, CONTENT = 3, 4
MEMORIES = [(store, access) for store, access, refused in matrix() if refused is None]
EVERY_MEMORY = pytest.mark.parametrize(
    "memory",
    [MemoryOptions(store=store, access=access, key_size=4, value_size=8) for store, access in MEMORIES],
    ids=["+".join(names) for names in MEMORIES],
)
BEGIN = random_begin()


class Whole(nn.Module):
    """A core over one stream, as a function of its parameters."""

    def __init__(self, core: MemoryCore) -> None:
        super().__init__()
        self.core = core

    def forward(self, x: CoreInput) -> Tensor:
        return self.core.unroll(x, self.core.initial_state(BATCH), BEGIN)[0]


def small(options: MemoryOptions) -> Memory:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return build_memory(options, ADDRESS, CONTENT, 6)


def items(rows: int = 2, steps: int = 5) -> tuple[Tensor, Tensor]:
    drawn = torch.randn(rows, steps, ADDRESS + CONTENT, generator=torch.Generator().manual_seed(0))
    return drawn[..., :ADDRESS], drawn[..., ADDRESS:]


def gradients(module: nn.Module, loss: Tensor) -> dict[str, Tensor]:
    named = dict(module.named_parameters())
    found = torch.autograd.grad(loss, list(named.values()), materialize_grads=True)
    return dict(zip(named, found, strict=True))


def finite(*tensors: Tensor) -> bool:
    return all(bool(x.isfinite().all()) for x in tensors)


@EVERY_CORE
def test_under_autocast_a_core_keeps_its_precision(options):
    core, x = make(options), stream()
    expected, last = core.unroll(x, core.initial_state(BATCH), BEGIN)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, state = core.unroll(x, core.initial_state(BATCH), BEGIN)
        half = CoreInput(x.now[0].bfloat16(), x.feedback[0].bfloat16())
        step, _ = core(half, state, BEGIN[0])
    assert y.dtype == step.dtype == torch.float32
    torch.testing.assert_close(y, expected)
    y.sum().backward()
    assert all(a.dtype == b.dtype for a, b in zip(tree.leaves(state), tree.leaves(last), strict=True))


@EVERY_MEMORY
def test_under_autocast_a_memory_takes_half_precision(memory):
    module, (address, content) = small(memory), items()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        state = module.write_all(address.bfloat16(), content.bfloat16())
        state = module.write(state, address[:, 0], content[:, 0].bfloat16())
        read, _ = module.read(state, address.bfloat16())
    assert read.dtype == torch.float32
    assert finite(read)


@EVERY_CORE
def test_inference_mode_changes_nothing(options):
    core, x = make(options), stream()
    with torch.no_grad():
        expected = loop(core, x, core.initial_state(BATCH), BEGIN)[0]
    with torch.inference_mode():
        stepped = loop(core, x, core.initial_state(BATCH), BEGIN, donate=True)[0]
        unrolled = core.unroll(x, core.initial_state(BATCH), BEGIN)[0]
    assert torch.equal(stepped, expected)
    torch.testing.assert_close(unrolled, expected, atol=1e-5, rtol=1e-5)


@EVERY_CORE
def test_functional_gradients_equal_those_of_autograd(options):
    model, x = Whole(make(options)), stream()
    ours = grad(lambda p: functional_call(model, p, (x,)).square().sum())(dict(model.named_parameters()))
    theirs = gradients(model, model(x).square().sum())
    for name, expected in theirs.items():
        torch.testing.assert_close(ours[name], expected, atol=1e-5, rtol=1e-4, msg=name)


def loops_in_torch(options: MemoryOptions) -> bool:
    """What vmap refuses: torch's fused cells, and reads whose size depends on what was written."""
    return options.controller in ("gru", "lstm", "window") or options.access == "meta_gradient"


@EVERY_CORE
@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_many_sets_of_parameters_are_mapped_over_or_refused(options):
    model, x = Whole(make(options)), stream()
    sets = {name: torch.stack([p.detach(), 0.9 * p.detach()]) for name, p in model.named_parameters()}

    def run(parameters: dict[str, Tensor]) -> Tensor:
        return functional_call(model, parameters, (x,))

    if loops_in_torch(options):
        with pytest.raises(RuntimeError, match=r"vmap|Batching rule"):
            vmap(run)(sets)
        return
    both = vmap(run)(sets)
    for i, y in enumerate(both):
        alone = run({name: p[i] for name, p in sets.items()})
        torch.testing.assert_close(y, alone, atol=1e-5, rtol=1e-4)


@EVERY_CORE
def test_a_stream_of_no_steps_changes_nothing(options):
    core, x = make(options), stream()
    state = core.initial_state(BATCH)
    y, after = core.unroll(CoreInput(x.now[:0], x.feedback[:0]), state, BEGIN[:0])
    assert y.shape == (0, BATCH, core.output_size)
    assert all(torch.equal(a, b) for a, b in zip(tree.leaves(after), tree.leaves(state), strict=True))


@EVERY_MEMORY
def test_writing_nothing_leaves_the_memory_empty(memory):
    module, (address, content) = small(memory), items()
    state = module.write_all(address[:, :0], content[:, :0])
    empty = module.initial_state(2)
    assert all(torch.equal(a, b) for a, b in zip(tree.leaves(state), tree.leaves(empty), strict=True))
    assert module.read(state, address[:, :0])[0].shape == (2, 0, module.read_size)


@EVERY_CORE
@pytest.mark.parametrize("run", [lambda core, *given: core.unroll(*given), loop], ids=["unrolled", "stepped"])
def test_what_is_not_written_poisons_nothing(options, run: Callable[..., tuple[Tensor, object]]):
    """The feedback that comes with a new trial belongs to the one before and is neither written nor read."""
    core, x, begin = make(options), stream(), whole_trial()
    begin[6, 1:] = TRIAL
    expected = run(core, x, core.initial_state(BATCH), begin)[0]
    feedback = x.feedback.clone()
    feedback[0], feedback[6, 1:3], feedback[6, 3:] = torch.nan, torch.nan, torch.inf
    feedback[0, ::2] = torch.inf
    now = x.now.clone().requires_grad_()
    y, _ = run(core, CoreInput(now, feedback), core.initial_state(BATCH), begin)
    torch.testing.assert_close(y, expected)
    y.square().sum().backward()
    assert finite(now.grad, *(p.grad for p in core.parameters() if p.grad is not None))


@EVERY_MEMORY
def test_masked_padding_poisons_nothing(memory):
    module, (address, content) = small(memory), items()
    mask = torch.ones(2, 5, dtype=torch.bool)
    mask[0, 3:] = mask[1, 1] = mask[:, 4] = False
    results = []
    for fill in (0.0, torch.nan, torch.inf):
        padded = [part.masked_fill(~mask[..., None], fill).requires_grad_() for part in (address, content)]
        state = module.write_all(*padded, mask)
        state = module.write(state, padded[0][:, 3], padded[1][:, 3], rows=mask[:, 3])
        read, _ = module.read(state, items()[0])
        module.zero_grad()
        read.square().sum().backward()
        grads = [p.grad.clone() for p in module.parameters() if p.grad is not None]
        results.append([read, *grads, *(part.grad for part in padded if part.grad is not None)])
    for poisoned in results[1:]:
        torch.testing.assert_close(poisoned, results[0])


@EVERY_MEMORY
def test_all_at_once_equals_one_by_one(memory):
    module, (address, content) = small(memory), items(3)
    mask = torch.ones(3, 5, dtype=torch.bool)
    mask[0, 2], mask[2] = False, False
    state = module.initial_state(3)
    for step in range(5):
        state = module.write(state, address[:, step], content[:, step], rows=mask[:, step])
    one_by_one, at_once = (module.read(s, address)[0] for s in (state, module.write_all(address, content, mask)))
    torch.testing.assert_close(at_once, one_by_one, atol=1e-5, rtol=1e-5)


@EVERY_MEMORY
def test_several_queries_a_step_equal_stepping(memory):
    module, steps, rows, queries = small(memory), 6, 3, 2
    generator = torch.Generator().manual_seed(0)
    address = torch.randn(steps, rows, ADDRESS, generator=generator)
    content = torch.randn(steps, rows, CONTENT, generator=generator)
    query = torch.randn(steps, rows, queries, ADDRESS, generator=generator)
    reset, write_mask = torch.rand(2, steps, rows, generator=generator) < torch.tensor([0.2, 0.7])[:, None, None]
    reads, _ = module.unroll(module.initial_state(rows), address, content, query, reset=reset, write_mask=write_mask)
    state = module.initial_state(rows)
    for t in range(steps):
        state = module.store.reset(state, reset[t])
        state = module.write(state, address[t], content[t], rows=write_mask[t])
        read, state = module.read(state, query[t])
        torch.testing.assert_close(reads[t], read, atol=1e-5, rtol=1e-5)


@EVERY_CORE
def test_batches_that_differ_are_refused(options):
    core, x = make(options), stream()
    state = core.initial_state(BATCH)
    wrong = [
        (x, state, BEGIN[:, 1:]),
        (x, state, BEGIN[1:]),
        (CoreInput(x.now[:, 1:], x.feedback), state, BEGIN),
        (CoreInput(x.now, x.feedback[1:]), state, BEGIN),
    ]
    if next(tree.leaves(state), None) is not None:
        wrong.append((x, core.initial_state(1), BEGIN))
    for given, old, boundary in wrong:
        with pytest.raises(ValueError, match=r"shape|batch"):
            core.unroll(given, old, boundary)


@EVERY_MEMORY
def test_queries_and_writes_of_another_batch_are_refused(memory):
    module, (address, content) = small(memory), items()
    state = module.write_all(address, content)
    for run in (
        lambda: module.read(state, address[:1]),
        lambda: module.write(state, address[:1, 0], content[:1, 0]),
        lambda: module.write_all(address, content[:, 1:]),
    ):
        with pytest.raises(ValueError, match=r"batch|axes"):
            run()
