"""A trained agent as one that can be watched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from metarl.agents.rl2_room import policy_for
from metarl.config import ConfigError
from metarl.evaluation.watch import Watched
from metarl.experiments.rl.experiment import RL2Experiment
from metarl.tasks.family.distribution import TaskDistribution

if TYPE_CHECKING:
    from metarl.experiments.run import Run
    from metarl.types import Split

FRAMES = "rgb_array"


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
    family = experiment.make_distribution(split)
    if frames and renders(family):
        family = family.rendered(FRAMES)
    agent: Any = run.model
    policy = policy_for(agent, family.trial_steps, 1)
    seed = run.seed if seed is None else seed
    return Watched(policy, family, experiment.inputs, seed=seed, deterministic=deterministic)


def renders(family: TaskDistribution) -> bool:
    """Whether the environments of a family say that they can be rendered as arrays."""
    tasks = family.sample_batch(family.task_rng(0), 1)
    env = family.make({name: values[0] for name, values in tasks.items()})
    modes = env.metadata.get("render_modes", ())
    env.close()
    return FRAMES in modes
