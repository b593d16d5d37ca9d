"""Every access: stepped and unrolled alike, blind to what is masked, never NaN; and what each is there for."""

from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from metarl.config import ConfigError
from metarl.functional import chunks, kernels
from metarl.functional.branches import recording
from metarl.functional.kernels import KERNELS
from metarl.memory.access.attention import Attention, AttentionOptions
from metarl.memory.access.graph import GraphSearch, GraphSearchOptions
from metarl.memory.access.meta_gradient import MetaGradient, MetaGradientOptions
from metarl.memory.contract import Access, Content
from metarl.memory.ops import Query, visible
from metarl.types import Read

KEY, VALUE, BATCH, QUERIES = 8, 6, 3, 7

WHOLE_KEYS = AttentionOptions(heads=2, split_keys=False, learned_temperature=True)
ACCESSES = {
    **{f"attention {kernel}": (Attention, AttentionOptions(kernel=kernel)) for kernel in KERNELS},
    "attention prototypes": (Attention, AttentionOptions(kernel="euclidean", empty_slot=False)),
    "attention heads": (Attention, AttentionOptions(kernel="cosine", heads=2, top_k=2)),
    **{f"attention whole keys {kernel}": (Attention, replace(WHOLE_KEYS, kernel=kernel)) for kernel in KERNELS},
    "graph": (GraphSearch, GraphSearchOptions()),
    "graph nearest": (GraphSearch, GraphSearchOptions(edges="nearest", kernel="dot", empty_slot=False)),
    "graph neighbours": (GraphSearch, GraphSearchOptions(neighbours=2, hops=3, edge_temperature=0.05)),
    "meta-gradient": (MetaGradient, MetaGradientOptions(neighbours=2)),
    "meta-gradient twice": (MetaGradient, MetaGradientOptions(steps=2, neighbours=3, second_order=True)),
    "meta-gradient mlp": (MetaGradient, MetaGradientOptions(hidden_size=5, second_order=True, empty_slot=False)),
}
EVERY = pytest.mark.parametrize("name", ACCESSES)


def make(name: str, dtype: torch.dtype = torch.float32, key: int = KEY, value: int = VALUE) -> Access:
    """The access with parameters moved away from where they start."""
    kind, options = ACCESSES[name]
    torch.manual_seed(0)
    access = kind(key, value, options)
    with torch.no_grad():
        for p in access.parameters():
            p.add_(0.3 * torch.randn_like(p))
    return access.to(dtype)


def problem(access: Access, slots: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, ...]:
    """Leaves: queries, keys, values, and controls."""
    generator = torch.Generator().manual_seed(slots)
    sizes = [(QUERIES, KEY), (slots, KEY), (slots, VALUE), (QUERIES, access.control_size)]
    return tuple(torch.randn(BATCH, *s, generator=generator, dtype=dtype).requires_grad_() for s in sizes)


def every(keys: Tensor) -> Tensor:
    return torch.ones(keys.shape[:2], dtype=torch.bool)


def ask(
    access: Access,
    leaves: tuple[Tensor, ...],
    valid: Tensor | None = None,
    mask: Tensor | None = None,
    causal: bool = False,
) -> Read:
    query, key, value, control = leaves
    content = Content(access.prepare(key), value, every(key) if valid is None else valid)
    return access(Query(access.prepare(query), mask, control if access.control_size else None, causal), content)


def check_same(access: Access, leaves: tuple[Tensor, ...], one: Tensor, other: Tensor) -> None:
    """Two ways to the same values must also have the same gradients; in float64, where rounding can't excuse much."""
    assert one.dtype == torch.float64
    torch.testing.assert_close(one, other, atol=1e-10, rtol=1e-10)
    inputs = [*leaves, *access.parameters()]
    grads = [
        torch.autograd.grad(value.square().sum(), inputs, retain_graph=True, allow_unused=True, materialize_grads=True)
        for value in (one, other)
    ]
    for mine, theirs in zip(*grads, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-9, rtol=1e-9)


@EVERY
@pytest.mark.parametrize("slots", [QUERIES - 1, QUERIES, QUERIES + 3])
def test_a_causal_read_equals_its_mask_and_its_steps(name, slots):
    access = make(name, torch.float64)
    leaves = problem(access, slots, torch.float64)
    query, key, value, control = leaves
    whole = ask(access, leaves, causal=True).value
    mask = visible(Query(query, causal=True), Content(key, value, every(key)))
    check_same(access, leaves, whole, ask(access, leaves, mask=mask).value)
    steps = []
    for at in range(QUERIES):
        seen = slots - QUERIES + at + 1
        one = (query[:, at : at + 1], key[:, :seen], value[:, :seen], control[:, at : at + 1])
        steps.append(ask(access, one).value)
    check_same(access, leaves, whole, torch.cat(steps, 1))


@EVERY
def test_masked_reads_equal_steps_over_what_is_visible(name):
    access = make(name, torch.float64)
    leaves = problem(access, 9, torch.float64)
    query, key, value, control = leaves
    generator = torch.Generator().manual_seed(1)
    mask = torch.rand(BATCH, QUERIES, 9, generator=generator) < 0.5
    mask[:, 0], mask[:, 1] = False, True
    valid = torch.ones(BATCH, 9, dtype=torch.bool)
    valid[0, 4:], valid[2] = False, False
    whole = ask(access, leaves, valid, mask)
    rows = []
    for row in range(BATCH):
        for at in range(QUERIES):
            seen = mask[row, at] & valid[row]
            asked, told = query[row, at][None, None], control[row, at][None, None]
            rows.append(ask(access, (asked, key[row, seen][None], value[row, seen][None], told)).value[0, 0])
    check_same(access, leaves, whole.value, torch.stack(rows).unflatten(0, (BATCH, QUERIES)))
    assert not whole.value[:, 0].any(), "the empty read"
    assert not whole.value[2].any(), "the empty read"


@EVERY
def test_what_is_masked_has_no_effect_whatever_it_holds(name):
    access = make(name, torch.float64)
    leaves = problem(access, 6, torch.float64)
    valid = torch.ones(BATCH, 6, dtype=torch.bool)
    valid[1, 3] = False
    hidden = torch.zeros(6, dtype=torch.bool)
    hidden[[0, 4]] = True
    mask = ~hidden.expand(BATCH, QUERIES, 6)
    unseen = (hidden | ~valid)[..., None]
    garbage = [torch.where(unseen, 1e8 * x.detach(), x) for x in leaves[1:3]]
    clean = ask(access, leaves, valid, mask).value
    check_same(access, leaves, clean, ask(access, (leaves[0], *garbage, leaves[3]), valid, mask).value)


@EVERY
@pytest.mark.parametrize("graph", [False, True])
@torch.no_grad()
def test_acting_too_is_blind_to_what_is_masked_however_well_it_fits(name, graph):
    access = make(name)
    query, key, value, control = problem(access, 6)
    query = query[:, :1].expand_as(query)  # the queries differ by what they see
    valid = torch.ones(BATCH, 6, dtype=torch.bool)
    valid[1, 3] = False
    mask = torch.ones(BATCH, QUERIES, 6, dtype=torch.bool)
    mask[:, 1:, 0] = False
    fits = key.clone()
    fits[:, 0], fits[1, 3] = 1e4 * query[:, 0], 1e4 * query[1, 0]
    with recording() if graph else nullcontext():
        clean = ask(access, (query, key, value, control), valid, mask).value
        other = ask(access, (query, fits, value, control), valid, mask).value
    torch.testing.assert_close(other[:, 1:], clean[:, 1:])
    assert torch.isfinite(other).all()


@EVERY
def test_weights_are_those_of_what_was_read(name):
    access = make(name)
    query, *rest = problem(access, 6)
    valid = torch.ones(BATCH, 6, dtype=torch.bool)
    valid[0, 2:] = False
    read = ask(access, (query[:, :1], rest[0], rest[1], rest[2][:, :1]), valid)
    weights = read.log_weights.exp()
    assert (weights.sum(-1) <= 1 + 1e-5).all()
    assert torch.isneginf(read.log_weights[0, :, 2:]).all()
    if not isinstance(access, MetaGradient) and "heads" not in name and "whole" not in name:
        torch.testing.assert_close(weights @ rest[1], read.value)


@EVERY
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_thousand_extreme_inputs_stay_finite(name, dtype):
    batch, slots, queries = 1_000, 4, 3
    access = make(name, dtype)
    generator = torch.Generator().manual_seed(3)
    scales = torch.tensor([1e8, 1e-8, 0.0, 1.0])
    leaves = []
    for n, width in ((queries, KEY), (slots, KEY), (slots, VALUE), (queries, access.control_size)):
        x = torch.randn(batch, n, width, generator=generator)
        x[::5] = x[::5, :1]  # all alike
        x = x * scales[torch.randint(4, (batch, 1, 1), generator=generator)]
        leaves.append(x.to(dtype).requires_grad_())
    leaves[0].data[1::5] = leaves[1].data[1::5, :1]  # a query that is a key
    valid = torch.rand(batch, slots, generator=generator) < 0.7
    for parts in (tuple(leaves), tuple(x[:, :1] if x.shape[1] == queries else x for x in leaves)):
        value = ask(access, parts, valid).value
        assert value.dtype == dtype
        assert value.isfinite().all()
        value.sum().backward()
        for x in [*leaves, *access.parameters()]:
            assert x.grad is None or x.grad.isfinite().all()


@EVERY
def test_an_empty_store_reads_zeros(name):
    access = make(name)
    assert torch.equal(ask(access, problem(access, 0)).value, torch.zeros(BATCH, QUERIES, VALUE))


@EVERY
def test_gradients_are_exact_where_they_are_promised(name):
    access = make(name, torch.float64)
    leaves = tuple(x[:1, :4].detach().requires_grad_() for x in problem(access, 4, torch.float64))

    def read(*leaves: Tensor) -> Tensor:
        return ask(access, leaves, causal=True).value

    if not isinstance(access, MetaGradient) or access.options.second_order:
        assert torch.autograd.gradcheck(read, leaves)
    for grad in torch.autograd.grad(read(*leaves).square().sum(), leaves[:3]):
        assert grad.any()


@pytest.mark.parametrize("kernel", KERNELS)
def test_split_or_whole_a_single_head_is_the_same(kernel):
    plain, whole = (Attention(KEY, VALUE, AttentionOptions(kernel=kernel, split_keys=s)) for s in (True, False))
    leaves = problem(plain, 6)
    torch.testing.assert_close(ask(whole, leaves).value, ask(plain, leaves).value)


def test_the_euclidean_kernel_classifies_by_distance_to_prototypes():
    access = Attention(KEY, 3, AttentionOptions(kernel="euclidean", empty_slot=False, temperature=0.5 / KEY**0.5))
    query, keys = torch.randn(BATCH, QUERIES, KEY), torch.randn(BATCH, 3, KEY)
    read = access(Query(query), Content(keys, torch.eye(3).expand(BATCH, 3, 3), every(keys)))
    torch.testing.assert_close(read.value, (-torch.cdist(query, keys).square()).softmax(-1))


def test_a_learned_temperature_starts_where_it_is_told_and_learns():
    options = [AttentionOptions(temperature=0.3, learned_temperature=learned, heads=2) for learned in (False, True)]
    plain, learned = (Attention(KEY, VALUE, o) for o in options)
    leaves = problem(plain, 6)
    for part in (leaves, tuple(x[:, :1] if x.shape[1] == QUERIES else x for x in leaves)):
        value = ask(learned, part).value
        torch.testing.assert_close(value, ask(plain, part).value)
        assert torch.autograd.grad(value.square().sum(), learned.log_temperature)[0].all()


def two_hop(symbols: int) -> tuple[Tensor, Tensor, Content]:
    """Answers c, queries a, and in random order the pairs (a -> b) and (b -> c), of which a value holds both halves."""
    places = torch.randperm(symbols, generator=torch.Generator().manual_seed(4))
    a, b, c = places[:6], places[6:12], places[12:18]
    order = torch.randperm(12, generator=torch.Generator().manual_seed(5))
    first, second = torch.cat([a, b])[order], torch.cat([b, c])[order]
    one_hot = F.one_hot(torch.arange(symbols), symbols).float()
    values = torch.cat([one_hot[first], one_hot[second]], -1)[None]
    return c, one_hot[a][None], Content(one_hot[first][None], values, torch.ones(1, 12, dtype=torch.bool))


def test_graph_search_recalls_over_two_hops_in_one_read_and_attention_does_not():
    symbols = 20
    c, query, content = two_hop(symbols)
    access = GraphSearch(symbols, 2 * symbols, GraphSearchOptions(hops=2))
    with torch.no_grad():
        access.follow.weight.copy_(torch.cat([torch.zeros(symbols, symbols), torch.eye(symbols)], 1))
        access.follow.bias.zero_()
    content = content._replace(keys=access.prepare(content.keys))
    one_hop = torch.tensor([0.0, 20.0, 0.0]).expand(1, 6, 3)
    read = access(Query(access.prepare(query), control=one_hop), content)
    answer = F.one_hot(c, symbols).float()
    torch.testing.assert_close(read.value[0, :, symbols:], answer, atol=5e-3, rtol=0)
    assert (read.log_weights.exp().amax(-1) > 0.9).all()
    attention = Attention(symbols, 2 * symbols, AttentionOptions(kernel="cosine", temperature=0.1))
    direct = attention(Query(attention.prepare(query)), content).value[0, :, symbols:]
    assert (direct * answer).sum(-1).max() < 0.1


def test_nearest_edges_leave_a_slot_for_its_like():
    access = GraphSearch(2, 3, GraphSearchOptions(hops=1, edges="nearest", edge_temperature=0.05))
    keys = torch.tensor([[[1.0, 0.0], [0.98, 0.2], [-1.0, 0.0]]])
    content = Content(access.prepare(keys), torch.eye(3)[None], torch.ones(1, 3, dtype=torch.bool))
    start = access(Query(access.prepare(keys[:, 2:]), control=torch.tensor([[[20.0, 0.0]]])), content).value
    assert start.argmax() == 2
    moved = access(Query(access.prepare(keys[:, :1]), control=torch.tensor([[[0.0, 20.0]]])), content).value[0, 0]
    assert moved[2] < 1e-3
    assert moved.sum() > 0.9, "not a dead end"
    alone = access(Query(access.prepare(keys[:, 2:]), control=torch.tensor([[[0.0, 20.0]]])), content).value
    assert alone.sum() < 1e-3, "nothing is like it: a dead end"


def test_one_step_from_the_start_fits_a_single_neighbour():
    for hidden, tolerance in ((None, 1e-3), (64, 0.7)):
        access = MetaGradient(KEY, VALUE, MetaGradientOptions(temperature=0.05, hidden_size=hidden))
        key, value = torch.randn(4, 1, KEY), torch.randn(4, 1, VALUE)
        read = access(Query(access.prepare(key)), Content(access.prepare(key), value, every(key)))
        error = (read.value - value).norm(dim=-1) / value.norm(dim=-1)
        assert (error < tolerance).all(), hidden


def test_more_steps_fit_several_neighbours_better():
    errors = []
    for steps in (1, 10):
        torch.manual_seed(0)
        options = MetaGradientOptions(steps=steps, temperature=1.0, neighbours=4, empty_slot=False)
        access = MetaGradient(KEY, VALUE, options)
        keys, values = torch.randn(4, 4, KEY), torch.randn(4, 4, VALUE)
        read = access(Query(access.prepare(keys)), Content(access.prepare(keys), values, every(keys)))
        errors.append((read.value - values).square().mean().item())
    assert errors[1] < 0.7 * errors[0]


def test_in_first_order_keys_and_values_learn_as_in_attention():
    """The documented stand-in: the gradient of sum_k w_k v_k over the same neighbours."""
    access = MetaGradient(KEY, VALUE, MetaGradientOptions(neighbours=3))
    attention = Attention(KEY, VALUE, AttentionOptions(kernel="cosine", temperature=0.1, top_k=3))
    leaves = problem(access, 6)
    found, expected = (
        torch.autograd.grad(ask(a, leaves, causal=True).value.sum(), leaves[1:3]) for a in (access, attention)
    )
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", ["meta-gradient", "meta-gradient twice", "meta-gradient mlp", "graph neighbours"])
def test_chunks_over_queries_change_nothing(name, monkeypatch):
    access = make(name, torch.float64)
    leaves = problem(access, 6, torch.float64)
    whole = ask(access, leaves, causal=True).value
    monkeypatch.setattr(chunks, "LIMIT", 1)
    check_same(access, leaves, whole, ask(access, leaves, causal=True).value)
    with torch.no_grad():
        torch.testing.assert_close(ask(access, leaves, causal=True).value, whole)


def test_heads_must_divide_what_they_split():
    Attention(7, VALUE, AttentionOptions(heads=2, split_keys=False))
    for key, value, wrong in ((7, VALUE, "key_size"), (KEY, 7, "value_size")):
        with pytest.raises(ConfigError) as caught:
            Attention(key, value, AttentionOptions(heads=2))
        assert (caught.value.key, caught.value.given) == (wrong, 7)


def test_the_scale_of_each_kernel():
    q = torch.ones(1, 16)
    for kernel, expected in (("dot", 4), ("euclidean", 2)):
        prepared = kernels.prepare(kernel, q)
        assert kernels.logits(kernel, prepared, prepared) == expected
