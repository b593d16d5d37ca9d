"""The memory cores that are tested, the streams they are run on, and what it takes to compare them."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch

from metarl import tree
from metarl.memory.actions import ActionColumns
from metarl.memory.contract import MemoryCore
from metarl.memory.options import MemoryOptions
from metarl.memory.registry import build_core, runnable
from metarl.memory.stores.episodic import Episodic
from metarl.types import Boundary, CoreInput

NOW, FEEDBACK, STEPS, BATCH = 3, 4, 12, 5
ACTIONS = ActionColumns((3,))  # for the cores that are asked for each
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
    "random": replace(EPISODIC, store_options={"replace": "random", "capacity": 3}),
    "balanced": replace(EPISODIC, store_options={"replace": "balanced", "capacity": 3}),
    "nearest": replace(EPISODIC, store_options={"replace": "nearest", "capacity": 3}),
    "nearest, per episode": replace(
        EPISODIC, store_options={"replace": "nearest", "capacity": 2, "write": "episode", "holds": "state"}
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
    "asked per action": replace(EPISODIC, per_action=True),
    "asked per action, slots of their own": replace(EPISODIC, per_action=True, own_slots=True),
    "asked per action, merged": replace(
        EPISODIC,
        per_action=True,
        action_identity=False,
        store_options={"merge": True},
        access_options={"heads": 2, "empty_spread": 2.0},
    ),
    "asked per action, read every third step": replace(EPISODIC, per_action=True, read_every=3),
    "asked per action, natively": replace(EPISODIC, per_action=True, store="delta", access="native"),
    "sums": replace(EPISODIC, store="delta", access="native", store_options={"rule": "sum", "heads": 2}),
    "asked per action, emitted by the controller": replace(EPISODIC, per_action=True, emit="controller"),
}


def few_slots(options: MemoryOptions) -> dict[str, Any]:
    """The options of the store, whose slots for life are little more than a trial has steps."""
    return {**options.store_options, "slots": 16} if options.store == "lifelong" else options.store_options


REGISTERED = {
    name: replace(
        options,
        controller_options=SMALL[options.controller],
        key_size=4,
        value_size=None if options.store == "none" or "holds" in options.store_options else 8,
        store_options=few_slots(options),
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
        core = build_core(options, NOW, FEEDBACK, STEPS, actions=ACTIONS)
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


PATTERNS = {
    "ragged": random_begin(),
    "whole trial": whole_trial(),
    "unequal episodes": unequal_episodes(),
    "unequal trials": unequal_trials(),
}
READ_OTHERWISE = {"heads", "cosine", "inverse distance", "top-k", "no empty slot", "own query", "second order"}
READ_OTHERWISE |= {"detached", "external under heads", "learned slots under heads"}
"""Variants that differ from another case in what a read makes of the slots, and not in when these change."""


def unrolled() -> Iterator[Any]:
    """Every core with every pattern; those that differ in their reads alone with the pattern that has it all."""
    stores = {"none"}
    for name, options in CASES.items():
        again = name in REGISTERED and options.controller == "feedforward" and options.store in stores
        again = again and options.store not in ("none", "episodic")
        stores.add(options.store)
        for pattern, begin in PATTERNS.items():
            if pattern == "ragged" or not (again or name in READ_OTHERWISE):
                yield pytest.param(options, begin, id=f"{name}-{pattern}")


UNROLLED = pytest.mark.parametrize(("options", "begin"), list(unrolled()))


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
