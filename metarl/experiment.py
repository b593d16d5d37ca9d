"""One run from its configuration: train an agent, evaluate it on held-out tasks, and leave a run folder behind."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import torch
from annotated_types import Ge
from gymnasium import spaces
from tqdm import tqdm

from metarl.agents import baselines
from metarl.config import ConfigError, apply, build, choice, load_toml, to_plain
from metarl.envs import distribution, ids
from metarl.functional.stats import bootstrap_mean, standard_error
from metarl.memory.ablation import ABLATIONS, Ablation, ablated
from metarl.memory.options import MemoryOptions
from metarl.report import trials as kept
from metarl.runs import RunError, RunFolder, write_json_atomic
from metarl.tasks.distribution import TaskDistribution
from metarl.tasks.layout import INPUTS, TrialInputs
from metarl.tasks.members import import_modules
from metarl.tasks.priors import Prior
from metarl.tasks.trial import build as build_family
from metarl.tasks.vector import TrialVectorEnv
from metarl.tracking import Tracker, WandbMode, make_tracker
from metarl.training.evaluate import Played, play, steps_to_adapt
from metarl.training.ppo import PPOOptions
from metarl.training.record import record
from metarl.types import Actor, Array, Split

if TYPE_CHECKING:
    from metarl.agents.rl2 import RL2PPO


ENV_FAMILY = "metarl.tasks.from_env:EnvFamily"
GREEDY = ("return_mean", "return_se", "return_interval", "steps_to_adapt")
"""What is kept of playing greedily."""


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
    """``id`` and the options of the family and of :class:`metarl.tasks.layout.TrialInputs`.

    The id is one of this package's families, or one or several of Gymnasium's with the options of
    :class:`metarl.tasks.from_env.EnvFamily`; ``import`` names modules that register ids."""
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
        RunError, ConfigError: config.json is damaged.
    """
    config = dict(run.config)
    try:
        seed = int(config.pop("seed"))
    except (KeyError, TypeError, ValueError):
        raise RunError(f"{run.path} has no seed in its config.json; it is damaged or no run of this package") from None
    return check(build(Experiment, config, f"{run.path}: config")), seed


@contextmanager
def stop_signals(stop: Callable[[], None]) -> Iterator[list[int]]:
    """Within, SIGINT and SIGTERM call ``stop`` and are noted in the list, instead of ending the process."""
    noted: list[int] = []

    def note(number: int, frame: object) -> None:
        noted.append(number)
        stop()

    old = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield noted
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


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
    from metarl.agents.rl2 import tracking_logger

    if experiment.train.threads:
        torch.set_num_threads(experiment.train.threads)
    env = experiment.make_env("train", experiment.train.n_envs, experiment.train.workers)
    config = to_plain(experiment) | {"seed": seed}
    run.start(config)
    tracker = make_tracker(run.path, wandb, config, name=run.path.name, group=experiment.env_name)
    status: Any = "failed"
    try:
        agent = make_agent(experiment, env, seed)
        agent.set_logger(tracking_logger(tracker))
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
        tracker.log_artifact(run.checkpoint, "checkpoint", "model")
        status = "interrupted" if signals else "finished"
        trained = Trained(agent, seconds, agent.num_timesteps, signals[0] if signals else None)
        run.set_status(status)
        if not signals:
            conclude(trained, tracker)
        return trained
    finally:
        env.close()
        run.set_status(status)
        tracker.finish(status)


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


def summary(played: Played) -> dict[str, Any]:
    """What an evaluation says of one actor: plain numbers."""
    returns, episodes = played.returns, played.by_episode()
    interval = bootstrap_mean(returns)
    count = np.sum(~np.isnan(episodes), 0)
    result: dict[str, Any] = {
        "return_mean": interval.mean,
        "return_se": standard_error(returns),
        "return_interval": [interval.low, interval.high],
        "by_episode": np.nanmean(episodes, 0).tolist(),
        "by_episode_se": (np.nanstd(episodes, 0) / np.sqrt(count)).tolist(),
    }
    if played.equal_lengths and (steps := steps_to_adapt(played.rewards)) is not None:
        result["steps_to_adapt"] = steps
    exposures = played.by_exposure()
    if exposures is not None:
        result["by_exposure"] = exposures.tolist()
    return result


def evaluate(
    agent: RL2PPO,
    experiment: Experiment,
    *,
    split: Split = "test",
    trials: int | None = None,
    seed: int = 0,
    quiet: bool = False,
) -> dict[str, Any]:
    """Play held-out tasks with the agent, its ablations and the references, all on the same tasks.

    The headline samples actions, as in training; ``greedy`` takes the most probable one.

    Raises:
        ValueError: ``split`` is "train".
    """
    trials = experiment.eval.trials if trials is None else trials
    family = experiment.make_distribution(split)
    rows = min(experiment.eval.rows, trials)
    prior = None if family.reveal else family.prior
    tuned = tune(experiment, prior, seed) if prior else {}
    references: dict[str, Callable[[], Actor]] = {}
    if not family.reveal:
        references["random"] = partial(baselines.Random, family.action_space)
        references |= baselines.references(prior, tuned) if prior else {}
    names = ablations(agent, family)
    with tqdm(unit="trial", unit_scale=True, disable=quiet or None) as bar:
        bar.total = trials * (2 + len(names) + len(references))

        def run(name: str, actor: Actor) -> Played:
            bar.set_description(f"evaluating {name}", refresh=False)
            on_batch = partial(advance, bar, int(bar.n))
            return play(actor, lambda n: experiment.make_env(split, n), trials, seed=seed, rows=rows, on_batch=on_batch)

        sampled = run("agent", agent.actor())
        greedy = run("agent, greedy", agent.actor(deterministic=True))
        if sampled.ends.all():  # where every step is an episode, memory that is emptied so often is memory off
            names = [name for name in names if name not in ("episode", "step")]
        elif not hasattr(agent.policy.core, "access"):  # without a store, "off" and "episode" are the same
            names.remove("off")
        bar.total = trials * (2 + len(names) + len(references))
        without: dict[str, Played] = {}
        for name in names:
            with ablated(agent.policy.core, name):
                without[name] = run(name, agent.actor())
        played = {name: run(name, make()) for name, make in references.items()}
    result: dict[str, Any] = {
        "env": experiment.env_name,
        "env_options": {k: v for k, v in experiment.env.items() if k != "id"},
        "split": split,
        "in_distribution": family.in_distribution,
        "trials": trials,
        "seed": seed,
        "steps_per_trial": family.trial_steps,
        **summary(sampled),
        **{f"greedy_{k}": v for k, v in summary(greedy).items() if k in GREEDY},
        "references": {name: summary(one) for name, one in played.items()},
        "tuned": tuned,
        "ceilings": ceilings(family),
        "ablations": {name: summary(one) for name, one in without.items()},
    }
    for name, entry in result["references"].items():
        difference = bootstrap_mean(sampled.returns - played[name].returns)
        entry["agent_minus"] = {"mean": difference.mean, "interval": [difference.low, difference.high]}
    return result


def advance(bar: tqdm[Any], start: int, done: int) -> None:
    """Move a bar to ``done`` beyond ``start``."""
    bar.update(start + done - bar.n)


def tune(experiment: Experiment, prior: Prior, seed: int) -> dict[str, float]:
    """The references' parameters that do best on validation tasks."""

    def on_validation(actor: Actor) -> float:
        trials = experiment.eval.tuning_trials
        return float(play(actor, lambda n: experiment.make_env("validation", n), trials, seed=seed).returns.mean())

    return baselines.tune(prior, on_validation)


def ablations(agent: RL2PPO, family: TaskDistribution) -> list[Ablation]:
    """What can be taken from the agent; keys are shuffled where there are several contexts to shuffle them among."""
    one_context = isinstance(family.observation_space, spaces.Discrete) and family.observation_space.n == 1
    shuffles = hasattr(agent.policy.core, "access") and not one_context
    return [name for name in ABLATIONS if name != "shuffled" or shuffles]


def ceilings(family: TaskDistribution) -> dict[str, float]:
    """Exact values for the family; none where none is claimed."""
    if family.prior is None or getattr(family.prior, "each_arm_best_once", False):
        return {}
    return baselines.ceilings(family.prior)


def save_evaluation(run: RunFolder, evaluation: Mapping[str, Any]) -> None:
    """Write the evaluation on test tasks into the run folder, where the report finds it."""
    write_json_atomic(run.evaluation, evaluation)


def record_trials(
    agent: RL2PPO, experiment: Experiment, *, split: Split = "test", seed: int = 0, n: int = 4
) -> dict[str, Array]:
    """Play ``n`` held-out trials and keep them step by step; see :func:`metarl.training.record.record`."""
    return record(agent.actor(), agent.policy.core, lambda rows: experiment.make_env(split, rows), n, seed=seed)


def save_trials(run: RunFolder, trials: Mapping[str, Array]) -> None:
    """Write recorded trials of test tasks into the run folder, where the report finds them."""
    kept.save(kept.path_of(run), trials)
