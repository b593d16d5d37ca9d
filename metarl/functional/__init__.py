"""Pure functions, most of them of tensors, each with its equation and its source.

The public functions can be imported from here; their modules are loaded when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from metarl.functional.addressing import keep_top, log_weights
    from metarl.functional.delta import delta_step, delta_unroll
    from metarl.functional.external import (
        allocation,
        clear_and_add,
        content_weights,
        erase_and_add,
        follow,
        interpolate,
        least_used,
        link,
        precede,
        retention,
        sharpen,
        shift,
        use,
    )
    from metarl.functional.graph import walk
    from metarl.functional.inner_loop import adapt, squared_error
    from metarl.functional.kernels import logits, prepare, unit
    from metarl.functional.returns import gae
    from metarl.functional.scan import linear_scan
    from metarl.functional.schedules import cosine, linear
    from metarl.functional.stats import Interval, bootstrap_mean, standard_error

__all__ = [
    "Interval",
    "adapt",
    "allocation",
    "bootstrap_mean",
    "clear_and_add",
    "content_weights",
    "cosine",
    "delta_step",
    "delta_unroll",
    "erase_and_add",
    "follow",
    "gae",
    "interpolate",
    "keep_top",
    "least_used",
    "linear",
    "linear_scan",
    "link",
    "log_weights",
    "logits",
    "precede",
    "prepare",
    "retention",
    "sharpen",
    "shift",
    "squared_error",
    "standard_error",
    "unit",
    "use",
    "walk",
]

_MODULES = {
    "addressing": ("keep_top", "log_weights"),
    "delta": ("delta_step", "delta_unroll"),
    "external": (
        *("allocation", "clear_and_add", "content_weights", "erase_and_add", "follow", "interpolate", "least_used"),
        *("link", "precede", "retention", "sharpen", "shift", "use"),
    ),
    "graph": ("walk",),
    "inner_loop": ("adapt", "squared_error"),
    "kernels": ("logits", "prepare", "unit"),
    "returns": ("gae",),
    "scan": ("linear_scan",),
    "schedules": ("cosine", "linear"),
    "stats": ("Interval", "bootstrap_mean", "standard_error"),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
