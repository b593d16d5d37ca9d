"""A policy as an actor."""

from __future__ import annotations

import numpy as np
import torch

from metarl.nets.policy import MemoryPolicy
from metarl.types import Array, Ints, NonFiniteError, TrialObservation


class PolicyActor:
    """A memory policy as an actor; its memory lives from one TRIAL to the next."""

    def __init__(self, policy: MemoryPolicy, deterministic: bool = False) -> None:
        self.policy, self.deterministic = policy, deterministic

    def reset(self, n: int, rng: np.random.Generator) -> None:
        """See :class:`metarl.types.Actor`."""
        self.device = next(self.policy.parameters()).device
        self.state = self.policy.initial_state(n)
        self.generator = torch.Generator(self.device).manual_seed(int(rng.integers(2**63)))

    @torch.no_grad()
    def act(self, obs: TrialObservation, boundary: Ints) -> Array:
        """See :class:`metarl.types.Actor`.

        Raises:
            NonFiniteError: what the policy gives is not finite; an action would be drawn all the same.
        """
        step, self.state = self.policy(
            self.policy.prepare(obs),
            self.state,
            torch.as_tensor(boundary, device=self.device),
            generator=self.generator,
            deterministic=self.deterministic,
            donate=True,
        )
        if not bool(step.value.isfinite().all()):
            raise NonFiniteError(
                "the policy's value of what it sees is not finite: observations too large for it, or damaged weights"
            )
        return self.policy.head.to_env(step.action.cpu().numpy())
