"""RL² agents as experiments: a family of tasks, a memory, PPO, and how the agent is evaluated."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Self

import numpy as np
import torch
from annotated_types import Ge

from metarl import parallel
from metarl.config import ConfigError, InputError, build, choice, to_plain
from metarl.envs import distribution, ids
from metarl.evaluation.records import TRIALS
from metarl.evaluation.results import AgentEvaluation
from metarl.evaluation.trace import record
from metarl.experiments.base import Experiment, config_errors
from metarl.experiments.rl.evaluate import evaluate
from metarl.experiments.rl.options import EvalOptions, PolicyOptions, TrainOptions
from metarl.experiments.rl.validation import VALIDATIONS, AgentValidator
from metarl.memory.options import MemoryOptions
from metarl.runs.session import Session
from metarl.tasks.check.effect import without_effect
from metarl.tasks.family.code import as_callable, import_modules, module_of, not_allowed
from metarl.tasks.family.distribution import TaskDistribution
from metarl.tasks.family.split_family import SplitFamily, from_env
from metarl.tasks.trial.env import build as build_family
from metarl.tasks.trial.layout import INPUTS, TrialInputs
from metarl.tasks.vector.env import TrialVectorEnv
from metarl.training.actor import PolicyActor
from metarl.training.checkpoint import CheckpointError
from metarl.training.imitation import ImitationOptions
from metarl.training.ppo import PPOOptions
from metarl.training.resume import restoring
from metarl.types import SPLITS, Array, Split

if TYPE_CHECKING:
    from metarl.agents.rl2 import RL2PPO

ENV_FAMILY = "metarl.tasks.family.env_family:EnvFamily"
GRACE = 5.0  # seconds in which a rollout and update under way may end by themselves when training is stopped
RECORDED = 4  # trials that are recorded step by step


@dataclass(frozen=True, kw_only=True)
class RL2Experiment(Experiment):
    """An RL² agent trained on a family of tasks.

    Args:
        env: ``id`` and the options of the family and of :class:`metarl.tasks.trial.layout.TrialInputs`. The id is one
            of this package's families, or one or several of Gymnasium's with the options of
            :class:`metarl.tasks.family.env_family.EnvFamily`; ``import`` names modules that register ids. The tables
            ``train``, ``validation`` and ``test`` are those of :func:`metarl.tasks.family.split_family.from_env`.
        threads: one by default: the nets are small, so more threads gain little, and beside other work they wait for
            each other.
    """

    kind: ClassVar[str] = "rl2"
    axis: ClassVar[str] = "env_steps"
    unit: ClassVar[str] = "steps"
    records: ClassVar[str | None] = TRIALS
    weights: ClassVar[str] = "policy"
    validation: ClassVar[str] = "validation/return"

    env: dict[str, Any]
    train: TrainOptions
    memory: MemoryOptions = field(default_factory=MemoryOptions)
    ppo: PPOOptions = field(default_factory=PPOOptions)
    imitation: ImitationOptions = field(default_factory=ImitationOptions)
    policy: PolicyOptions = field(default_factory=PolicyOptions)
    eval: EvalOptions = field(default_factory=EvalOptions)
    threads: Annotated[int, Ge(1)] | None = 1

    @property
    def env_name(self) -> str:
        """The id, or all of them."""
        given = self.env["id"]
        return given if isinstance(given, str) else ", ".join(given)

    @property
    def inputs(self) -> TrialInputs:
        """What the agent sees beside the observation."""
        return build(TrialInputs, {k: v for k, v in self.env.items() if k in INPUTS}, "env")

    def not_allowed(self, allowed: Container[str]) -> list[str]:
        """See :class:`Experiment`."""
        tables = self.env, to_plain(self.policy)
        return list(dict.fromkeys(name for table in tables for name in not_allowed(table, allowed)))

    def describe(self) -> str:
        """See :class:`Experiment`."""
        return f"environment: {self.env_name}"

    def make_distribution(self, split: Split) -> TaskDistribution:
        """The family of tasks, drawing from ``split``."""
        return make_family({k: v for k, v in self.env.items() if k not in INPUTS}, split)

    def make_env(self, split: Split, rows: int, workers: int = 0) -> TrialVectorEnv:
        """Trials of the family side by side.

        Args:
            split: that tasks are drawn from.
            rows: how many trials.
            workers: processes that step them; 0: none.
        """
        return TrialVectorEnv(
            self.make_distribution(split),
            rows,
            inputs=self.inputs,
            workers=workers,
            worker_timeout=self.train.worker_timeout,
            start_timeout=self.train.start_timeout,
        )

    def check(self) -> Self:
        """See :class:`Experiment`."""
        if "id" not in self.env:
            raise ConfigError(key="env.id", remedy="metarl list envs shows the ids")
        if "split" in self.env:
            remedy = "leave it out: training draws training tasks, and eval has --split"
            raise ConfigError("env.split can't be set", key="env.split", given=self.env["split"], remedy=remedy)
        from metarl.agents.rl2_learn import check_memory
        from metarl.evaluation.play import check_trials

        small = replace(self, train=replace(self.train, n_envs=1, workers=min(self.train.workers, 1)))
        with config_errors("env", TypeError, MemoryError):
            agent = small.build(0, torch.device("cpu"))
            try:
                steps = self.train.n_steps or agent.trial_steps
                check_memory(agent, self.train.n_envs, steps or 1)
            finally:
                close(agent)
        check_trials(self.eval.trials, agent.trial_steps or steps or 1, "eval.trials")
        return self

    @property
    def validates_every(self) -> int | None:
        """See :class:`Experiment`."""
        return self.train.validates_every

    def validating(self) -> Self:
        """See :class:`Experiment`; as often as where the best weights are kept."""
        if self.validates_every is not None:
            return self
        every = max(1, self.train.total_timesteps // VALIDATIONS)
        return replace(self, train=replace(self.train, validate_every=every))

    @property
    def planned(self) -> int | None:
        """See :class:`Experiment`."""
        return self.train.total_timesteps

    def share(self, processes: int) -> Self:
        """See :class:`Experiment`."""
        rows, rest = divmod(self.train.n_envs, processes)
        if processes > 1 and (rest or rows % self.ppo.n_minibatches):
            expected = f"a multiple of {processes} x {self.ppo.n_minibatches}: processes times ppo.n_minibatches"
            raise ConfigError(key="train.n_envs", given=self.train.n_envs, expected=expected)
        return replace(self, train=replace(self.train, n_envs=rows))

    def build(self, seed: int, device: torch.device) -> RL2PPO:
        """See :class:`Experiment`; the agent holds its training environment."""
        from metarl.agents.rl2 import RL2PPO

        return RL2PPO(
            "MemoryPolicy",
            self.make_env("train", self.train.n_envs, self.train.workers),
            memory=self.memory,
            n_steps=self.train.n_steps,
            seed=seed,
            device=device,
            normalise=self.policy.normalise,
            encoder=self._encoder,
            imitation=self.imitation,
            **to_plain(self.ppo),
        )

    @property
    def _encoder(self) -> Callable[..., Any] | None:
        return None if self.policy.encoder is None else as_callable("policy.encoder", self.policy.encoder)

    def learn(self, model: RL2PPO, session: Session) -> int:
        """See :class:`Experiment`."""
        from metarl.agents import rl2_checkpoint
        from metarl.agents.rl2_env import Watch, tracking_logger

        family = self.make_distribution("train")
        for name in without_effect(family.now if isinstance(family, SplitFamily) else family):
            warnings.warn(
                f"{name} varies from task to task but changes nothing that is seen or paid; see metarl check-env",
                stacklevel=2,
            )
        model.set_logger(tracking_logger(session.tracker))
        with restoring("the saved training"):
            if session.saved is not None:
                rl2_checkpoint.restore(model, *session.saved, "the saved training")
            validator = self._validator(model, session)
        total, done = self.train.total_timesteps, model.num_timesteps
        timer = threading.Timer(GRACE, model.interrupt)  # a rollout that is cut short can't be continued
        timer.daemon = True
        on_stop = timer.start if parallel.size() == 1 else lambda: None  # else all stop between two rollouts
        with session.stoppable(on_stop), session.progress(total, "step", done) as progress:

            def on_step(local: Mapping[str, Any]) -> bool:
                progress.reach(min(model.num_timesteps, total))
                if local["dones"].any() and model.ep_info_buffer:  # empty while all trials that ended were void
                    mean = np.mean([info["r"] for info in model.ep_info_buffer])
                    progress.show({"return": f"{mean:.2f}"})
                return True

            def write(path: Path, now: dict[str, Any]) -> None:
                known = {} if validator is None else {"validation": validator.meta()}
                rl2_checkpoint.save(model, path, validator.groups() if validator else None, session={**now, **known})

            def between(last: bool = False) -> None:
                if validator is not None and (validator.due() or (last and validator.step < model.num_timesteps)):
                    row = validator.validate()
                    if row:
                        session.validated(row, step=model.num_timesteps)
                session.save_due(model.num_timesteps, write)
                if session.agree_to_stop():
                    model.interrupt()

            try:
                if done < total:
                    with warnings.catch_warnings():
                        if done:  # the rest may be less than a rollout, which is no news
                            warnings.filterwarnings("ignore", r".* steps were asked for")
                        model.learn(total - done, Watch(on_step, between), reset_num_timesteps=not done)
                steps = model.num_timesteps
                if validator is not None:
                    if not session.agree_to_stop():  # else the last rollout or update may be cut short
                        between(last=True)
                    kept = validator.restore_best()
                    session.facts |= {} if kept is None else {"kept_step": kept}
            finally:
                timer.cancel()
                close(model)
        return steps

    def _validator(self, agent: RL2PPO, session: Session) -> AgentValidator | None:
        """What validates the agent in training, if anything does."""
        if (every := self.train.validates_every) is None:
            return None
        return AgentValidator(
            agent,
            lambda rows: self.make_env("validation", rows),
            every=every,
            trials=self.eval.validation_trials,
            rows=self.eval.rows,
            seed=session.seed,
            keep=self.train.keep == "best",
            stopped=lambda: session.stopped,
            saved=session.saved,
        )

    def evaluate(
        self,
        model: RL2PPO,
        *,
        split: Split = "test",
        n: int | None = None,
        seed: int = 0,
        quiet: bool = False,
        alone: bool = False,
    ) -> AgentEvaluation:
        """See :class:`Experiment`; ``n`` counts trials."""
        done = evaluate(
            model,
            self.make_distribution(split),
            inputs=self.inputs,
            split=split,
            trials=self.eval.trials if n is None else n,
            tuning_trials=self.eval.tuning_trials,
            rows=self.eval.rows,
            seed=seed,
            quiet=quiet,
            alone=alone,
        )
        return replace(done, env=self.env_name, env_options={k: v for k, v in self.env.items() if k != "id"})

    def record(self, model: RL2PPO, seed: int) -> Mapping[str, Array]:
        """See :class:`Experiment`."""
        from metarl.agents.rl2_room import policy_for

        policy = policy_for(model, self.make_distribution("test").trial_steps, RECORDED)
        return record(PolicyActor(policy), policy.core, partial(self.make_env, "test"), RECORDED, seed=seed)

    def film(self, model: RL2PPO, seed: int, path: Path) -> bool:
        """See :class:`Experiment`; of this package's families alone, which need no display and no other package."""
        from metarl.experiments.rl.film import film_trial

        return self.env_name in ids() and film_trial(self.make_distribution("test"), self.inputs, model, seed, path)

    def save(self, model: RL2PPO, path: Path) -> None:
        """See :class:`Experiment`."""
        model.save(path)

    def load(self, path: Path, device: torch.device) -> RL2PPO:
        """See :class:`Experiment`."""
        from metarl.agents.rl2 import RL2PPO

        replace(self, imitation=ImitationOptions()).check()  # the expert need not be there any more
        agent = RL2PPO.load(path, device=device, encoder=self._encoder)
        layout = self.make_env("test", 1).layout
        if (agent.observation_space, agent.action_space) != (layout.observation_space, layout.action_space):
            raise CheckpointError(
                f"{path} holds an agent that observes {agent.observation_space} and chooses from "
                f"{agent.action_space}, but its environment has {layout.observation_space} and {layout.action_space}: "
                "config.json is damaged, or env was set to tasks of other spaces; leave that setting out"
            )
        return agent


def close(agent: RL2PPO) -> None:
    """Close the agent's environment and its processes."""
    if agent.env is not None:
        agent.env.close()


def make_family(env: Mapping[str, Any], split: Split) -> TaskDistribution:
    """The family of an ``[env]`` table: one of this package, or that of an environment of Gymnasium's.

    Raises:
        ValueError: an unknown id or option, or a bad value.
    """
    options = {k: v for k, v in env.items() if k not in ("id", "import")}
    name, modules = _imported(env)
    if name in ids():
        if others := [split for split in SPLITS if split in options]:
            problem, remedy = f"{name} has no {others[0]} tasks but those of its prior", "leave them out"
            raise InputError(problem, key=f"env.{others[0]}", given=options[others[0]], remedy=remedy)
        return distribution(name, **options, split=split)
    if not isinstance(name, str | list | tuple) or str(name).startswith("metarl/"):
        choice(name, ids(), "env.id")
    own = {split: options.pop(split) for split in SPLITS if split in options}
    family = {"env": env["id"], "imports": modules, **options, "split": split}
    return from_env(**family, **own) if own else build_family(ENV_FAMILY, family, INPUTS)


def _imported(env: Mapping[str, Any]) -> tuple[Any, tuple[str, ...]]:
    """The id without its module, and the modules of ``import``; all of them are imported."""
    given, modules = env["id"], env.get("import", ())
    modules = (modules,) if isinstance(modules, str) else tuple(modules)
    texts = [one for one in (given if isinstance(given, list | tuple) else [given]) if isinstance(one, str)]
    import_modules([*modules, *filter(None, map(module_of, texts))])
    return given.rpartition(":")[2] if isinstance(given, str) else given, modules
