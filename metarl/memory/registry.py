"""What memories there are, by name, how one is built, and how a new part gets a name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import is_dataclass, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

from metarl.config import ConfigError, build, choice, one_of
from metarl.memory.access.own_slots import OwnSlots
from metarl.memory.contract import Access, Controller, MemoryCore, Store
from metarl.memory.options import PER_ACTION_ALONE, MemoryOptions

if TYPE_CHECKING:
    from metarl.memory.actions import ActionColumns
    from metarl.memory.memory import Memory

DEFAULT_VALUE_SIZE = 64


class Entry(NamedTuple):
    """A part of a memory.

    Args:
        load: returns the class of the part and that of its options; imports them when they are used.
    """

    load: Callable[[], tuple[Any, Any]]
    about: str


def own(module: str, part: str, options: str, about: str) -> Entry:
    """A part of this package.

    Args:
        module: below ``metarl.memory``.
        part: the name of its class.
        options: the name of the class of its options.
        about: one line for ``metarl list memories``.
    """

    def load() -> tuple[Any, Any]:
        found = import_module(f"metarl.memory.{module}")
        return getattr(found, part), getattr(found, options)

    return Entry(load, about)


CONTROLLERS = {
    "feedforward": own("controllers.feedforward", "FeedForward", "FeedForwardOptions", "no state of its own"),
    "gru": own("controllers.recurrent", "GRU", "RecurrentOptions", "one GRU layer"),
    "lstm": own("controllers.recurrent", "LSTM", "RecurrentOptions", "one LSTM layer; accepts reinstatement"),
    "mingru": own("controllers.mingru", "MinGRU", "MinGRUOptions", "a gated linear recurrence, parallel over time"),
    "window": own("controllers.window", "WindowTransformer", "WindowOptions", "a Transformer over the last inputs"),
}
STORES = {
    "episodic": own("stores.episodic", "Episodic", "EpisodicOptions", "a slot for each completed transition"),
    "key_value": own("stores.key_value", "KeyValue", "KeyValueOptions", "learned slots, and written ones"),
    "lifelong": own("stores.lifelong", "Lifelong", "LifelongOptions", "slots for life: average hits, replace oldest"),
    "ntm": own("stores.ntm", "NTM", "NTMOptions", "Neural Turing Machine: address by content and location"),
    "lrua": own("stores.lrua", "LRUA", "LRUAOptions", "MANN: write where least was used of late"),
    "dnc": own("stores.dnc", "DNC", "ExternalOptions", "Differentiable Neural Computer: allocation, temporal links"),
    "delta": own("stores.delta", "DeltaRule", "DeltaRuleOptions", "fast weights by the gated delta rule"),
    "neural": own("stores.neural", "NeuralMemory", "NeuralOptions", "a network that learns while the trial runs"),
}
ACCESSES = {
    "attention": own("access.attention", "Attention", "AttentionOptions", "softmax over similarities, heads, top-k"),
    "graph": own("access.graph", "GraphSearch", "GraphSearchOptions", "attention that goes on from slot to slot"),
    "meta_gradient": own(
        "access.meta_gradient", "MetaGradient", "MetaGradientOptions", "gradient steps on the nearest slots"
    ),
}
NATIVE = "native"  # the access of a store that reads in a way of its own
OWN = frozenset((*CONTROLLERS, *STORES, *ACCESSES, NATIVE, "none"))


def register_store(name: str, store: type[Store], options: type, about: str = "") -> None:
    """Make a store available under a name, as ``memory.store``; it is then used and tested like those of this package.

    Args:
        name: what it is called in options; registering a name again replaces a store of yours.
        store: the class; built with key size, value size, steps of a trial (None: not known) and options.
        options: a dataclass whose fields are ``memory.store_options``.
        about: one line for ``metarl list memories``.

    Raises:
        ConfigError: a name that is taken by a part of this package.
        TypeError: classes that are no store and no dataclass.
    """
    _register(STORES, Store, name, store, options, about)


def register_access(name: str, access: type[Access], options: type, about: str = "") -> None:
    """See :func:`register_store`: an access, for ``memory.access``; built with key size, value size and options."""
    _register(ACCESSES, Access, name, access, options, about)


def register_controller(name: str, controller: type[Controller], options: type, about: str = "") -> None:
    """See :func:`register_store`: a controller, for ``memory.controller``.

    It is built with the width of its input and options, which need a ``hidden_size`` where it has a cell.
    """
    _register(CONTROLLERS, Controller, name, controller, options, about)


def _register(table: dict[str, Entry], base: type, name: str, part: type, options: type, about: str) -> None:
    if name in OWN:
        raise ConfigError(key="the name", given=name, expected="one that no part of metarl has")
    if not (isinstance(part, type) and issubclass(part, base)):
        raise TypeError(f"{name!r} is registered with {part!r}, expected a subclass of {base.__name__}")
    if not (isinstance(options, type) and is_dataclass(options)):
        raise TypeError(f"{name!r} is registered with options {options!r}, expected a dataclass")
    table[name] = Entry(lambda: (part, options), about)


def why_not(store: str, access: str) -> str | None:
    """Why ``access`` can't read ``store``, with the way out; None if it can."""
    kind = STORES[store].load()[0]
    if access == NATIVE:
        return (
            None
            if kind.read is not Store.read
            else f"{store} is slots and no way of reading them; use {', '.join(ACCESSES)}"
        )
    return (
        None
        if kind.content is not Store.content
        else f"{store} is a network without slots: reading is evaluating it; use {NATIVE}"
    )


def build_memory(
    options: MemoryOptions,
    address_size: int,
    content_size: int,
    trial_steps: int | None,
    *,
    cell_size: int | None = None,
    project: bool = True,
    actions: int = 0,
    where: str = "memory",
) -> Memory:
    """The store and access of ``options`` for addresses and contents of these widths.

    Args:
        options: what to build; those of the controller are ignored.
        address_size: width of what keys and queries are made from.
        content_size: width of what is written.
        trial_steps: steps of a trial, for stores that have room for one; None if not known.
        cell_size: width of a controller's cell states, where the store may hold these instead of contents.
        project: False where addresses are keys and queries already, and contents values; the sizes of ``options`` are
            then ignored.
        actions: the last that many numbers of an address say which action it is about.
        where: the name of the options in messages.

    Raises:
        ConfigError: an unknown name or option, or parts that do not go together; one line that says what would.
    """
    from metarl.memory.memory import Memory

    make, kind = STORES[choice(options.store, STORES, f"{where}.store")].load()
    access = choice(options.access, [*ACCESSES, NATIVE], f"{where}.access")
    own = build(kind, options.store_options, f"{where}.store_options")
    reason = why_not(options.store, access)
    if reason is not None:
        raise ConfigError(f"{where}.access = {access!r} can't read {where}.store = {options.store!r}: {reason}")
    key_size = options.key_size if project else address_size
    value_size = options.value_size or DEFAULT_VALUE_SIZE if project else content_size
    holds_state = getattr(own, "holds", "transition") == "state"
    if holds_state:
        if cell_size is None:
            cells = one_of([name for name, entry in CONTROLLERS.items() if entry.load()[0].has_cell])
            remedy = f"or set {where}.store_options.holds = 'transition'"
            raise ConfigError(key=f"{where}.controller", given=options.controller, expected=cells, remedy=remedy)
        if options.value_size not in (None, cell_size):
            width = f"{cell_size}, the width of cell states"
            raise ConfigError(
                key=f"{where}.value_size", given=options.value_size, expected=width, remedy="leave it out"
            )
        value_size = cell_size
    try:
        reader = None
        if access != NATIVE:
            read_kind, read_options = ACCESSES[access].load()
            reads = build(read_options, options.access_options, f"{where}.access_options")
            reader = read_kind(key_size, value_size, reads)
            if reader.leads and (reason := why_not_along_transitions(options, own, actions)):
                raise ConfigError(key=f"{where}.access_options.edges", given="transition", expected=reason)
            for name, unread, other in (("merge", True, "false"), ("replace", "nearest", "another rule")):
                if getattr(own, name, None) == unread and not reader.counts:
                    expected = (
                        f"{other} with {where}.access = {access!r} and these options, which take each slot for one"
                    )
                    raise ConfigError(key=f"{where}.store_options.{name}", given=unread, expected=expected)
        elif options.access_options:
            expected = f"none for the native access of {options.store!r}"
            raise ConfigError(key=f"{where}.access_options", given=options.access_options, expected=expected)
        if options.own_slots:
            if reason := why_not_own_slots(options, own, reader, actions):
                raise ConfigError(key=f"{where}.own_slots", given=True, expected=f"false: {reason}")
            assert reader is not None
            reader, key_size = OwnSlots(reader, actions), key_size + actions
        store = make(key_size, value_size + (reader.leads if reader else 0), trial_steps, own)
    except ValueError as error:
        raise ConfigError.of(error) from None
    given = None if holds_state or not project else content_size + (reader is not None and reader.leads > 0)
    return Memory(store, reader, address_size, given, options.shared_key, project=project, actions=actions)


def build_core(
    options: MemoryOptions,
    now_size: int,
    feedback_size: int,
    trial_steps: int | None,
    where: str = "memory",
    actions: ActionColumns | None = None,
) -> MemoryCore:
    """The core that ``options`` describe.

    Args:
        options: its parts.
        now_size: width of ``CoreInput.now``.
        feedback_size: width of ``CoreInput.feedback``.
        trial_steps: steps of a trial; None if not known.
        where: the name of the options in messages.
        actions: where feedback speaks of actions; needed for ``per_action`` alone.

    Raises:
        ConfigError: an unknown name or option, or parts that do not go together; one line that says what would.
    """
    from metarl.memory.core import ControllerCore, StoreCore
    from metarl.memory.per_action import ActionCore

    for name in () if options.per_action else PER_ACTION_ALONE:
        if (given := getattr(options, name)) != (plain := getattr(MemoryOptions, name)):
            raise ConfigError(key=f"{where}.{name}", given=given, expected=f"{plain}, or {where}.per_action = true")
    make, kind = CONTROLLERS[choice(options.controller, CONTROLLERS, f"{where}.controller")].load()
    own = build(kind, options.controller_options, f"{where}.controller_options")
    try:
        if choice(options.store, [*STORES, "none"], f"{where}.store") == "none":
            check_alone(options, where)
            return ControllerCore(make(now_size + feedback_size, own), options)
        output = own.hidden_size if options.emit == "controller" else 0
        asked = actions if options.per_action else None
        if options.per_action and asked is None:
            raise ConfigError(key=f"{where}.per_action", given=True, expected="false: here are no actions to ask for")
        rest, count, parts, contents = feedback_size, 0, 1, 2
        if asked is not None:  # the key says what was seen before, so the value need not
            count, parts, contents = asked.count, len(asked.sizes), 1
            rest -= len(asked.starts) * count
        memory = build_memory(
            options,
            now_size + (rest if options.address == "transition" else 0) + output + count,
            contents * now_size + rest + output,
            None if trial_steps is None else trial_steps * parts,
            cell_size=own.hidden_size if make.has_cell else None,
            actions=count,
            where=where,
        )
        if options.reinstate and not (memory.value is None and make.accepts_reinstatement):
            needed = f"false, or {where}.controller = 'lstm' and {where}.store_options.holds = 'state'"
            raise ConfigError(key=f"{where}.reinstate", given=True, expected=needed)
        if asked is not None and (reason := why_not_per_action(options, memory.store)):
            raise ConfigError(key=f"{where}.per_action", given=True, expected=f"false: {reason}")
        if options.emit == "controller" and memory.store.lifelong:
            expected = f"'input' with {where}.store = {options.store!r}, whose lifelong slots come from inputs alone"
            raise ConfigError(key=f"{where}.emit", given=options.emit, expected=expected)
        seen = 0 if options.reinstate else memory.read_size
        if asked is not None:
            seen = options.action_size
        inputs = now_size + (feedback_size if asked is None or options.action_identity else rest) + seen
        controller = make(inputs, own, **({"reinstates": True} if options.reinstate else {}))
    except ValueError as error:
        raise ConfigError.of(error) from None
    if asked is not None:
        return ActionCore(controller, memory, now_size, feedback_size, options, asked)
    return StoreCore(controller, memory, now_size, feedback_size, options)


def why_not_per_action(options: MemoryOptions, store: Store | None) -> str | None:
    """Why a memory can't be asked once for each action; None if it can.

    Args:
        options: of the core.
        store: that was built by them; None: there is none.
    """
    if store is None:
        return "there is no store to ask"
    if store.notes_reads:
        return "what is written depends on what a single query has read"
    return "one cell is brought back, and not one for each action" if options.reinstate else None


def why_not_along_transitions(options: MemoryOptions, store: Any, actions: int) -> str | None:
    """What is needed to follow transitions from slot to slot; None if it is there.

    Args:
        options: of the memory.
        store: the options of its store.
        actions: how many are asked about at each step; 0: the memory is asked once.
    """
    if not actions:
        return "'learned' or 'nearest', or memory.per_action = true: a state is looked up by its actions"
    if options.store != "episodic" or store.holds != "transition":
        return "'learned' or 'nearest', or the store 'episodic' of transitions, which keeps what was written as it is"
    if options.address != "observation" or options.emit != "input":
        return "'learned' or 'nearest', or address = 'observation' and emit = 'input', so that a key is that of a state"
    return None


def why_not_own_slots(options: MemoryOptions, store: Any, access: Access | None, actions: int) -> str | None:
    """Why what is read for an action can't come from the slots of that action alone; None if it can.

    Args:
        options: of the memory.
        store: the options of its store.
        access: that reads it; None: the store's own.
        actions: how many are asked about at each step; 0: the memory is asked once.
    """
    if not actions:
        return "here are no actions to ask for"
    if access is None or options.store != "episodic" or store.replace == "nearest":
        return "only the store 'episodic' keeps which action a slot is filed under, and not where two become one"
    return "a walk along transitions meets the slots of all actions" if access.leads else None


def check_alone(options: MemoryOptions, where: str) -> None:
    """Refuse settings that would do nothing without a store."""
    plain = MemoryOptions(access="none")
    names = (
        "access",
        "store_options",
        "access_options",
        "emit",
        "read_every",
        "value_size",
        "reinstate",
        "per_action",
        "action_size",
        "action_identity",
        "own_slots",
    )
    wrong = [f"{where}.{name}" for name in names if getattr(options, name) != getattr(plain, name)]
    if wrong:
        problem = f"with {where}.store = 'none', {' and '.join(wrong)} would do nothing"
        raise ConfigError(problem, key=wrong[0], remedy=f"set {where}.access = 'none' and leave out all others")


def matrix() -> Iterator[tuple[str, str, str | None]]:
    """Every store with every access, and why they don't go together (None where they do)."""
    for store in STORES:
        for access in (NATIVE, *ACCESSES):
            yield store, access, why_not(store, access)


def runnable() -> Iterator[tuple[str, MemoryOptions]]:
    """Every controller alone; every store with every access that can read it; what else a part can be made to do."""
    base = MemoryOptions(store="none", access="none")
    for controller in CONTROLLERS:
        yield controller, replace(base, controller=controller)
    for store, access, reason in matrix():
        if reason is None:
            yield f"feedforward+{store}+{access}", replace(base, store=store, access=access)
    buffer = replace(base, store="episodic", access="attention")
    for controller, entry in CONTROLLERS.items():
        part = replace(buffer, controller=controller)
        if controller != "feedforward":
            yield f"{controller}+episodic+attention", part
        if entry.load()[0].has_cell:
            held = replace(part, store_options={"write": "episode", "holds": "state"})
            yield f"{controller}+episodic(state per episode)+attention", held
            if entry.load()[0].accepts_reinstatement:
                again = replace(held, reinstate=True, working_memory="episode")
                yield f"{controller}+episodic(state per episode, reinstated)+attention", again
    for store in [s for s in ("ntm", "lrua", "dnc") if s in STORES]:
        emitted = replace(base, controller="lstm", store=store, access=NATIVE, emit="controller")
        yield f"lstm+{store}(emitted by the controller)+native", emitted


def parallel(core: MemoryCore) -> bool:
    """Whether an unroll of ``core`` makes all its reads at once."""
    memory = getattr(core, "memory", None)
    return memory is None or (getattr(core, "memory_first", False) and memory.store.parallel)
