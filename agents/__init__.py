"""Complete learners, and the hand-made baselines that they are measured against."""

from __future__ import annotations

if __name__ != "metarl.agents":
    raise ImportError(f"the learners are imported as metarl.agents, not {__name__!r}: import metarl.agents")

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from metarl.agents.rl2 import RL2PPO

__all__ = ["RL2PPO"]


def __getattr__(name: str) -> Any:
    if name != "RL2PPO":
        raise AttributeError(f"module 'metarl.agents' has no attribute {name!r}; its public name is RL2PPO")
    from metarl.agents.rl2 import RL2PPO

    return RL2PPO
