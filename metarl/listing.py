"""What there is to choose from: environments, memories, presets."""

from __future__ import annotations

from typing import Any

Rows = list[dict[str, Any]]

NOW_SIZE, FEEDBACK_SIZE, TRIAL_STEPS = 1, 23, 100
"""The sizes for which parameters and state are counted: a bandit of ten arms and a hundred pulls."""


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


def memories() -> Rows:
    """Every core that can be built: what it is made of, what it costs, how it unrolls."""
    from metarl import tree
    from metarl.memory.registry import build_core, runnable

    rows = []
    for name, options, parallel in runnable():
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
                "unroll": "parallel" if parallel else "stepped",
            }
        )
    return rows


def presets() -> Rows:
    """Every preset and what to expect of it."""
    from metarl.config import load_toml
    from metarl.experiment import presets as paths

    return [{"name": name, "about": " ".join(load_toml(path)["about"].split())} for name, path in paths().items()]


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
