"""How soon training begins on a folder of one's own: ``taskset -c 0 python scripts/benchmark_folders.py``.

It draws a folder of 12,494 icons (PNG files with transparency, 16 to 512 pixels a side) of 512 classes in nested
folders, 5 to 80 of each, with some stray, empty and damaged files. Then ``metarl train key-value --images FOLDER
--skip-bad`` runs twice, each time in a new process, until its first update is done: at first with an empty cache, then
with the one that the first made. The drawing is not part of the time.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw
from results.pages import write_markdown
from results.rows import Row, commit, upsert

DOCS = Path(__file__).resolve().parents[1] / "docs"
COMMAND = "taskset -c 0 python scripts/benchmark_folders.py"
IMAGES, CLASSES, TOP = 12_494, 512, 16  # TOP: folders that hold the class folders
LEAST, MOST = 5, 80  # images of a class
SIDES = (16, 512)  # pixels
DAMAGED, EMPTY, STRAY = 6, 4, 30  # files that are no images of the 12,494
GOALS = {"first": 30.0, "second": 3.0}  # seconds
SETTINGS = ("train.shots=1", "train.queries=4", "eval.cells=[[5,1]]", "eval.queries=4", "eval.validation=[20,1]")
"""Episodes for which the smallest class has images enough, so that none is left out."""
RUN = ("train", "key-value", "--skip-bad", *(part for one in SETTINGS for part in ("--set", one)))


def counts(rng: np.random.Generator) -> list[int]:
    """The images of each class: most have few; 12,494 in all."""
    shares = rng.pareto(1.2, CLASSES) + 0.2
    low, high = 0.0, 1e6
    for _ in range(100):
        middle = (low + high) / 2
        made = np.clip(LEAST + shares * middle, LEAST, MOST).astype(int)
        low, high = (middle, high) if made.sum() < IMAGES else (low, middle)
    made = np.clip(LEAST + shares * low, LEAST, MOST).astype(int)
    for number in rng.permutation(np.flatnonzero(made < MOST))[: IMAGES - made.sum()]:
        made[number] += 1
    return [int(count) for count in made]


def icon(rng: np.random.Generator, shapes: list[Any], side: int) -> Image.Image:
    """The shapes of a class, moved a little, on transparency."""
    image = Image.new("RGBA", (side, side))
    draw = ImageDraw.Draw(image)
    for kind, place, size, colour in shapes:
        x, y = (place + rng.normal(0, 0.04, 2)).clip(0, 0.7) * side
        wide, high = (size * rng.uniform(0.8, 1.2, 2)).clip(0.1, 0.9) * side + 2
        (draw.ellipse, draw.rectangle, draw.rounded_rectangle)[kind]((x, y, x + wide, y + high), fill=colour)
    return image


def make(folder: Path, seed: int = 0) -> None:
    """Draw the folder."""
    rng = np.random.default_rng(seed)
    places: list[Path] = []
    for number, count in enumerate(counts(rng)):
        places.append(folder / f"set{number % TOP:02d}" / f"icon{number:03d}")
        places[-1].mkdir(parents=True)
        shapes = [
            (
                rng.integers(3),
                rng.uniform(0, 0.6, 2),
                rng.uniform(0.1, 0.5, 2),
                (*rng.integers(0, 200, 3).tolist(), 255),
            )
            for _ in range(4)
        ]
        for example in range(count):
            drawn = icon(rng, shapes, int(rng.integers(SIDES[0], SIDES[1] + 1)))
            drawn.save(places[-1] / f"{example:02d}.png", compress_level=1)
    for number, place in enumerate(rng.permutation(np.array(places, object))[: DAMAGED + EMPTY + STRAY]):
        if number < DAMAGED:
            whole = (place / "00.png").read_bytes()
            (place / "damaged.png").write_bytes(whole[: len(whole) // 2] if number % 2 else b"")
        elif number < DAMAGED + EMPTY:
            Image.new("RGBA", (32, 32)).save(place / "empty.png")
        else:
            (place / ("notes.txt", ".DS_Store", "Thumbs.db")[number % 3]).write_bytes(b"of no use")


def until_first_update(arguments: list[str], started: float) -> None:
    """Run ``metarl`` in this process and end it when the first update is done, with the seconds printed."""
    from metarl.cli.main import main as metarl
    from metarl.experiments.fewshot import experiment

    fit = experiment.fit

    def watched(model: Any, loss: Callable[..., Any], batches: Iterable[Any], *rest: Any, **named: Any) -> Any:
        def told() -> Iterator[Any]:
            for number, batch in enumerate(batches):
                if number == 1:
                    print(f"seconds: {time.time() - started:.3f}", flush=True)
                    os._exit(0)
                yield batch

        return fit(model, loss, told(), *rest, **named)

    vars(experiment)["fit"] = watched
    sys.exit(metarl(arguments))


def seconds(folder: Path, cache: Path, out: Path) -> tuple[float, float]:
    """From the start of a process to the first update of its training, and how long it computed meanwhile.

    Prints what the process says about the folder.
    """
    run = [*RUN, "--images", str(folder), "--out", str(out)]
    environment = {**os.environ, "METARL_CACHE": str(cache)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # a second start finds what the first one compiled
    command = [sys.executable, __file__, "--child", str(time.time()), *run]
    before = sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    *lines, last = done.stdout.splitlines() or [""]
    if not last.startswith("seconds: "):
        sys.exit(f"the run failed:\n{done.stdout}{done.stderr}")
    print("\n".join(f"  {line}" for line in [*lines, *done.stderr.splitlines()]))
    return float(last.split()[1]), sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2]) - before


def main() -> None:
    """Measure and keep."""
    if sys.argv[1:2] == ["--child"]:
        until_first_update(sys.argv[3:], float(sys.argv[2]))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    before = commit()
    with tempfile.TemporaryDirectory() as place:
        here = Path(place)
        started = time.monotonic()
        make(here / "icons")
        print(f"drew {IMAGES:,} icons in {time.monotonic() - started:.0f} s", flush=True)
        took = {}
        for name in GOALS:
            took[name] = seconds(here / "icons", here / "cache", here / name)
            print(
                f"{name} start: {took[name][0]:.1f} s to the first update, {took[name][1]:.1f} of them on the CPU",
                flush=True,
            )
    rows = [
        Row(
            setting=f"{IMAGES:,} icons of {CLASSES} classes, {LEAST} to {MOST} of each, {SIDES[0]} to {SIDES[1]} "
            "pixels, PNG with transparency, nested folders with damaged and stray files; one core",
            method="key-value",
            metric=f"s from the start of `metarl train --images --skip-bad` to its first update, {name} start",
            ours=took[name][0],
            se=None,
            n_tasks=0,
            seeds=(0,),
            goal=(None, goal),
            references={"CPU s": round(took[name][1], 1)},
            command=COMMAND,
            train_seconds=0.0,
            train_steps=0,
            commit=before,
        )
        for name, goal in GOALS.items()
    ]
    upsert(DOCS / "results" / "own_images.json", *rows, alone=True)
    write_markdown(DOCS)


if __name__ == "__main__":
    main()
