"""``metarl list``: applications, environments, memories and presets."""

from __future__ import annotations

import argparse
import json
import timeit
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from metarl.cli.listed import listed
from metarl.cli.table import Rows, print_table
from metarl.cli.terminal import OK, add_command, refuse

if TYPE_CHECKING:
    from metarl.memory.contract import MemoryCore, State, Store

NOW_SIZE, FEEDBACK_SIZE, TRIAL_STEPS = 1, 23, 100
"""The sizes for which parameters and state are counted: a bandit of ten arms and a hundred pulls."""
ROWS = 32  # trials side by side for which costs are measured


def add_list(commands: Any) -> None:
    """``metarl list`` and its options."""
    listing = add_command(
        commands,
        "list",
        "list the available applications, environments, memories or presets",
        """
        metarl list presets
        metarl list memories --json
        """,
        "To list the settings of a preset, use metarl settings; to list runs, use metarl runs.",
    )
    listing.add_argument("what", choices=["applications", "envs", "memories", "presets"], help="what to list")
    listing.add_argument("--json", action="store_true", help="print JSON instead of a table")
    listing.add_argument(
        "--timed", action="store_true", help="for memories only: also measure their speed on this machine"
    )
    listing.set_defaults(act=run_list)


def run_list(args: argparse.Namespace) -> int:
    """``metarl list``."""
    if args.timed and args.what != "memories":
        refuse(ValueError(f"--timed is for list memories; list {args.what} has nothing to time"))
    made: dict[str, Callable[[], Rows]] = {
        "applications": applications,
        "envs": envs,
        "presets": presets,
        "memories": lambda: memories(True) if args.timed else listed()["memories"],
    }
    rows = made[args.what]()
    if args.json:
        print(json.dumps(rows, indent=2))
    else:
        print_table(rows)
    return OK


def applications() -> Rows:
    """What the package is used for."""
    from metarl.presets.applications import APPLICATIONS

    return [application._asdict() for application in APPLICATIONS]


def envs() -> Rows:
    """Every environment id, its splits and its options with their defaults."""
    from metarl.envs import distribution, ids

    rows = []
    for id in ids():
        family = distribution(id)
        options = {k: v for k, v in family.options().items() if k != "split"}
        about = (type(family).__doc__ or "").strip().splitlines()[0].replace("``", "").rstrip(".")
        rows.append({"id": id, "about": about, "trial_steps": family.trial_steps, "options": options})
    return rows


def memories(timed: bool = False) -> Rows:
    """Every core that can be built, with its size; every pair of store and access that can't be, with the reason.

    With ``timed``, ``step_us`` is the time of an acting step, and ``trial_ms`` that of a trial forward and backward,
    for :data:`ROWS` trials side by side on this machine.
    """
    from metarl import tree
    from metarl.memory.registry import build_core, matrix, parallel, runnable, why_not_per_action
    from metarl.runs.progress import Progress

    rows = []
    cores = list(runnable())
    progress = Progress("timing", len(cores), "memory", quiet=not timed)
    for name, options in cores:
        progress.add()
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
                "per_action": "n/a" if (why := why_not_per_action(options, store_of(core))) else "yes",
                **(cost(core) if timed else {}),
                "note": f"per action n/a: {why}" if why else "",
            }
        )
    for store, access, reason in matrix():
        if reason is not None:
            blank: dict[str, Any] = dict.fromkeys(rows[0], "n/a")
            rows.append(blank | {"name": f"{store}+{access}", "store": store, "access": access, "note": reason})
    return rows


def store_of(core: MemoryCore) -> Store | None:
    """The store of a core, if it has one."""
    from metarl.memory.core import StoreCore

    return core.memory.store if isinstance(core, StoreCore) else None


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

    last, step = learn(), CoreInput(trial.now[0], trial.feedback[0])
    seconds = min(timeit.repeat(learn, repeat=2, number=1))
    with torch.no_grad():
        acting = min(timeit.repeat(lambda: core(step, last, begin[1], donate=True), repeat=11, number=1))
    return {"step_us": round(acting * 1e6), "trial_ms": round(seconds * 1e3, 1)}


def presets() -> Rows:
    """Every preset, its kind and what it is for."""
    from metarl.config import load_toml
    from metarl.presets.names import presets as paths

    rows = []
    for name, path in paths().items():
        data = load_toml(path)
        rows.append({"name": name, "kind": data["kind"], "about": " ".join(data["about"].split())})
    return sorted(rows, key=lambda row: row["kind"] != "rl2")
