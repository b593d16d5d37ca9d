"""Whether a GPU computes what the CPU does, how fast, and without hidden copies: ``python scripts/gpu_check.py``.

Each track is trained by a preset on the device: steps or images a second. Its run folder is opened on both devices,
whose weights must be equal, and the gradients of a batch must agree within 1e-4 of their norm. Then updates are
profiled with one batch and with one twice as large: as many copies between the devices, or something is copied row by
row. ``scripts/gpu_check.sh`` runs this with the tests that need a GPU.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

import metarl
from metarl.agents.rl2 import RL2PPO
from metarl.experiments.fewshot.build import training_source
from metarl.experiments.run import open_run
from metarl.nets.sequence import query_loss
from metarl.tasks.vector.sb3 import stepping
from metarl.training.collect import Rollout, TrainingState, collect
from metarl.training.ppo import ppo_loss, update
from metarl.training.supervised import SupervisedOptions, fit
from metarl.types import CoreInput

TOLERANCE = 1e-4
CPU = torch.device("cpu")
NETS = {"rl2": "policy", "recall": "net"}
"""The attribute of a model that is trained, by kind; of others the model itself."""
COPIES = {"Memcpy HtoD": "to the GPU", "Memcpy DtoH": "from the GPU"}
"""How the profiler calls them."""


class Track(NamedTuple):
    """A preset with settings, of full size and for a try, and what is counted a second."""

    preset: str
    settings: dict[str, Any]
    small: dict[str, Any]
    unit: str


AGENT = {"eval.trials": 200, "eval.tuning_trials": 20}
FEWSHOT = {"data.source": "glyphs", "data.rotations": False, "eval.episodes": 50, "eval.validation_episodes": 20}
FEWSHOT_SMALL = {"train.ways": 4, "train.queries": 2, "eval.cells": [[4, 1]], "eval.validation": [4, 1]}
FEWSHOT_SMALL |= {"eval.episodes": 8, "eval.validation_episodes": 4, "fit.updates": 4, "fit.validate_every": 2}
AGENT_SMALL = {"eval.trials": 8, "eval.tuning_trials": 4, "train.n_envs": 16, "train.total_timesteps": 3_200}
TRACKS = {
    "agent": Track("bandit", AGENT | {"train.total_timesteps": 640_000}, AGENT_SMALL | {"env.pulls": 20}, "steps"),
    "agent, recurrent": Track(
        "cartpole", AGENT | {"train.total_timesteps": 256_000}, AGENT_SMALL | {"train.n_steps": 20}, "steps"
    ),
    "few-shot, metric": Track("prototypical", FEWSHOT | {"fit.updates": 200}, FEWSHOT | FEWSHOT_SMALL, "images"),
    "few-shot, gradient": Track("maml", FEWSHOT | {"fit.updates": 60}, FEWSHOT | FEWSHOT_SMALL, "images"),
    "recall": Track(
        "recall",
        {"fit.updates": 400, "sequences": 500},
        {"fit.updates": 4, "fit.batch": 4, "fit.parameters": 5_000, "fit.key_size": 8, "sequences": 20},
        "sequences",
    ),
}


def moved(data: Any, device: torch.device) -> Any:
    """Nested tuples and dicts of tensors on another device."""
    if isinstance(data, Tensor):
        return data.to(device)
    if isinstance(data, dict):
        return {name: moved(part, device) for name, part in data.items()}
    if isinstance(data, tuple):
        parts = [moved(part, device) for part in data]
        return type(data)(*parts) if hasattr(data, "_fields") else tuple(parts)
    return data


class Sides:
    """A run as it is computed on one device.

    Args:
        folder: of the run.
        device: where.
    """

    def __init__(self, folder: Path, device: torch.device) -> None:
        self.run = open_run(folder, device=str(device))
        self.device, self.experiment = device, self.run.experiment
        model = self.run.model
        kind = self.experiment.kind
        self.net: nn.Module = getattr(model, NETS[kind]) if kind in NETS else model

    def batch(self, times: int) -> Any:
        """As many sequences, episodes or rows as the preset trains at once, or ``times`` as many; drawn on the CPU."""
        one: Any = self.experiment
        if one.kind == "rl2":
            env = one.make_env("train", times * one.train.n_envs)
            return rollout(RL2PPO.load(self.run.folder.checkpoint, env=env, device=self.device))
        rng = np.random.default_rng(0)
        if one.kind == "fewshot":
            source = training_source(one.data, one.train)
            return one.train_shape.sample(source, rng, times * one.train.batch, one.train.labels)
        drawn = one.cell(0).make_task().sample(rng, times * one.fit.batch)
        return moved(type(drawn)(*map(torch.from_numpy, drawn)), self.device)

    def loss(self, net: Any, batch: Any) -> Tensor:
        """Of a batch."""
        if isinstance(batch, Rollout):
            return ppo_loss(net, batch, self.run.model.options, 0.01)[0]
        if self.experiment.kind == "fewshot":
            return net.loss(batch)
        logits = net(CoreInput(batch.now, batch.feedback), batch.boundary)
        return query_loss(logits, batch.target, batch.query_mask)

    def gradients(self, batch: Any) -> Tensor:
        """Of a batch, ``[parameters]``, on the CPU in 64 bits."""
        self.net.train()
        self.net.zero_grad()
        self.loss(self.net, moved(batch, self.device)).backward()
        return torch.cat([p.grad.flatten() for p in self.net.parameters() if p.grad is not None]).cpu().double()

    def learn(self, batch: Any) -> int:
        """One update, which may be several steps of the optimiser; returns how many."""
        if isinstance(batch, Rollout):
            agent = self.run.model
            generator = torch.Generator().manual_seed(0)
            update(agent.policy, agent.optimizer, batch, agent.options, progress=0.0, generator=generator)
            return agent.options.n_epochs * min(agent.options.n_minibatches, batch.boundary.shape[1])
        fit(self.net, self.loss, [batch], SupervisedOptions(updates=1))
        return 1


def rollout(agent: Any) -> Rollout:
    """Trials of an agent on its device."""
    obs = agent.env.reset()
    trials, _ = stepping(agent.env)
    state = TrainingState.start(agent.policy, obs)
    steps = agent.n_steps or agent.trial_steps
    generator = torch.Generator(agent.device).manual_seed(0)
    agent.policy.train(False)
    made = collect(agent.policy, trials, state, steps, generator=generator, gamma=0.99, lam=0.95)
    agent.policy.train(True)
    assert made is not None
    return made


def copies(names: Iterable[str]) -> Counter[str]:
    """How many copies between the devices there are among the names of a profiler's events."""
    return Counter(where for name in names for known, where in COPIES.items() if name.startswith(known))


def profiled(work: Callable[[], int]) -> dict[str, float]:
    """Copies of each kind for each step of the optimiser."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    if torch.cuda.is_available():
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=activities) as profile:
        steps = work()
    found = copies(event.name for event in profile.events())
    return {where: found[where] / steps for where in COPIES.values()}


def rate(done: Any, track: Track) -> float:
    """What is counted, a second of training."""
    per = done.experiment.train_shape.images if track.unit == "images" else 1
    return done.steps * per / done.seconds


def check(track: Track, settings: dict[str, Any], device: torch.device, folder: Path) -> Iterator[tuple[str, bool]]:
    """What was found of a track, and whether it is as it should be."""
    done = metarl.train(track.preset, settings=settings, folder=folder, device=str(device), quiet=True)
    yield f"{rate(done, track):,.0f} {track.unit}/s", True
    here, there = Sides(folder, CPU), Sides(folder, device)
    weights = [{name: value.cpu() for name, value in side.net.state_dict().items()} for side in (here, there)]
    equal = all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    yield f"weights on both devices {'equal' if equal else 'differ'}", equal
    batch = here.batch(1)
    ours, theirs = here.gradients(batch), there.gradients(batch)
    error = float((ours - theirs).norm() / ours.norm())
    yield f"gradients differ by {error:.1e} of their norm", error <= TOLERANCE
    there.learn(there.batch(1))  # what is made at first, such as the optimiser's state, is not counted
    found = [profiled(partial(there.learn, there.batch(times))) for times in (1, 2)]
    told = ", ".join(f"{number:g} {where}" for where, number in found[0].items())
    same = found[0] == found[1]
    yield f"copies a step: {told}{'' if same else f'; but {found[1]} with twice the rows'}", same


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", default="cuda", help="torch device (default cuda); cpu tries the check itself")
    parser.add_argument("--small", action="store_true", help="toy size")
    parser.add_argument("--track", choices=TRACKS, action="append", help="these alone")
    args = parser.parse_args()
    if args.device != "cpu" and not torch.cuda.is_available():
        parser.error("there is no GPU; --device cpu --small tries the check itself")
    torch.backends.cudnn.allow_tf32 = False  # else convolutions round to 10 bits
    bad = 0
    for name in args.track or TRACKS:
        track = TRACKS[name]
        with tempfile.TemporaryDirectory() as folder:
            settings = {**track.settings, **(track.small if args.small else {})}
            for told, good in check(track, settings, torch.device(args.device), Path(folder) / "run"):
                print(f"{name}: {told}{'' if good else '  <- WRONG'}", flush=True)
                bad += not good
    sys.exit(f"{bad} checks failed" if bad else 0)


if __name__ == "__main__":
    main()
