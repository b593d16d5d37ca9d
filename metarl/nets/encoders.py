"""From a trial observation to what a memory core reads."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from metarl.types import CoreInput

FEEDBACK_KEYS = ("prev_action", "prev_reward", "prev_done", "time")


class TrialEncoder(nn.Module):
    """Joins the parts of a trial observation: the present, and what is known of the step before.

    ``now`` is ``obs`` (all ``obs.NAME`` side by side). ``feedback`` is the previous action, reward and end-of-episode
    flag, the clock, and the product of action and reward, which a linear map could not form.
    """

    def __init__(self, space: spaces.Dict) -> None:
        super().__init__()
        self.now_keys = [k for k in space.spaces if k == "obs" or k.startswith("obs.")]
        self.feedback_keys = [k for k in FEEDBACK_KEYS if k in space.spaces]
        unknown = sorted(set(space.spaces) - set(self.now_keys) - set(self.feedback_keys))
        if not self.now_keys or unknown:
            raise ValueError(
                f"not a trial observation: it has {', '.join(space.spaces) or 'no parts'}; expected obs (or obs.NAME) "
                f"and any of {', '.join(FEEDBACK_KEYS)}; make the environment a TrialEnv, whose observations are such"
            )
        self.sizes: dict[str, int] = {}
        for key in [*self.now_keys, *self.feedback_keys]:
            part = space.spaces[key]
            if not isinstance(part, spaces.Box) or len(part.shape) != 1:
                raise ValueError(f"unsupported space for {key}: {part}; expected a Box of one dimension (a vector)")
            self.sizes[key] = part.shape[0]
        self.product = "prev_action" in self.feedback_keys and "prev_reward" in self.feedback_keys
        self.now_size = sum(self.sizes[k] for k in self.now_keys)
        self.feedback_size = sum(self.sizes[k] for k in self.feedback_keys)
        self.feedback_size += self.sizes["prev_action"] if self.product else 0

    def forward(self, obs: Mapping[str, Tensor]) -> CoreInput:
        """Observations ``[..., d]`` to a :class:`CoreInput` of the same leading axes."""
        parts = [obs[k] for k in self.feedback_keys]
        if self.product:
            parts.append(obs["prev_action"] * obs["prev_reward"])
        now = torch.cat([obs[k] for k in self.now_keys], -1)
        return CoreInput(now, torch.cat(parts, -1) if parts else now.new_zeros(*now.shape[:-1], 0))

    def check(self, obs: Mapping[str, np.ndarray | Tensor]) -> tuple[int, ...]:
        """The leading axes of ``obs``, once its parts are found to be those of the space.

        Raises:
            TypeError: not a dict, or a part that does not consist of numbers.
            ValueError: a part is missing or unknown, has another width, or other leading axes than the rest.
        """
        if not isinstance(obs, Mapping):
            raise TypeError(f"the observation is a {type(obs).__name__}, expected a dict of {', '.join(self.sizes)}")
        if set(obs) != set(self.sizes):
            raise ValueError(f"the observation has the parts {', '.join(obs)}; expected {', '.join(self.sizes)}")
        leading = {}
        for key, size in self.sizes.items():
            given = obs[key]
            part = given if isinstance(given, Tensor) else np.asarray(given)
            if tuple(part.shape[-1:]) != (size,):
                raise ValueError(f"observation {key!r} has shape {tuple(part.shape)}, expected [..., {size}]")
            number = part.dtype.is_floating_point if isinstance(part, Tensor) else part.dtype.kind in "fiub"
            if not number:
                raise TypeError(f"observation {key!r} has dtype {part.dtype}, expected numbers (float32)")
            leading[key] = tuple(part.shape[:-1])
        if len(set(leading.values())) > 1:
            raise ValueError(f"the parts of the observation have different leading axes: {leading}")
        return next(iter(leading.values()))
