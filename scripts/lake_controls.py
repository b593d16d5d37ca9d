"""How easy the 20 published runs of Lake et al. 2015 are: ``python scripts/lake_controls.py RUN [RUN ...]``.

Their images are looked up in Omniglot's evaluation set, pixel by pixel, which says whose they are. Then each learner is
tested on episodes that share ever more with the runs: any alphabets, characters and drawers; the runs' own alphabets;
their alphabets and drawers; and their very characters, by any drawers. Several runs are averaged over seeds.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from metarl.config import ConfigError
from metarl.data.episodes import Episodes
from metarl.data.omniglot import Omniglot, published_runs
from metarl.data.omniglot.archives import check_published, find_archives
from metarl.data.omniglot.drawings import SIDE, read_drawings
from metarl.data.pool import Pool
from metarl.evaluation.lake import (
    WAYS,
    Draw,
    ErrorRate,
    chosen_episodes,
    evaluation_set,
    on_episodes,
    on_published_runs,
    over_seeds,
    random_episodes,
)
from metarl.experiments.fewshot.lake import refuse_met
from metarl.experiments.run import open_run
from metarl.seeding import numpy_rng
from metarl.types import Ints

PUBLISHED = "the 20 published runs"
RANDOM = "any alphabet, characters and drawers"
ALPHABETS = "the runs' alphabets, any characters and drawers"
DRAWERS = "the runs' alphabets, any characters, drawers that the runs use"
CHARACTERS = "the runs' very characters, any drawers"
CONTROLS = (PUBLISHED, RANDOM, ALPHABETS, DRAWERS, CHARACTERS)


class Found(NamedTuple):
    """What the published runs show.

    Args:
        characters: ``[20, 20]`` of each run by name, in the order of its support.
        drawers: ``[20, 2]`` who draws its support and who its queries, from 0.
    """

    characters: list[list[str]]
    drawers: Ints

    @property
    def alphabets(self) -> list[str]:
        """Of each run."""
        return [names[0].partition("/")[0] for names in self.characters]


def look_up(folder: str | None = None) -> Found:
    """Where the images of the published runs come from.

    Raises:
        ValueError: an image is not in the evaluation set, or a run is not of one alphabet and two drawers.
    """
    paths = find_archives(folder)
    check_published(paths)
    images, names = read_drawings(paths[1:], SIDE)
    of = {image.tobytes(): (c, d) for c, drawn in enumerate(images) for d, image in enumerate(drawn)}
    runs = published_runs(SIDE)
    characters, drawers = [], []
    for number, (support, queries) in enumerate(zip(runs.support, runs.queries, strict=True), start=1):
        try:
            known, asked = ([of[image.tobytes()] for image in part] for part in (support, queries))
        except KeyError:
            raise ValueError(f"an image of run {number} is not in the evaluation set") from None
        by = [{drawer for _, drawer in part} for part in (known, asked)]
        same = {names[c] for c, _ in known} == {names[c] for c, _ in asked}
        if not same or any(len(some) != 1 for some in by) or len({names[c].partition("/")[0] for c, _ in known}) != 1:
            raise ValueError(f"run {number} is not of one alphabet, one drawer and another")
        characters.append([names[c] for c, _ in known])
        drawers.append([some.pop() for some in by])
    return Found(characters, np.array(drawers))


def draws(found: Found, pool: Omniglot, seed: int) -> dict[str, Draw]:
    """How the episodes of each control but the first are drawn, for :func:`metarl.evaluation.lake.on_episodes`."""
    numbers = {name: number for number, name in enumerate(pool.names)}
    theirs = np.array([[numbers[name] for name in run] for run in found.characters])
    alphabets = [np.flatnonzero(np.array(pool.alphabets) == name) for name in found.alphabets]
    anyone, some = np.arange(pool.per_class), np.unique(found.drawers)

    def drawing(characters: Sequence[Ints], drawers: Ints, key: int) -> Draw:
        rng = numpy_rng(seed, "evaluation", WAYS, 1, key)

        def draw(held: Pool, n: int) -> Episodes:
            chosen = rng.integers(len(characters), size=n)
            shown = [rng.choice(characters[run], WAYS, replace=False) for run in chosen]
            return chosen_episodes(held, np.array(shown), np.array([rng.choice(drawers, 2, False) for _ in range(n)]))

        return draw

    return {
        RANDOM: random_episodes(numpy_rng(seed, "evaluation", WAYS, 1)),
        ALPHABETS: drawing(alphabets, anyone, 1),
        DRAWERS: drawing(alphabets, some, 2),
        CHARACTERS: drawing(list(theirs), anyone, 3),
    }


def measure(
    found: Found,
    runs: Iterable[Path],
    *,
    trials: int,
    seed: int = 0,
    folder: str | None = None,
    tests: Sequence[str] = CONTROLS,
) -> dict[str, list[ErrorRate]]:
    """The error rates of learners by control.

    Args:
        found: whose images the published runs are, see :func:`look_up`.
        runs: the learners' run folders; none may have met the evaluation set.
        trials: of each control but the published runs, in episodes of 20.
        seed: of the episodes; all learners meet the same ones.
        folder: where Omniglot is.
        tests: which of :data:`CONTROLS`.
    """
    rates: dict[str, list[ErrorRate]] = {name: [] for name in tests}
    for path in runs:
        opened = open_run(path)
        experiment = opened.experiment
        refuse_met(experiment, opened.model)  # type: ignore[arg-type]  # of another kind there are no data
        learner, size = opened.model.resized(WAYS, WAYS), experiment.data.size  # type: ignore[attr-defined]  # few-shot
        if PUBLISHED in tests:
            rates[PUBLISHED].append(on_published_runs(learner, published_runs(size)))
        pool = evaluation_set(size, folder)
        asked = {name: draw for name, draw in draws(found, pool, seed).items() if name in tests}
        for name, rate in on_episodes(learner, pool, asked, trials // WAYS).items():
            rates[name].append(rate)
    return rates


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", metavar="RUN", type=Path, nargs="+", help="run folders, such as of the preset lake")
    parser.add_argument("--data", help="folder of Omniglot's archives (default METARL_DATA, or the user's cache)")
    parser.add_argument("--trials", type=int, default=10_000, help="of each control, in episodes of 20 (default 10000)")
    args = parser.parse_args()
    try:
        found = look_up(args.data)
        rates = measure(found, args.runs, trials=args.trials, folder=args.data)
    except ConfigError as error:
        parser.error(str(error))
    drawers = ", ".join(str(number + 1) for number in np.unique(found.drawers))
    print(f"the runs show {len(set(found.alphabets))} alphabets: {', '.join(sorted(set(found.alphabets)))}")
    print(f"all images are of the evaluation set, by drawers {drawers} of 20")
    for name, each in rates.items():
        rate, se = over_seeds(each)
        print(f"{name:65} {100 * rate:6.2f} ± {100 * se:.2f} % ({each[0].trials:,} trials)")


if __name__ == "__main__":
    main()
