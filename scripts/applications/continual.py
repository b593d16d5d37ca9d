"""Continual learning: ``python scripts/applications/continual.py [--data DIR]`` writes docs/results/continual.json.

Up to 600 unseen classes of Omniglot come one after the other, 15 images of each, each image once; five more images of
each class are asked about after them. The embedding (the preset continual) was trained on other alphabets and stays as
it is: what is learned of the stream is in a memory of so many bytes. Its rivals (``streams.py``) meet the same images.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.append(str(Path(__file__).resolve().parents[1] / "reproduce"))  # how runs are trained and rows are kept
from common import save, train, trained_at
from drawn_streams import draw
from results.rows import ROOT, Row, commit
from streams import Correct, embedded, finetuned, measured, nearest_mean, neighbours, orders, remembered, streams, tuned

from metarl.data.omniglot import Omniglot
from metarl.evaluation.pooling import NORMAL95
from metarl.experiments.run import open_run
from metarl.runs.progress import Progress
from metarl.types import Floats

NAME, COMMAND = "continual", "python scripts/applications/continual.py"
COUNTS, HELD, PER_CLASS = [10, 50, 100, 200, 400, 600], 5, 2  # classes, held-out images, slots of a class at full size
SIZES = {"full": 1.0, "half": 0.5, "quarter": 0.25}
RULES = ("nearest", "balanced", "random", "least_used", "oldest")
K, RATE, NET_RATE = 5, 0.03, 0.003  # chosen on validation classes
PUBLISHED = {"OML": 18.2, "ANML": 63.8, "5-NN on ANML's gated features": 81.1}  # ANML's paper, at 600 classes
GOAL, LOST, BELOW = 81.0, -3.0, -0.5  # accuracy; points of half the bytes to all; of any to the nearest class mean
ABOVE = "points above nearest class mean of as many bytes, paired"


def main() -> None:
    """Train the embedding, meet the streams, keep rows, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="folder of Omniglot's archives (default METARL_DATA, or the user's cache)")
    parser.add_argument("--orders", type=int, default=3, help="of classes and images (default 3)")
    parser.add_argument("--split", choices=["validation", "test"], default="test", help="validation keeps no rows")
    parser.add_argument("--out", type=Path, default=Path("runs/continual"), help="default runs/continual")
    args = parser.parse_args()

    # 1. An embedding of 25 background alphabets; a run that is there already is taken.
    run, version = args.out / "continual-s0", commit()
    (trained,) = train("continual", "continual", [0], [], args.out, 1, ["--data", args.data] * bool(args.data))
    learner = open_run(run).model.eval()

    # 2. Streams of classes of other alphabets, as embeddings and as pixels, in several orders.
    pool = Omniglot(args.split, scheme="lake", folder=args.data)
    counts = [count for count in COUNTS if count <= pool.classes]
    _, shown, held = orders(pool, counts[-1], HELD, args.orders)
    met = streams(embedded(learner, pool), shown, held, counts)
    drawn = streams(torch.from_numpy(pool.flat.astype(np.float32) / 255), shown, held, counts)
    pixels = replace(drawn, shown=drawn.shown.flatten(2), asked=drawn.asked.flatten(3))

    # 3. Each method meets the same images. At full size a memory has two slots for each class of the longest stream.
    full = PER_CLASS * counts[-1] * 4 * (met.shown.shape[-1] + 3)  # bytes: key, value, count and cost are float32
    methods: dict[str, Callable[[], Correct]] = {}
    for name, share in SIZES.items():
        size = int(share * full)
        for rule in RULES:
            methods[f"memory, {rule}, {name} bytes"] = partial(remembered, learner, met, size, replace=rule)
        methods[f"nearest class mean, {name} bytes"] = partial(nearest_mean, met, size)
    for end, one, images in (("", met, drawn), (", order shuffled", met.shuffled(), drawn.shuffled())):
        methods[f"memory, nearest, full bytes{end}"] = partial(remembered, learner, one, full)
        methods[f"linear layer, SGD{end}"] = partial(tuned, one, RATE)
        methods[f"whole net, SGD{end}"] = partial(finetuned, learner.encoder, images, NET_RATE)
    narrow = partial(remembered, learner, met, full // 4, precision=torch.float16)
    methods |= {
        "memory, nearest, quarter bytes, float16": narrow,
        f"{K} nearest neighbours, no limit": partial(neighbours, met, K),
        f"{K} nearest neighbours of raw pixels, no limit": partial(neighbours, pixels, K),
    }
    found: dict[str, Correct] = {}
    with Progress("methods", len(methods), "method") as progress:
        for name, method in methods.items():
            found[name] = method()
            progress.add()

    # 4. A row for each method and number of classes, and what the goals are about.
    values: dict[str, Any] = {"seeds": (0,), "command": COMMAND, "parameters": trained.parameters or 0}
    values |= {"train_seconds": trained.train_seconds, "train_steps": trained.train_steps}
    values["commit"] = ", ".join(dict.fromkeys([trained_at(run), version]))
    values["flags"] = f"{args.orders} orders; full: {full:,} bytes"
    rows, last, best = [], counts[-1], "memory, nearest, full bytes"

    def put(count: int, method: str, metric: str, share: Floats, least: float | None = None) -> None:
        mean, error = measured(share)
        references = PUBLISHED if (count, metric) == (600, "accuracy %") else {}
        setting = f"Omniglot, stream of {count} unseen classes, 15 images of each"
        made: dict[str, Any] = {"setting": setting, "method": method, "metric": metric, "references": references}
        rows.append(Row(**values, **made, ours=mean, se=error, n_tasks=count, goal=(least, None)))
        low, high = mean - NORMAL95 * error, mean + NORMAL95 * error
        print(f"{count:4} classes, {method}, {metric}: {mean:.2f} ({low:.2f} to {high:.2f})")

    for name, correct in found.items():
        for count, right in correct.items():
            put(count, name, "accuracy %", 100 * right.mean(2), GOAL if (name, count) == (best, last) else None)
    for name in SIZES:
        mine, mean = (found[f"{one}, {name} bytes"][last].mean(2) for one in ("memory, nearest", "nearest class mean"))
        put(last, f"memory, nearest, {name} bytes", ABOVE, 100 * (mine - mean))
        low = rows[-1].ours - NORMAL95 * (rows[-1].se or 0)
        rows.append(replace(rows[-1], metric=f"{ABOVE}, lower end of 95 %", ours=low, se=None, goal=(BELOW, None)))
    halved = found["memory, nearest, half bytes"][last].mean(2) - found[best][last].mean(2)
    put(last, "memory, nearest, half bytes", "points above full bytes, paired", 100 * halved, LOST)
    if args.split == "test":
        save(NAME, *rows)
        draw(rows, PUBLISHED, ROOT / "docs" / "images" / "continual.png")


if __name__ == "__main__":
    main()
