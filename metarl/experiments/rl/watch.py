"""A trained agent as one that can be watched."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from metarl.agents.rl2_room import policy_for
from metarl.config import ConfigError
from metarl.evaluation.watch import Watched
from metarl.experiments.rl.experiment import RL2Experiment
from metarl.report.build import FILM_BYTES as BYTES
from metarl.report.film import film_frame
from metarl.report.movie import write_film
from metarl.tasks.family.distribution import TaskDistribution
from metarl.types import Bytes, Split

if TYPE_CHECKING:
    from metarl.experiments.run import Run

FRAMES = "rgb_array"
STEPS = 60  # of a trial in the moving picture of a report
FPS = 4  # of it
LEAST = 8  # frames that are not made fewer


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
    return _watched(experiment, run.model, seed, split, deterministic, frames)


def film_trial(experiment: RL2Experiment, agent: Any, seed: int, path: Path) -> bool:
    """Write the beginning of a test trial as a GIF that a page has room for; whether the family is drawn at all.

    Args:
        experiment: of the agent.
        agent: trained.
        seed: of the task.
        path: of the file.
    """
    player = _watched(experiment, agent, seed, "test", deterministic=False, frames=True)
    try:
        if player.env.render_mode is None:
            return False
        player.begin(0)
        frames: list[tuple[Bytes, bool]] = []
        while not player.over and len(frames) < STEPS:
            seen = player.step()
            frames.append((film_frame(seen, player.env.render()), player.over))
    finally:
        player.env.close()
    while True:
        frames[-1] = frames[-1][0], True  # it stays for a while
        write_film(frames, path, FPS)
        if path.stat().st_size <= BYTES or len(frames) < LEAST:
            return True
        frames = frames[: len(frames) // 2]


def _watched(
    experiment: RL2Experiment, agent: Any, seed: int, split: Split, deterministic: bool, frames: bool
) -> Watched:
    family = experiment.make_distribution(split)
    if frames and renders(family):
        family = family.rendered(FRAMES)
    policy = policy_for(agent, family.trial_steps, 1)
    return Watched(policy, family, experiment.inputs, seed=seed, deterministic=deterministic)


def renders(family: TaskDistribution) -> bool:
    """Whether the environments of a family say that they can be rendered as arrays."""
    tasks = family.sample_batch(family.task_rng(0), 1)
    env = family.make({name: values[0] for name, values in tasks.items()})
    modes = env.metadata.get("render_modes", ())
    env.close()
    return FRAMES in modes
