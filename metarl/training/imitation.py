"""Imitating an expert in training: what it would do in the agent's place, which no test ever asks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from annotated_types import Gt, Le
from torch import Tensor

from metarl.config import ConfigError
from metarl.nets.heads import Head
from metarl.types import Actor, Bools, Boundary, Ints, TrialObservation

UNTIL, WEIGHT = 0.3, 1.0


@dataclass(frozen=True)
class ImitationOptions:
    """Whom training imitates; by default nobody, and never anybody at test.

    Args:
        expert: says what it would do in the agent's own place, with the agent's own past, in the first phase of
            training (after DAgger, Ross et al. 2011); its action's cross-entropy joins the loss. It is a reference that
            the family has, such as "Gittins" or "PSRL", or the folder (or checkpoint) of a run that was trained with
            ``env.reveal=true``, which is told the task. None: nobody. The expert begins with each rollout, so that a
            trial that began before it is not imitated.
        parameter: of a reference that has one, such as the bonus of "Bayes bonus"; ``metarl eval --json`` says under
            ``tuned`` which is best in trials of a length. None: the one that the reference has where nothing is tuned.
        until: the fraction of the schedule over which the weight of the imitation falls linearly to 0.
        weight: the weight at the beginning.

    Raises:
        ConfigError: how to imitate is said, but not whom.
    """

    expert: str | None = None
    parameter: float | None = None
    until: Annotated[float, Gt(0), Le(1)] = UNTIL
    weight: Annotated[float, Gt(0)] = WEIGHT

    def __post_init__(self) -> None:
        for name, default in (("parameter", None), ("until", UNTIL), ("weight", WEIGHT)):
            if self.expert is None and getattr(self, name) != default:
                remedy = f"add expert, such as 'Gittins', or leave {name} out"
                raise ConfigError(f"{name} is given, but nobody is imitated", key=name, remedy=remedy)

    def weight_at(self, progress: float) -> float:
        """The weight of imitating at ``progress``, a fraction of the schedule from 0 to 1."""
        if self.expert is None:
            return 0.0
        return self.weight * max(0.0, 1 - progress / self.until)


@dataclass
class Imitation:
    """What an expert says while one rollout is collected.

    Args:
        expert: has been reset for ``B`` trials; None: nobody is imitated.
        weight: of imitating.
    """

    expert: Actor | None = None
    weight: float = 0.0

    def __post_init__(self) -> None:
        self._met: Bools = np.zeros(0, np.bool_)  # rows whose trial began in this rollout, so that the expert knows it
        self._actions: list[Tensor] = []
        self._knows: list[Bools] = []

    def look(self, obs: TrialObservation, boundary: Ints, head: Head, device: torch.device) -> None:
        """Note what the expert would do in the coming step.

        Args:
            obs: ``[B, ...]`` as the environment gives them.
            boundary: ``[B]``
            head: of the policy.
            device: of the tensors.
        """
        if self.expert is None:
            return
        begins = boundary == Boundary.TRIAL
        self._met = self._met | begins if self._knows else begins
        # To an expert that missed its beginning a trial begins at every step, so that nothing is filed wrongly.
        actions = self.expert.act(obs, np.where(self._met, boundary, Boundary.TRIAL))
        self._actions.append(torch.as_tensor(head.from_env(actions), device=device))
        self._knows.append(self._met)

    def record(self) -> tuple[Tensor | None, Tensor | None]:
        """The last two fields of a rollout: the expert's actions and the weights of imitating them."""
        if not self._actions:
            return None, None
        expert = torch.stack(self._actions)
        return expert, self.weight * torch.as_tensor(np.stack(self._knows), device=expert.device).float()


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
