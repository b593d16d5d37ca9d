"""Ours, as a preset or a file like one describes it; see serve.py."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from serve import Learner, Race, main


def make(args: argparse.Namespace) -> Learner:
    """The learner of the command line."""
    import torch
    import torch._dynamo  # as optimizers do in their first step, where it would count as training
    from stable_baselines3.common.callbacks import BaseCallback

    from metarl.config import parse_assignment
    from metarl.experiments.presets import load_experiment

    experiment: Any = load_experiment(args.preset, [parse_assignment(text) for text in args.set])
    torch.set_num_threads(args.threads or torch.get_num_threads())
    agent = experiment.build(args.seed, torch.device("cpu"))
    size = agent.n_envs * (agent.n_steps or agent.trial_steps)

    class Finished(BaseCallback):
        """The returns of the trials that ended; they are told to a race when the update is done."""

        def __init__(self, race: Race | None = None) -> None:
            super().__init__()
            self.told, self.over = race, False
            self.returns: list[Any] = []
            self.sums = np.zeros(agent.n_envs)

        def _on_step(self) -> bool:
            self.sums += self.locals["rewards"]
            ended = self.locals["dones"]
            self.returns += self.sums[ended].tolist()
            self.sums[ended] = 0
            return not self.over

        def _on_rollout_start(self) -> None:
            if self.told is not None and self.returns and not self.over:
                self.over = self.told.add(self.num_timesteps, self.returns)
                self.returns = []

        _on_training_end = _on_rollout_start

    def rollout() -> tuple[int, Any]:
        finished = Finished()
        agent.learn(size, finished, reset_num_timesteps=not agent.num_timesteps)
        return size, np.asarray(finished.returns)

    def race(race: Race) -> None:
        agent.learn(experiment.train.total_timesteps, Finished(race))

    facts = {
        "versions": {"torch": torch.__version__},
        "parameters": sum(p.numel() for p in agent.policy.parameters()),
    }
    return Learner(facts, rollout, race)


if __name__ == "__main__":
    preset = {"default": "bandit", "help": "preset, or a TOML file"}
    setting = {"action": "append", "default": [], "metavar": "KEY=VALUE", "help": "a setting (repeatable)"}
    main(make, preset=preset, set=setting)
