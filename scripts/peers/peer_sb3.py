"""sb3-contrib's RecurrentPPO; see serve.py."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from bandit import ARMS, PULLS, WIDTH, Bandits
from serve import PPO, Learner, main


def make(args: argparse.Namespace) -> Learner:
    """The learner of the command line."""
    import gymnasium as gym
    import sb3_contrib
    import stable_baselines3
    import torch
    from sb3_contrib import RecurrentPPO
    from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

    torch.set_num_threads(args.threads or torch.get_num_threads())
    shown = gym.spaces.Box(-np.inf, np.inf, (WIDTH,), np.float32), gym.spaces.Discrete(ARMS)
    finished: list[Any] = []

    class Single(gym.Env):
        """One trial at a time."""

        observation_space, action_space = shown

        def __init__(self, seed: int) -> None:
            self.bandit = Bandits(1, seed)

        def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
            return self.bandit.reset()[0], {}

        def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
            obs, rewards, over = self.bandit.step(np.asarray([action]))
            if over:
                finished.append(self.bandit.returns)
            return obs[0], args.reward_scale * float(rewards[0]), over, False, {}

    class Native(VecEnv):
        """All trials in one call."""

        def __init__(self) -> None:
            self.bandit = Bandits(args.envs, args.seed)
            super().__init__(args.envs, *shown)

        def reset(self) -> Any:
            return self.bandit.reset()

        def step_async(self, actions: Any) -> None:
            self.actions = actions

        def step_wait(self) -> tuple[Any, Any, Any, list[dict[str, Any]]]:
            obs, rewards, over = self.bandit.step(self.actions)
            infos: list[dict[str, Any]] = [{} for _ in range(args.envs)]
            if over:
                finished.append(self.bandit.returns)
                infos = [{"terminal_observation": row} for row in obs]
                obs = self.bandit.reset()
            return obs, args.reward_scale * rewards, np.full(args.envs, over), infos

        def close(self) -> None:
            pass

        def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
            return [None] * args.envs

        def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
            raise AttributeError(attr_name)

        def env_method(self, method_name: str, *given: Any, indices: Any = None, **named: Any) -> list[Any]:
            raise AttributeError(method_name)

        def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
            return [False] * args.envs

    dummy: list[Callable[[], gym.Env]] = [partial(Single, args.seed * 10_007 + i) for i in range(args.envs)]
    small = {"shared_lstm": True, "enable_critic_lstm": False, "net_arch": []}
    size = args.envs * PULLS
    agent = RecurrentPPO(
        "MlpLstmPolicy",
        Native() if args.native else DummyVecEnv(dummy),
        n_steps=PULLS,
        batch_size=size // args.minibatches,
        n_epochs=args.epochs,
        learning_rate=args.lr,
        gamma=args.gamma,
        gae_lambda=args.lam,
        ent_coef=args.ent,
        policy_kwargs={"lstm_hidden_size": 128, **(small if args.small else {})},
        device="cpu",
        seed=args.seed,
    )

    def rollout() -> tuple[int, Any]:
        finished.clear()
        agent.learn(size, reset_num_timesteps=False)
        return size, np.concatenate(finished)

    facts = {
        "versions": {"sb3_contrib": sb3_contrib.__version__, "stable_baselines3": stable_baselines3.__version__},
        "parameters": sum(p.numel() for p in agent.policy.parameters()),
    }
    return Learner(facts, rollout)


if __name__ == "__main__":
    native = {"action": "store_true", "help": "all trials in one call, in place of a DummyVecEnv"}
    small = {"action": "store_true", "help": "one LSTM for policy and value, and no layers after it"}
    main(make, native=native, small=small, **PPO)
