"""The rows of docs/results/omniglot.json: ``python scripts/reproduce/omniglot.py [--data DIR] [--only PRESET ...]``.

Each preset is trained in a process and a thread of its own, tested on 1,000 episodes of test characters in every cell,
and its rows are written when all its seeds are there, in the place of those before. A run that lies in the folder of
the runs already is taken, if it was trained with the settings that the preset has now.
"""

from __future__ import annotations

import argparse
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

from common import ONE_THREAD, metarl, runs_of, train, trained_at
from results.fewshot import COMMAND, NAME, Goals, fewshot_rows
from results.pages import write_markdown
from results.rows import ROOT, upsert

from metarl.evaluation.results import read_evaluation


@dataclass(frozen=True)
class Part:
    """What is asked of a preset."""

    goals: Goals = field(default_factory=dict)
    """The least per cent by (ways, shots) or ("stream", instance)."""
    seeds: tuple[int, ...] = (0,)
    turned: bool = False
    """Whether it is also tested with rotations as further classes, in rows of their own."""
    trainval: bool = False
    """Whether validation classes are trained on as well, as in the papers, once all is chosen."""


def least(*numbers: float) -> Goals:
    """Goals for the four usual cells."""
    return {cell: (low, None) for cell, low in zip(((5, 1), (5, 5), (20, 1), (20, 5)), numbers, strict=True)}


RAW: Goals = least(41.7, 63.2, 26.7, 42.6)
"""Raw pixels by cosine, which every learner should be above."""
STREAM: Goals = {
    ("stream", 1): (30.0, 46.0),
    ("stream", 2): (82.8, None),
    ("stream", 5): (94.9, None),
    ("stream", 10): (98.1, None),
}
PARTS: Mapping[str, Part] = {
    "best": Part(least(99.5, 99.9, 97.65, 99.4), turned=True, trainval=True),
    "prototypical": Part(least(99.2, 99.8, 97.4, 99.2), seeds=(0, 1, 2), turned=True, trainval=True),
    "matching": Part(least(98.1, 98.9, 93.8, 98.5)),
    "maml": Part({(5, 1): (98.3, None)}, trainval=True),
    "reptile": Part({(5, 1): (97.0, None)}, trainval=True),
    "graph": Part({(20, 1): (97.0, None)}),
    "mann": Part(STREAM),
    **dict.fromkeys(
        ("matching-fce", "episodic", "key-value", "lifelong", "meta-gradient", "fomaml", "anil"), Part(RAW)
    ),
    **dict.fromkeys(("ntm", "dnc", "episodic-stream", "snail", "lstm"), Part({(5, 1): RAW[5, 1], (5, 5): RAW[5, 5]})),
    "mann-letters": Part(),
}


def main() -> None:
    """Train, test and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="folder of Omniglot's archives (default METARL_DATA, or the user's cache)")
    parser.add_argument("--only", choices=list(PARTS), nargs="+", default=list(PARTS), help="presets (default all)")
    parser.add_argument("--seeds", type=int, nargs="+", help="of each preset (default as many as its goal asks for)")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time, one thread each (default 1)")
    parser.add_argument("--out", type=Path, default=Path("runs/omniglot"), help="default runs/omniglot")
    args = parser.parse_args()
    place = ["--data", args.data] if args.data else []
    lock = Lock()

    def measure(name: str) -> None:
        part = PARTS[name]
        seeds = tuple(args.seeds or part.seeds)
        settings = ["data.source=omniglot", "threads=1", *["data.trainval=true"] * part.trainval]
        evaluations = train(name, name, seeds, settings, args.out, 1, place)
        folders = runs_of(args.out, name, seeds)
        version = trained_at(*folders)
        made = fewshot_rows(evaluations, f"{COMMAND} --only {name}", version, part.goals)
        if part.turned:
            turned = [rotated(folder, args.data) for folder in folders]
            made += fewshot_rows(turned, f"{COMMAND} --only {name}", version)
        with lock:
            upsert(ROOT / "docs" / "results" / f"{NAME}.json", *made, alone=True)
            for row in made:
                print(f"{row.method}, {row.where}, {row.metric}: {row.ours:.2f} ± {1.96 * (row.se or 0):.2f}")
            write_markdown(ROOT / "docs")

    with ThreadPoolExecutor(args.jobs) as pool:
        for done in [pool.submit(measure, name) for name in args.only]:
            done.result()


def rotated(run: Path, data: str | None) -> Any:
    """The evaluation of a run with rotations as classes of their own, measured once."""
    kept = run / "evaluation-rotations.json"
    if not kept.is_file():
        place: Sequence[str] = ["--data", data] if data else []
        command = metarl("eval", str(run), "--rotations", "--json", *place)
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=ONE_THREAD)
        kept.write_text(done.stdout)
    return read_evaluation(kept)


if __name__ == "__main__":
    main()
