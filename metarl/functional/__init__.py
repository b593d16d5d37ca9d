"""Pure functions, most of them of tensors, each with its equation and its source.

The public functions can be imported from here.
"""

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
