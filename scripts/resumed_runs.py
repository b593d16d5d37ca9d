"""Runs that are killed and resumed, against those that never were: ``python scripts/resumed_runs.py``.

A small agent is trained with every memory core, and with one core in every kind of environment. Each run is made twice:
once whole; once in a process that is killed (-9) in the middle, and resumed. At the end weights, optimiser, random
streams, environments, carried memory and metrics must be equal bit for bit, times excluded; or resuming must say why
they can't be. One row a core and a kind of environment goes into docs/results/reliability.json.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import signal
import tempfile
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import torch
from results.rows import ROOT, Row, commit, upsert
from stable_baselines3.common.vec_env import DummyVecEnv
from tqdm import tqdm

from metarl.agents.rl2 import RL2PPO
from metarl.config import to_plain
from metarl.envs import distribution
from metarl.experiments.presets import from_config
from metarl.experiments.resume import Start, starting_point
from metarl.experiments.rl.experiment import RL2Experiment
from metarl.memory.registry import runnable
from metarl.runs.folder import RunFolder
from metarl.runs.session import training_session
from metarl.runs.tracking import Metrics, Tracker
from metarl.tasks.trial.env import TrialEnv
from metarl.training.checkpoint import read_checkpoint

ROWS = ROOT / "docs" / "results" / "reliability.json"
CPU = torch.device("cpu")
ROLLOUTS = 6  # of a run; it is killed after half of them
SIDE = 4  # environments
EPISODES = {"arms": 3, "contexts": 2, "repeats": 2, "pulls": 2, "bits": 5}
NATIVE = {"id": "metarl/BarcodeBandit-v0", **EPISODES}  # trials of 8 steps
ORDINARY = {"id": "CartPole-v1", "vary": {"length": "0.3..1"}, "steps": 8}
TRIAL = 8
INSIDE = 5  # steps of a rollout that ends inside a trial
SMALL: dict[str, Any] = {"key_size": 8, "value_size": 8}
USUAL = {"controller": "gru", "store": "episodic", "access": "attention", **SMALL}
TOLD = "can't be saved"  # in the warning that says why
EQUAL, WHY = "equal bit for bit (1), or not (0)", "not equal, and says why (1), or not (0)"
Outcome = tuple[bool, bool]  # whether all is equal, and whether it was said that it can't be


def experiment(memory: dict[str, Any], env: dict[str, Any], n_steps: int = TRIAL, workers: int = 0) -> RL2Experiment:
    """A training of :data:`ROLLOUTS` rollouts with a checkpoint after each."""
    train = {"total_timesteps": ROLLOUTS * SIDE * n_steps, "n_envs": SIDE, "n_steps": n_steps, "workers": workers}
    options = {"env": env, "train": train, "memory": memory, "ppo": {"n_minibatches": 2, "n_epochs": 2}, "threads": 1}
    made: Any = from_config({"kind": "rl2", **options, "checkpoint_steps": 1}, "the run")
    return made.check()


def trained(one: RL2Experiment, folder: RunFolder, *, resume: bool = False) -> RL2PPO:
    """The training part of a run, as :func:`metarl.experiments.run.run` does it."""
    start = starting_point(one, folder, CPU) if resume else Start()
    went: dict[str, Any] = {"rows": start.rows, "saved": start.saved, "facts": start.facts, "steps": 1}
    with training_session(folder, {**one.config(), "seed": 0}, seed=0, axis=one.axis, quiet=True, **went) as session:
        agent = one.build(0, CPU)
        one.learn(agent, session)
        session.set_status("finished")
    return agent


def killed(one: RL2Experiment, path: Path) -> None:
    """Begin a run in this process, which is killed as half of the metrics are written."""
    log = Tracker.log

    def last(self: Tracker, metrics: Metrics, *, step: int) -> None:
        log(self, metrics, step=step)
        if self.rows == ROLLOUTS // 2:
            os.kill(os.getpid(), signal.SIGKILL)

    Tracker.log = last  # type: ignore[method-assign]  # in this process alone, which ends here
    trained(one, RunFolder.create_at(path))


def state(agent: RL2PPO, folder: Path) -> tuple[str, dict[str, Any]]:
    """All that a training goes on from, without times: plain data, and groups of tensors."""
    agent.save(folder / "state.zip")
    meta, groups = read_checkpoint(folder / "state.zip")
    for episode in meta["episodes"]:
        episode.pop("t", None)
    return json.dumps(meta, sort_keys=True), groups


def metrics(folder: RunFolder) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if not k.startswith("time")} for row in folder.metrics()]


def same(one: tuple[str, dict[str, Any]], other: tuple[str, dict[str, Any]]) -> bool:
    """Whether two states are equal bit for bit."""
    (meta, left), (again, right) = one, other
    if meta != again or left.keys() != right.keys():
        return False
    for name, group in left.items():
        if group.keys() != right[name].keys() or not all(torch.equal(group[key], right[name][key]) for key in group):
            return False
    return True


def run_resumed(one: RL2Experiment, folder: Path) -> Outcome:
    """A run that is killed and resumed, against a whole one."""
    whole = RunFolder.create_at(folder / "whole")
    wanted = state(trained(one, whole), folder)
    child = multiprocessing.get_context("fork").Process(target=killed, args=(one, folder / "cut"))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL, child.exitcode
    cut = RunFolder.open(folder / "cut")
    assert len(cut.checkpoints) > 1
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = state(trained(one, cut, resume=True), folder)
    return same(found, wanted) and metrics(cut) == metrics(whole), any(TOLD in str(w.message) for w in said)


def agent_resumed(make_env: Callable[[], Any], folder: Path) -> Outcome:
    """An agent that is saved, loaded and trained on in Python, against one that never was."""
    half = ROLLOUTS // 2 * SIDE * TRIAL
    options: dict[str, Any] = {"memory": USUAL, "n_minibatches": 2, "schedule_steps": 2 * half, "device": "cpu"}
    wanted = state(RL2PPO("MemoryPolicy", make_env(), **options).learn(2 * half), folder)
    RL2PPO("MemoryPolicy", make_env(), **options).learn(half).save(folder / "half.zip")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        resumed = RL2PPO.load(folder / "half.zip", env=make_env(), device="cpu")
    found = state(resumed.learn(half, reset_num_timesteps=False), folder)
    return same(found, wanted), any(TOLD in str(w.message) for w in said)


def trial() -> TrialEnv:
    return TrialEnv(distribution("metarl/BarcodeBandit-v0", **EPISODES))


def cases() -> Iterator[tuple[str, str, bool, Callable[[Path], Outcome]]]:
    """What is compared: setting, method, whether it is promised to be equal, and what compares it."""
    where = "barcode bandit, rollouts that end inside a trial"

    def inside(memory: dict[str, Any], folder: Path) -> Outcome:
        return run_resumed(experiment(memory, NATIVE, INSIDE), folder)

    for name, memory in runnable():
        held = {**to_plain(memory), **SMALL}
        if memory.store == "none":
            held = {key: value for key, value in held.items() if key not in SMALL}
        if memory.controller in ("gru", "lstm", "mingru"):
            held["controller_options"] = {"hidden_size": 8}
        yield where, name, True, partial(inside, held)
    kinds: dict[str, tuple[bool, RL2Experiment]] = {
        "a family of this package, whole trials": (True, experiment(USUAL, NATIVE)),
        "CartPole-v1, whole trials": (True, experiment(USUAL, ORDINARY)),
        "CartPole-v1, whole trials, 2 workers": (True, experiment(USUAL, ORDINARY, workers=2)),
        "CartPole-v1, inside trials": (False, experiment(USUAL, ORDINARY, INSIDE)),
        "CartPole-v1, inside trials, 2 workers": (False, experiment(USUAL, ORDINARY, INSIDE, workers=2)),
    }
    for name, (exact, one) in kinds.items():
        yield name, "metarl train --resume", exact, partial(run_resumed, one)
    vectors: dict[str, Callable[[], Any]] = {
        "SyncVectorEnv of trials": lambda: gym.vector.SyncVectorEnv([trial] * SIDE),
        "AsyncVectorEnv of trials": lambda: gym.vector.AsyncVectorEnv([trial] * SIDE),
        "DummyVecEnv of trials": lambda: DummyVecEnv([trial] * SIDE),
    }
    for name, make_env in vectors.items():
        yield name, "RL2PPO.load", False, partial(agent_resumed, make_env)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", default="", help="only the cases whose name has this text; no row is kept")
    parser.add_argument("--rows", type=Path, default=ROWS, help=f"file of rows (default {ROWS.relative_to(ROOT)})")
    args = parser.parse_args()
    torch.set_num_threads(1)
    began = commit()
    common: dict[str, Any] = {"se": None, "n_tasks": 0, "seeds": (0,), "references": {}, "train_seconds": 0.0}
    common |= {"train_steps": 0, "goal": (1.0, 1.0), "commit": began, "command": "python scripts/resumed_runs.py"}
    rows = []
    for where, method, exact, compare in tqdm([one for one in cases() if args.only in f"{one[0]}, {one[1]}"]):
        with tempfile.TemporaryDirectory() as place:
            equal, told = compare(Path(place))
        ours = equal and not told if exact else told and not equal
        rows.append(
            Row(setting=f"resumed: {where}", method=method, metric=EQUAL if exact else WHY, ours=float(ours), **common)
        )
        tqdm.write(f"{where}, {method}: {'equal' if equal else 'not equal'}{', says why' if told else ''}")
    if not args.only:
        upsert(args.rows, *rows, alone=True)


if __name__ == "__main__":
    main()
