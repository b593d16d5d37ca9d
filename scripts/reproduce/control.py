"""The rows of docs/results/control.json: ``python scripts/reproduce/control.py [--jobs 2]``.

CartPole with varied physics, a pendulum with a hidden goal, and a cue in a picture: each agent beside the same preset
trained and tested with the task in its input, and the CartPole also beside stable-baselines3's PPO without a memory.
"""

from __future__ import annotations

import argparse
import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import Measured, pooled, put, ratio, returned, runs_of, train, trained_at, write
from stable_baselines3 import PPO

from metarl.evaluation.play import rollout_trials
from metarl.evaluation.results import AgentEvaluation
from metarl.experiments.presets import load_experiment
from metarl.experiments.rl.experiment import RL2Experiment
from metarl.files import write_json
from metarl.functional.stats import standard_error
from metarl.tasks.vector.sb3 import as_vec_env
from metarl.types import Array, Ints, TrialObservation

SEEDS = {"cartpole": (0, 1, 2), "pendulum": (0,), "cue": (0, 1, 2)}
COMMAND = "python scripts/reproduce/control.py"
SETTINGS = {
    "cartpole": "CartPole, varied physics and reversed actions, 5 episodes of at most 200 steps, held-out tasks",
    "pendulum": "Pendulum with a hidden goal, 3 episodes of 100 steps, held-out tasks",
    "cue": "image cue, 4 cues, 3 episodes, 6 frames of noise before each choice, held-out tasks",
}
SAMPLED = "reward per trial, sampled actions"


class Memoryless:
    """Stable-baselines3's policy as an actor: each action from the present observation alone."""

    def __init__(self, model: PPO) -> None:
        self.model = model

    def reset(self, n: int, rng: np.random.Generator) -> None:
        """Nothing is kept from step to step."""
        torch.manual_seed(int(rng.integers(2**31)))

    def act(self, obs: TrialObservation, boundary: Ints) -> Array:
        """Choose actions ``[n]``."""
        return self.model.predict(obs)[0]


def memoryless(preset: str, seed: int, out: Path) -> dict[str, Any]:
    """PPO with its default net on the same trial observations, for as many steps; what is there already is taken."""
    path = out / f"{preset}-memoryless-s{seed}.json"
    if not path.is_file():
        experiment = load_experiment(preset)
        assert isinstance(experiment, RL2Experiment)
        env = as_vec_env(experiment.make_env("train", experiment.train.n_envs))
        batch = 128 * experiment.train.n_envs // 8
        model = PPO("MultiInputPolicy", env, n_steps=128, batch_size=batch, gamma=experiment.ppo.gamma, seed=seed)
        began = time.perf_counter()
        model.learn(experiment.train.total_timesteps)
        seconds = time.perf_counter() - began
        trials, rows = experiment.eval.trials, experiment.eval.rows
        played = rollout_trials(
            Memoryless(model), lambda n: experiment.make_env("test", n), trials, seed=seed, rows=rows
        )
        result = {
            "return_mean": float(played.returns.mean()),
            "return_se": standard_error(played.returns),
            "trials": trials,
            "train_seconds": seconds,
            "train_steps": model.num_timesteps,
        }
        write_json(path, result)
    result = json.loads(path.read_text())
    assert isinstance(result, dict)
    return result


def episode(evaluation: AgentEvaluation, number: int) -> Measured:
    """Mean and standard error of the return of one of a trial's episodes."""
    return evaluation.by_episode[number], evaluation.by_episode_se[number]


def main() -> None:
    """Train all agents, evaluate them on held-out tasks, write the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each")
    parser.add_argument("--out", type=Path, default=Path("runs/control"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    jobs = [(preset, seed, reveal) for preset in SETTINGS for seed in SEEDS[preset] for reveal in ("false", "true")]

    def run(job: tuple[str, int, str]) -> Any:
        preset, seed, reveal = job
        name = preset if reveal == "false" else f"{preset}-informed"
        return train(preset, name, [seed], [f"env.reveal={reveal}"], args.out, 1)[0]

    torch.set_num_threads(1)
    with ThreadPoolExecutor(args.jobs) as pool:
        done = dict(zip(jobs, pool.map(run, jobs), strict=True))
    blind = [memoryless("cartpole", SEEDS["cartpole"][0], args.out)]  # one seed: it is far away

    for preset, setting in SETTINGS.items():
        seeds = SEEDS[preset]
        agents, informed = ([done[preset, seed, reveal] for seed in seeds] for reveal in ("false", "true"))
        common = {"setting": setting, "command": COMMAND, "goal": (None, None), "references": {}}
        common["commit"] = trained_at(*runs_of(args.out, preset, seeds))
        ours, theirs = (pooled([returned(one) for one in runs]) for runs in (agents, informed))
        told = {"informed": round(theirs[0], 3)}
        write("control", agents, seeds, {**common, "method": preset, "metric": SAMPLED, "references": told})
        emptied = {name: pooled([returned(e.ablations[name]) for e in agents]) for name in ("episode", "step")}
        for name, value in emptied.items():
            # well below the agent: their intervals do not meet
            most = round(ours[0] - 1.96 * (ours[1] + value[1]), 3) if (preset, name) == ("cartpole", "step") else None
            method = f"{preset}, all memory emptied at each {name}"
            put("control", agents, seeds, {**common, "method": method, "metric": SAMPLED, "goal": (None, most)}, *value)
        if preset == "cartpole":
            values = {**common, "method": preset, "references": told, "goal": (0.9, None)}
            metric = "reward per trial, as a share of the informed agent's"
            put("control", agents, seeds, {**values, "metric": metric}, *ratio(ours, theirs))
            without = pooled([(one["return_mean"], one["return_se"]) for one in blind])
            values = {**common, "method": preset, "references": {"memoryless PPO": round(without[0], 3)}}
            metric = "reward per trial, as a multiple of memoryless PPO's after equal steps"
            put("control", agents, seeds, {**values, "metric": metric, "goal": (1.3, None)}, *ratio(ours, without))
            continue
        final, told_final = (pooled([episode(e, -1) for e in runs]) for runs in (agents, informed))
        values = {**common, "method": preset, "references": {"informed": round(told_final[0], 3)}}
        if preset == "pendulum":  # rewards are costs, so a larger share is worse
            metric = "cost of the last episode, as a multiple of the informed agent's"
            put("control", agents, seeds, {**values, "metric": metric, "goal": (None, 1.1)}, *ratio(final, told_final))
        else:
            metric = "share of correct choices in the last episode"
            put("control", agents, seeds, {**values, "metric": metric, "goal": (0.95, None)}, *final)
            metric = "share of correct choices in the last episode, as a share of the informed agent's"
            put("control", agents, seeds, {**values, "metric": metric, "goal": (0.9, None)}, *ratio(final, told_final))
            metric = "share of correct choices in the first episode"
            first = pooled([episode(e, 0) for e in agents])
            put("control", agents, seeds, {**values, "metric": metric, "goal": (0.95, None)}, *first)


if __name__ == "__main__":
    main()
