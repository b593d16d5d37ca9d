"""A row of docs/results/own_images.json: ``python scripts/reproduce/fonts.py [--fonts DIR]``, characters in many fonts.

Draws the folder of ``scripts/draw_fonts.py``, trains the preset key-value on it for ten minutes, and tests it on
characters that it has never seen, 5 at a time and one font each. Beside it, on the same episodes, is what one would do
without meta-learning: the pixels by principal components and Fisher's discriminants (PCA and LDA of scikit-learn, from
the dev extra) of the same training characters, and the nearest picture. Where fonts are missing it says which.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from common import runs_of, save, train, trained_at
from draw_fonts import Drawn, MissingFonts, draw
from results.rows import Row

from metarl.data.episodes import Episodes
from metarl.data.pool import Pool
from metarl.data.sources import FewShotSource
from metarl.evaluation.accuracy import prepared
from metarl.experiments.fewshot.build import make_source
from metarl.experiments.fewshot.evaluate import evaluation_rng
from metarl.experiments.fewshot.met import MET
from metarl.experiments.fewshot.options import EpisodeShape
from metarl.experiments.run import open_run
from metarl.functional.stats import standard_error
from metarl.types import Array, Bools, Floats

NAME, COMMAND = "own_images", "python scripts/reproduce/fonts.py"
SHAPE = EpisodeShape(ways=5, shots=1, queries=5)
SETTINGS = ("fit.updates=100000", "threads=1", "eval.cells=[[5,1]]")
COMPONENTS = (10, 20, 30, 50, 100)  # principal components that are tried on validation characters


class Discriminants:
    """Pixels by their principal components and Fisher's discriminants of known classes.

    Args:
        pool: the known classes.
        components: principal components.
    """

    def __init__(self, pool: Pool, components: int) -> None:
        from sklearn.decomposition import PCA
        from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
        from sklearn.pipeline import make_pipeline

        x = pixels(pool.examples.reshape(-1, *pool.shape))
        y = np.repeat(np.arange(len(pool.examples)), pool.examples.shape[1])
        pca = PCA(components, svd_solver="randomized", random_state=0)
        self.map = make_pipeline(pca, LinearDiscriminantAnalysis()).fit(x, y)

    def correct(self, pool: Pool, episodes: int, seed: int) -> Bools:
        """Which queries ``[n, Q]`` are nearest to the picture of their own class."""
        mapped = self.map.transform(pixels(pool.examples.reshape(-1, *pool.shape))).astype(np.float32)
        drawn = sample(pool.replaced(mapped), episodes, seed)
        query, support = (x.astype(np.float32, copy=False) for x in (drawn.query_x, drawn.support_x))
        distance = np.square(query[:, :, None] - support[:, None]).sum(-1)
        return np.take_along_axis(drawn.support_y, distance.argmin(-1), 1) == drawn.query_y


def pixels(images: Array) -> Floats:
    """Images ``[n, H, W]`` as vectors ``[n, H * W]``."""
    return images.reshape(len(images), -1).astype(np.float32) / 255


def sample(pool: FewShotSource, episodes: int, seed: int) -> Episodes:
    """The episodes; the same ones for pictures and for what stands for them."""
    made: Episodes = SHAPE.sample(pool, evaluation_rng(SHAPE, seed), episodes, "one_hot")
    return made


def rival(known: Pool, held: Pool) -> Discriminants:
    """The best number of components on validation characters ``held``."""
    tried = [Discriminants(known, components) for components in COMPONENTS]
    return max(tried, key=lambda one: float(one.correct(held, 500, 0).mean()))


def main() -> None:
    """Draw, train, test and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fonts", type=Path, default=Path("/usr/share/fonts"), help="default /usr/share/fonts")
    parser.add_argument("--out", type=Path, default=Path("runs/fonts"), help="default runs/fonts")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="default 0")
    parser.add_argument("--seconds", type=int, default=600, help="of training (default 600)")
    parser.add_argument("--episodes", type=int, default=1000, help="of the test (default 1000)")
    args = parser.parse_args()
    folder = args.out / "images"
    try:
        drawn = draw(folder, args.fonts)
    except MissingFonts as error:
        raise SystemExit(f"skipped: {error}") from None
    settings = (*SETTINGS, f"fit.seconds={args.seconds}", "data.source=images", f"data.folder={folder}")
    name = f"key-value-{args.seconds}"
    evaluations = train("key-value", name, args.seeds, settings, args.out, 1)
    keep(drawn, runs_of(args.out, name, args.seeds), evaluations, tuple(args.seeds), args.seconds, args.episodes)


def keep(
    drawn: Drawn, runs: list[Path], evaluations: list[Any], seeds: tuple[int, ...], seconds: int, episodes: int
) -> None:
    """Test the runs beside the rival, and write the row."""
    shares = []
    theirs: Any = None
    for path in runs:
        opened: Any = open_run(path)
        test = opened.experiment.source("test", [SHAPE])
        if theirs is None:
            data = opened.experiment.data
            known, held = (make_source(data, split, rotations=False) for split in MET)
            assert isinstance(known, Pool)
            assert isinstance(held, Pool)
            theirs = rival(known, held).correct(test, episodes, seed=0).mean(1)
        pool, answer = prepared(opened.model, test, episodes * SHAPE.images)
        shares.append(answer(sample(pool, episodes, seed=0)).mean(1))
    ours = np.mean(shares, 0)
    row = Row(
        setting=f"{drawn.characters} characters in {drawn.fonts} fonts each, unseen characters, 5-way 1-shot",
        method=f"key-value, {seconds} seconds of training",
        metric="accuracy % above PCA and LDA, same episodes",
        ours=100 * float((ours - theirs).mean()),
        se=100 * standard_error(ours - theirs),
        n_tasks=episodes,
        seeds=seeds,
        goal=(25.0, None) if seconds == 600 else (None, None),
        references={
            "key-value": round(100 * float(ours.mean()), 2),
            "PCA and LDA": round(100 * float(theirs.mean()), 2),
        },
        command=COMMAND if seconds == 600 else f"{COMMAND} --seconds {seconds}",
        train_seconds=max(one.train_seconds for one in evaluations),
        train_steps=evaluations[0].train_steps,
        commit=trained_at(*runs),
        parameters=evaluations[0].parameters,
        flags="the error is over episodes",
    )
    save(NAME, row)


if __name__ == "__main__":
    main()
