"""What a memory that is asked once for each action promises."""

from dataclasses import replace
from itertools import product

import pytest
import torch
from memory_cases import BATCH, EPISODE, INSIDE, STEPS, TRIAL, random_begin, whole_trial

from metarl.config import ConfigError
from metarl.experiments.presets import load_experiment
from metarl.functional.scan import chosen_sums_before, sums_before
from metarl.memory.actions import ActionColumns
from metarl.memory.core import StoreCore
from metarl.memory.ops import groups
from metarl.memory.options import MemoryOptions
from metarl.memory.per_action import ActionCore
from metarl.memory.registry import build_core, runnable, why_not_per_action
from metarl.types import CoreInput

NOW, ACTIONS = 3, 3
FEEDBACK = 2 * ACTIONS + 2
ONE, PARTS = ActionColumns((ACTIONS,), (0, ACTIONS + 2)), ActionColumns((2, 1), (0, ACTIONS + 2))
PLAIN = MemoryOptions(
    gate=False,
    key_size=8,
    value_size=8,
    per_action=True,
    action_identity=False,
    controller_options={"hidden_size": 8},
    access_options={"kernel": "cosine", "heads": 2, "temperature": 0.3, "empty_spread": 3.0},
)
MERGED = replace(PLAIN, store_options={"merge": True})
AHEAD = replace(
    PLAIN,
    access="graph",
    access_options={"edges": "transition", "hops": 2, "heads": 2, "temperature": 0.3, "empty_spread": 3.0},
)


OWN, OWN_MERGED = replace(PLAIN, own_slots=True), replace(MERGED, own_slots=True)
OWN_READS = {
    access: replace(OWN, access=access, access_options=options)
    for access, options in {"graph": {}, "meta_gradient": {"neighbours": 2}, "attention": {"top_k": 2}}.items()
}


def make(options: MemoryOptions, columns: ActionColumns = ONE, seed: int = 0) -> ActionCore:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        core = build_core(options, NOW, FEEDBACK, STEPS, actions=columns)
        assert isinstance(core, ActionCore)
        torch.nn.init.normal_(core.score)  # an untrained one scores all alike
    return core


def trial(different: int, seed: int = 0, columns: ActionColumns = ONE) -> CoreInput:
    """A stream in which each row sees so many observations, with one-hot actions, each part apart."""
    draw = torch.Generator().manual_seed(seed)
    seen = torch.randn(different, BATCH, NOW, generator=draw)
    now = seen[torch.randint(different, (STEPS, BATCH), generator=draw), torch.arange(BATCH)]
    action = torch.cat(
        [
            torch.nn.functional.one_hot(torch.randint(n, (STEPS, BATCH), generator=draw), n).float()
            for n in columns.sizes
        ],
        -1,
    )
    reward = torch.randint(2, (STEPS, BATCH, 1), generator=draw).float()
    other = torch.randn(STEPS, BATCH, 1, generator=draw)
    return CoreInput(now, torch.cat([action, reward, other, action * reward], -1))


def two_trials() -> torch.Tensor:
    """Trials that begin together in all rows, the second of them a step long and the third to the end."""
    begin = whole_trial()
    begin[5] = begin[6] = TRIAL
    return begin


def whole(core: ActionCore, x: CoreInput, begin: torch.Tensor | None = None) -> torch.Tensor:
    return core.unroll(x, core.initial_state(BATCH), whole_trial() if begin is None else begin)[0]


def stepped(core: ActionCore, x: CoreInput, begin: torch.Tensor) -> torch.Tensor:
    state, outputs = core.initial_state(BATCH), []
    for t in range(len(begin)):
        y, state = core(x.map(lambda part, t=t: part[t]), state, begin[t])
        outputs.append(y)
    return torch.stack(outputs)


def scores(core: ActionCore, y: torch.Tensor) -> torch.Tensor:
    return y[..., -core.scores :]


CELLS = {
    name: replace(
        options,
        per_action=True,
        gate=False,
        controller_options={"hidden_size": 8},
        key_size=8,
        value_size=None if "holds" in options.store_options else 8,
    )
    for name, options in runnable()
    if options.store != "none"
}


KINDS = {"plain": PLAIN, "merged": MERGED, "ahead": AHEAD, "own": OWN, "own, merged": OWN_MERGED}
EVERY = CELLS | KINDS | {f"own, {access}": options for access, options in OWN_READS.items()}


@pytest.mark.parametrize("columns", [ONE, PARTS], ids=["Discrete", "MultiDiscrete"])
@pytest.mark.parametrize("options", EVERY.values(), ids=EVERY)
def test_every_memory_unrolls_as_it_steps_or_says_why_not(options: MemoryOptions, columns: ActionColumns) -> None:
    access = "attention" if options is AHEAD else options.access  # which follows no transitions if asked once
    kept = {} if options is AHEAD else options.access_options
    once = {"per_action": False, "action_identity": True, "own_slots": False, "access": access, "access_options": kept}
    alone = build_core(replace(options, **once), NOW, FEEDBACK, STEPS)
    assert isinstance(alone, StoreCore)
    if why_not_per_action(options, alone.memory.store):
        with pytest.raises(ConfigError) as refused:
            build_core(options, NOW, FEEDBACK, STEPS, actions=columns)
        assert refused.value.key == "memory.per_action"
        return
    core = make(options, columns).double()
    for different in (1, 2, STEPS):
        for begin in (whole_trial(), random_begin(), two_trials()):
            x = trial(different, columns=columns).map(torch.Tensor.double)
            torch.testing.assert_close(whole(core, x, begin), stepped(core, x, begin), atol=1e-7, rtol=1e-6)


def test_an_action_changes_scores_only_after_it_was_taken() -> None:
    core, x, at = make(PLAIN), trial(2), 5
    moved = x.feedback.clone()
    moved[at] = moved[at].roll(1, -1)  # feedback at a step tells of the action before
    before, after = whole(core, x), whole(core, x._replace(feedback=moved))
    assert torch.equal(before[:at], after[:at])
    assert not torch.allclose(before[at:], after[at:])


@pytest.mark.parametrize("options", [PLAIN, MERGED, AHEAD], ids=["plain", "merged", "ahead"])
def test_renamed_actions_have_renamed_scores(options: MemoryOptions) -> None:
    core, x, order = make(options), trial(2), torch.tensor([2, 0, 1])
    before = whole(core, x)
    blocks = x.feedback.split([ACTIONS, 2, ACTIONS], -1)
    renamed = torch.cat([blocks[0][..., order], blocks[1], blocks[2][..., order]], -1)
    with torch.no_grad():
        key = core.memory.key
        key.action.copy_(key.action[order])
    after = whole(core, x._replace(feedback=renamed))
    torch.testing.assert_close(scores(core, after), scores(core, before)[..., order], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(after[..., : -core.scores], before[..., : -core.scores], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("begin", [whole_trial(), random_begin(), two_trials()], ids=["whole", "random", "two"])
@pytest.mark.parametrize("options", [OWN, OWN_MERGED, *OWN_READS.values()], ids=["plain", "merged", *OWN_READS])
def test_with_slots_of_their_own_renamed_actions_have_renamed_scores_whatever_was_learned(
    options: MemoryOptions, begin: torch.Tensor
) -> None:
    core, x, order = make(options).double(), trial(2).map(torch.Tensor.double), torch.tensor([2, 0, 1])
    blocks = x.feedback.split([ACTIONS, 2, ACTIONS], -1)
    renamed = x._replace(feedback=torch.cat([blocks[0][..., order], blocks[1], blocks[2][..., order]], -1))
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():  # as training may have left it
        for parameter in core.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=draw, dtype=parameter.dtype)
        for run in (whole, stepped):
            before, after = run(core, x, begin), run(core, renamed, begin)
            assert scores(core, before).std(-1).max() > 1e-3, "actions are told apart by what they paid"
            torch.testing.assert_close(scores(core, after), scores(core, before)[..., order])
            torch.testing.assert_close(after[..., : -core.scores], before[..., : -core.scores])


def test_an_action_that_was_never_taken_reads_nothing_from_the_slots_of_others() -> None:
    for options in (OWN, OWN_MERGED, OWN_READS["attention"], replace(OWN, access_options={"empty_slot": False})):
        core, x = make(options), trial(1)
        first = torch.zeros_like(x.feedback)
        first[..., 0] = 1.0
        state = core.unroll(x._replace(feedback=first), core.initial_state(BATCH), whole_trial())[1]
        query = core._query(x.now[0], x.feedback[0])
        with torch.no_grad():
            read = core.memory.read(state.store, query)[0]
        assert read[:, 1:].abs().max() == 0
        assert read[:, 0].abs().min() > 0


@pytest.mark.parametrize(
    "wrong",
    [
        {"store": "delta", "access": "native", "access_options": {}},
        {"store": "key_value"},
        {"store_options": {"replace": "nearest", "capacity": 4}},
        {"access": "graph", "access_options": {"edges": "transition"}},
    ],
    ids=["delta", "key_value", "nearest", "transition"],
)
def test_slots_of_their_own_are_refused_where_it_is_not_known_whose_a_slot_is(wrong: dict) -> None:
    with pytest.raises(ConfigError) as refused:
        make(replace(OWN, **wrong))
    assert refused.value.key == "memory.own_slots"


def test_forbidden_actions_stay_out_of_what_all_share() -> None:
    core, x = make(PLAIN), trial(1)
    feedback = x.feedback.clone()
    feedback[..., 0], feedback[..., ACTIONS + 2] = 0.0, 0.0  # nothing is filed under the first action
    allowed = torch.ones(STEPS, BATCH, ACTIONS)
    allowed[..., 0] = 0
    outputs = {}
    for masked in (True, False):
        x = CoreInput(x.now, feedback, allowed if masked else None)
        before = whole(core, x)
        with torch.no_grad():
            core.memory.key.action[0, ::2] += 1.0  # what is read for it is another
            outputs[masked] = (whole(core, x) - before)[..., [*range(before.shape[-1] - ACTIONS), -2, -1]].abs().max()
            core.memory.key.action[0, ::2] -= 1.0
    assert outputs[True] == 0
    assert outputs[False] > 1e-4


def test_a_reward_of_zero_is_not_nothing() -> None:
    core = make(PLAIN)
    x = trial(1)
    empty = x._replace(feedback=torch.zeros_like(x.feedback))
    none = empty.feedback.clone()
    none[..., 0] = 1.0  # always the first action, always paid 0
    played = scores(core, whole(core, x._replace(feedback=none)))[-1]
    assert (played[:, 0] - played[:, 1]).abs().min() > 1e-3


def test_at_an_episode_the_key_is_made_of_the_old_observation() -> None:
    core, x = make(PLAIN), trial(STEPS)
    begin = torch.tensor([[TRIAL] * BATCH, [EPISODE] * BATCH, [INSIDE] * BATCH])
    _, state = core.unroll(x.map(lambda part: part[:3]), core.initial_state(BATCH), begin)
    address = torch.cat([x.now[:2], x.feedback[1:3, :, :ACTIONS]], -1)
    expected = core.memory._key(address).transpose(0, 1)
    torch.testing.assert_close(core.memory.store.content(state.store).keys, expected)


def test_each_part_of_a_multi_discrete_has_a_slot() -> None:
    core, x = make(PLAIN, PARTS), trial(STEPS, columns=PARTS)
    _, state = core.unroll(x, core.initial_state(BATCH), whole_trial())
    keys = core.memory.store.content(state.store).keys
    assert keys.shape[1] == 2 * (STEPS - 1)
    action = x.feedback[1, :, :ACTIONS]
    for part, kept in ((0, [1.0, 1.0, 0.0]), (1, [0.0, 0.0, 1.0])):
        address = torch.cat([x.now[0], action * torch.tensor(kept)], -1)
        torch.testing.assert_close(keys[:, part], core.memory._key(address))


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("different", [1, 3])
def test_merged_slots_are_read_as_those_they_stand_for(different: int, own: bool) -> None:
    plain, merged = (make(replace(options, own_slots=own)) for options in (PLAIN, MERGED))
    x = trial(different)
    merged.load_state_dict(plain.state_dict())
    for begin in (whole_trial(), random_begin(), two_trials()):
        expected = whole(plain, x, begin)
        torch.testing.assert_close(stepped(merged, x, begin), expected, atol=1e-5, rtol=1e-4)
        with torch.no_grad():  # acting reads a few queries in a way of its own
            for core in (plain, merged):
                torch.testing.assert_close(stepped(core, x, begin), expected, atol=1e-5, rtol=1e-4)
    _, state = merged.unroll(x, merged.initial_state(BATCH), whole_trial())
    content = merged.memory.store.content(state.store)
    assert content.keys.shape[1] <= different * ACTIONS
    assert content.counts.sum(1).tolist() == [STEPS - 1] * BATCH


@pytest.mark.parametrize(
    "wrong",
    [
        {"access": "graph", "access_options": {}},
        {"access_options": {"top_k": 2}},
        {"store_options": {"merge": True, "capacity": 4}},
    ],
    ids=["graph", "top-k", "capacity"],
)
def test_slots_are_merged_only_where_that_changes_no_read(wrong: dict) -> None:
    with pytest.raises(ConfigError) as refused:
        make(replace(MERGED, **wrong))
    assert "merge" in str(refused.value)


def test_huge_logits_do_not_lose_what_was_read_first() -> None:
    """Sums of weights would underflow, so each step is read for itself."""
    sharp = {"kernel": "dot", "temperature": 0.01}
    core, x = make(replace(PLAIN, access_options=sharp)), trial(1)
    y = whole(core, x)
    assert torch.isfinite(y).all()
    torch.testing.assert_close(y, stepped(core, x, whole_trial()), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("steps", [0, 1, 7, 128, 129, 200, 288])
def test_sums_before_are_a_cumulative_sum(steps: int) -> None:
    x = torch.randn(2, steps, 5, dtype=torch.float64)
    expected = torch.cat([torch.zeros(2, 1, 5, dtype=torch.float64), x.cumsum(1)], 1)
    torch.testing.assert_close(sums_before(x), expected)


@pytest.mark.parametrize("distinct", [1, 3])
@pytest.mark.parametrize("steps", [1, 15, 16, 17, 40])
def test_weighted_sums_are_those_of_the_weights_that_a_step_chooses(steps: int, distinct: int) -> None:
    draw = torch.Generator().manual_seed(steps)
    weights = torch.rand(2, steps, 4, distinct, 5, generator=draw, dtype=torch.float64)
    values = torch.randn(2, steps, 4, 6, generator=draw, dtype=torch.float64)
    chosen = torch.randint(distinct, (2, steps + 1), generator=draw)
    sums = chosen_sums_before(weights, values, chosen)
    assert sums.shape == (2, steps + 1, 4, 5, 6)
    for row, t in product(range(2), range(steps + 1)):
        own = weights[row, :t, :, int(chosen[row, t])]
        torch.testing.assert_close(sums[row, t], torch.einsum("nhq,nhv->hqv", own, values[row, :t]))


def test_groups_are_told_in_the_order_in_which_they_come() -> None:
    a, b, c = torch.tensor([1.0, 2.0]), torch.tensor([2.0, 1.0]), torch.zeros(2)
    x = torch.stack([torch.stack(row) for row in ([b, a, b, c], [a, a, a, a])], 1)
    first, chosen = groups(x)
    assert chosen.t().tolist() == [[0, 1, 0, 2], [0, 0, 0, 0]]
    assert first.t().tolist() == [[0, 1, 3], [0, 0, 0]]


@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS)
def test_rows_that_all_ask_the_same_get_their_own_answers(options: MemoryOptions) -> None:
    core = make(options).double()
    x = trial(1).map(torch.Tensor.double)
    x = x._replace(now=x.now[:, :1].expand_as(x.now))
    with torch.no_grad():
        together = stepped(core, x, whole_trial())
        for row in range(BATCH):
            state, outputs = core.initial_state(1), []
            for t in range(STEPS):
                y, state = core(x.map(lambda part, t=t, row=row: part[t, row : row + 1]), state, whole_trial()[t, :1])
                outputs.append(y)
            torch.testing.assert_close(torch.cat(outputs), together[:, row], atol=1e-7, rtol=1e-6)


@pytest.mark.parametrize("useless", [{"action_size": 8}, {"action_identity": False}, {"own_slots": True}])
def test_options_of_actions_are_refused_where_memory_is_asked_once(useless: dict) -> None:
    with pytest.raises(ConfigError) as refused:
        build_core(MemoryOptions(**useless), NOW, FEEDBACK, STEPS)
    assert refused.value.key == f"memory.{next(iter(useless))}"


def test_a_preset_asked_once_leaves_out_what_belongs_to_actions() -> None:
    once = load_experiment("bandit", {"memory.per_action": False})
    assert once.memory.action_identity is True
    assert load_experiment("bandit").memory.action_identity is False
