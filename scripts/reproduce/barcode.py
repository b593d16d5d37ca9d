"""The barcode bandit's rows of docs/results/barcode.json: ``python scripts/reproduce/barcode.py [--jobs 2]``.

``--part barcode`` and ``--part barcode-episodic`` train a preset, with and without memory; ``--part stores`` every
other store for about ten minutes on one core, under the preset's feed-forward controller, asked once a step, and read
by its native access or by attention.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from common import references, train, write
from results.rows import commit

SEEDS = (0,)
EPISODES = 100
SETTING = "barcode bandit, 10 arms, 10 contexts x 10 repeats, 10 pulls an episode, held-out tasks"
METRIC = "mean reward an episode, sampled actions"
COMMAND = "python scripts/reproduce/barcode.py"
AGENTS = {
    "barcode": ("attention over the trial, asked per action", 8.4),
    "barcode-episodic": ("slot an episode, reinstated", 8.0),
}
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


def main() -> None:
    """Train, evaluate, write the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each")
    parser.add_argument("--part", choices=[*AGENTS, "stores"], help="one part alone")
    parser.add_argument("--out", type=Path, default=Path("runs/barcode"))
    args = parser.parse_args()
    version = commit()
    parts = [args.part] if args.part else [*AGENTS, "stores"]
    of_presets([part for part in AGENTS if part in parts], args.jobs, args.out, version)
    if "stores" in parts:
        of_stores(args.jobs, args.out, version)


def of_stores(jobs: int, out: Path, version: str) -> None:
    """Train an agent with each store and write its row."""

    def run(store: str) -> list[Any]:
        access, steps, settings = STORES[store]
        given = [f"memory.store={store}", f"memory.access={access}", f"train.total_timesteps={steps}", *ONCE, *settings]
        return train("barcode", f"store-{store}", SEEDS, given, out, 1)

    with ThreadPoolExecutor(jobs) as pool:
        for store, evaluations in zip(STORES, pool.map(run, STORES), strict=True):
            values = {"setting": SETTING, "metric": METRIC, "command": f"{COMMAND} --part stores", "commit": version}
            values |= {"references": references(evaluations, EPISODES), "goal": (None, None)}
            name = f"{store} read by {STORES[store][0]}, {TEN_MINUTES}"
            write("barcode", evaluations, SEEDS, {**values, "method": name}, per=EPISODES)


def seeds(preset: str, horizon: str) -> tuple[int, ...]:
    """Seeds of training: three where the figure is that of the preset ``barcode`` itself."""
    return (0, 1, 2) if (preset, horizon) == ("barcode", "trial") else SEEDS


def of_presets(presets: list[str], jobs: int, out: Path, version: str) -> None:
    """Train agents, each also with its memory emptied at each episode; evaluate, ablate, write the rows."""
    runs = [(preset, horizon) for preset in presets for horizon in ("trial", "episode")]

    def run(job: tuple[str, str]) -> list[Any]:
        preset, horizon = job
        return train(preset, f"{preset}-{horizon}", seeds(*job), [f"memory.horizon={horizon}"], out, 1)

    with ThreadPoolExecutor(jobs) as pool:
        results = dict(zip(runs, pool.map(run, runs), strict=True))
    for preset in presets:
        name, low = AGENTS[preset]
        evaluations = results[preset, "trial"]
        common = {"setting": SETTING, "metric": METRIC, "command": COMMAND, "commit": version}
        common["references"] = references(evaluations, EPISODES)
        trained = seeds(preset, "trial")
        write("barcode", evaluations, trained, {**common, "method": name, "goal": (low, None)}, per=EPISODES)
        for ablation, text in (("off", "memory off"), ("shuffled", "keys shuffled")):
            values = {**common, "method": f"{name}, {text}", "goal": (None, 4.5)}
            write("barcode", evaluations, trained, values, ablation=ablation, per=EPISODES)
        values = {**common, "method": f"{name}, {CONTROL}", "goal": (3.9, 4.44)}
        write("barcode", results[preset, "episode"], SEEDS, values, per=EPISODES)


if __name__ == "__main__":
    main()
