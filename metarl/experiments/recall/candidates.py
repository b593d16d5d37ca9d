"""The memories of the recall benchmark, each sized to have the same number of parameters."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import replace

from metarl.data.sequences import RecallTask
from metarl.memory.options import MemoryOptions
from metarl.memory.registry import ACCESSES, CONTROLLERS, NATIVE, STORES, build_core, why_not
from metarl.nets.sequence import SequenceClassifier

SUITE = (
    "gru",
    "lstm",
    "mingru",
    "window",
    "episodic+attention",
    "episodic+graph",
    "episodic+meta_gradient",
    "key_value+attention",
    "lifelong+attention",
    "ntm+native",
    "lrua+native",
    "dnc+native",
    "delta+native",
    "neural+native",
)
"""The memories that the benchmark compares by default, in the order in which they are shown."""
TOLERANCE = 0.1  # how far the parameters of a memory may be from the wanted number, as a share of it
LAYERS = {"mingru": 2, "window": 2}
"""Controllers that need two layers to recall what belongs to a key, because it is shown one step later."""


def candidates() -> dict[str, MemoryOptions]:
    """Every memory that can be compared: a controller alone, or ``STORE+ACCESS`` with a feed-forward controller."""
    alone = MemoryOptions(store="none", access="none")
    found = {
        name: replace(alone, controller=name, controller_options={"layers": LAYERS[name]} if name in LAYERS else {})
        for name in CONTROLLERS
    }
    base = MemoryOptions(controller="feedforward", gate=False)  # nothing to fall back on, so no gate to learn
    for store in STORES:
        for access in (NATIVE, *ACCESSES):
            if why_not(store, access) is None:
                found[f"{store}+{access}"] = replace(base, store=store, access=access)
    return found


def classifier(options: MemoryOptions, task: RecallTask) -> SequenceClassifier:
    """A model of ``options`` for ``task``, with weights from torch's generator."""
    sizes = task.sizes
    return SequenceClassifier(build_core(options, sizes.now, sizes.feedback, sizes.steps), sizes.classes)


def parameters(model: SequenceClassifier) -> int:
    """The number of trained parameters."""
    return sum(p.numel() for p in model.parameters())


def sized(options: MemoryOptions, task: RecallTask, wanted: int, name: str) -> MemoryOptions:
    """``options`` with the controller's ``hidden_size`` whose model has closest to ``wanted`` parameters.

    Args:
        options: of the memory.
        task: its inputs and answers are part of the model.
        wanted: parameters of core and head together.
        name: of the memory, for the error.

    Raises:
        ValueError: no size comes within :data:`TOLERANCE`; the message names the nearest number.
    """
    step = getattr(CONTROLLERS[options.controller].load()[1](**options.controller_options), "heads", 1)

    def of(units: int) -> MemoryOptions:
        return replace(options, controller_options={**options.controller_options, "hidden_size": units * step})

    def count(units: int) -> int:
        return parameters(classifier(of(units), task))

    high = 1
    while count(high) < wanted:
        high *= 2
    enough = bisect_left(range(high), wanted, high // 2 + 1, key=count)  # the least that has as many or more
    best = min((units for units in (enough - 1, enough) if units), key=lambda units: abs(count(units) - wanted))
    if abs(count(best) - wanted) > TOLERANCE * wanted:
        raise ValueError(
            f"{name} can't have {wanted:,} ± {TOLERANCE:.0%} parameters on {type(task).__name__}: the nearest is "
            f"{count(best):,}, with hidden_size = {best * step}; choose more parameters or leave {name} out"
        )
    return of(best)
