"""Domain adaptation: ``python scripts/applications/domain.py [--data DIR]`` makes the rows of docs/results/domain.json.

A few-shot learner that has seen nothing but upright Omniglot characters (the preset domain) meets other domains:
shifted drawings of test characters, scikit-learn's digits, printed characters, and clothes. All methods
(``adaptors.py``) answer the same episodes. Fonts and clothes are those of Debian's packages; what is missing is said.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[1] / "reproduce"))  # how runs are trained and rows are kept
from adaptors import ANEW, NORM, TRANSDUCTIVE, UNDONE_NORM, Adaptors, mean, won_back
from common import Measured, runs_of, save, train, trained_at
from pictures import pictures
from results.rows import Row

from metarl.data.digits import digits, drawn_side
from metarl.data.omniglot import Omniglot
from metarl.data.pool import Pool
from metarl.data.shifts import Shift, shifted
from metarl.experiments.fewshot.options import EpisodeShape
from metarl.experiments.run import open_run
from metarl.seeding import numpy_rng
from metarl.types import Floats

NAME, COMMAND = "domain", "python scripts/applications/domain.py"
SETTINGS = ("threads=1", "data.source=omniglot")
UPRIGHT, TURNED = "upright", "rotated by 45 degrees"
SHIFTS = {f"rotated by {angle} degrees": Shift(rotation=angle) for angle in (45, 15, 30, 60, 90)}
SHIFTS |= {
    "with noise": Shift(noise=0.3),
    "ink and paper inverted": Shift(inverted=True),
    "with thick strokes": Shift(growth=1),
}
CHARACTERS = EpisodeShape(ways=20, shots=1, queries=2)
DIGITS = {EpisodeShape(10, 1, 5): 75.0, EpisodeShape(10, 5, 5): 91.0}  # with the least accuracy of crisp ones, in %
WON_BACK = 80.0  # % of what is lost at 45 degrees
Goal = tuple[float | None, float | None]
OPEN: Goal = (None, None)
Accuracies = dict[str, Floats]


def main() -> None:
    """Train, meet every domain, and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="folder of Omniglot's archives (default METARL_DATA, or the user's cache)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of training (default 0)")
    parser.add_argument("--episodes", type=int, default=1000, help="of each test (default 1000)")
    parser.add_argument("--out", type=Path, default=Path("runs/domain"), help="default runs/domain")
    args = parser.parse_args()

    # 1. Train a learner for each seed on upright characters; runs that are there already are taken.
    runs, options = runs_of(args.out, "domain", args.seeds), ["--data", args.data] * bool(args.data)
    trained = train("domain", "domain", args.seeds, SETTINGS, args.out, 1, options)
    characters, unseen = (Omniglot(split, folder=args.data) for split in ("train", "test"))
    each = [Adaptors(open_run(run).model, characters, seed) for run, seed in zip(runs, args.seeds, strict=True)]
    common: dict[str, Any] = {"seeds": tuple(args.seeds), "command": COMMAND}
    common |= {"train_seconds": max(one.train_seconds for one in trained), "train_steps": trained[0].train_steps}
    common |= {"commit": trained_at(*runs), "parameters": trained[0].parameters}

    def keep(name: str, value: Measured, episodes: int, **values: Any) -> Row:
        """The row of a method."""
        flags = "transductive" if name in TRANSDUCTIVE else "not transductive"
        return Row(**common, **values, method=name, ours=value[0], se=value[1], n_tasks=episodes, flags=flags)

    def meet(where: str, pool: Pool, shape: EpisodeShape, shift: Shift | None = None, goal: Goal = OPEN) -> Accuracies:
        """All methods in one domain, with a row for each; their accuracies in per cent, ``[seeds, episodes]``."""
        found = [one.accuracies(pool, shape, args.episodes, unseen if shift else None, shift) for one in each]
        shares = {name: 100 * np.stack([one[name] for one in found]) for name in found[0]}
        values = {"setting": f"{where}, {shape.ways}-way {shape.shots}-shot", "metric": "accuracy %", "references": {}}
        goals = {NORM: goal}  # the method that did best on shifted validation characters
        save(
            NAME, *[keep(name, mean(a), a.shape[1], **values, goal=goals.get(name, OPEN)) for name, a in shares.items()]
        )
        return shares

    # 2. Unseen characters as they are and turned. What is lost where memory is written anew, and what comes back?
    before = meet(f"Omniglot, {UPRIGHT}", unseen, CHARACTERS)[ANEW]
    after = meet(f"Omniglot, {TURNED}", shifted(unseen, SHIFTS[TURNED]), CHARACTERS, SHIFTS[TURNED])
    told = {"upright": round(float(before.mean()), 2), "turned": round(float(after[ANEW].mean()), 2)}
    values = {
        "setting": f"Omniglot, {TURNED}, 20-way 1-shot",
        "metric": "% won back of what is lost",
        "references": told,
    }
    for name in (one for one in after if one.startswith(f"{ANEW}, ")):
        n = after[name].shape[1]
        value = won_back(before[:, :n], after[ANEW][:, :n], after[name])
        save(NAME, keep(name, value, n, **values, goal=(WON_BACK, None) if name == UNDONE_NORM else OPEN))

    # 3. Digits as tall as the characters of training, with the edges of strokes, and blurred as they are enlarged.
    side = drawn_side(characters.flat)
    for form, crisp in (("crisp", True), ("blurred", False)):
        for shape, least in DIGITS.items():
            goal = (least, None) if crisp else OPEN
            meet(f"scikit-learn's digits, {form}", digits(side=side, crisp=crisp), shape, goal=goal)

    # 4. The other shifts, printed characters, and pictures of clothes.
    for where in (one for one in SHIFTS if one != TURNED):
        pool = shifted(unseen, SHIFTS[where], numpy_rng(0, "evaluation", 1))
        meet(f"Omniglot, {where}", pool, CHARACTERS, SHIFTS[where])
    for where, pool in pictures(side):
        for shape in DIGITS:
            meet(where, pool, shape)


if __name__ == "__main__":
    main()
