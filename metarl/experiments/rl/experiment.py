"""One run from its configuration: train an agent, and leave a run folder behind."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
from annotated_types import Ge
from tqdm import tqdm

from metarl.config import ConfigError, apply, build, choice, load_toml, to_plain
from metarl.envs import distribution, ids
from metarl.memory.options import MemoryOptions
from metarl.runs.folder import RunError, RunFolder
from metarl.runs.session import stop_signals, training_run
from metarl.runs.tracking import Tracker, WandbMode
from metarl.tasks.family.distribution import TaskDistribution
from metarl.tasks.family.members import import_modules
from metarl.tasks.trial.env import build as build_family
from metarl.tasks.trial.layout import INPUTS, TrialInputs
from metarl.tasks.vector.env import TrialVectorEnv
from metarl.training.ppo import PPOOptions
from metarl.types import Split

if TYPE_CHECKING:
    from metarl.agents.rl2 import RL2PPO


ENV_FAMILY = "metarl.tasks.family.env_family:EnvFamily"


@dataclass(frozen=True)
class TrainOptions:
    """How much is trained."""

    total_timesteps: Annotated[int, Ge(1)]
    """Environment steps over all environments, rounded up to whole rollouts."""
    n_envs: Annotated[int, Ge(1)] = 256
    """Trials played side by side."""
    n_steps: Annotated[int, Ge(1)] | None = None
    """Steps of each environment per rollout; left out: a whole trial."""
    threads: Annotated[int, Ge(1)] | None = None
    """Threads of torch; left out: as many as torch chooses. Part of what makes two runs equal."""
    workers: Annotated[int, Ge(0)] = 0
    """Processes that the environments are spread over, for families that are slow to step; 0: none. Which tasks are
    played does not depend on it."""


@dataclass(frozen=True)
class EvalOptions:
    """How the agent is evaluated."""

    trials: Annotated[int, Ge(1)] = 10_000
    """Held-out tasks, the same for every actor."""
    tuning_trials: Annotated[int, Ge(1)] = 2_000
    """Validation tasks on which the references' parameters are chosen."""
    rows: Annotated[int, Ge(1)] = 500
    """Trials played side by side."""


@dataclass(frozen=True)
class Experiment:
    """Everything that a run is made from."""

    env: dict[str, Any]
    """``id`` and the options of the family and of :class:`metarl.tasks.trial.layout.TrialInputs`.

    The id is one of this package's families, or one or several of Gymnasium's with the options of
    :class:`metarl.tasks.family.env_family.EnvFamily`; ``import`` names modules that register ids."""
    train: TrainOptions
    memory: MemoryOptions = field(default_factory=MemoryOptions)
    ppo: PPOOptions = field(default_factory=PPOOptions)
    eval: EvalOptions = field(default_factory=EvalOptions)
    about: str = ""
    """What the preset is for and what to expect of it."""

    def make_distribution(self, split: Split) -> TaskDistribution:
        """The family of tasks, drawing from ``split``."""
        return make_family({k: v for k, v in self.env.items() if k not in INPUTS}, split)

    @property
    def env_name(self) -> str:
        """The id, or all of them."""
        given = self.env["id"]
        return given if isinstance(given, str) else ", ".join(given)

    def make_env(self, split: Split, rows: int, workers: int = 0) -> TrialVectorEnv:
        """``rows`` trials of the family side by side, in ``workers`` processes if any."""
        inputs = build(TrialInputs, {k: v for k, v in self.env.items() if k in INPUTS}, "env")
        return TrialVectorEnv(self.make_distribution(split), rows, inputs=inputs, workers=workers)


def make_family(env: Mapping[str, Any], split: Split) -> TaskDistribution:
    """The family of an ``[env]`` table: one of this package, or that of an environment of Gymnasium's.

    Raises:
        ValueError: an unknown id or option, or a bad value.
    """
    options = {k: v for k, v in env.items() if k not in ("id", "import")}
    name, modules = _imported(env)
    if name in ids():
        return distribution(name, **options, split=split)
    if not isinstance(name, str | list | tuple) or str(name).startswith("metarl/"):
        choice(name, ids(), "env.id")
    return build_family(ENV_FAMILY, {"env": env["id"], "imports": modules, **options, "split": split}, INPUTS)


def is_family(env: Mapping[str, Any]) -> bool:
    """Whether the id of an ``[env]`` table names a family, and not a single environment."""
    return _imported(env)[0] in ids()


def _imported(env: Mapping[str, Any]) -> tuple[Any, tuple[str, ...]]:
    """The id without its module, and the modules of ``import``; all of them are imported."""
    given, modules = env["id"], env.get("import", ())
    modules = (modules,) if isinstance(modules, str) else tuple(modules)
    module, _, name = given.rpartition(":") if isinstance(given, str) else ("", "", given)
    import_modules((*modules, module) if module else modules)
    return name, modules


def presets() -> dict[str, Path]:
    """The presets that come with the package, by name."""
    folder = resources.files("metarl.presets")
    return {Path(str(f)).stem: Path(str(f)) for f in sorted(folder.iterdir(), key=str) if str(f).endswith(".toml")}


def configure(preset: str, assignments: Sequence[tuple[tuple[str, ...], Any]] = ()) -> Experiment:
    """The experiment of a preset (its name, or the path of a TOML file) with some settings changed.

    Raises:
        ConfigError: an unknown preset, key, name or value; one line.
    """
    known = presets()
    path = Path(preset) if preset.endswith(".toml") else known[choice(preset, known, "the preset")]
    return check(build(Experiment, apply(load_toml(path), assignments), path.stem))


def check(experiment: Experiment) -> Experiment:
    """Raise ConfigError if the environment or the agent can't be built; returns the experiment."""
    if "id" not in experiment.env:
        raise ConfigError("env.id is missing; metarl list envs shows what there is")
    if "split" in experiment.env:
        raise ConfigError("env.split is not a setting: training draws training tasks, eval --split chooses the others")
    try:
        make_agent(experiment, experiment.make_env("train", 1, min(experiment.train.workers, 1)), seed=0)
    except ConfigError:
        raise
    except (TypeError, ValueError, MemoryError) as error:
        raise ConfigError(f"env: {error}") from None
    return experiment


def make_agent(experiment: Experiment, env: TrialVectorEnv, seed: int) -> RL2PPO:
    """The untrained agent."""
    from metarl.agents.rl2 import RL2PPO

    return RL2PPO(
        "MemoryPolicy",
        env,
        memory=experiment.memory,
        n_steps=experiment.train.n_steps,
        seed=seed,
        device="cpu",
        **to_plain(experiment.ppo),
    )


def load_experiment(run: RunFolder) -> tuple[Experiment, int]:
    """The experiment and the seed of a run folder.

    Raises:
        RunError, ConfigError: config.json is damaged, or of a few-shot learner.
    """
    config = dict(run.config)
    if "fit" in config:
        raise RunError(f"{run.path} is a run of a few-shot learner; use metarl fewshot eval {run.path}")
    try:
        seed = int(config.pop("seed"))
    except (KeyError, TypeError, ValueError):
        raise RunError(f"{run.path} has no seed in its config.json; it is damaged or no run of this package") from None
    return check(build(Experiment, config, f"{run.path}: config")), seed


@dataclass(frozen=True)
class Trained:
    """What :func:`train` made."""

    agent: RL2PPO
    seconds: float
    steps: int
    signal: int | None
    """The signal that ended training early, or None."""


def train(
    experiment: Experiment,
    run: RunFolder,
    *,
    seed: int,
    wandb: WandbMode = "disabled",
    quiet: bool = False,
    conclude: Callable[[Trained, Tracker], None] = lambda trained, tracker: None,
) -> Trained:
    """Train in ``run``: metrics, checkpoint and status are written there, also when it is interrupted or fails.

    ``conclude`` is called with what was trained, unless that was interrupted, while the run is still tracked.
    """
    from metarl.agents.rl2_env import tracking_logger

    if experiment.train.threads:
        torch.set_num_threads(experiment.train.threads)
    config = to_plain(experiment) | {"seed": seed}
    with (
        closing(experiment.make_env("train", experiment.train.n_envs, experiment.train.workers)) as env,
        training_run(run, config, wandb, experiment.env_name) as under_way,
    ):
        agent = make_agent(experiment, env, seed)
        agent.set_logger(tracking_logger(under_way.tracker))
        total, began = experiment.train.total_timesteps, time.perf_counter()
        bar = tqdm(total=total, unit="step", unit_scale=True, disable=quiet or None)
        with stop_signals(agent.interrupt) as signals, bar:

            def on_step(local: Mapping[str, Any], _: Mapping[str, Any]) -> bool:
                bar.update(min(agent.num_timesteps, total) - bar.n)
                if local["dones"].any() and agent.ep_info_buffer:  # none yet where all that ended were void
                    mean = np.mean([info["r"] for info in agent.ep_info_buffer])
                    bar.set_description(f"training, return {mean:.2f}", refresh=False)
                return True

            agent.learn(total, callback=on_step)
            seconds = time.perf_counter() - began
            agent.save(run.checkpoint)
        under_way.ended(signals)
        trained = Trained(agent, seconds, agent.num_timesteps, signals[0] if signals else None)
        if not signals:
            conclude(trained, under_way.tracker)
        return trained


def load_agent(run: RunFolder, experiment: Experiment) -> RL2PPO:
    """The trained agent of a run folder.

    Raises:
        CheckpointError, RunError: the checkpoint is missing, damaged, or of an agent for other environments.
    """
    from metarl.agents.rl2 import RL2PPO

    agent = RL2PPO.load(run.checkpoint, device="cpu")
    layout = experiment.make_env("test", 1).layout
    if (agent.observation_space, agent.action_space) != (layout.observation_space, layout.action_space):
        raise RunError(
            f"{run.path} is damaged: its checkpoint sees {agent.observation_space} and chooses from "
            f"{agent.action_space}, but its config.json makes other environments"
        )
    return agent
