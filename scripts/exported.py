"""Every memory as an exported file against the agent itself, rows of docs/results/export.json.

``python scripts/exported.py`` makes an agent of each memory of ``metarl list memories``, of some that are asked once
for each action, and of each preset for agents. It exports it, plays it for 10,000 steps beside the agent's own actor,
and keeps the largest difference of its answers, the times of a step and the size of the file.

Nothing is trained: weights are drawn at random, gates of memories among them, so that what is read counts. The script
can be interrupted; the same command goes on. Times are those of one thread's own computing.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from results.pages import write_markdown
from results.rows import ROOT, Row, commit, read, upsert
from torch import Tensor

from metarl import tree
from metarl.agents.rl2 import RL2PPO
from metarl.envs import distribution
from metarl.experiments.presets import load_experiment
from metarl.experiments.rl.experiment import RL2Experiment
from metarl.export.step import AgentStep
from metarl.export.write import Format, export, runnable
from metarl.memory.options import MemoryOptions
from metarl.memory.registry import runnable as memories
from metarl.presets.names import presets
from metarl.tasks.vector.env import TrialVectorEnv
from metarl.training.actor import PolicyActor

COMMAND = "python scripts/exported.py"
TOY = "metarl/BarcodeBandit-v0"
OPTIONS: dict[str, Any] = {"arms": 3, "contexts": 3, "repeats": 2, "pulls": 3, "bits": 4}
METRIC = "largest difference of log probabilities or means in {steps:,} steps"
SIZE = "MB of the ONNX file"
FORMATS: dict[str, Format] = {"ONNX": "onnx", "torch.export": "torch"}
SPREAD = 0.1  # standard deviation of what is added to each weight


class Cell(NamedTuple):
    """An agent to export."""

    setting: str
    name: str
    agent: RL2PPO
    env: TrialVectorEnv


class Measured(NamedTuple):
    """What was found: differences of answers and of the state, microseconds of a step by name, and bytes."""

    answers: float
    state: float
    microseconds: dict[str, float]
    size: int


def cells(only: list[str]) -> Iterator[Cell]:
    """All that are to be exported, or those whose names hold one of ``only``."""
    toy = distribution(TOY, **OPTIONS)
    asked = MemoryOptions(per_action=True)
    more = {
        "per action: feedforward+episodic(merged)+attention": replace(asked, store_options={"merge": True}),
        "per action: feedforward+episodic(merged)+attention, slots of their own": replace(
            asked, own_slots=True, store_options={"merge": True}
        ),
        "per action: feedforward+episodic+graph(transitions)": replace(
            asked, access="graph", access_options={"edges": "transition"}
        ),
        "per action: feedforward+delta+native": replace(asked, store="delta", access="native"),
        "feedforward+episodic(least used)+attention": MemoryOptions(
            store_options={"replace": "least_used", "capacity": 8}
        ),
        "gru+episodic+attention, read every 3 steps": MemoryOptions(controller="gru", read_every=3),
        "feedforward+episodic+meta_gradient(2 steps, hidden units)": MemoryOptions(
            access="meta_gradient", access_options={"steps": 2, "hidden_size": 8}
        ),
    }
    for name, memory in [*memories(), *more.items()]:
        if not only or any(part in name for part in only):
            agent = RL2PPO("MemoryPolicy", toy, memory=memory, n_envs=1, device="cpu")
            yield Cell("toy barcode bandit, 18 steps a trial", name, agent, TrialVectorEnv(toy, 1))
    for name, path in presets().items():
        if not only or any(part in f"preset {name}" for part in only):
            experiment = load_experiment(str(path))
            if isinstance(experiment, RL2Experiment):
                small = replace(experiment, train=replace(experiment.train, n_envs=1, workers=0))
                env = experiment.make_env("validation", 1)
                yield Cell("as the preset says, untrained", f"preset {name}", small.build(0, torch.device("cpu")), env)


def measure(cell: Cell, steps: int, folder: Path) -> Measured:
    """Export an agent and play both, side by side."""
    policy = cell.agent.policy.eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.add_(SPREAD * torch.randn(parameter.shape, generator=generator))
    files = {name: export(cell.agent, folder, format).files[0] for name, format in FORMATS.items()}
    step = AgentStep(policy, 1)
    onnx, graph = runnable(files["ONNX"], step, "onnx"), runnable(files["torch.export"], step, "torch")
    actor, answered = PolicyActor(policy), []
    policy.head.register_forward_hook(lambda head, given, made: answered.append(made))
    actor.reset(1, np.random.default_rng(0))
    obs, _ = cell.env.reset(seed=0)
    boundary = np.array([2])
    state = [slot.zeros() for slot in step.state]
    answers = states = 0.0
    seconds: dict[str, list[float]] = {"agent": [], "ONNX": [], "torch.export": []}
    count = len(step.answer_names)
    for number in range(steps):
        given = [torch.as_tensor(obs[s.name]).to(s.dtype) for s in step.observation]
        given += [torch.as_tensor(boundary == 2), *state]
        began = time.process_time()
        found = onnx(given)
        seconds["ONNX"].append(time.process_time() - began)
        began = time.process_time()
        action = actor.act(obs, boundary)
        seconds["agent"].append(time.process_time() - began)
        expected = step.answers(answered.pop())[1:]
        answers = max(answers, apart(expected, found[1:count]))
        state = found[count:]
        states = max(states, apart([leaf for leaf in tree.leaves(actor.state) if leaf[0].numel()], state))
        if number < 300:
            began = time.process_time()
            with torch.no_grad():
                answers = max(answers, apart(expected, graph(given)[1:count]))
            seconds["torch.export"].append(time.process_time() - began)
        result = cell.env.advance(action)
        obs, boundary = result.obs, result.boundary
    micro: dict[str, float] = {name: round(float(np.median(each)) * 1e6) for name, each in seconds.items()}
    return Measured(answers, states, micro, files["ONNX"].stat().st_size)


def apart(one: list[Tensor], other: list[Tensor]) -> float:
    """The largest difference of two lists of tensors."""
    return max(
        (float((a.detach().double() - b.double()).abs().max()) for a, b in zip(one, other, strict=True)), default=0.0
    )


def main() -> None:
    """Measure each cell that has no row yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", default=[], help="cells whose names hold one of these")
    parser.add_argument("--steps", type=int, default=10_000, help="that are played")
    parser.add_argument("--again", action="store_true", help="also those that have a row")
    args = parser.parse_args()
    torch.set_num_threads(1)
    path, version = ROOT / "docs" / "results" / "export.json", commit()
    metric = METRIC.format(steps=args.steps)
    for cell in cells(args.only):
        known = {(row.method, row.metric) for row in read(path)}
        if (cell.name, metric) in known and not args.again:
            continue
        with tempfile.TemporaryDirectory() as folder:
            found = measure(cell, args.steps, Path(folder))
        times = {f"µs a step, {name}": float(each) for name, each in found.microseconds.items()}
        common: dict[str, Any] = {"setting": cell.setting, "method": cell.name, "se": None, "n_tasks": 0, "seeds": (0,)}
        common |= {"command": COMMAND, "train_seconds": 0, "train_steps": 0, "commit": version}
        common["parameters"] = sum(p.numel() for p in cell.agent.policy.parameters())
        references = {"of the state": found.state, **times}
        rows = [Row(metric=metric, ours=found.answers, goal=(None, 1e-5), references=references, **common)]
        megabytes = found.size / 1e6
        goal = (None, 1.0) if cell.name.startswith("preset") else (None, None)
        rows.append(Row(metric=SIZE, ours=megabytes, goal=goal, references={}, **common))
        upsert(path, *rows)
        print(
            f"{cell.name}: {found.answers:.1e}, state {found.state:.1e}, {megabytes:.2f} MB, {found.microseconds}",
            flush=True,
        )
    if path.exists():
        write_markdown(ROOT / "docs")


if __name__ == "__main__":
    main()
