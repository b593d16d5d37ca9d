"""From a trial observation to what a memory core reads."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from metarl.nets.images import ObservationImageEncoder
from metarl.types import FEEDBACK_KEYS, MASK_KEY, PREV_ACTION, PREV_REWARD, CoreInput, is_obs_key


class TrialEncoder(nn.Module):
    """Joins the parts of a trial observation: the present, and what is known of the step before.

    ``now`` is ``obs`` (all ``obs.NAME`` side by side), images as vectors that a small convolutional network makes
    of them. ``feedback`` is the previous action, reward and end-of-episode flag, the clock, and the product of action
    and reward, which a linear map could not form. ``action_mask`` is for the head and part of neither.
    """

    def __init__(self, space: spaces.Dict) -> None:
        super().__init__()
        self.now_keys = [k for k in space.spaces if is_obs_key(k)]
        self.feedback_keys = [k for k in FEEDBACK_KEYS if k in space.spaces]
        keys = [*self.now_keys, *(k for k in (*FEEDBACK_KEYS, MASK_KEY) if k in space.spaces)]
        if not self.now_keys or set(space.spaces) - set(keys):
            raise ValueError(
                f"not a trial observation: it has {', '.join(space.spaces) or 'no parts'}; expected obs (or obs.NAME) "
                f"and any of {', '.join((*FEEDBACK_KEYS, MASK_KEY))}; make the environment a TrialEnv, whose "
                "observations are such"
            )
        self.shapes = {key: _shape(key, space.spaces[key], image=key in self.now_keys) for key in keys}
        pictures = {k: ObservationImageEncoder(shape) for k in self.now_keys if len(shape := self.shapes[k]) == 3}
        # A module's name may hold no dot, so images are named by their position among the parts.
        self.names = {k: str(self.now_keys.index(k)) for k in pictures}
        self.pictures = nn.ModuleDict({self.names[k]: encoder for k, encoder in pictures.items()})
        self.product = {PREV_ACTION, PREV_REWARD} <= set(self.feedback_keys)
        self.now_size = sum(pictures[k].size if k in pictures else self.shapes[k][0] for k in self.now_keys)
        self.feedback_size = sum(self.shapes[k][0] for k in self.feedback_keys)
        self.feedback_size += self.shapes[PREV_ACTION][0] if self.product else 0

    def forward(self, obs: Mapping[str, Tensor]) -> CoreInput:
        """Observations ``[..., d]``, images ``[..., H, W, C]``, to a :class:`CoreInput` of the same leading axes."""
        parts = [obs[k] for k in self.feedback_keys]
        if self.product:
            parts.append(obs[PREV_ACTION] * obs[PREV_REWARD])
        seen = [self.pictures[self.names[k]](obs[k]) if k in self.names else obs[k] for k in self.now_keys]
        now = torch.cat(seen, -1)
        return CoreInput(now, torch.cat(parts, -1) if parts else now.new_zeros(*now.shape[:-1], 0))

    def check(self, obs: Mapping[str, np.ndarray | Tensor]) -> tuple[int, ...]:
        """The leading axes of ``obs``, whose parts must be those of the space: ``[..., d]``, images ``[..., H, W, C]``.

        Raises:
            TypeError: not a dict, or a part that does not consist of numbers (of uint8, for an image).
            ValueError: a part is missing or unknown, has another shape, or other leading axes than the rest.
        """
        if not isinstance(obs, Mapping):
            raise TypeError(f"the observation is a {type(obs).__name__}, expected a dict of {', '.join(self.shapes)}")
        if set(obs) != set(self.shapes):
            raise ValueError(f"the observation has the parts {', '.join(obs)}; expected {', '.join(self.shapes)}")
        leading = {}
        for key, shape in self.shapes.items():
            given = obs[key]
            part = given if isinstance(given, Tensor) else np.asarray(given)
            if tuple(part.shape[-len(shape) :]) != shape:
                expected = ", ".join(str(n) for n in ("...", *shape))
                raise ValueError(f"observation {key!r} has shape {tuple(part.shape)}, expected [{expected}]")
            if len(shape) == 3 and part.dtype not in (np.uint8, torch.uint8):
                raise TypeError(f"observation {key!r} is an image of dtype {part.dtype}, expected uint8")
            number = part.dtype.is_floating_point if isinstance(part, Tensor) else part.dtype.kind in "fiub"
            if len(shape) == 1 and not number:
                raise TypeError(f"observation {key!r} has dtype {part.dtype}, expected numbers (float32)")
            leading[key] = tuple(part.shape[: -len(shape)])
        if len(set(leading.values())) > 1:
            raise ValueError(f"the parts of the observation have different leading axes: {leading}")
        return next(iter(leading.values()))


def _shape(key: str, space: spaces.Space[Any], image: bool) -> tuple[int, ...]:
    """The shape of a part: a vector, or where allowed an image."""
    axes = len(space.shape) if isinstance(space, spaces.Box) else 0
    if axes == 1 or (image and axes == 3 and space.dtype == np.uint8):
        assert space.shape is not None
        return space.shape
    raise ValueError(
        f"unsupported space for {key}: {space}; expected a Box of one dimension (a vector)"
        + (", or a uint8 Box of three (an image)" if image else "")
    )
