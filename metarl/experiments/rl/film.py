"""An agent that plays trials step by step, and the animation of one for a report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from metarl.agents.rl2_room import policy_for
from metarl.evaluation.watch import Watched
from metarl.report.build import FILM_BYTES as BYTES
from metarl.report.film import film_frame
from metarl.report.movie import write_film
from metarl.tasks.family.distribution import TaskDistribution
from metarl.tasks.trial.layout import TrialInputs
from metarl.types import Bytes

FRAMES = "rgb_array"
STEPS = 60  # of a trial in the animation of a report
FPS = 4  # of it
LEAST = 8  # frames that are not made fewer


def film_trial(family: TaskDistribution, inputs: TrialInputs, agent: Any, seed: int, path: Path) -> bool:
    """Write the beginning of a trial as a GIF that a page has room for; whether the family is drawn at all.

    Args:
        family: of the tasks.
        inputs: what the agent sees beside the observation.
        agent: trained.
        seed: of the task.
        path: of the file.
    """
    player = player_of(family, inputs, agent, seed)
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


def player_of(
    family: TaskDistribution,
    inputs: TrialInputs,
    agent: Any,
    seed: int,
    *,
    deterministic: bool = False,
    frames: bool = True,
) -> Watched:
    """An agent that plays trials of a family one step at a time.

    Args:
        family: of the tasks.
        inputs: what the agent sees beside the observation.
        agent: trained.
        seed: of the tasks.
        deterministic: take the most probable actions instead of sampling.
        frames: whether the environment is rendered, where it can be.
    """
    if frames and renders(family):
        family = family.rendered(FRAMES)
    policy = policy_for(agent, family.trial_steps, 1)
    return Watched(policy, family, inputs, seed=seed, deterministic=deterministic)


def renders(family: TaskDistribution) -> bool:
    """Whether the environments of a family say that they can be rendered as arrays."""
    tasks = family.sample_batch(family.task_rng(0), 1)
    env = family.make({name: values[0] for name, values in tasks.items()})
    modes = env.metadata.get("render_modes", ())
    env.close()
    return FRAMES in modes
