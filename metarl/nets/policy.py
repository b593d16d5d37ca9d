"""The policy: encoder, memory core, and heads for action and value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from gymnasium import spaces
from torch import Tensor, nn

from metarl import tree
from metarl.memory.contract import State
from metarl.memory.options import MemoryOptions
from metarl.memory.registry import build_core
from metarl.nets.encoders import TrialEncoder
from metarl.nets.heads import make_head, value_head
from metarl.types import MASK_KEY


class Step(NamedTuple):
    """What the policy says at one step of ``B`` rows."""

    action: Tensor
    """``[B, ...]`` in the head's own form."""
    log_prob: Tensor
    """``[B]``"""
    value: Tensor
    """``[B]``"""


class Evaluation(NamedTuple):
    """What the policy says of given actions over whole sequences."""

    log_prob: Tensor
    """``[T, B]``"""
    entropy: Tensor
    """``[T, B]``"""
    value: Tensor
    """``[T, B]``"""


class MemoryPolicy(nn.Module):
    """Reads trial observations through one memory core that action and value share.

    Where observations have an ``action_mask``, the choices that it forbids have probability 0, in acting and in
    :meth:`evaluate`.

    Raises:
        ValueError: a space that is not supported, or a mask that does not fit the actions.
    """

    def __init__(
        self,
        observation_space: spaces.Dict,
        action_space: spaces.Space[Any],
        memory: MemoryOptions,
        trial_steps: int | None,
    ) -> None:
        super().__init__()
        self.encoder = TrialEncoder(observation_space)
        self.core = build_core(memory, self.encoder.now_size, self.encoder.feedback_size, trial_steps)
        self.head = make_head(self.core.output_size, action_space)
        self.critic = value_head(self.core.output_size)
        masked = self.encoder.shapes.get(MASK_KEY)
        if masked not in (None, (self.head.choices,)):
            raise ValueError(
                f"{MASK_KEY} has the shape {masked}, which does not fit {action_space}: a mask has one number for each "
                "choice of a Discrete or MultiDiscrete; mend it or leave it out"
            )

    def initial_state(self, batch_size: int) -> State:
        """The memory before a first trial."""
        device = self.critic.weight.device
        return tree.map_tensors(lambda leaf: leaf.to(device), self.core.initial_state(batch_size))

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
        """Act: observations ``[B, d]``, ``boundary`` ``[B]``; the most probable action if ``deterministic``."""
        y, state = self.core(self.encoder(obs), state, boundary, donate=donate)
        parameters = self.head(y, obs.get(MASK_KEY))
        action = self.head.best(parameters) if deterministic else self.head.sample(parameters, generator)
        return Step(action, self.head.log_prob(parameters, action), self.critic(y)[..., 0]), state

    def value(self, obs: Mapping[str, Tensor], state: State, boundary: Tensor) -> Tensor:
        """The value ``[B]`` of observations that follow ``state``; the state itself stays as it is."""
        y, _ = self.core(self.encoder(obs), state, boundary)
        return self.critic(y)[..., 0]

    def evaluate(self, obs: Mapping[str, Tensor], state: State, boundary: Tensor, actions: Tensor) -> Evaluation:
        """Log probability, entropy and value of ``actions`` ``[T, B, ...]`` along sequences ``[T, B, d]``."""
        y, _ = self.core.unroll(self.encoder(obs), state, boundary)
        parameters = self.head(y, obs.get(MASK_KEY))
        log_prob = self.head.log_prob(parameters, actions)
        return Evaluation(log_prob, self.head.entropy(parameters), self.critic(y)[..., 0])

    @torch.no_grad()
    def consolidate(self, obs: Mapping[str, Tensor], boundary: Tensor) -> None:
        """Take what sequences ``[T, B, d]`` have shown into what the memory keeps for life, if it keeps anything."""
        if self.core.lifelong:
            self.core.consolidate(self.encoder(obs), boundary)
