"""What two processes learn together, against one process with the rows of both: ``python scripts/equal_processes.py``.

An agent with 128 environments in each of two processes, and in one process with the same 256; and a prototypical
network with half of the episodes of each batch in each process. Five updates each, in float64, from the same tasks,
actions and minibatches. The largest difference of a parameter goes into docs/results/scaling.json. About a minute.
"""

from __future__ import annotations

import argparse
import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from results.pages import write_markdown
from results.rows import ROOT, Row, commit, upsert

from metarl import parallel
from metarl.agents.rl2 import RL2PPO
from metarl.envs.cartpole_physics import CartPolePhysics
from metarl.experiments.fewshot.build import training_source
from metarl.experiments.presets import load_experiment
from metarl.memory.options import MemoryOptions
from metarl.seeding import rank_seed, torch_rng
from metarl.tasks.vector.env import TrialVectorEnv
from metarl.training import ppo
from metarl.training.collect import TrainingState, collect
from metarl.training.supervised import SupervisedOptions, fit

ROWS = ROOT / "docs" / "results" / "scaling.json"
COMMAND = "python scripts/equal_processes.py"
PROCESSES, ENVS, STEPS, UPDATES, SEED = 2, 128, 16, 5, 3
FAMILY = CartPolePhysics(episodes=2, max_steps=10)  # trials end at different times, observations are normalised
MEMORY = MemoryOptions(key_size=4, value_size=4, controller_options={"hidden_size": 4})
PPO: dict[str, Any] = {"n_minibatches": 2, "n_epochs": 2, "learning_rate": 3e-3, "learning_rate_end": 3e-3}
FEWSHOT: dict[str, Any] = {
    "data.source": "glyphs",
    "data.rotations": False,
    "train.ways": 5,
    "train.queries": 2,
    "train.batch": 4,
    "classifier.encoder.width": 8,
    "classifier.encoder.norm": "group",  # others take statistics over a process's share
    "eval.validation": [5, 1],
    "eval.cells": [[5, 1]],
}


class Joined:
    """The environments of all processes as one.

    Args:
        family: of the trials.
        rows: environments of each process.
        processes: how many.
        seed: of the training.
    """

    def __init__(self, family: Any, rows: int, processes: int, seed: int) -> None:
        self.parts = [TrialVectorEnv(family, rows) for _ in range(processes)]
        self.num_envs, self.knows_episodes = processes * rows, True
        first = [part.reset(seed=rank_seed(seed, rank))[0] for rank, part in enumerate(self.parts)]
        self.obs = {key: np.concatenate([one[key] for one in first]) for key in first[0]}

    def advance(self, actions: Any) -> Any:
        """Step all."""
        done = [part.advance(own) for part, own in zip(self.parts, np.split(actions, len(self.parts)), strict=True)]
        final = None
        if any(one.final_obs is not None for one in done):
            rows = [one.final_obs or one.obs for one in done]
            final = {key: np.concatenate([one[key] for one in rows]) for key in rows[0]}
        obs = {key: np.concatenate([one.obs[key] for one in done]) for key in done[0].obs}
        flags = [np.concatenate(part) for part in zip(*(one[1:6] for one in done), strict=True)]
        return type(done[0])._make([obs, *flags, final, None])


def shared_minibatches(rows: int, processes: int, parts: int) -> Callable[..., torch.Tensor]:
    """A ``randperm`` that makes the minibatches of one process those of all: the same places in the rows of each."""
    drawn = torch.randperm

    def both(count: int, **options: Any) -> torch.Tensor:
        own = drawn(count // processes, **options).tensor_split(parts)
        return torch.cat([torch.cat([part + rank * rows for rank in range(processes)]) for part in own])

    return both


@contextmanager
def double() -> Iterator[None]:
    """Within, new numbers have 64 bits."""
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


def make_agent(rows: int) -> RL2PPO:
    """The agent of one process, in 64 bits."""
    env = TrialVectorEnv(FAMILY, rows)
    agent = RL2PPO("MemoryPolicy", env, memory=MEMORY, n_steps=STEPS, seed=SEED, device="cpu", **PPO)
    agent.policy.encoder.dtypes = dict.fromkeys(agent.policy.encoder.dtypes, torch.float64)
    return agent


def learned_alone(agent: RL2PPO, rows: int) -> dict[str, Any]:
    """What one process learns from the rows of all, after five updates.

    Args:
        agent: with the net of each process.
        rows: environments of each process.
    """
    env: Any = Joined(FAMILY, rows, PROCESSES, SEED)  # with what collecting asks of a vector of trials
    policy, sample = agent.policy, agent.policy.head.sample
    own = [torch_rng(rank_seed(SEED, rank), "policy") for rank in range(PROCESSES)]

    def drawn(shown: Any, _: torch.Generator) -> torch.Tensor:
        return torch.cat([sample(*one) for one in zip(shown.chunk(PROCESSES), own, strict=True)])

    state, minibatches = TrainingState.start(policy, env.obs), torch_rng(SEED, "minibatch")
    options: dict[str, Any] = {"generator": own[0], "gamma": agent.options.gamma, "lam": agent.options.gae_lambda}
    shared = shared_minibatches(rows, PROCESSES, PPO["n_minibatches"])
    with patch.object(policy.head, "sample", drawn), patch.object(torch, "randperm", shared):
        for number in range(UPDATES):
            policy.train(False)
            rollout = collect(policy, env, state, STEPS, **options)
            assert rollout is not None
            policy.train(True)
            ppo.update(
                policy, agent.optimizer, rollout, agent.options, progress=number / UPDATES, generator=minibatches
            )
    return arrays(policy)


def learned_fewshot(rank: int | None) -> dict[str, Any]:
    """What a prototypical network learns from the share of a process; None: from all."""
    experiment: Any = load_experiment("prototypical", FEWSHOT)
    source, rng = training_source(experiment.data, experiment.train), np.random.default_rng(SEED)
    batches = []
    for _ in range(UPDATES):
        batch = experiment.train_shape.sample(source, rng, experiment.train.batch, experiment.train.labels)
        half = experiment.train.batch // PROCESSES
        mine = slice(None) if rank is None else slice(rank * half, (rank + 1) * half)
        batches.append(type(batch)(*(part[mine] for part in batch)))
    learner = experiment.build(SEED, torch.device("cpu")).double()
    fit(learner, lambda net, batch: net.loss(batch), batches, SupervisedOptions(updates=UPDATES))
    return arrays(learner)


def arrays(module: torch.nn.Module) -> dict[str, Any]:
    """Its parameters and buffers."""
    return {name: value.detach().numpy().copy() for name, value in module.state_dict().items()}


def work(rank: int, port: int, place: Path) -> None:
    """What each of the processes does."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(PROCESSES), "MASTER_PORT": str(port)}
    os.environ |= {"MASTER_ADDR": "localhost", "TORCHELASTIC_RUN_ID": "x"}
    os.environ |= {"TORCHELASTIC_RESTART_COUNT": "0", "TORCHELASTIC_MAX_RESTARTS": "0"}
    torch.set_num_threads(1)
    with parallel.joined(), double():
        agent = make_agent(ENVS)
        agent.learn(UPDATES * PROCESSES * ENVS * STEPS)
        found = {"agent": arrays(agent.policy), "few-shot learner": learned_fewshot(rank)}
    for kind, values in found.items():
        np.savez(place / f"{kind}{rank}.npz", **values)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", type=Path, default=ROWS, help=f"file of rows (default {ROWS.relative_to(ROOT)})")
    args = parser.parse_args()
    version = commit()
    torch.set_num_threads(1)
    with socket.socket() as free, tempfile.TemporaryDirectory() as place:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
        free.close()
        torch.multiprocessing.start_processes(work, (port, Path(place)), PROCESSES, start_method="spawn")
        with double():
            alone = {"agent": learned_alone(make_agent(ENVS), ENVS), "few-shot learner": learned_fewshot(None)}
        settings = {
            "agent": f"{PROCESSES} x {ENVS} environments and 1 x {PROCESSES * ENVS}",
            "few-shot learner": "2 x 2 episodes an update and 1 x 4",
        }
        for kind, setting in settings.items():
            error = 0.0
            for rank in range(PROCESSES):
                with np.load(Path(place) / f"{kind}{rank}.npz") as theirs:
                    error = max(
                        error, *(float(np.abs(theirs[name] - alone[kind][name]).max()) for name in theirs.files)
                    )
            print(f"{kind}: {error:.1e}")
            row = Row(
                setting=f"{setting}, {UPDATES} updates in float64",
                method=f"{kind}, gloo",
                metric="largest difference of a parameter",
                ours=error,
                se=None,
                n_tasks=0,
                seeds=(SEED,),
                goal=(None, 1e-5),
                references={"parameters": float(sum(value.size for value in alone[kind].values()))},
                command=COMMAND,
                train_seconds=0.0,
                train_steps=0,
                commit=version,
            )
            upsert(args.rows, row)
    if args.rows == ROWS:
        write_markdown(ROOT / "docs")


if __name__ == "__main__":
    main()
