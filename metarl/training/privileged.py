"""What training may be told and no test ever is: expected rewards, the task for the critic, an expert's actions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from annotated_types import Ge, Gt, Le
from torch import Tensor

from metarl.config import ConfigError
from metarl.nets.heads import Head, trial_numbers
from metarl.types import Actor, Array, Bools, Boundary, Floats, Ints, NonFiniteError, TrialObservation

UNTIL, WEIGHT = 0.3, 1.0


@dataclass(frozen=True)
class PrivilegeOptions:
    """What training is told beside what the agent sees; all of it is off by default, and absent at test.

    Args:
        expected_rewards: advantage estimates learn from the mean of what an action pays in this task, in place of the
            sample that was drawn. Observed and reported rewards stay the samples.
        told_critic: the critic is told the task beside what the core puts out (an asymmetric critic, Pinto et al.
            2018); the policy is not.
        imitate: an expert that says what it would do in the agent's own place, with the agent's own past, in the first
            phase of training (after DAgger, Ross et al. 2011); its action's cross-entropy joins the loss. It is a
            reference that the family has, such as "Gittins" or "PSRL", or the folder (or checkpoint) of a run that was
            trained with ``env.reveal=true``, which is told the task. None: nobody. The expert begins with each rollout,
            so that a trial that began before it is not imitated.
        imitate_until: the fraction of the schedule over which the weight of the imitation falls linearly to 0.
        imitate_weight: the weight at the beginning.

    Raises:
        ConfigError: how to imitate is said, but not whom.
    """

    expected_rewards: bool = False
    told_critic: bool = False
    imitate: str | None = None
    imitate_until: Annotated[float, Gt(0), Le(1)] = UNTIL
    imitate_weight: Annotated[float, Ge(0)] = WEIGHT

    def __post_init__(self) -> None:
        for name, default in (("imitate_until", UNTIL), ("imitate_weight", WEIGHT)):
            if self.imitate is None and getattr(self, name) != default:
                remedy = f"add imitate, such as 'Gittins', or leave {name} out"
                raise ConfigError(f"{name} is given, but nobody is imitated", key=name, remedy=remedy)

    def imitation_at(self, progress: float) -> float:
        """The weight of imitating at ``progress``, a fraction of the schedule from 0 to 1."""
        if self.imitate is None:
            return 0.0
        return self.imitate_weight * max(0.0, 1 - progress / self.imitate_until)


@dataclass
class Privileges:
    """What is told while one rollout is collected; by default nothing.

    Args:
        means: gives the mean rewards ``[B]`` of actions ``[B, ...]`` that are about to be played; None: rewards are
            those that were drawn.
        told_tasks: gives the tasks under way ``[B, V]``, an array of its own for each set of tasks; None: the critic
            is told nothing.
        expert: has been reset for ``B`` trials; None: nobody is imitated.
        weight: of imitating.
    """

    means: Callable[[Array], Floats] | None = None
    told_tasks: Callable[[], Floats] | None = None
    expert: Actor | None = None
    weight: float = 0.0

    def __post_init__(self) -> None:
        self._sets: list[tuple[int, Floats]] = []  # the tasks under way and the step from which they are
        self._tensor: Tensor | None = None
        self._met: Bools = np.zeros(0, np.bool_)  # rows whose trial began in this rollout, so that the expert knows it
        self._actions: list[Tensor] = []
        self._knows: list[Bools] = []
        self._step = 0

    def look(self, obs: TrialObservation, boundary: Ints, head: Head, device: torch.device) -> Tensor | None:
        """Note what is known of the coming step, and return the tasks ``[B, V]`` for the critic, if it is told.

        Args:
            obs: ``[B, ...]`` as the environment gives them.
            boundary: ``[B]``
            head: of the policy.
            device: of the tensors.
        """
        if self.expert is not None:
            begins = boundary == Boundary.TRIAL
            self._met = begins if self._step == 0 else self._met | begins
            # To an expert that missed its beginning a trial begins at every step, so that nothing is filed wrongly.
            actions = self.expert.act(obs, np.where(self._met, boundary, Boundary.TRIAL))
            self._actions.append(torch.as_tensor(head.from_env(actions), device=device))
            self._knows.append(self._met)
        tasks = self.tasks(device)
        self._step += 1
        return tasks

    def tasks(self, device: torch.device) -> Tensor | None:
        """The tasks under way ``[B, V]``; None: none are told."""
        if self.told_tasks is None:
            return None
        tasks = self.told_tasks()
        if self._tensor is None or tasks is not self._sets[-1][1]:
            self._sets.append((self._step, tasks))
            self._tensor = torch.as_tensor(tasks, dtype=torch.float32, device=device)
        return self._tensor

    def mean_rewards(self, actions: Array, name: str, step: int) -> Floats | None:
        """What actions ``[B, ...]`` pay on average, ``[B]`` float32; None: that is not told.

        Args:
            actions: about to be played.
            name: of the environment, for the error.
            step: its number, for the error.

        Raises:
            NonFiniteError: a mean is not finite.
        """
        if self.means is None:
            return None
        means = self.means(actions).astype(np.float32)
        if not np.isfinite(means).all():
            row = int(np.flatnonzero(~np.isfinite(means))[0])
            raise NonFiniteError(
                f"{name} gave a mean reward that is not finite ({means[row]}) in environment {row} at step {step}, "
                "expected finite numbers; fix mean_rewards of the family: nothing was learned from this step"
            )
        return means

    def record(self, boundary: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """The last three fields of a rollout with these boundaries ``[T, B]``: tasks, expert, imitation."""
        tasks = expert = imitation = None
        if self._sets and self._tensor is not None:
            trial = trial_numbers(boundary)
            tasks = self._tensor.new_zeros(int(trial.max()) + 1, *self._tensor.shape)
            for step, numbers in self._sets:
                if step < len(trial):  # those after the last step are of another rollout
                    index = trial[step][None, :, None].expand(1, *self._tensor.shape)
                    tasks.scatter_(0, index, torch.as_tensor(numbers).to(tasks)[None])
        if self._actions:
            expert = torch.stack(self._actions)
            imitation = self.weight * torch.as_tensor(np.stack(self._knows), device=expert.device).float()
        return tasks, expert, imitation


def imitation_loss(log_prob: Tensor, weights: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """The cross-entropy to an expert's actions, weighted by step.

    Args:
        log_prob: of the expert's actions, ``[...]``.
        weights: of the steps ``[...]``; 0 where there is nobody to imitate.

    Returns:
        The loss, a scalar ``[]``, and scalars without gradient: ``imitation_loss``, the mean cross-entropy of the steps
        that are imitated (nats), and ``imitation_weight``, the largest weight.
    """
    cross_entropy = -log_prob
    imitated = (weights > 0).sum().clamp(min=1)
    with torch.no_grad():
        report = {
            "imitation_loss": cross_entropy[weights > 0].sum() / imitated,
            "imitation_weight": weights.max(),
        }
    return (weights * cross_entropy).mean(), report
