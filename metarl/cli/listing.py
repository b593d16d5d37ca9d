"""What there is to choose from: environments, memories, presets."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from metarl.memory.contract import MemoryCore, State

Result = TypeVar("Result")
Rows = list[dict[str, Any]]

NOW_SIZE, FEEDBACK_SIZE, TRIAL_STEPS = 1, 23, 100
"""The sizes for which parameters and state are counted: a bandit of ten arms and a hundred pulls."""
ROWS = 32
"""Trials side by side for which costs are measured."""


def envs() -> Rows:
    """Every environment id, its splits and its options with their defaults."""
    from metarl.envs import distribution, ids

    rows = []
    for id in ids():
        family = distribution(id)
        options = {k: v for k, v in family.options().items() if k != "split"}
        about = (type(family).__doc__ or "").strip().splitlines()[0]
        rows.append({"id": id, "about": about, "trial_steps": family.trial_steps, "options": options})
    return rows


def memories(timed: bool = True) -> Rows:
    """The matrix: every core that can be built with what it costs, and every store with why an access can't read it.

    ``step_us`` is an acting step, ``trial_ms`` a trial forward and backward, for :data:`ROWS` rows on this machine;
    left out unless ``timed``.
    """
    from tqdm import tqdm

    from metarl import tree
    from metarl.memory.registry import build_core, matrix, parallel, runnable

    rows = []
    cores = list(runnable())
    for name, options in tqdm(cores, desc="timing", disable=not (timed and sys.stderr.isatty()), leave=False):
        core = build_core(options, NOW_SIZE, FEEDBACK_SIZE, TRIAL_STEPS)
        state = sum(leaf.numel() * leaf.element_size() for leaf in tree.leaves(core.initial_state(1)))
        rows.append(
            {
                "name": name,
                "controller": options.controller,
                "store": options.store,
                "access": options.access,
                "parameters": sum(p.numel() for p in core.parameters()),
                "state_bytes": state,
                "unroll": "parallel" if parallel(core) else "stepped",
                **(cost(core) if timed else {}),
                "note": "",
            }
        )
    for store, access, reason in matrix():
        if reason is not None:
            blank: dict[str, Any] = dict.fromkeys(rows[0], "n/a")
            rows.append(blank | {"name": f"{store}+{access}", "store": store, "access": access, "note": reason})
    return rows


def cost(core: MemoryCore) -> dict[str, float]:
    """Microseconds of an acting step and milliseconds of a trial forward and backward, for :data:`ROWS` rows."""
    import torch

    from metarl import tree
    from metarl.types import Boundary, CoreInput

    generator = torch.Generator().manual_seed(0)
    x = torch.randn(TRIAL_STEPS, ROWS, NOW_SIZE + FEEDBACK_SIZE, generator=generator)
    trial = CoreInput(x[..., :NOW_SIZE], x[..., NOW_SIZE:])
    begin = torch.full((TRIAL_STEPS, ROWS), int(Boundary.EPISODE))
    begin[0] = Boundary.TRIAL

    def learn() -> State:
        y, state = core.unroll(trial, core.initial_state(ROWS), begin)
        y.sum().backward()
        return tree.detach(state)

    seconds, last = fastest(learn, 2)
    step = CoreInput(trial.now[0], trial.feedback[0])
    with torch.no_grad():
        acting, _ = fastest(lambda: core(step, last, begin[1], donate=True), 10)
    return {"step_us": round(acting * 1e6), "trial_ms": round(seconds * 1e3, 1)}


def fastest(call: Callable[[], Result], times: int) -> tuple[float, Result]:
    """The shortest of so many calls in seconds, after one that warms up, and what the last gave."""
    result, seconds = call(), []
    for _ in range(times):
        start = time.perf_counter()
        result = call()
        seconds.append(time.perf_counter() - start)
    return min(seconds), result


def presets() -> Rows:
    """Every preset, its track (``rl``: ``metarl train``, ``fewshot``: ``metarl fewshot train``) and what it is for."""
    from metarl.config import load_toml
    from metarl.experiments.fewshot import options
    from metarl.experiments.rl import experiment

    return [
        {"name": name, "track": track, "about": " ".join(load_toml(path)["about"].split())}
        for track, paths in (("rl", experiment.presets()), ("fewshot", options.presets()))
        for name, path in paths.items()
    ]


def table(rows: Rows) -> str:
    """Rows of equal keys as aligned columns."""
    cells = [list(rows[0]), *([text(value) for value in row.values()] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    return "\n".join("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in cells)


def text(value: Any) -> str:
    """A value as it stands in a table."""
    if isinstance(value, dict):
        return " ".join(f"{k}={v}" for k, v in value.items())
    return f"{value:,}" if isinstance(value, int) else str(value)
