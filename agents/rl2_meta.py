"""What a checkpoint of an agent says beside its tensors: typed, so that nothing else reaches a constructor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge
from torch import Tensor

from metarl import parallel
from metarl.config import ConfigError, build
from metarl.memory.options import MemoryOptions
from metarl.nets.encoders import Normalise
from metarl.training.checkpoint import CheckpointError, check_tensors, optimizer_from_tensors, set_generators
from metarl.training.imitation import ImitationOptions
from metarl.training.ppo import PPOOptions
from metarl.types import Count, Size

if TYPE_CHECKING:
    from metarl.agents.rl2 import RL2PPO

WEIGHTS = "policy"
GROUPS = (WEIGHTS, "optimizer", "generators", "training_state")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Arguments of the agent's constructor, and the steps of a trial."""

    n_envs: Size
    n_steps: Size | None
    schedule_steps: Size | None
    seed: Annotated[int, Ge(0)]
    trial_steps: Size | None


@dataclass(frozen=True, kw_only=True)
class Counters:
    """How far training is."""

    num_timesteps: Count
    n_updates: Count


@dataclass(frozen=True, kw_only=True)
class RankMeta:
    """The plain data that each of several processes has of its own; see :class:`AgentMeta`."""

    training_state: dict[str, Any]
    episodes: list[dict[str, int | float]]
    successes: list[float]


@dataclass(frozen=True, kw_only=True)
class AgentMeta:
    """The plain data of a checkpoint.

    Args:
        own_encoder: whether the agent was made with an encoder of the user's own.
        observation_space: see :func:`metarl.training.space_data.space_from_json`.
        action_space: the same.
        training_state: where training is, with arrays taken out.
        episodes: what the latest trials told.
        successes: whether the latest trials succeeded.
        session: what a run keeps beside its agent.
        others: what the other processes had that trained together with the first.
    """

    kind: Literal["rl2ppo"]
    ppo: PPOOptions
    memory: MemoryOptions
    imitation: ImitationOptions = field(default_factory=ImitationOptions)
    normalise: Normalise = False
    own_encoder: bool = False
    settings: Settings
    counters: Counters
    observation_space: dict[str, Any]
    action_space: dict[str, Any]
    training_state: dict[str, Any] = field(default_factory=dict)
    episodes: list[dict[str, int | float]] = field(default_factory=list)
    successes: list[float] = field(default_factory=list)
    session: dict[str, Any] = field(default_factory=dict)
    others: list[RankMeta] = field(default_factory=list)


def read_meta(meta: Mapping[str, Any], path: object) -> AgentMeta:
    """The typed form of ``meta`` of the checkpoint at ``path``.

    Raises:
        CheckpointError: a key is missing, unknown or of another type.
    """
    try:
        return build(AgentMeta, meta, f"{path}: meta")
    except ConfigError as error:
        raise CheckpointError.of(error) from None


def of_rank(
    kept: AgentMeta, groups: Mapping[str, Mapping[str, Tensor]], path: object
) -> tuple[AgentMeta, Mapping[str, Mapping[str, Tensor]]]:
    """What this process goes on from: of several that train together, each from what it had itself.

    Args:
        kept: plain data of the checkpoint.
        groups: its tensors ``[...]``.
        path: of the checkpoint, for errors.

    Raises:
        CheckpointError: there are several processes, and another number of them wrote the checkpoint.
    """
    if parallel.size() not in (1, 1 + len(kept.others)):
        problem = f"{path} was written by {1 + len(kept.others)} processes that trained together"
        raise CheckpointError(problem, key="processes", given=parallel.size(), expected="as many, or one")
    rank = parallel.rank()
    if rank == 0:
        return kept, groups
    own = {name: groups.get(f"{name}.{rank}", {}) for name in ("generators", "training_state")}
    return replace(kept, **vars(kept.others[rank - 1])), {**groups, **own}


@contextmanager
def named(path: object) -> Iterator[None]:
    """Make what a model of the options at ``path`` raises a CheckpointError that names it."""
    try:
        yield
    except (ArithmeticError, LookupError, MemoryError, RuntimeError, TypeError, ValueError) as error:
        raise CheckpointError.of(error, str(path)) from error


def load_tensors(agent: RL2PPO, groups: Mapping[str, Mapping[str, Tensor]], path: object) -> None:
    """Load weights, optimiser and generators into ``agent``, once all of them are known to fit.

    Weights alone are enough for an agent that is not to go on in an environment.

    Args:
        agent: untrained, of the same options.
        groups: of the checkpoint.
        path: of the checkpoint, for errors.

    Raises:
        CheckpointError: something is missing, of another shape or dtype, or not finite.
    """
    alone = agent.env is None and set(groups) == {WEIGHTS}
    for name in (WEIGHTS,) if alone else GROUPS:
        if name not in groups:
            raise CheckpointError(f"{path}: it has no {name}", key=name)
    check_tensors(groups[WEIGHTS], agent.policy.state_dict(), f"{path}: policy")
    if not alone:
        optimizer_from_tensors(agent.optimizer, groups["optimizer"], f"{path}: optimizer")
        set_generators(agent.generators, groups["generators"], f"{path}: generators")
    agent.policy.load_state_dict(groups[WEIGHTS])
