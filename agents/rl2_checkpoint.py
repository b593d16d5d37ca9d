"""Agents of :class:`metarl.agents.rl2.RL2PPO` as files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from metarl import tree
from metarl.agents.rl2_env import resumable
from metarl.config import InputError, build, to_plain
from metarl.memory.options import MemoryOptions
from metarl.nets.encoders import OwnEncoder
from metarl.training import checkpoint
from metarl.training.checkpoint import CheckpointError, read_checkpoint, write_checkpoint
from metarl.training.collect import TrainingState
from metarl.types import Boundary

if TYPE_CHECKING:
    from metarl.agents.rl2 import RL2PPO

    Agent = TypeVar("Agent", bound=RL2PPO)

KIND = "rl2ppo"
ARGUMENTS = ("n_envs", "n_steps", "schedule_steps", "seed")
"""Attributes of an agent that are arguments of its constructor."""


def save(agent: RL2PPO, path: Any) -> None:
    """See :meth:`metarl.agents.rl2.RL2PPO.save`."""
    arrays: dict[str, torch.Tensor] = {}
    meta = {
        "kind": KIND,
        "ppo": to_plain(agent.options),
        "memory": to_plain(agent.memory),
        "normalise": agent.normalise,
        "own_encoder": agent.encoder is not None,
        "settings": {name: getattr(agent, name) for name in (*ARGUMENTS, "trial_steps")},
        "counters": {"num_timesteps": agent.num_timesteps, "n_updates": agent._n_updates},
        "observation_space": checkpoint.space_to_json(agent.observation_space),
        "action_space": checkpoint.space_to_json(agent.action_space),
        "training_state": checkpoint.split_arrays(_training_state(agent), arrays),
    }
    groups = {
        "policy": agent.policy.state_dict(),
        "optimizer": checkpoint.optimizer_to_tensors(agent.optimizer),
        "generators": {name: g.get_state() for name, g in agent.generators.items()},
        "training_state": arrays,
    }
    write_checkpoint(_with_suffix(path), meta, groups)


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
    if (has := bool(meta.get("own_encoder"))) != (encoder is not None):
        remedy = f"load(path, encoder=...) with {'the one it was made with' if has else 'none'}"
        raise InputError(f"{path} {'has' if has else 'has not'} an encoder of its own", key="encoder", remedy=remedy)
    settings = meta["settings"]
    seen = {"normalise": meta.get("normalise", False), "encoder": encoder}
    own = {name: settings[name] for name in ARGUMENTS}
    memory = build(MemoryOptions, meta["memory"], f"{path}: memory")
    agent = kind(
        "MemoryPolicy", env, memory=memory, device=device, _init_setup_model=False, **own, **seen, **meta["ppo"]
    )
    observation_space = checkpoint.space_from_json(meta["observation_space"])
    action_space = checkpoint.space_from_json(meta["action_space"])
    if env is not None and (agent.observation_space, agent.action_space) != (observation_space, action_space):
        raise ValueError(
            f"the environment has spaces {agent.observation_space} and {agent.action_space}, but {path} was "
            f"trained on {observation_space} and {action_space}; make the environment with the same options"
        )
    agent.observation_space, agent.action_space = observation_space, action_space
    agent.n_steps = settings["n_steps"]  # None is a whole trial here
    same_trials = agent.trial_steps in (None, settings["trial_steps"])
    if same_trials:
        agent.trial_steps = settings["trial_steps"]
    agent._setup_model()
    agent.policy.load_state_dict(groups["policy"])
    checkpoint.optimizer_from_tensors(agent.optimizer, groups["optimizer"])
    for name, generator in agent.generators.items():
        if len(saved := groups["generators"][name]) == len(generator.get_state()):  # else of another kind of device
            generator.set_state(saved)
    agent.num_timesteps, agent._n_updates = meta["counters"]["num_timesteps"], meta["counters"]["n_updates"]
    if env is None:
        agent.n_envs = settings["n_envs"]
    state = checkpoint.join_arrays(meta["training_state"], groups["training_state"])
    same_rows = agent.n_envs == settings["n_envs"]
    if not force_reset and same_rows and same_trials and "env" in state and resumable(agent.env):
        _resume(agent, state)
    return agent


def _training_state(agent: RL2PPO) -> dict[str, Any]:
    """Where training is: the environment, its observations and the memory; nothing if the environment has no state."""
    now = agent._training_state
    env: Any = agent.env  # SB3's type knows no state_dict
    if now is None or not resumable(env):
        return {}
    state: dict[str, Any] = {"obs": dict(now.obs), "boundary": now.boundary, "env": env.state_dict()}
    if (now.boundary != Boundary.TRIAL).any():  # where every trial is about to begin, memory is empty
        state["memory"] = {str(i): leaf for i, leaf in enumerate(tree.leaves(now.memory))}
    return state


def _resume(agent: RL2PPO, state: dict[str, Any]) -> None:
    """Take up trials where :func:`save` left them."""
    env: Any = agent.env
    env.reset()
    env.load_state_dict(state["env"])
    memory = agent.policy.initial_state(agent.n_envs)
    if "memory" in state:
        saved = iter(torch.as_tensor(leaf).to(agent.device) for leaf in state["memory"].values())
        memory = tree.map_tensors(lambda _: next(saved), memory)
    agent._training_state = TrainingState(state["obs"], state["boundary"], memory)
    agent._last_obs, agent._last_episode_starts = state["obs"], state["boundary"] == Boundary.TRIAL


def _with_suffix(path: Any) -> Path:
    """``path`` with ``.zip`` where it has no suffix, as SB3's callbacks expect."""
    if not isinstance(path, str | Path):
        raise InputError(key="path", given=path, expected="the path of a file")
    path = Path(path)
    return path if path.suffix == ".zip" else path.with_name(path.name + ".zip")
