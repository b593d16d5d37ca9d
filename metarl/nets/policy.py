"""The policy: encoder, memory core, and heads for action and value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from gymnasium import spaces
from torch import Tensor, nn

from metarl.memory.contract import State
from metarl.memory.options import MemoryOptions
from metarl.memory.registry import build_core
from metarl.nets.encoders import Normalise, OwnEncoder, TrialEncoder
from metarl.nets.heads import action_columns, make_head, value_head
from metarl.types import MASK_KEY


class Step(NamedTuple):
    """The output of the policy at one step of ``B`` rows.

    The action is ``[B, ...]`` in the head's own form, its log probability and the value are ``[B]``.
    """

    action: Tensor
    log_prob: Tensor
    value: Tensor


class Evaluation(NamedTuple):
    """How the policy rates given actions along whole sequences, each ``[T, B]``.

    ``expert`` is the log probability of an expert's actions; None where there are none.
    """

    log_prob: Tensor
    entropy: Tensor
    value: Tensor
    expert: Tensor | None = None


class MemoryPolicy(nn.Module):
    """Reads trial observations through one memory core that action and value share.

    Where observations have an ``action_mask``, the choices that it forbids have probability 0, in acting and in
    :meth:`evaluate`.

    Args:
        observation_space: of trials.
        action_space: of trials.
        memory: which core.
        trial_steps: steps in a trial, the most it can have; None where that is not known.
        normalise: which numbers are normalised; see :class:`metarl.nets.encoders.TrialEncoder`.
        encoder: of the user's own; see there.

    Raises:
        ValueError: a space that is not supported, or a mask that does not fit the actions.
    """

    def __init__(
        self,
        observation_space: spaces.Dict,
        action_space: spaces.Space[Any],
        memory: MemoryOptions,
        trial_steps: int | None,
        normalise: Normalise = "auto",
        encoder: OwnEncoder | None = None,
    ) -> None:
        super().__init__()
        self.encoder = TrialEncoder(observation_space, normalise, encoder)
        actions = action_columns(action_space, self.encoder.action_starts) if memory.per_action else None
        sizes = self.encoder.now_size, self.encoder.feedback_size
        self.core = build_core(memory, *sizes, trial_steps, actions=actions)
        self.scored = self.core.scores
        self.head = make_head(self.core.output_size, action_space, self.scored)
        self.critic = value_head(self.core.output_size - self.scored)
        masked = self.encoder.shapes.get(MASK_KEY)
        if masked not in (None, (self.head.choices,)):
            raise ValueError(
                f"{MASK_KEY} has the shape {masked}, which does not fit {action_space}: a mask has one number for each "
                "choice of a Discrete or MultiDiscrete; mend it or leave it out"
            )

    def initial_state(self, batch_size: int) -> State:
        """The memory before a first trial; every leaf is ``[batch_size, ...]``."""
        return self.core.initial_state(batch_size)

    def prepare(self, obs: Mapping[str, Any], *, learn: bool = False) -> dict[str, Tensor]:
        """Observations ``{key: [n, ...]}`` of the environment's as the tensors that all other methods take.

        Args:
            obs: as the environment gives them.
            learn: normalisation learns from them.
        """
        return self.encoder.prepare(obs, next(self.critic.parameters()).device, learn=learn)

    def forward(
        self,
        obs: Mapping[str, Tensor],
        state: State,
        boundary: Tensor,
        *,
        generator: torch.Generator | None = None,
        deterministic: bool = False,
        donate: bool = False,
    ) -> tuple[Step, State]:
        """Act.

        Args:
            obs: observations ``[B, d]`` (pictures ``[B, H, W, C]``) by key, from :meth:`prepare`.
            state: of the memory, before this step.
            boundary: ``[B]`` of :class:`metarl.types.Boundary`.
            generator: draws the actions; None: torch's global one.
            deterministic: take the most probable actions instead.
            donate: the buffers of ``state`` may be reused.

        Returns:
            Actions, their log probabilities and values, all ``[B]``, and the next state.
        """
        y, state = self.core(self.encoder(obs), state, boundary, donate=donate)
        parameters = self.head(y, obs.get(MASK_KEY))
        action = self.head.best(parameters) if deterministic else self.head.sample(parameters, generator)
        return Step(action, self.head.log_prob(parameters, action), self._value(y)), state

    def value(self, obs: Mapping[str, Tensor], state: State, boundary: Tensor) -> Tensor:
        """See :meth:`forward`: the value ``[B]`` alone; the state stays as it is."""
        y, _ = self.core(self.encoder(obs), state, boundary)
        return self._value(y)

    def evaluate(
        self,
        obs: Mapping[str, Tensor],
        state: State,
        boundary: Tensor,
        actions: Tensor,
        *,
        expert: Tensor | None = None,
    ) -> Evaluation:
        """Log probability, entropy and value of given actions along sequences, each ``[T, B]``.

        Args:
            obs: ``[T, B, d]`` by key.
            state: before the first step.
            boundary: ``[T, B]``
            actions: ``[T, B, ...]`` in the head's own form.
            expert: actions ``[T, B, ...]`` of somebody else, to be rated too.
        """
        y, _ = self.core.unroll(self.encoder(obs), state, boundary, last=False)
        parameters = self.head(y, obs.get(MASK_KEY))
        log_prob = self.head.log_prob(parameters, actions)
        value = self._value(y)
        rated = None if expert is None else self.head.log_prob(parameters, expert)
        return Evaluation(log_prob, self.head.entropy(parameters), value, rated)

    def _value(self, y: Tensor) -> Tensor:
        return self.critic(y[..., : y.shape[-1] - self.scored])[..., 0]

    @torch.no_grad()
    def consolidate(self, obs: Mapping[str, Tensor], boundary: Tensor) -> None:
        """Keep what sequences ``[T, B, d]`` have shown beyond their trial, if the memory is lifelong."""
        if self.core.lifelong:
            self.core.consolidate(self.encoder(obs), boundary)
