"""What can be seen of observations in a few trials, and harms learning without a word."""

from __future__ import annotations

import warnings

import numpy as np
from gymnasium import spaces

from metarl.tasks.check.subject import Subject
from metarl.tasks.trial.layout import LIMIT, is_image
from metarl.types import OBS_KEY, is_obs_key

SYMBOLS = 16  # images whose numbers stay below are codes of things; brightness would go up to 255
WIDE = 10.0  # numbers beyond this drown the others


def observations(subject: Subject) -> str:
    """Images hold brightness, and vectors numbers of a moderate size."""
    played = subject.played
    seen = [obs for trial in played.trials for obs in trial.obs]
    for key, space in played.layout.observation_space.items():
        if not is_obs_key(key):
            continue
        name, most = key.removeprefix(f"{OBS_KEY}."), max(float(np.abs(obs[key]).max(initial=0)) for obs in seen)
        if is_image(space) and 0 < most <= SYMBOLS:
            warnings.warn(
                f"the image {name} has no number above {most:.0f} in {len(seen)} observations, which looks like "
                f"symbols, not brightness: declare observe={{{name!r}: 'symbols'}} (--observe {name}=symbols)",
                stacklevel=1,
            )
        assert isinstance(space, spaces.Box)  # all parts of a trial are
        bounded = bool((np.maximum(-space.low, space.high) < LIMIT).all())  # what is not, is normalised
        if not is_image(space) and bounded and most > WIDE:
            warnings.warn(
                f"{name} has numbers up to {most:.3g}: scale them to about -1 to 1, or let them be normalised",
                stacklevel=1,
            )
    return f"{len(seen)} observations"
