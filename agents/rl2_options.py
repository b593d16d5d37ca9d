"""The training options of :class:`metarl.agents.rl2.RL2PPO`, also as users of stable-baselines3 write them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeVar

from metarl.config import ConfigError, build, to_plain
from metarl.tasks.family.checks import whole_number
from metarl.training.ppo import PPOOptions

Options = TypeVar("Options")
SCHEDULES = ("learning_rate", "clip_range", "ent_coef")
INSTEAD = {
    "net_arch": 'write memory={"controller": "gru", "controller_options": {"hidden_size": 128}}',
    "lstm_hidden_size": 'write memory={"controller": "lstm", "controller_options": {"hidden_size": 128}}',
    "n_lstm_layers": 'write memory={"controller": "lstm"}, which has one layer',
    **dict.fromkeys(
        ("features_extractor_class", "features_extractor_kwargs"),
        "write encoder=MODULE, a torch module of your own or a function that makes one from a space",
    ),
    **dict.fromkeys(("optimizer_class", "optimizer_kwargs"), "the optimiser is Adam; give learning_rate"),
}
"""What to do instead of some of SB3's ``policy_kwargs``."""


def given_options(kind: type[Options], given: Options | Mapping[str, Any] | None, where: str) -> Options:
    """Options of one kind, checked however they are given.

    Args:
        kind: their dataclass.
        given: themselves, a dict of their fields, or None for the defaults.
        where: what they are called, for errors.

    Raises:
        ConfigError: an unknown or bad option.
    """
    plain = to_plain(given) if isinstance(given, kind) else given
    return build(kind, {} if plain is None else plain, where)  # type: ignore[arg-type]  # build refuses all but mappings


def ppo_options(given: Mapping[str, Any], sequences: int | None, steps: int | None) -> PPOOptions:
    """Options of PPO from keyword arguments.

    Beside the fields of :class:`metarl.training.ppo.PPOOptions` there may be ``batch_size``, environment steps in a
    minibatch instead of ``n_minibatches``; and what has a value at its end (``learning_rate``, ``clip_range``,
    ``ent_coef``) may be a linear function of the progress remaining.

    Args:
        given: the keyword arguments.
        sequences: sequences in a rollout, one for each environment; None where that is not known.
        steps: environment steps in a sequence; None where that is not known.

    Raises:
        ConfigError: an unknown or bad option, a minibatch that is no whole number of sequences, a schedule that is
            not linear, or SB3's ``policy_kwargs``.
    """
    options = dict(given)
    if "policy_kwargs" in options:
        raise _no_policy_kwargs(options["policy_kwargs"])
    for name in SCHEDULES:
        if callable(options.get(name)):
            options |= _linear(name, options)
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


def _no_policy_kwargs(given: Any) -> ConfigError:
    """What to write instead of the first of SB3's ``policy_kwargs``."""
    key = next(iter(given), None) if isinstance(given, Mapping) else None
    remedy = INSTEAD.get(str(key), "write memory=MemoryOptions(...), and encoder=... for a net of your own")
    name = f"policy_kwargs[{key!r}]" if key else "policy_kwargs"
    return ConfigError(f"RL2PPO has no {name}", key="policy_kwargs", given=given, remedy=remedy)


def _linear(name: str, options: Mapping[str, Any]) -> dict[str, float]:
    """The two ends of the schedule of an option, a function of the progress remaining, which falls from 1 to 0."""
    schedule, end = options[name], f"{name}_end"
    first, middle, last = (float(schedule(remaining)) for remaining in (1.0, 0.5, 0.0))
    if end in options or not math.isclose(middle, (first + last) / 2, rel_tol=1e-6):
        remedy = f"write {name}=FIRST, {end}=LAST"
        raise ConfigError(key=name, given=schedule, expected="a number, or a linear schedule", remedy=remedy)
    return {name: first, end: last}
