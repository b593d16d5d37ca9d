"""What can be seen of observations in a few trials, and harms learning without a word."""

from __future__ import annotations

import warnings

import numpy as np
from gymnasium import spaces

from metarl.tasks.check.subject import Subject
from metarl.tasks.trial.parts import SYMBOLS, looks_like_symbols
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
    return f"{len(seen)} observations"
