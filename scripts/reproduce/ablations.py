"""The rows of docs/results/ablations.json: ``python scripts/reproduce/ablations.py [--jobs 2]``.

What each part of an agent is worth, and imitating an expert (docs/imitation.md): one preset, trained with and
without it, on the same held-out tasks. ``--steps`` and ``--trials`` make toy rows, in a folder of runs of their own.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import torch
from common import Measured, pooled, put, references, returned, runs_of, train, trained_at

from metarl.evaluation.play import rollout_trials
from metarl.experiments.run import open_run
from metarl.files import write_json
from metarl.functional.stats import standard_error
from metarl.memory.ablation import ablated

SETTINGS = {
    "bandit": "Bernoulli bandit, k=10, n=100, held-out tasks",
    "mdp": "random MDP, 10 states, 5 actions, 10 episodes of 10 steps, held-out tasks",
}
METRIC = "reward per trial, sampled actions"
COMMAND = "python scripts/reproduce/ablations.py"
TRAINED = {
    "bandit": {
        "": (),
        "asked once a step": ("memory.per_action=false",),
        "Gittins imitated for the first 30 %": ("imitation.expert=Gittins", "imitation.until=0.3"),
    },
    "mdp": {
        "": (),
        "planner that replans at each step imitated to the end": (
            "imitation.expert=Bayes bonus, replanned",
            "imitation.until=1.0",
            "imitation.weight=10.0",
        ),
    },
}
"""What is trained: by preset and by what is different, and the settings that make it so."""
WITHOUT = {"off": "memory off", "shuffled": "keys shuffled"}
"""What is taken from the trained preset, and how it is called."""


def main() -> None:
    """Train all agents, evaluate them, write the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each")
    parser.add_argument("--preset", choices=list(TRAINED), help="one preset alone")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of the training runs (default 0 1 2)")
    parser.add_argument("--steps", type=int, help="environment steps of a training (default: those of the preset)")
    parser.add_argument("--trials", type=int, help="held-out tasks for each seed (default: those of the preset)")
    parser.add_argument("--out", type=Path, default=Path("runs/ablations"))
    args = parser.parse_args()
    command, common, out = COMMAND, [], args.out
    keys = {"steps": ("train.total_timesteps",), "trials": ("eval.trials", "eval.tuning_trials")}
    for name in keys:
        if (number := getattr(args, name)) is not None:
            common += [f"{key}={number}" for key in keys[name]]
            command, out = f"{command} --{name} {number}", out / f"{name}-{number}"
    presets = [args.preset] if args.preset else list(TRAINED)
    jobs = [(preset, name, seed) for preset in presets for name in TRAINED[preset] for seed in args.seeds]
    torch.set_num_threads(1)

    def run(job: tuple[str, str, int]) -> Any:
        preset, name, seed = job
        return train(preset, label(preset, name), [seed], [*common, *TRAINED[preset][name]], out, 1)[0]

    with ThreadPoolExecutor(args.jobs) as pool:
        done = dict(zip(jobs, pool.map(run, jobs), strict=True))
    for preset in presets:
        about = {"setting": SETTINGS[preset], "metric": METRIC, "command": command}
        about["flags"] = command.removeprefix(COMMAND).strip()  # so that a toy row takes no other's place
        of = {name: [done[preset, name, seed] for seed in args.seeds] for name in TRAINED[preset]}
        for name, evaluations in of.items():
            about["commit"] = trained_at(*runs_of(out, label(preset, name), args.seeds))
            write = partial(row, evaluations, about=about, seeds=args.seeds)
            write(", ".join(filter(None, [f"preset {preset}", name])), [returned(one) for one in evaluations])
            for ablation, words in WITHOUT.items() if not name else ():
                pairs = zip(evaluations, args.seeds, strict=True)
                each = [without(one, preset, ablation, seed, out) for one, seed in pairs]
                write(f"preset {preset}, {words}", each)


def label(preset: str, name: str) -> str:
    """The name of a run's folder."""
    return "-".join([preset, *(word for word in name.replace("%", "").replace("(", "").replace(")", "").split())])


def row(
    evaluations: Sequence[Any], method: str, each: Sequence[Measured], *, about: dict[str, Any], seeds: Sequence[int]
) -> None:
    """Write the row of what each seed reached, with the seeds apart beside the references."""
    told = references(evaluations) | {f"seed {s}": round(mean, 3) for s, (mean, _) in zip(seeds, each, strict=True)}
    values = {**about, "method": method, "goal": (None, None), "references": told}
    put("ablations", evaluations, seeds, values, *pooled(each))


def without(evaluation: Any, preset: str, ablation: Any, seed: int, out: Path) -> Measured:
    """What a trained preset reaches on its test tasks with something taken away; what was measured already is taken.

    The evaluation of a run leaves out keys that are told apart by actions alone.
    """
    if ablation in evaluation.ablations:
        return returned(evaluation.ablations[ablation])
    path = out / f"{label(preset, '')}-s{seed}-{ablation}.json"
    if not path.is_file():
        done: Any = open_run(out / f"{label(preset, '')}-s{seed}", device="cpu")
        play = partial(rollout_trials, seed=seed, rows=min(done.experiment.eval.rows, done.evaluation.trials))
        with ablated(done.model.policy.core, ablation):
            make_env = partial(done.experiment.make_env, "test")
            returns = play(done.model.actor(), make_env, done.evaluation.trials).returns
        write_json(path, {"return_mean": float(returns.mean()), "return_se": float(standard_error(returns))})
    found = json.loads(path.read_text(encoding="utf-8"))
    return found["return_mean"], found["return_se"]


if __name__ == "__main__":
    main()
