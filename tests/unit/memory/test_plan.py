"""Graph search along transitions, in a small world whose answers are known."""

import pytest
import torch

from metarl.config import ConfigError
from metarl.memory.access.graph import GraphSearch, GraphSearchOptions
from metarl.memory.access.plan import Plan
from metarl.memory.contract import Content
from metarl.memory.ops import Query
from metarl.memory.options import MemoryOptions
from metarl.memory.registry import build_memory

STATES, ACTIONS, KEY = 4, 2, 8
SIGNS = torch.tensor([[1.0] * KEY, [1.0] * STATES + [-1.0] * STATES])  # keys of the same state are at right angles


def of_state(state: int) -> torch.Tensor:
    part = torch.zeros(KEY)
    part[[state, state + STATES]] = 1.0
    return part


def plan_of(hops: int) -> GraphSearch:
    options = GraphSearchOptions(edges="transition", hops=hops, temperature=0.02)  # so sharp that slots are looked up
    access = GraphSearch(KEY, 1, options)
    access.follow_by(SIGNS)
    plan = access.plan
    assert isinstance(plan, Plan)
    with torch.no_grad():
        for net in (plan.look, plan.bring):
            net.weight.copy_(torch.eye(1))
        plan.look.bias.zero_()
    return access


def slots(*transitions: tuple[int, int, float, int | None]) -> Content:
    """Transitions (s, a, r, s'), of which those that end an episode lead to None."""
    keys = torch.stack([of_state(s) * SIGNS[a] for s, a, _, _ in transitions])
    values = [
        torch.cat([torch.tensor([r]), of_state(after or 0), torch.tensor([float(after is not None)])])
        for _, _, r, after in transitions
    ]
    access = plan_of(1)
    return Content(access.prepare(keys)[None], torch.stack(values)[None], torch.ones(1, len(keys), dtype=torch.bool))


@torch.no_grad()
def read(access: GraphSearch, content: Content, state: int) -> list[float]:
    key = access.prepare(of_state(state) * SIGNS)[None]
    return [round(float(x), 4) for x in access(Query(key), content).value[0, :, 0]]


CHAIN = (  # every pair is filed, so that no query has to do with what is next best
    (0, 0, 0.0, 1),
    (0, 1, 0.5, 2),
    (1, 0, 0.25, 3),
    (1, 1, 2.0, 3),
    (2, 0, 0.75, None),
    (2, 1, 0.0, None),
    (3, 0, 1.0, None),
    (3, 1, 4.0, None),
)


def test_a_hop_brings_back_what_the_best_action_of_the_next_state_pays() -> None:
    assert read(plan_of(1), slots(*CHAIN), 0) == [0.0 + 2.0, 0.5 + 0.75]


def test_each_hop_looks_one_transition_further() -> None:
    assert read(plan_of(2), slots(*CHAIN), 0) == [0.0 + 2.0 + 4.0, 0.5 + 0.75]
    assert read(plan_of(5), slots(*CHAIN), 0) == [0.0 + 2.0 + 4.0, 0.5 + 0.75]


@pytest.mark.parametrize("grad", [False, True])
def test_a_slot_of_the_last_trial_has_no_part_however_well_it_fits(grad: bool) -> None:
    content = slots(*CHAIN, (0, 0, 9.0, None))
    content.keys[:, -1] *= 1e4
    stale = content._replace(valid=torch.arange(len(CHAIN) + 1)[None] < len(CHAIN))
    with torch.set_grad_enabled(grad):
        asked = Query(plan_of(1).prepare(of_state(0) * SIGNS)[None])
        values = plan_of(1)(asked, stale).value[0, :, 0].detach()
    assert [round(float(x), 4) for x in values] == [0.0 + 2.0, 0.5 + 0.75]


def test_the_end_of_an_episode_leads_nowhere() -> None:
    ends, goes_on = ((0, 0, 1.0, None), (3, 1, 4.0, None)), ((0, 0, 1.0, 3), (3, 1, 4.0, None))
    assert read(plan_of(3), slots(*ends), 0)[0] == 1.0
    assert read(plan_of(3), slots(*goes_on), 0)[0] == 5.0


def test_what_several_slots_say_is_averaged_with_where_each_led() -> None:
    both = ((0, 0, 1.0, 1), (0, 0, 3.0, 2), (1, 0, 8.0, None), (2, 1, 4.0, None))
    assert read(plan_of(1), slots(*both), 0)[0] == pytest.approx((1 + 3) / 2 + (8 + 4) / 2)


def test_nothing_is_read_from_an_empty_memory() -> None:
    empty = Content(torch.zeros(1, 0, KEY), torch.zeros(1, 0, 1 + KEY + 1), torch.zeros(1, 0, dtype=torch.bool))
    assert read(plan_of(2), empty, 0) == [0.0, 0.0]


def test_slots_that_are_not_valid_are_neither_read_nor_walked_through() -> None:
    better = slots(*CHAIN, (1, 0, 8.0, None))
    assert read(plan_of(1), better, 0)[0] == pytest.approx((0.25 + 8) / 2)
    valid = better.valid.clone()
    valid[0, -1] = False
    assert read(plan_of(1), better._replace(valid=valid), 0)[0] == 2.0


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({}, "edges"),
        ({"actions": 2, "store": "key_value"}, "edges"),
        ({"actions": 2, "address": "transition"}, "edges"),
        ({"actions": 2, "store_options": {"merge": True}}, "merge"),
        ({"actions": 2, "access_options": {"edges": "transition", "neighbours": 2}}, "neighbours"),
        ({"actions": 2, "access_options": {"edges": "nearest", "heads": 2}}, "heads"),
    ],
)
def test_transitions_are_followed_where_they_can_be(changes: dict, key: str) -> None:
    settings = {"access": "graph", "access_options": {"edges": "transition"}, **changes}
    actions = settings.pop("actions", 0)
    with pytest.raises(ConfigError) as refused:
        build_memory(MemoryOptions(**settings), 3 + actions, 4, 10, actions=actions)
    assert str(refused.value.key).endswith(key)
