"""Record what a commit computes, to the bit: `snapshot.py record FILE`, then `snapshot.py compare FILE FILE`.

Every memory core learns three updates in every family, and every few-shot preset and recall candidate at toy size;
kept are digests of the parameters and of an evaluation. Bits differ between processors, so records are compared on
the machine that made them and are not committed. Parameters are compared as a set, so that they may be renamed.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from metarl import RL2PPO, TaskDistribution, TrialVectorEnv, Uniform, from_env
from metarl.envs import distribution
from metarl.evaluation.play import rollout_trials
from metarl.evaluation.recall import RecallCell, RecallSettings
from metarl.experiments.presets import load_experiment
from metarl.experiments.recall.candidates import candidates
from metarl.experiments.recall.experiment import measure
from metarl.memory.options import MemoryOptions
from metarl.memory.registry import runnable
from metarl.presets.names import preset_kind, presets
from metarl.runs.folder import RunFolder
from metarl.runs.session import training_session

ROWS, TRIALS, UPDATES = 4, 6, 3
FAMILIES: dict[str, dict[str, Any]] = {
    "BernoulliBandit": {"arms": 3, "pulls": 8},
    "GaussianBandit": {"arms": 3, "pulls": 8},
    "BarcodeBandit": {"arms": 2, "contexts": 2, "repeats": 2, "pulls": 3, "bits": 4},
    "CartPolePhysics": {"episodes": 2, "max_steps": 8},
    "PendulumGoal": {"episodes": 2, "max_steps": 5},
    "ImageCue": {"cues": 2, "delay": 2, "episodes": 2, "size": 12},
    "TabularMDP": {"states": 3, "actions": 2, "horizon": 3, "episodes": 3},
}
BARCODES = "BarcodeBandit"
BUFFER = MemoryOptions(controller="gru", key_size=4, value_size=8)
VARIANTS = {
    "ring": replace(BUFFER, store_options={"capacity": 3}),
    "per episode": replace(BUFFER, store_options={"write": "episode"}),
    "least used": replace(BUFFER, store_options={"replace": "least_used", "capacity": 3}),
    "least used, per episode": replace(
        BUFFER, store_options={"replace": "least_used", "capacity": 2, "write": "episode"}
    ),
    "state per step": replace(BUFFER, store_options={"holds": "state"}, value_size=None),
    "heads, top-k": replace(BUFFER, access_options={"heads": 2, "top_k": 2}),
    "inverse distance": replace(BUFFER, access_options={"kernel": "inverse_distance"}),
    "transition": replace(BUFFER, address="transition", shared_key=False),
    "read once an episode": replace(BUFFER, read_every="episode", working_memory="episode"),
    "read every third step": replace(BUFFER, store="ntm", access="native", read_every=3),
    "emitted": replace(BUFFER, emit="controller"),
    "horizon": replace(BUFFER, horizon="episode"),
    "learned": replace(BUFFER, store="key_value", store_options={"learned": 3, "capacity": 4}),
    "second order": replace(BUFFER, access="meta_gradient", access_options={"second_order": True, "steps": 2}),
    "two heads": replace(BUFFER, store="dnc", access="native", store_options={"slots": 4, "read_heads": 2}),
}
GLYPHS = {
    "data.source": "glyphs",
    "data.scheme": "standard",
    "data.within_alphabet": False,
    "data.distinct_drawers": False,
    "train.alphabets": None,
}
"""What lets every few-shot preset draw glyphs, which have no alphabets."""
TOY = {
    **GLYPHS,
    "train.batch": 2,
    "fit.updates": UPDATES,
    "fit.seconds": None,
    "fit.validate_every": 2,
    "fit.warmup": 0,
    "eval.episodes": 4,
    "eval.validation_episodes": 3,
}


def digest(arrays: Any) -> str:
    """A fingerprint of the values, types and shapes of arrays, whatever their order."""
    each = []
    for array in arrays:
        array = np.ascontiguousarray(array)
        each.append(hashlib.sha256(f"{array.dtype}{array.shape}".encode() + array.tobytes()).hexdigest())
    return hashlib.sha256("".join(sorted(each)).encode()).hexdigest()[:16]


def parameters(module: torch.nn.Module) -> str:
    return digest(value.detach().cpu().float().numpy() for value in module.state_dict().values())


def agent(family: TaskDistribution, memory: MemoryOptions, **options: Any) -> dict[str, Any]:
    """Three updates of an agent, then trials of test tasks."""
    learner = RL2PPO(
        "MemoryPolicy", TrialVectorEnv(family, ROWS), memory=memory, seed=1, device="cpu", n_minibatches=2, **options
    )
    learner.learn(UPDATES * ROWS * (options.get("n_steps") or family.trial_steps))
    test = replace(family, split="test")
    played = rollout_trials(learner.actor(), lambda n: TrialVectorEnv(test, n), TRIALS, seed=2, rows=ROWS)
    return {
        "parameters": parameters(learner.policy),
        "evaluation": digest([played.rewards, played.ends, played.exposure, played.lengths]),
        "mean": float(played.returns.mean()),
    }


def small(memory: MemoryOptions) -> MemoryOptions:
    own = {"hidden_size": 8} | ({"heads": 2, "window": 5} if memory.controller == "window" else {})
    value = None if memory.store == "none" or "holds" in memory.store_options else 8
    return replace(memory, controller_options={**memory.controller_options, **own}, key_size=4, value_size=value)


def agents() -> Iterator[tuple[str, Callable[[], dict[str, Any]]]]:
    def family(name: str) -> TaskDistribution:
        return distribution(f"metarl/{name}-v0", **FAMILIES[name])

    def cartpole() -> TaskDistribution:
        return from_env("CartPole-v1", vary={"length": Uniform(0.3, 1.0)}, episodes=2, steps=16)

    def shrunk(made: Callable[[], TaskDistribution], memory: MemoryOptions, **options: Any) -> dict[str, Any]:
        return agent(made(), small(memory), **options)

    def in_barcodes(memory: MemoryOptions, **options: Any) -> dict[str, Any]:
        return agent(family(BARCODES), memory, **options)

    for name, memory in runnable():
        for env in FAMILIES:
            yield f"{name} in {env}", partial(shrunk, partial(family, env), memory)
        yield f"{name} in CartPole-v1", partial(shrunk, cartpole, memory, n_steps=10)
    for name, memory in VARIANTS.items():
        changed = replace(memory, controller_options={"hidden_size": 8})
        yield f"{name} in {BARCODES}", partial(in_barcodes, changed)
        yield f"{name} in {BARCODES}, cut", partial(in_barcodes, changed, n_steps=7)
    held = MemoryOptions(controller="lstm", controller_options={"hidden_size": 8}, key_size=4)
    again = replace(
        held, store_options={"write": "episode", "holds": "state"}, reinstate=True, working_memory="episode"
    )
    yield f"reinstated in {BARCODES}", partial(in_barcodes, again, gae_lambda=0.8, n_steps=7)


def fewshot(name: str) -> dict[str, Any]:
    """Three updates of a few-shot preset at toy size, and its evaluation."""
    preset: Any = load_experiment(name, GLYPHS)
    changed = dict(TOY)
    changed["train.ways"] = min(preset.train.ways, 5)
    changed["train.shots"] = min(preset.train.shots, 3)
    changed["eval.cells"] = [[5, 1]] if preset.eval.cells else []
    changed["eval.validation"] = [5, 1]
    changed["eval.streams"] = [5] if preset.eval.streams else []
    experiment: Any = load_experiment(name, changed)
    learner = experiment.build(1, torch.device("cpu"))
    with tempfile.TemporaryDirectory() as folder:
        run = RunFolder.create(folder, name, seed=1)
        with training_session(run, experiment.config(), seed=1, quiet=True) as session:
            experiment.learn(learner, session)
    result = experiment.evaluate(learner, seed=2, quiet=True)
    cells = [value for cell in result.cells for value in (cell.accuracy, cell.se)]
    streams = [share for stream in result.streams for share in stream.by_instance]
    return {"parameters": parameters(learner), "evaluation": digest([np.array(cells + streams)])}


def recall(memory: str) -> dict[str, Any]:
    """Some updates of a recall candidate."""
    settings = RecallSettings(updates=6, batch=8, parameters=20_000)
    result = measure(RecallCell("associative", memory, 1, settings), sequences=100)
    return {"evaluation": digest([np.array([result.accuracy, result.se, result.validation])])}


def fewshot_presets() -> list[str]:
    return [
        name for name in presets() if preset_kind(name) == "fewshot" and name != "diagnosis"
    ]  # which takes no images


def cases() -> dict[str, Callable[[], dict[str, Any]]]:
    found = dict(agents())
    found |= {f"few-shot {name}": partial(fewshot, name) for name in fewshot_presets()}
    return found | {f"recall {name}": partial(recall, name) for name in candidates()}


def record(path: Path, only: str) -> None:
    torch.set_num_threads(1)
    made = {}
    for name, run in tqdm({n: r for n, r in cases().items() if only in n}.items(), disable=None):
        try:
            made[name] = run()
        except (ValueError, FloatingPointError) as error:
            made[name] = {"refused": type(error).__name__}
    path.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    print(f"{len(made)} cases, {sum('refused' in one for one in made.values())} of them refused: {path}")


def compare(before: Path, after: Path) -> int:
    old, new = (json.loads(path.read_text(encoding="utf-8")) for path in (before, after))
    changed = [name for name in new if name in old and old[name] != new[name]]
    for name in changed:
        print(f"differs: {name}: {old[name]} -> {new[name]}")
    for name in sorted(old.keys() ^ new.keys()):
        print(f"only in {'the first' if name in old else 'the second'}: {name}")
    print(f"{len(old.keys() & new.keys())} compared, {len(changed)} differ")
    return 1 if changed else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    actions = parser.add_subparsers(dest="action", required=True)
    recording = actions.add_parser("record", help="run all cases at this commit")
    recording.add_argument("file", type=Path)
    recording.add_argument("--only", default="", help="cases whose name contains this")
    comparing = actions.add_parser("compare", help="say which cases differ")
    comparing.add_argument("before", type=Path)
    comparing.add_argument("after", type=Path)
    args = parser.parse_args()
    if args.action == "compare":
        return compare(args.before, args.after)
    record(args.file, args.only)
    return 0


if __name__ == "__main__":
    sys.exit(main())
