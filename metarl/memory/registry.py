"""What memories there are, by name, and how one is built. A new one is a file and a line here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from typing import Any, NamedTuple

from metarl.config import ConfigError, build, choice
from metarl.memory.contract import MemoryCore
from metarl.memory.options import MemoryOptions

DEFAULT_VALUE_SIZE = 64


class Entry(NamedTuple):
    """A part of a memory, imported when it is used."""

    module: str
    part: str
    options: str
    about: str

    def load(self) -> tuple[Any, Any]:
        """The class of the part and that of its options."""
        module = import_module(f"metarl.memory.{self.module}")
        return getattr(module, self.part), getattr(module, self.options)


CONTROLLERS = {
    "feedforward": Entry("controllers.feedforward", "FeedForward", "FeedForwardOptions", "no state of its own"),
    "gru": Entry("controllers.recurrent", "GRU", "RecurrentOptions", "one GRU layer"),
    "lstm": Entry("controllers.recurrent", "LSTM", "RecurrentOptions", "one LSTM layer; accepts reinstatement"),
}
STORES = {
    "episodic": Entry("stores.episodic", "Episodic", "EpisodicOptions", "a slot for each completed transition"),
}
ACCESSES = {
    "attention": Entry("access.attention", "Attention", "AttentionOptions", "softmax over similarities, heads, top-k"),
}


def build_core(
    options: MemoryOptions, now_size: int, feedback_size: int, trial_steps: int | None, where: str = "memory"
) -> MemoryCore:
    """The core that ``options`` describe, for inputs of these widths and trials of ``trial_steps`` steps.

    Raises:
        ConfigError: an unknown name or option, or parts that do not go together; one line that says what would.
    """
    from metarl.memory.core import ControllerCore, EpisodicCore

    make, kind = CONTROLLERS[choice(options.controller, CONTROLLERS, f"{where}.controller")].load()
    own = build(kind, options.controller_options, f"{where}.controller_options")
    if options.store == "none":
        check_alone(options, where)
        return ControllerCore(make(now_size + feedback_size, own), options)

    store_kind, store_options_kind = STORES[choice(options.store, [*STORES, "none"], f"{where}.store")].load()
    access_kind, access_options_kind = ACCESSES[choice(options.access, ACCESSES, f"{where}.access")].load()
    store_options = build(store_options_kind, options.store_options, f"{where}.store_options")
    access_options = build(access_options_kind, options.access_options, f"{where}.access_options")
    holds_state = store_options.holds == "state"
    if holds_state and not make.has_cell:
        raise ConfigError(
            f"{where}.store_options.holds = 'state' needs a controller with a cell state, gru or lstm, "
            f"not {options.controller!r}; or hold transitions"
        )
    if options.reinstate and not (holds_state and make.accepts_reinstatement):
        raise ConfigError(
            f"{where}.reinstate = true needs the lstm controller and {where}.store_options.holds = 'state'; "
            f"got {options.controller!r} and {store_options.holds!r}"
        )
    capacity = store_options.capacity or trial_steps
    if capacity is None:
        raise ConfigError(f"{where}.store_options.capacity must be given where the length of a trial is not known")
    value_size = options.value_size or DEFAULT_VALUE_SIZE
    if holds_state:
        value_size = own.hidden_size
        if options.value_size not in (None, value_size):
            raise ConfigError(
                f"{where}.value_size is {options.value_size}, but cell states are {value_size} wide; leave it out"
            )
    inputs = now_size + feedback_size + (0 if options.reinstate else value_size)
    controller = make(inputs, own, **({"reinstates": True} if options.reinstate else {}))
    try:
        access = access_kind(options.key_size, value_size, access_options)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    store = store_kind(options.key_size, value_size, capacity, store_options)
    return EpisodicCore(controller, store, access, now_size, feedback_size, options)


def check_alone(options: MemoryOptions, where: str) -> None:
    """Refuse settings that would do nothing without a store."""
    idle = {
        "access": options.access != "none",
        "store_options": bool(options.store_options),
        "access_options": bool(options.access_options),
        "value_size": options.value_size is not None,
        "reinstate": options.reinstate,
    }
    wrong = [f"{where}.{name}" for name, given in idle.items() if given]
    if wrong:
        raise ConfigError(
            f"{where}.store = 'none' has nothing to read: set {where}.access = 'none' and leave out "
            f"{', '.join(w for w in wrong if w != f'{where}.access') or 'options of store and access'}"
        )


def runnable() -> Iterator[tuple[str, MemoryOptions, bool]]:
    """Every combination that can be built: its name, its options, and whether an unroll is parallel over time."""
    for controller in CONTROLLERS:
        base = MemoryOptions(controller=controller, store="none", access="none")
        yield controller, base, True
        for store in STORES:
            for access in ACCESSES:
                part = replace(base, store=store, access=access)
                yield f"{controller}+{store}+{access}", part, True
                if controller == "feedforward":
                    continue
                held = replace(part, store_options={"write": "episode", "holds": "state"})
                yield f"{controller}+{store}(state per episode)+{access}", held, False
                if controller == "lstm":
                    again = replace(held, reinstate=True, working_memory="episode")
                    yield f"{controller}+{store}(state per episode, reinstated)+{access}", again, False
