"""Validation of an agent in training: how it does on validation tasks, and the weights that did best."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from annotated_types import Ge
from torch import Tensor

from metarl import parallel
from metarl.agents.rl2_room import policy_for
from metarl.config import build
from metarl.evaluation.play import VoidTrial, rollout_trials
from metarl.functional.stats import standard_error
from metarl.runs.session import Saved
from metarl.seeding import sequence, split_key
from metarl.tasks.vector.env import TrialVectorEnv
from metarl.training.actor import PolicyActor
from metarl.training.best import Best
from metarl.training.checkpoint import check_tensors
from metarl.types import Actor, Array, Ints, TrialObservation

if TYPE_CHECKING:
    from metarl.agents.rl2 import RL2PPO

VALIDATIONS = 20  # in a training whose best model is kept, where nothing else is said
GROUP = "best"  # of tensors in a checkpoint of training


@dataclass(frozen=True, kw_only=True)
class Validated:
    """What a checkpoint of training says of validation, beside the best weights.

    Args:
        step: of the last validation.
        best_step: of the best one; None: none was.
        best_score: its mean return.
    """

    step: Annotated[int, Ge(0)] = 0
    best_step: Annotated[int, Ge(0)] | None = None
    best_score: float | None = None


class _Ended(Exception):
    """Training was stopped within a validation."""


class _Stoppable:
    """An actor that plays until training is stopped."""

    def __init__(self, actor: Actor, stopped: Callable[[], bool]) -> None:
        self.actor, self.stopped = actor, stopped

    def reset(self, n: int, rng: np.random.Generator) -> None:
        """See :class:`metarl.types.Actor`."""
        self.actor.reset(n, rng)

    def act(self, obs: TrialObservation, boundary: Ints) -> Array:
        """See :class:`metarl.types.Actor`."""
        if self.stopped():
            raise _Ended
        return self.actor.act(obs, boundary)


class AgentValidator:
    """Plays validation tasks every so often, always the same ones, with random streams that training has no part in.

    Where several processes train together, the first plays, and all go by what it found.

    Args:
        agent: in training.
        make_env: makes trials of validation tasks, given how many.
        every: environment steps between two validations.
        trials: of a validation.
        rows: trials played side by side.
        seed: of the run.
        keep: whether the best weights are kept.
        stopped: whether training is to end at once.
        saved: the checkpoint that training goes on from; None: it begins.

    Raises:
        ConfigError, CheckpointError: the checkpoint doesn't fit.
    """

    def __init__(
        self,
        agent: RL2PPO,
        make_env: Callable[[int], TrialVectorEnv],
        *,
        every: int,
        trials: int,
        rows: int,
        seed: int,
        keep: bool,
        stopped: Callable[[], bool],
        saved: Saved | None,
    ) -> None:
        self.agent, self.make_env, self.every, self.trials, self.rows = agent, make_env, every, trials, rows
        self.seed = int(sequence(seed, "evaluation", split_key("validation"), 0).generate_state(1)[0])
        self.keep, self.stopped = keep, stopped
        self.step, self.best = 0, Best()
        if saved is not None:
            known = build(Validated, saved.meta["session"].get("validation", {}), "session.validation")
            self.step = known.step
            if known.best_step is not None and known.best_score is not None:
                tensors = dict(saved.groups[GROUP])
                check_tensors(tensors, agent.policy.state_dict(), "the best weights")
                self.best = Best(known.best_step, known.best_score, tensors)

    def due(self) -> bool:
        """Whether as many steps were made that it is time for the next validation."""
        return self.agent.num_timesteps // self.every > self.step // self.every

    def validate(self) -> dict[str, float]:
        """Play, and keep the weights if they are the best so far.

        Returns:
            What the metrics get; nothing where training was stopped meanwhile, or an environment failed, which is told
            in a UserWarning.
        """
        step, policy = self.agent.num_timesteps, self.agent.policy
        row = parallel.from_first(self._play)
        if row is None:
            return {}
        self.step = step
        if self.keep and row:
            self.best.offer(step, row["validation/return"], policy.state_dict)
        return row

    def _play(self) -> dict[str, float] | None:
        """What the metrics get; nothing where an environment failed, None where training was stopped."""
        policy = self.agent.policy
        training = policy.training
        policy.train(False)
        try:
            with ExitStack() as made:

                def make(rows: int) -> TrialVectorEnv:
                    env = self.make_env(rows)
                    made.callback(env.close)
                    return env

                rows = min(self.rows, self.trials)
                longest = policy_for(self.agent, make(1).trial_steps, rows)
                actor = _Stoppable(PolicyActor(longest), self.stopped)
                returns = rollout_trials(actor, make, self.trials, seed=self.seed, rows=rows).returns
        except _Ended:
            return None
        except VoidTrial as error:
            step = self.agent.num_timesteps
            warnings.warn(f"the validation after {step:,} steps is left out: {error}", stacklevel=4)
            return {}
        finally:
            policy.train(training)
        return {"validation/return": float(returns.mean()), "validation/return_se": float(standard_error(returns))}

    def meta(self) -> dict[str, Any]:
        """Plain data for a checkpoint: the fields of :class:`Validated`."""
        known = {} if self.best.step is None else {"best_step": self.best.step, "best_score": self.best.score}
        return {"step": self.step, **known}

    def groups(self) -> Mapping[str, Mapping[str, Tensor]]:
        """Tensors ``[...]`` for a checkpoint."""
        return {} if self.best.step is None else {GROUP: self.best.tensors}

    def restore_best(self) -> int | None:
        """Give the agent the best weights, if any were kept, and the number of steps after which it had them.

        Returns:
            That number; None: the agent stays as it is.
        """
        if self.best.step is not None:
            self.agent.policy.load_state_dict(self.best.tensors)
            self.agent.num_timesteps = self.best.step
        return self.best.step
