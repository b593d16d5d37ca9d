from .rl2 import RL2PPO as RL2PPO

__all__: list[str]
