"""The tables of an agent's preset: how much is trained, what it makes of observations, and how it is evaluated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Gt

from metarl.experiments.rl.validation import VALIDATIONS
from metarl.tasks.vector.process import START_SECONDS


@dataclass(frozen=True)
class TrainOptions:
    """How much is trained.

    Args:
        total_timesteps: environment steps over all environments, rounded up to whole rollouts.
        n_envs: trials played side by side, in all processes that train together.
        n_steps: steps of each environment per rollout; left out: a whole trial.
        workers: processes that step the environments, for families that are slow to step; 0: none. The tasks do not
            depend on it. Each of several processes that train together has so many.
        worker_timeout: seconds in which a worker must answer.
        start_timeout: seconds in which a new worker must have imported what it needs.
        keep: which weights are kept: the last, or those with the highest return in a validation.
        validate_every: environment steps between two validations, after whole rollouts and at the end; left out: none,
            and a twentieth of the training where the best are kept.
    """

    total_timesteps: Annotated[int, Ge(1)]
    n_envs: Annotated[int, Ge(1)] = 256
    n_steps: Annotated[int, Ge(1)] | None = None
    workers: Annotated[int, Ge(0)] = 0
    worker_timeout: Annotated[float, Gt(0)] = 60.0
    start_timeout: Annotated[float, Gt(0)] = START_SECONDS
    keep: Literal["last", "best"] = "last"
    validate_every: Annotated[int, Ge(1)] | None = None

    @property
    def validates_every(self) -> int | None:
        """Environment steps between two validations; None: there are none."""
        if self.keep == "best" and self.validate_every is None:
            return max(1, self.total_timesteps // VALIDATIONS)
        return self.validate_every


@dataclass(frozen=True)
class PolicyOptions:
    """What the agent makes of observations.

    Args:
        normalise: which numbers are scaled by a running mean and variance: "auto", true or false; see
            :class:`metarl.nets.encoders.TrialEncoder`.
        encoder: of the user's own: ``"module:function"``, which makes a torch module from a space; left out: none.
    """

    normalise: bool | Literal["auto"] = "auto"
    encoder: str | None = None


@dataclass(frozen=True)
class EvalOptions:
    """How the agent is evaluated.

    Args:
        trials: held-out tasks, the same for every actor.
        tuning_trials: validation tasks on which the references' parameters are chosen.
        rows: trials played side by side.
        validation_trials: trials of a validation in training, of the same validation tasks every time.
    """

    trials: Annotated[int, Ge(1)] = 10_000
    tuning_trials: Annotated[int, Ge(1)] = 2_000
    rows: Annotated[int, Ge(1)] = 500
    validation_trials: Annotated[int, Ge(1)] = 1_000
