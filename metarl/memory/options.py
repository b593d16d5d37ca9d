"""The options of a memory core."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge

from metarl.config import ConfigError

PER_ACTION_ALONE = ("action_size", "action_identity", "own_slots")
"""Options that do something with ``per_action`` alone."""


@dataclass(frozen=True)
class MemoryOptions:
    """Which controller, store and access a core is made of, and how they are joined.

    ``metarl list memories`` shows what goes with what.

    Args:
        controller: working memory: the name of a registered controller.
        store: the name of a registered store; "none" leaves the controller alone.
        access: the name of a registered access; "none" where there is no store.
        controller_options: options of the controller.
        store_options: options of the store.
        access_options: options of the access.
        key_size: width of keys and queries.
        value_size: width of values: 64 unless given; that of the cell where the store holds cell states.
        address: what keys and queries are made from: the observation alone (recall by context), or with it the feedback
            (which transitions were like the last one).
        shared_key: one map makes keys and queries, so that equals find each other before any training.
        gate: what is read enters the controller's input through a gate that starts closed (a no-op).
        reinstate: cell states that are read enter the controller's cell through their own gate instead (episodic LSTM).
        emit: what keys, values, queries and controls are made from: the input alone, so that the memory can run over a
            whole trial before the controller does, or also the controller's last output, as in the NTM and the DNC.
        read_every: how often memory is read: every n steps of the trial, or once at the start of each episode; between
            reads the last result is kept.
        working_memory: how long the controller's own state lives.
        per_action: the memory is asked once for each action, with a key made from observation and action, and one net,
            shared by all actions, scores each from what was read for it (Neural Episodic Control reads so, Pritzel et
            al. 2017); for Discrete and MultiDiscrete actions.
        action_size: width of what that net makes of each action.
        action_identity: whether the net is told which action it scores; without it all actions are alike, and what
            holds for one arm of a bandit holds for all.
        own_slots: what is read for an action comes from the slots alone that were filed under it, so that naming the
            actions otherwise changes nothing; for the store ``episodic``. Without it keys of different actions begin
            at about right angles, and training may turn them.
        horizon: how long the whole memory lives; "episode" and "step" empty everything that often: controls without
            recall.
    """

    ELSEWHERE: ClassVar[Mapping[str, str]] = {
        "hidden_size": "controller_options.hidden_size",
        "capacity": "store_options.capacity",
        "slots": "store_options.slots",
        "top_k": "access_options.top_k",
    }
    """Options that are often looked for here, and where they are."""

    controller: str = "feedforward"
    store: str = "episodic"
    access: str = "attention"
    controller_options: dict[str, Any] = field(default_factory=dict)
    store_options: dict[str, Any] = field(default_factory=dict)
    access_options: dict[str, Any] = field(default_factory=dict)
    key_size: Annotated[int, Ge(1)] = 64
    value_size: Annotated[int, Ge(1)] | None = None
    address: Literal["observation", "transition"] = "observation"
    shared_key: bool = True
    gate: bool = True
    reinstate: bool = False
    emit: Literal["input", "controller"] = "input"
    read_every: Annotated[int, Ge(1)] | Literal["episode"] = 1
    working_memory: Literal["trial", "episode"] = "trial"
    per_action: bool = False
    action_size: Annotated[int, Ge(1)] = 32
    action_identity: bool = True
    own_slots: bool = False
    horizon: Literal["trial", "episode", "step"] = "trial"


def check_heads(heads: int, **sizes: int) -> None:
    """Check that heads divide sizes, given by name.

    Raises:
        ConfigError: a size that they don't divide.
    """
    for name, size in sizes.items():
        if size % heads:
            raise ConfigError(key=name, given=size, expected=f"a multiple of the {heads} heads")
