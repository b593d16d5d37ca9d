"""A trained agent as one that can be watched."""

from __future__ import annotations

from typing import TYPE_CHECKING

from metarl.config import ConfigError
from metarl.evaluation.watch import Watched
from metarl.experiments.rl.experiment import RL2Experiment
from metarl.experiments.rl.film import player_of

if TYPE_CHECKING:
    from metarl.experiments.run import Run
    from metarl.types import Split


def watched(
    run: Run, *, split: Split = "test", seed: int | None = None, deterministic: bool = False, frames: bool = True
) -> Watched:
    """The agent of a run in trials of held-out tasks, one step at a time.

    Args:
        run: of an agent.
        split: validation or test.
        seed: of the tasks; None: that of the run.
        deterministic: take the most probable actions instead of sampling.
        frames: whether the environment is rendered, where it can be.

    Raises:
        ConfigError: it is no run of an agent.
    """
    experiment = run.experiment
    if not isinstance(experiment, RL2Experiment):
        remedy = "give the run of an agent; metarl classify uses few-shot learners, and metarl play shows them"
        raise ConfigError("only agents play trials", key="RUN", given=f"a {experiment.kind} run", remedy=remedy)
    seed = run.seed if seed is None else seed
    family, inputs = experiment.make_distribution(split), experiment.inputs
    return player_of(family, inputs, run.model, seed, deterministic=deterministic, frames=frames)
