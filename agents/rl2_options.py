"""The training options of :class:`metarl.agents.rl2.RL2PPO`, also as users of stable-baselines3 write them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from metarl.config import ConfigError, build
from metarl.tasks.family.checks import whole_number
from metarl.training.ppo import PPOOptions


def ppo_options(given: Mapping[str, Any], sequences: int | None, steps: int | None) -> PPOOptions:
    """Options of PPO from keyword arguments.

    Beside the fields of :class:`metarl.training.ppo.PPOOptions` there may be ``batch_size``, environment steps in a
    minibatch instead of ``n_minibatches``; and ``learning_rate`` may be a linear function of the progress remaining.

    Args:
        given: the keyword arguments.
        sequences: sequences in a rollout, one for each environment; None where that is not known.
        steps: environment steps in a sequence; None where that is not known.

    Raises:
        ConfigError: an unknown or bad option, a minibatch that is no whole number of sequences, or a schedule that is
            not linear.
    """
    options = dict(given)
    if "policy_kwargs" in options:
        raise ConfigError("RL2PPO has no policy_kwargs", key="policy_kwargs", remedy="write memory=MemoryOptions(...)")
    if callable(rate := options.get("learning_rate")):
        options |= _linear(rate, options)
    if (size := options.pop("batch_size", None)) is not None:
        if "n_minibatches" in options:
            raise ConfigError("batch_size and n_minibatches say the same", key="batch_size", remedy="leave one out")
        whole_number("batch_size", size, at_least=1)
        if sequences is None or steps is None:
            raise ConfigError("batch_size needs an environment", key="batch_size", remedy="give env, or n_minibatches")
        if size % steps or sequences % (size // steps):
            fits = f"{steps} (a sequence) times a divisor of {sequences} (the sequences in a rollout)"
            raise ConfigError(key="batch_size", given=size, expected=fits, remedy="or give n_minibatches instead")
        options["n_minibatches"] = sequences * steps // size
    return build(PPOOptions, options, "ppo")


def _linear(rate: Any, options: Mapping[str, Any]) -> dict[str, float]:
    """The two ends of a schedule ``rate(progress_remaining)``, which falls from 1 to 0."""
    first, middle, last = (float(rate(remaining)) for remaining in (1.0, 0.5, 0.0))
    if "learning_rate_end" in options or not math.isclose(middle, (first + last) / 2, rel_tol=1e-9):
        remedy = "write learning_rate=FIRST, learning_rate_end=LAST"
        raise ConfigError(key="learning_rate", given=rate, expected="a number, or a linear schedule", remedy=remedy)
    return {"learning_rate": first, "learning_rate_end": last}
