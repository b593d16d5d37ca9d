"""The barcode bandit's rows of docs/results/barcode.json: ``python scripts/reproduce/barcode.py [--jobs 2]``.

``--part barcode`` and ``--part barcode-episodic`` train a preset, with and without memory; ``--part wide`` and
``--part flipped`` the preset ``barcode`` where there are more contexts, and where a bit of the barcode is flipped at
each encounter; ``--part again`` where each of 50 contexts is met once more, after 40 others at least; ``--part stores``
every other store for about ten minutes on one core, under the preset's feed-forward controller, asked once a step, and
read by its native access or by attention.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from common import Measured, percent_of, pooled, put, references, runs_of, train, trained_at, write

from metarl.agents.baselines import exposure_values
from metarl.envs import distribution
from metarl.report.agent import best_reference

EPISODES = 100
ENCOUNTERS = (1, 2, 3, 5, 10)
"""Of a context, whose rewards are told apart."""
SETTING = "barcode bandit, 10 arms, 10 contexts x 10 repeats, 10 pulls an episode, held-out tasks"
METRIC = "mean reward an episode, sampled actions"
COMMAND = "python scripts/reproduce/barcode.py"
AGENTS = {
    "barcode": ("attention over the trial, asked per action", 8.4, (0, 1, 2)),
    "barcode-episodic": ("slot an episode, reinstated", 8.0, (0,)),
}
"""What the rows of a preset call it, the least reward an episode, and the seeds of training."""
SEEDS = (0,)
"""Of all other training."""
SHARE = 97.0
"""The least per cent of ideal memory on other tasks than the preset's own."""
LASTING = 95.0
"""The least per cent of ideal memory where a context is met for the second time."""
WITHIN = 4.5
"""What no agent reaches without memory across episodes: the best that it can is 4.44."""


class Tasks(NamedTuple):
    """Tasks that the preset ``barcode`` is trained and tested on in place of its own.

    Args:
        setting: how rows call them.
        episodes: of a trial.
        least: reward an episode, 97 % of what is known to be the best.
        settings: of the preset.
    """

    setting: str
    episodes: int
    least: float
    settings: tuple[str, ...]


TASKS = {
    "wide": Tasks(
        "barcode bandit, 10 arms, 40 contexts x 5 repeats, 10 pulls an episode, held-out tasks",
        200,
        7.64,
        # Trials are twice as long: half as many at a time make updates of as many steps as the preset's.
        ("env.contexts=40", "env.repeats=5", "train.n_envs=16", "train.total_timesteps=1280000", "eval.trials=250"),
    ),
    "flipped": Tasks(f"{SETTING}, one bit of 20 flipped at each encounter", 100, 8.18, ("env.flips=1",)),
}
AGAIN = {"contexts": 50, "repeats": 2, "gap": 40}
"""The family in which each context is met twice, in two rounds."""
CONTROL = "trained with all memory emptied at each episode"
TEN_MINUTES = "trained for about ten minutes"
ONCE = (  # every store is asked once a step, which all of them can be
    "memory.per_action=false",
    "memory.store_options={}",
    "memory.key_size=64",
    "memory.value_size=64",
    "memory.controller_options={}",
    'memory.access_options={ heads = 4, kernel = "cosine", temperature = 0.1 }',
    "ppo.learning_rate=2e-3",
    "ppo.gamma=0.95",
    "ppo.n_minibatches=16",
    "train.n_envs=64",
)
STEPPED = ("ppo.n_minibatches=4", "memory.key_size=32", "memory.value_size=32")
STORES = {
    "key_value": ("attention", 5_120_000, ()),
    "delta": ("native", 12_800_000, ("memory.access_options={}",)),
    "lifelong": ("attention", 3_200_000, STEPPED),
    "ntm": ("native", 2_560_000, ("memory.access_options={}", *STEPPED)),
    "lrua": ("native", 5_760_000, ("memory.access_options={}", *STEPPED)),
    "dnc": ("native", 1_920_000, ("memory.access_options={}", *STEPPED)),
    "neural": ("native", 1_920_000, ("memory.access_options={}", *STEPPED)),
}
"""Access, steps of the environment that ten minutes have room for, and settings."""
PARTS = [*AGENTS, *TASKS, "again", "stores"]


def main() -> None:
    """Train, evaluate, write the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each")
    parser.add_argument("--part", choices=PARTS, help="one part alone")
    parser.add_argument("--seeds", type=int, nargs="+", help="of training (default: 0; of barcode and again 0 1 2)")
    parser.add_argument("--out", type=Path, default=Path("runs/barcode"))
    args = parser.parse_args()
    parts = [args.part] if args.part else PARTS
    of_presets([part for part in AGENTS if part in parts], args.seeds, args.jobs, args.out)
    of_tasks([part for part in TASKS if part in parts], args.seeds or SEEDS, args.jobs, args.out)
    if "again" in parts:
        of_again(args.seeds or AGENTS["barcode"][2], args.jobs, args.out)
    if "stores" in parts:
        of_stores(args.seeds or SEEDS, args.jobs, args.out)


def of_tasks(names: list[str], seeds: Sequence[int], jobs: int, out: Path) -> None:
    """Train the preset ``barcode`` on other tasks, evaluate, take its memory away, write the rows."""

    def run(name: str) -> list[Any]:
        return train("barcode", name, seeds, TASKS[name].settings, out, 1)

    with ThreadPoolExecutor(jobs) as pool:
        for name, evaluations in zip(names, pool.map(run, names), strict=True):
            tasks, method = TASKS[name], AGENTS["barcode"][0]
            common: dict[str, Any] = {"setting": tasks.setting, "metric": METRIC, "command": f"{COMMAND} --part {name}"}
            common["commit"] = trained_at(*runs_of(out, name, seeds))
            common["references"] = references(evaluations, tasks.episodes)
            values = {**common, "method": method, "goal": (tasks.least, None)}
            write("barcode", evaluations, seeds, values, per=tasks.episodes)
            ideal = best_reference(evaluations[0]) or ""
            share = {**common, "method": method, "metric": f"% of {ideal} on the same tasks", "goal": (SHARE, None)}
            put("barcode", evaluations, seeds, share, *percent_of(ideal, evaluations))
            off = {**common, "method": f"{method}, memory off", "goal": (None, WITHIN)}
            write("barcode", evaluations, seeds, off, ablation="off", per=tasks.episodes)


def of_again(seeds: Sequence[int], jobs: int, out: Path) -> None:
    """Train the preset ``barcode`` where contexts are met twice; write what it earns at the second encounter."""
    evaluations = train("barcode", "again", seeds, [f"env.{name}={value}" for name, value in AGAIN.items()], out, jobs)
    ideal = float(exposure_values(distribution("metarl/BarcodeBandit-v0", **AGAIN).prior)[1])

    def second(actors: Sequence[Any]) -> Measured:
        """Reward an episode of the second round; the errors of its episodes are taken as independent."""
        each = []
        for actor in actors:
            first = len(actor.by_episode) // 2
            error = np.linalg.norm(actor.by_episode_se[first:]) / len(actor.by_episode_se[first:])
            each.append((float(np.mean(actor.by_episode[first:])), float(error)))
        return pooled(each)

    setting = "barcode bandit, 10 arms, 50 contexts, each met again after 40 others at least, 10 pulls, held-out tasks"
    known = {name: second([e.references[name] for e in evaluations])[0] for name in evaluations[0].references}
    common: dict[str, Any] = {"setting": setting, "command": f"{COMMAND} --part again"}
    common["commit"] = trained_at(*runs_of(out, "again", seeds))
    common["references"] = {name: round(mean, 3) for name, mean in known.items()}
    metric, method = "mean reward an episode at the second encounter, sampled actions", AGENTS["barcode"][0]
    (mean, error), least = second(evaluations), round(LASTING / 100 * ideal, 2)
    values = {**common, "metric": metric, "method": method, "goal": (least, None)}
    put("barcode", evaluations, seeds, values, mean, error)
    values |= {"metric": f"% of ideal memory's {ideal:.2f} at the second encounter", "goal": (LASTING, None)}
    put("barcode", evaluations, seeds, values, 100 * mean / ideal, 100 * error / ideal)
    values |= {"metric": metric, "method": f"{method}, memory off", "goal": (None, WITHIN)}
    put("barcode", evaluations, seeds, values, *second([e.ablations["off"] for e in evaluations]))


def of_stores(seeds: Sequence[int], jobs: int, out: Path) -> None:
    """Train an agent with each store and write its row."""

    def run(store: str) -> list[Any]:
        access, steps, settings = STORES[store]
        given = [f"memory.store={store}", f"memory.access={access}", f"train.total_timesteps={steps}", *ONCE, *settings]
        return train("barcode", f"store-{store}", seeds, given, out, 1)

    with ThreadPoolExecutor(jobs) as pool:
        for store, evaluations in zip(STORES, pool.map(run, STORES), strict=True):
            values: dict[str, Any] = {"setting": SETTING, "metric": METRIC, "command": f"{COMMAND} --part stores"}
            values["commit"] = trained_at(*runs_of(out, f"store-{store}", seeds))
            values |= {"references": references(evaluations, EPISODES), "goal": (None, None)}
            name = f"{store} read by {STORES[store][0]}, {TEN_MINUTES}"
            write("barcode", evaluations, seeds, {**values, "method": name}, per=EPISODES)


def of_presets(presets: list[str], given: Sequence[int] | None, jobs: int, out: Path) -> None:
    """Train agents, for one seed also with memory emptied at each episode; evaluate, ablate, write the rows."""
    seeds = {
        (preset, horizon): (given or AGENTS[preset][2])[: None if horizon == "trial" else 1]
        for preset in presets
        for horizon in ("trial", "episode")
    }

    def run(job: tuple[str, str]) -> list[Any]:
        preset, horizon = job
        return train(preset, f"{preset}-{horizon}", seeds[job], [f"memory.horizon={horizon}"], out, 1)

    with ThreadPoolExecutor(jobs) as pool:
        results = dict(zip(seeds, pool.map(run, seeds), strict=True))
    for preset in presets:
        name, low, _ = AGENTS[preset]
        evaluations = results[preset, "trial"]
        common: dict[str, Any] = {"setting": SETTING, "metric": METRIC, "command": COMMAND}
        common["commit"] = trained_at(*runs_of(out, f"{preset}-trial", seeds[preset, "trial"]))
        common["references"] = references(evaluations, EPISODES)
        trained = seeds[preset, "trial"]
        write("barcode", evaluations, trained, {**common, "method": name, "goal": (low, None)}, per=EPISODES)
        by_encounter(evaluations, trained, {**common, "method": name})
        for ablation, text in (("off", "memory off"), ("shuffled", "keys shuffled")):
            values = {**common, "method": f"{name}, {text}", "goal": (None, WITHIN)}
            write("barcode", evaluations, trained, values, ablation=ablation, per=EPISODES)
        values = {**common, "method": f"{name}, {CONTROL}", "goal": (3.9, 4.44)}
        values["commit"] = trained_at(*runs_of(out, f"{preset}-episode", seeds[preset, "episode"]))
        write("barcode", results[preset, "episode"], seeds[preset, "episode"], values, per=EPISODES)


def by_encounter(evaluations: Sequence[Any], seeds: Sequence[int], values: dict[str, Any]) -> None:
    """Write the row of what is earned at the last encounter of a context, with the earlier ones beside it."""
    ideal = best_reference(evaluations[0]) or ""
    each = {"encounter": evaluations, f"{ideal}, encounter": [e.references[ideal] for e in evaluations]}
    means = {name: np.mean([one.by_exposure for one in actors], 0) for name, actors in each.items()}
    told = {f"{name} {n}": round(float(mean[n - 1]), 3) for n in ENCOUNTERS for name, mean in means.items()}
    metric = f"mean reward an episode at encounter {len(means['encounter'])} of a context, sampled actions"
    more: dict[str, Any] = {"metric": metric, "goal": (None, None), "references": told}
    put("barcode", evaluations, seeds, values | more, float(means["encounter"][-1]), None)


if __name__ == "__main__":
    main()
