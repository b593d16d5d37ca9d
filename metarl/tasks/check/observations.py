"""What can be seen of observations in a few trials, and harms learning without a word."""

from __future__ import annotations

import warnings

import numpy as np
from gymnasium import spaces

from metarl.tasks.check.subject import Subject
from metarl.tasks.trial.parts import SYMBOLS, FlatPart, looks_like_symbols, make_part
from metarl.types import OBS_KEY, is_obs_key

WIDE = 10.0  # larger numbers drown the others; where the bounds allow for them, they are normalised


def observations(subject: Subject) -> str:
    """Images hold brightness, and vectors no numbers that are large against their bounds."""
    played = subject.played
    seen = [obs for trial in played.trials for obs in trial.obs]
    for key, space in played.layout.observation_space.items():
        if not is_obs_key(key) or not isinstance(space, spaces.Box):
            continue
        name, most = key.removeprefix(f"{OBS_KEY}."), max(float(np.abs(obs[key]).max(initial=0)) for obs in seen)
        image = space.dtype == np.uint8 and len(space.shape) == 3
        if image and 0 < most <= SYMBOLS:
            warnings.warn(looks_like_symbols(key, int(most)), stacklevel=1)
        bound = 255 if image else np.maximum(-space.low, space.high).max(initial=0)
        if most > WIDE >= bound:
            warnings.warn(
                f"{name} has numbers up to {most:.3g}, but is not normalised, as its space says that there is none "
                f"above {bound:.3g}; correct the space",
                stacklevel=1,
            )
    _flattened(subject)
    return f"{len(seen)} observations"


def _flattened(subject: Subject) -> None:
    """Advise of parts with the axes of a picture, which are numbers side by side in a trial."""
    inner = subject.family.observation_space
    for name, space in inner.spaces.items() if isinstance(inner, spaces.Dict) else [(OBS_KEY, inner)]:
        if isinstance(space, spaces.Box) and len(space.shape) > 2 and isinstance(make_part(name, space), FlatPart):
            whole = space.dtype is not None and space.dtype.kind in "iu" and space.is_bounded()
            kinds = "'picture', 'picture-first'" + (", 'symbols'" if whole else "")
            warnings.warn(
                f"{name} has the shape {space.shape} and is seen as {spaces.flatdim(space)} numbers side by side; if "
                f"it is something else, declare observe={{{name!r}: KIND}} (--observe {name}=KIND) of {kinds}",
                stacklevel=1,
            )
