"""Room in the memory of :class:`metarl.agents.rl2.RL2PPO` for trials of any length."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import torch

from metarl import tree
from metarl.config import InputError
from metarl.limits import check_bytes
from metarl.nets.policy import MemoryPolicy
from metarl.seeding import torch_rng
from metarl.training.allowance import Allowance

if TYPE_CHECKING:
    from metarl.agents.rl2 import RL2PPO


def build_policy(agent: RL2PPO, trial_steps: int | None) -> MemoryPolicy:
    """An untrained policy of the agent's options, in evaluation mode.

    Args:
        agent: whose spaces, options and seed it has.
        trial_steps: steps of a trial, for stores that have room for one; None: not known.

    Raises:
        InputError: it takes more bytes than there are.
    """
    with torch.random.fork_rng(devices=[]), Allowance():
        torch.manual_seed(torch_rng(agent.seed, "init").initial_seed())
        seen: Any = agent.observation_space  # a Dict
        policy = MemoryPolicy(seen, agent.action_space, agent.memory, trial_steps, agent.normalise, agent.encoder)
    return policy.to(agent.device).eval()


def policy_for(agent: RL2PPO, trial_steps: int, rows: int) -> MemoryPolicy:
    """The agent's policy for trials that may be longer than those it was trained in; the agent stays as it is.

    A store that has room for a trial gets room for these. Nothing that was learned depends on it.

    Args:
        agent: trained.
        trial_steps: of the trials to play.
        rows: that many side by side.

    Raises:
        InputError: the memories of so many trials take more bytes than there are.
    """
    policy = agent.policy
    if agent.trial_steps is not None and trial_steps > agent.trial_steps:
        policy = build_policy(agent, trial_steps)
        try:
            policy.load_state_dict(agent.policy.state_dict())
        except RuntimeError as error:
            problem = f"the store {agent.memory.store!r} has parameters that depend on how long a trial is ({error})"
            remedy = f"play trials of at most {agent.trial_steps} steps"
            raise InputError(problem, key="env", given=f"trials of {trial_steps} steps", remedy=remedy) from None
        if (capacity := agent.memory.store_options.get("capacity")) is not None:
            warnings.warn(
                f"trials of {trial_steps} steps are longer than those of training ({agent.trial_steps}), and memory "
                f"keeps its capacity of {capacity} slots: where it is full, slots give way",
                stacklevel=3,
            )
    with Allowance("the memory of one trial"):
        each = sum(leaf.numel() * leaf.element_size() for leaf in tree.leaves(policy.initial_state(1)))
    given = f"{rows} memories of trials of {trial_steps} steps"
    check_bytes(rows * each, key="eval.rows", given=given, remedy="lower eval.rows")
    return policy
