"""Memory-based meta-learning: RL² agents with episodic memory, trained across task distributions."""

from metarl.envs.table import register_all

register_all()
