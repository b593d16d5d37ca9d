"""From a trial observation to what a memory core reads."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from metarl.config import InputError
from metarl.nets.observations import PictureEncoder, RunningNorm, SymbolEncoder, checked_output
from metarl.types import FEEDBACK_KEYS, MASK_KEY, OBS_KEY, PREV_ACTION, PREV_REWARD, Array, CoreInput, is_obs_key

Normalise = bool | Literal["auto"]
"""Which vectors are normalised: none, all, or those whose bounds are wider than -10 to 10."""
OwnEncoder = nn.Module | Callable[[spaces.Space[Any]], nn.Module]
"""A net of the user's own from what the environment shows to vectors, or what makes it from the space of that."""
WIDE = 10.0


class TrialEncoder(nn.Module):
    """Joins the parts of a trial observation: the present, and what is known of the step before.

    ``now`` is ``obs`` (all ``obs.NAME`` side by side), pictures and symbols as vectors that small nets make of them.
    ``feedback`` is the previous action, reward and end-of-episode flag, the clock, and the product of action and
    reward, which a linear map could not form. ``action_mask`` is for the head and part of neither.

    Args:
        space: of trial observations.
        normalise: whether vectors of ``now`` are scaled by a running mean and variance, each by its own: "auto" takes
            those with bounds beyond -10 to 10, True all but those from 0 to 1 (one-hot). Feedback and masks never are.
        encoder: makes ``now`` instead: a module, or what makes one from the space that the environment shows (a Dict
            with its own names, or the only part). It gets that part, or a dict of the parts, with one batch axis, and
            returns vectors ``[n, size]``.

    Raises:
        ValueError: the space is not that of trial observations.
    """

    def __init__(self, space: spaces.Dict, normalise: Normalise = "auto", encoder: OwnEncoder | None = None) -> None:
        super().__init__()
        if normalise not in ("auto", True, False):
            raise InputError(key="normalise", given=normalise, expected="'auto', True or False")
        self.now_keys = [k for k in space.spaces if is_obs_key(k)]
        self.feedback_keys = [k for k in FEEDBACK_KEYS if k in space.spaces]
        keys = [*self.now_keys, *(k for k in (*FEEDBACK_KEYS, MASK_KEY) if k in space.spaces)]
        if not self.now_keys or set(space.spaces) - set(keys):
            raise ValueError(
                f"not a trial observation: it has {', '.join(space.spaces) or 'no parts'}; expected obs (or obs.NAME) "
                f"and any of {', '.join((*FEEDBACK_KEYS, MASK_KEY))}; make the environment a TrialEnv, whose "
                "observations are such"
            )
        self.shapes = {key: _shape(key, space.spaces[key], seen=key in self.now_keys) for key in keys}
        self.dtypes = {key: _dtype(space.spaces[key]) for key in keys}
        # A module's name may hold no dot, so parts are named by their position.
        self.names = {k: str(i) for i, k in enumerate(self.now_keys)}
        self.norms = nn.ModuleDict(
            {self.names[k]: RunningNorm(self.shapes[k][0]) for k in self.now_keys if _normalised(space[k], normalise)}
        )
        self.parts = nn.ModuleDict()
        self.own: nn.Module | None = None
        if encoder is None:
            made = {k: _part_encoder(k, space[k]) for k in self.now_keys}
            self.parts.update({self.names[k]: one for k, one in made.items() if one is not None})
            self.now_size = sum(self.shapes[k][0] if one is None else int(one.size) for k, one in made.items())
        else:
            self.own = copy.deepcopy(encoder) if isinstance(encoder, nn.Module) else encoder(self._shown(space.spaces))
            if not isinstance(self.own, nn.Module):
                raise InputError(key="encoder", given=self.own, expected="a torch module, or a function that makes one")
            self.now_size = checked_output(self.own, self._shown(self._zeros()))
        self.product = {PREV_ACTION, PREV_REWARD} <= set(self.feedback_keys)
        self.feedback_size = sum(self.shapes[k][0] for k in self.feedback_keys)
        self.action_starts: tuple[int, ...] = (0,) if PREV_ACTION in self.feedback_keys else ()
        """Where the feedback has one column for each number of the previous action."""
        if self.product:
            self.action_starts = (0, self.feedback_size)
            self.feedback_size += self.shapes[PREV_ACTION][0]

    def prepare(self, obs: Mapping[str, Any], device: torch.device, *, learn: bool = False) -> dict[str, Tensor]:
        """What :meth:`forward` takes: observations as tensors, normalised.

        Args:
            obs: ``{key: [n, ...]}`` as the environment gives them.
            device: of the tensors.
            learn: take them into the running means and variances first.
        """
        out = {k: torch.as_tensor(np.asarray(v), dtype=self.dtypes[k], device=device) for k, v in obs.items()}
        return self.normalised(out, learn=learn)

    def normalised(self, obs: dict[str, Tensor], *, learn: bool = False) -> dict[str, Tensor]:
        """The second half of :meth:`prepare`, given tensors ``{key: [n, ...]}``."""
        out = dict(obs)
        for key in self.now_keys if self.norms else ():
            if (name := self.names[key]) in self.norms:
                norm = self.norms[name]
                if learn:
                    norm.learn(out[key])  # type: ignore[operator]  # a RunningNorm: a ModuleDict forgets
                out[key] = norm(out[key])
        return out

    def forward(self, obs: Mapping[str, Tensor]) -> CoreInput:
        """What :meth:`prepare` made, with any leading axes, to a :class:`CoreInput` of the same leading axes."""
        parts = [obs[k] for k in self.feedback_keys]
        if self.product:
            parts.append(obs[PREV_ACTION] * obs[PREV_REWARD])
        now = self._now(obs)
        feedback = torch.cat(parts, -1) if parts else now.new_zeros(*now.shape[:-1], 0)
        return CoreInput(now, feedback, obs.get(MASK_KEY))

    def _now(self, obs: Mapping[str, Tensor]) -> Tensor:
        if self.own is None:
            names = self.names
            seen = [self.parts[names[k]](obs[k]) if names[k] in self.parts else obs[k] for k in self.now_keys]
            return torch.cat(seen, -1)
        first = self.now_keys[0]
        leading = obs[first].shape[: -len(self.shapes[first])]
        flat = {k: obs[k].reshape(-1, *self.shapes[k]) for k in self.now_keys}
        out: Tensor = self.own(self._shown(flat))
        return out.reshape(*leading, self.now_size)

    def _shown(self, parts: Mapping[str, Any]) -> Any:
        """The parts of ``now`` as the environment names them: the only one, or a dict."""
        if self.now_keys == [OBS_KEY]:
            return parts[OBS_KEY]
        named = {k.removeprefix(f"{OBS_KEY}."): parts[k] for k in self.now_keys}
        return spaces.Dict(named) if isinstance(next(iter(named.values())), spaces.Space) else named

    def _zeros(self) -> dict[str, Tensor]:
        return {k: torch.zeros(2, *self.shapes[k], dtype=self.dtypes[k]) for k in self.now_keys}

    def check(self, obs: Mapping[str, Array | Tensor]) -> tuple[int, ...]:
        """The leading axes of ``obs``, whose parts must have the shapes of the space behind them.

        Raises:
            TypeError: not a dict, or a part that does not consist of numbers (of whole ones, for symbols and bytes).
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
            real = part.dtype.is_floating_point if isinstance(part, Tensor) else part.dtype.kind == "f"
            number = isinstance(part, Tensor) or part.dtype.kind in "fiub"
            if not number or (real and not self.dtypes[key].is_floating_point):
                expected = "numbers (float32)" if self.dtypes[key].is_floating_point else "whole numbers (uint8)"
                raise TypeError(f"observation {key!r} has dtype {part.dtype}, expected {expected}")
            leading[key] = tuple(part.shape[: -len(shape)])
        if len(set(leading.values())) > 1:
            raise ValueError(f"the parts of the observation have different leading axes: {leading}")
        return next(iter(leading.values()))


def _part_encoder(key: str, space: spaces.Space[Any]) -> PictureEncoder | SymbolEncoder | None:
    """What makes a vector of a part; None: it is one.

    Raises:
        InputError: a picture without finite bounds, by which pixels are scaled.
    """
    if isinstance(space, spaces.MultiDiscrete):
        return SymbolEncoder(space.nvec)
    assert isinstance(space, spaces.Box)
    if len(space.shape) != 3:
        return None
    low, high = float(space.low.min()), float(space.high.max())
    if not np.isfinite(high - low):
        remedy = "give the environment's Box the range of its pixels, or the agent an encoder of your own"
        problem = f"the picture {key.removeprefix(f'{OBS_KEY}.')!r} has pixels from {low:g} to {high:g}"
        raise InputError(problem, key=key, expected="finite bounds, by which pixels are scaled", remedy=remedy)
    return PictureEncoder(space.shape, low, high)


def _normalised(space: spaces.Space[Any], normalise: Normalise) -> bool:
    if not isinstance(space, spaces.Box) or len(space.shape) != 1 or not normalise:
        return False
    if normalise == "auto":
        return bool((np.abs([space.low, space.high]) > WIDE).any())
    return bool((space.low < 0).any() or (space.high > 1).any())


def _dtype(space: spaces.Space[Any]) -> torch.dtype:
    """How a part is kept: pictures of bytes and symbols as they are, which saves memory, the rest as float32."""
    if isinstance(space, spaces.MultiDiscrete):
        return torch.uint8 if space.nvec.max() <= 256 else torch.int32
    return torch.uint8 if space.dtype == np.uint8 else torch.float32


def _shape(key: str, space: spaces.Space[Any], seen: bool) -> tuple[int, ...]:
    """The shape of a part: a vector, or where it is ``seen`` a picture or symbols."""
    axes = len(space.shape or ())
    numbers = isinstance(space, spaces.Box) and (axes == 1 or (seen and axes == 3))
    if numbers or (seen and isinstance(space, spaces.MultiDiscrete) and axes in (1, 3)):
        assert space.shape is not None
        return space.shape
    raise ValueError(
        f"unsupported space for {key}: {space}; expected a Box of one dimension (a vector)"
        + (", a Box of three (a picture), or a MultiDiscrete of one or three (symbols)" if seen else "")
    )
