"""Agents of :class:`metarl.agents.rl2.RL2PPO` as files."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch

from metarl import parallel, tree
from metarl.agents.rl2_env import attribute, describe, is_ours, resumable
from metarl.agents.rl2_expert import prepare
from metarl.agents.rl2_learn import warn_of_lost_rollout
from metarl.agents.rl2_meta import load_tensors, named, of_rank, read_meta
from metarl.config import InputError, choice, to_plain
from metarl.nets.encoders import OwnEncoder
from metarl.seeding import rank_seed, sequence
from metarl.training import checkpoint
from metarl.training.checkpoint import CheckpointError, read_checkpoint, write_checkpoint
from metarl.training.collect import TrainingState
from metarl.training.resume import check_like, restoring
from metarl.training.space_data import space_from_json, space_to_json
from metarl.types import SPLITS, Boundary, TrialObservation

if TYPE_CHECKING:
    from metarl.agents.rl2 import RL2PPO

    Agent = TypeVar("Agent", bound=RL2PPO)

KIND = "rl2ppo"
ARGUMENTS = ("n_envs", "n_steps", "schedule_steps", "seed")
"""Attributes of an agent that are arguments of its constructor."""
GENERATORS = ("tasks_rng", "env_rng")
ENV_ARRAYS = ("steps", "episodes", "observation", "task_vector")
"""Of the state of an environment: what has the same names, shapes and types in every family."""


def save(
    agent: RL2PPO, path: Any, further: Mapping[str, Mapping[str, torch.Tensor]] | None = None, **more: Any
) -> None:
    """See :meth:`metarl.agents.rl2.RL2PPO.save`; ``further`` groups of tensors and ``more`` plain data go with it."""
    warn_of_lost_rollout(agent)
    everyone = parallel.gathered(_own(agent))
    if everyone is None:
        return
    (own, tensors), *others = everyone
    meta = {
        **more,
        "kind": KIND,
        "ppo": to_plain(agent.options),
        "memory": to_plain(agent.memory),
        "imitation": to_plain(agent.imitation),
        "normalise": agent.normalise,
        "own_encoder": agent.encoder is not None,
        "settings": {name: getattr(agent, name) for name in (*ARGUMENTS, "trial_steps")},
        "counters": {"num_timesteps": agent.num_timesteps, "n_updates": agent._n_updates},
        "observation_space": space_to_json(agent.observation_space),
        "action_space": space_to_json(agent.action_space),
        **own,
        "others": [theirs for theirs, _ in others],
    }
    groups = {
        "policy": agent.policy.state_dict(),
        "optimizer": checkpoint.optimizer_to_tensors(agent.optimizer),
        **tensors,
        **{f"{name}.{rank}": group for rank, (_, all_of) in enumerate(others, 1) for name, group in all_of.items()},
        **(further or {}),
    }
    write_checkpoint(_with_suffix(path), meta, groups)


def _own(agent: RL2PPO) -> tuple[dict[str, Any], dict[str, dict[str, torch.Tensor]]]:
    """What each process has of its own: plain data, and groups of tensors on the CPU."""
    arrays: dict[str, torch.Tensor] = {}
    meta = {
        "episodes": [_numbers(info) for info in agent.ep_info_buffer or ()],
        "successes": [float(one) for one in agent.ep_success_buffer or ()],
        "training_state": checkpoint.split_arrays(_training_state(agent), arrays),
    }
    generators = {name: generator.get_state() for name, generator in agent.generators.items()}
    return meta, {"generators": generators, "training_state": {name: one.cpu() for name, one in arrays.items()}}


def load(
    kind: type[Agent],
    path: Any,
    env: Any,
    device: torch.device | str,
    force_reset: bool,
    encoder: OwnEncoder | None = None,
) -> Agent:
    """See :meth:`metarl.agents.rl2.RL2PPO.load`."""
    path = _with_suffix(path)
    meta, groups = read_checkpoint(path)
    if meta.get("kind") != KIND:
        raise CheckpointError(f"{path} holds a {meta.get('kind')!r}, not an agent of {kind.__name__}")
    kept = read_meta(meta, path)
    if kept.own_encoder != (encoder is not None):
        has, remedy = kept.own_encoder, "load(path, encoder=...) with "
        remedy += "the one it was made with" if has else "none"
        raise InputError(f"{path} {'has' if has else 'has not'} an encoder of its own", key="encoder", remedy=remedy)
    own: dict[str, Any] = {name: getattr(kept.settings, name) for name in ARGUMENTS}
    seen: dict[str, Any] = {"normalise": kept.normalise, "encoder": encoder, "imitation": kept.imitation}
    agent = kind(
        "MemoryPolicy", env, memory=kept.memory, device=device, _init_setup_model=False, **own, **seen, **vars(kept.ppo)
    )
    observation_space = space_from_json(kept.observation_space, f"{path}: observation_space")
    action_space = space_from_json(kept.action_space, f"{path}: action_space")
    if env is not None and (agent.observation_space, agent.action_space) != (observation_space, action_space):
        raise ValueError(
            f"the environment has spaces {agent.observation_space} and {agent.action_space}, but {path} was "
            f"trained on {observation_space} and {action_space}; make the environment with the same options"
        )
    agent.observation_space, agent.action_space = observation_space, action_space
    agent.n_steps = kept.settings.n_steps  # None is a whole trial here
    if env is not None:
        prepare(agent.imitation, agent.env)
    same_trials = agent.trial_steps in (None, kept.settings.trial_steps)
    if same_trials:
        agent.trial_steps = kept.settings.trial_steps
    if env is None:
        agent.n_envs = kept.settings.n_envs
    with named(path):
        agent._setup_model()
    restore(agent, meta, groups, path, new_trials=force_reset or not same_trials)
    return agent


def restore(
    agent: RL2PPO, meta: Mapping[str, Any], groups: Mapping[str, Any], path: object, *, new_trials: bool = False
) -> None:
    """Put an agent of the same options where the saved one was.

    Args:
        agent: changed in place.
        meta: plain data of the checkpoint.
        groups: its tensors.
        path: of the checkpoint, for errors.
        new_trials: begin new trials instead of going on inside those that were under way.

    Raises:
        CheckpointError: something is missing, of another type or shape, or not finite.
    """
    kept, groups = of_rank(read_meta(meta, path), groups, path)
    load_tensors(agent, groups, path)
    agent.num_timesteps, agent._n_updates = kept.counters.num_timesteps, kept.counters.n_updates
    agent.ep_info_buffer = deque(kept.episodes, maxlen=agent._stats_window_size)
    agent.ep_success_buffer = deque(kept.successes, maxlen=agent._stats_window_size)
    if agent.env is not None and agent.num_timesteps:
        what = f"{path}: its training state"
        with restoring(what):
            state = checkpoint.join_arrays(kept.training_state, groups["training_state"])
        _resume(agent, state, new_trials or agent.n_envs != kept.settings.n_envs, what)


def _numbers(info: Mapping[str, Any]) -> dict[str, float]:
    """What an episode told, as plain finite numbers."""
    numbers = {k: x for k, x in info.items() if isinstance(x, int | float | np.number) and np.isfinite(x)}
    return {name: x if isinstance(x, int) else float(x) for name, x in numbers.items()}


def _training_state(agent: RL2PPO) -> dict[str, Any]:
    """Where training is: the environment, its observations and the memory; without what can't be saved."""
    now = agent._training_state
    env: Any = agent.env  # SB3's type knows no state_dict
    if now is None or not (resumable(env) or is_ours(env)):
        return {}
    if not resumable(env):
        return {"env": env.state_dict()}
    state: dict[str, Any] = {"obs": dict(now.obs), "boundary": now.boundary, "env": env.state_dict()}
    if (now.boundary != Boundary.TRIAL).any():  # where every trial is about to begin, memory is empty
        state["memory"] = {str(i): leaf for i, leaf in enumerate(tree.leaves(now.memory))}
    return state


def _resume(agent: RL2PPO, state: Mapping[str, Any], new_trials: bool, what: str) -> None:
    """Take up trials where :func:`save` left them, or begin others with tasks that were not played before."""
    env: Any = agent.env
    saved: Mapping[str, Any] = state.get("env", {})
    with restoring(what):
        streams = dict(saved.get("env", {})) if is_ours(env) else {}
        if streams:
            choice(streams["split"], SPLITS, "split")
            for name in GENERATORS:
                check_like(streams[name], np.random.PCG64(0).state, name)
    if streams.get("split", split := attribute(env, "split")) != split:  # whose tasks must not be drawn here
        streams, new_trials = {}, True
    if "obs" in state and not new_trials and resumable(env):
        obs = env.reset()
        with restoring(what):
            now = _inside(agent, state, obs)
        agent._training_state = now
        agent._last_obs, agent._last_episode_starts = now.obs, now.boundary == Boundary.TRIAL
        return
    if streams:
        with restoring(what):
            env.load_generators(saved)
    else:  # others from here on, so that no task comes twice
        own = rank_seed(agent.seed, parallel.rank())
        env.seed(int(sequence(own, "env", agent.num_timesteps).generate_state(1)[0]))
    if not (new_trials or streams.get("exact")):
        warnings.warn(
            f"the trials of {describe(env)} can't be saved: new ones begin, with other tasks, so this is not exactly "
            "the training that was never interrupted",
            stacklevel=4,
        )


def _inside(agent: RL2PPO, state: Mapping[str, Any], obs: TrialObservation) -> TrainingState:
    """Where training was, inside trials, once it is known to fit; ``obs`` is what the environment shows after a reset.

    Raises:
        ValueError: something is of another name, shape or type; other garbage raises other errors.
    """
    env: Any = agent.env
    empty = agent.policy.initial_state(agent.n_envs)
    fresh = {"obs": obs, "boundary": np.full(agent.n_envs, Boundary.TRIAL), "env": env.state_dict()}
    if "memory" in state:
        fresh["memory"] = {str(i): leaf for i, leaf in enumerate(tree.leaves(empty))}
    check_like(_known(state), _known(fresh), "it")
    boundary = state["boundary"]
    if not np.isin(boundary, list(Boundary)).all() or ("memory" not in state and (boundary != Boundary.TRIAL).any()):
        raise ValueError(f"it has the boundaries {boundary.tolist()}, with {'a' * ('memory' in state) or 'no'} memory")
    steps, episodes = (state["env"]["env"][name] for name in ("steps", "episodes"))
    if min(steps.min(), episodes.min()) < 0:
        raise ValueError(f"it is at the steps {steps.tolist()} of the episodes {episodes.tolist()}")
    env.load_state_dict(state["env"])
    leaves = iter(torch.as_tensor(leaf).to(agent.device) for leaf in state.get("memory", {}).values())
    memory = tree.map_tensors(lambda _: next(leaves), empty) if "memory" in state else empty
    return TrainingState(state["obs"], boundary, memory)


def _known(state: Mapping[str, Any]) -> dict[str, Any]:
    """The state without the environment's generators, and its dynamics, which only a family knows."""
    env = {name: part for name, part in state["env"]["env"].items() if name in ENV_ARRAYS}
    return {**state, "env": {**state["env"], "env": env}}


def _with_suffix(path: Any) -> Path:
    """``path`` with ``.zip`` where it has no suffix, as SB3's callbacks expect."""
    if not isinstance(path, str | Path):
        raise InputError(key="path", given=path, expected="the path of a file")
    path = Path(path)
    return path if path.suffix == ".zip" else path.with_name(path.name + ".zip")
