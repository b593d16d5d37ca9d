"""The options of a memory core."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Ge

from metarl.config import ConfigError


@dataclass(frozen=True)
class MemoryOptions:
    """Which controller, store and access a core is made of, and how they are joined.

    ``metarl list memories`` shows what goes with what.
    """

    controller: str = "feedforward"
    """Working memory: the name of a registered controller."""
    store: str = "episodic"
    """The name of a registered store; "none" leaves the controller alone."""
    access: str = "attention"
    """The name of a registered access; "none" where there is no store."""
    controller_options: dict[str, Any] = field(default_factory=dict)
    """Options of the controller."""
    store_options: dict[str, Any] = field(default_factory=dict)
    """Options of the store."""
    access_options: dict[str, Any] = field(default_factory=dict)
    """Options of the access."""
    key_size: Annotated[int, Ge(1)] = 64
    """Width of keys and queries."""
    value_size: Annotated[int, Ge(1)] | None = None
    """Width of values: 64 unless given; that of the cell where the store holds cell states."""
    address: Literal["observation", "transition"] = "observation"
    """What keys and queries are made from: the observation alone (recall by context), or with it the feedback (which
    transitions were like the last one)."""
    shared_key: bool = True
    """One map makes keys and queries, so that equals find each other before any training."""
    gate: bool = True
    """What is read enters the controller's input through a gate that starts closed (a no-op)."""
    reinstate: bool = False
    """Cell states that are read enter the controller's cell through their own gate instead (episodic LSTM)."""
    emit: Literal["input", "controller"] = "input"
    """What keys, values, queries and controls are made from: the input alone, so that the memory can run over a whole
    trial before the controller does, or also the controller's last output, as in the NTM and the DNC."""
    read_every: Annotated[int, Ge(1)] | Literal["episode"] = 1
    """How often memory is read: every n steps of the trial, or once at the start of each episode; between reads the
    last result is kept."""
    working_memory: Literal["trial", "episode"] = "trial"
    """How long the controller's own state lives."""
    horizon: Literal["trial", "episode", "step"] = "trial"
    """How long the whole memory lives; "episode" and "step" empty everything that often: controls without recall."""


def check_heads(heads: int, **sizes: int) -> None:
    """Check that heads divide sizes, given by name.

    Raises:
        ConfigError: a size that they don't divide.
    """
    for name, size in sizes.items():
        if size % heads:
            raise ConfigError(key=name, given=size, expected=f"a multiple of the {heads} heads")
