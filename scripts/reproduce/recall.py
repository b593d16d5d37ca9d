"""The rows of docs/results/recall.json: ``python scripts/reproduce/recall.py [--jobs 2] [--part suite]``.

All memories on all tasks; every memory that can be run on 8 pairs; four on 16 pairs; and two hops by a graph search
beside attention. What was measured before, with the same settings, is taken from the folder of the runs.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import common  # noqa: F401, first: where the package of the results lies
from results.pages import write_markdown
from results.recall import COMMAND, IMAGE, NAME, rows
from results.recall import SUITE as FIRST_PART
from results.rows import ROOT, commit, upsert

from metarl.data.recall import RECALL_TASKS
from metarl.evaluation.recall import RecallCell, RecallSettings
from metarl.experiments.recall.bench import complete
from metarl.experiments.recall.candidates import SUITE, candidates
from metarl.report.recall import draw_recall

Goal = tuple[float | None, float | None]


@dataclass(frozen=True)
class Part:
    """Cells that share their settings, and what each memory should reach."""

    name: str
    tasks: tuple[str, ...]
    goals: Mapping[str, Goal]
    settings: RecallSettings
    sizes: Mapping[str, int] = field(default_factory=dict)

    def cells(self) -> list[RecallCell]:
        """What is measured."""
        return [
            RecallCell(task, memory, settings=self.settings, sizes=dict(self.sizes))
            for task in self.tasks
            for memory in self.goals
        ]


EVERY = [name for name, options in candidates().items() if options.store != "none"]
AT_16 = ("episodic+attention", "key_value+attention", "dnc+native", "delta+native")
PARTS = {
    "suite": Part(FIRST_PART, tuple(RECALL_TASKS), dict.fromkeys(SUITE, (None, None)), RecallSettings()),
    "cells": Part(
        "associative recall of 8 pairs by every memory",
        ("associative",),
        dict.fromkeys(EVERY, (0.9, None)),
        RecallSettings(updates=None, seconds=300, target=0.99),
    ),
    "pairs16": Part(
        "associative recall of 16 pairs",
        ("associative",),
        dict.fromkeys(AT_16, (0.99, None)),
        RecallSettings(updates=None, seconds=600, target=0.995),
        {"pairs": 16},
    ),
    "two_hop": Part(
        "two hops of 16 pairs by a single read",
        ("two_hop",),
        {"episodic+graph": (0.95, None), "episodic+attention": (None, 0.4)},
        RecallSettings(updates=4000, target=None),  # the loser, too, is given all the time there is
    ),
}


def main() -> None:
    """Measure the parts, and write rows, tables and image after each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=list(PARTS), nargs="+", default=list(PARTS), help="default all")
    parser.add_argument("--jobs", type=int, default=2, help="cells at a time, one process and one thread each")
    parser.add_argument("--out", type=Path, default=Path("runs/recall"), help="default runs/recall")
    args = parser.parse_args()
    version = commit()
    for name in args.part:
        part = PARTS[name]
        results = complete(part.cells(), args.out / name, jobs=args.jobs)
        made = rows(results, COMMAND, version, part.name, part.goals)
        upsert(ROOT / "docs" / "results" / f"{NAME}.json", *made)
        if part.name == FIRST_PART:
            draw_recall(results, ROOT / "docs" / IMAGE)
        write_markdown(ROOT / "docs")


if __name__ == "__main__":
    main()
