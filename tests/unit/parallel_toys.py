"""What two processes do together in the tests of parallel training, and what one process does with both shares."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from dying import ORDER, DiesOnce
from equal_processes import FAMILY, MEMORY, PPO, PROCESSES, SEED, STEPS, UPDATES, arrays, double, make_agent
from torch import Tensor, nn

from metarl import parallel
from metarl.agents.rl2 import RL2PPO
from metarl.agents.rl2_env import Watch
from metarl.config import InputError
from metarl.experiments.presets import from_config
from metarl.nets.policy import MemoryPolicy
from metarl.runs.folder import RunFolder
from metarl.runs.session import Follower, Saved, Session
from metarl.runs.tracking import Tracker
from metarl.seeding import torch_rng
from metarl.tasks.family.split_family import from_env
from metarl.tasks.vector.env import TrialVectorEnv
from metarl.training.checkpoint import read_checkpoint
from metarl.training.collect import Rollout
from metarl.training.ppo import PPOOptions, update
from metarl.training.supervised import SupervisedOptions, Trained, fit
from metarl.types import VoidTrialWarning

ROWS = 4
DRAWN = torch.randperm
VOID = PPOOptions(n_minibatches=2, n_epochs=3, target_kl=1e-3)
BANDIT: dict[str, Any] = {
    "kind": "rl2",
    "env": {"id": "metarl/BernoulliBandit-v0", "arms": 3, "pulls": 6},
    "memory": {"key_size": 8, "value_size": 8, "controller_options": {"hidden_size": 8}},
    "ppo": {"n_minibatches": 2, "n_epochs": 1},
    "train": {"total_timesteps": 128, "n_envs": 8, "n_steps": 4, "keep": "best", "validate_every": 32},
    "eval": {"rows": 8, "validation_trials": 8},
}
FEWSHOT: dict[str, Any] = {
    "kind": "fewshot",
    "data": {"source": "glyphs", "rotations": False},
    "train": {"ways": 3, "queries": 2, "batch": 4},
    "eval": {"cells": [[3, 1]], "episodes": 6, "queries": 2, "validation": [3, 1], "validation_episodes": 3},
    "fit": {"updates": 4, "validate_every": 2, "keep": "best"},
    "classifier": {
        "memory": {"key_size": 8, "value_size": 8},
        "encoder": {"width": 8, "embedding_size": 8},
    },
}


def ragged() -> tuple[MemoryPolicy, Rollout]:
    """A policy and a rollout of both processes' rows, of which the first process has none that count in a minibatch."""
    agent, rows, rng = make_agent(ROWS), PROCESSES * ROWS, torch_rng(SEED, "data")
    policy = agent.policy
    space = {k: torch.rand(STEPS, rows, *shape, generator=rng) for k, shape in policy.encoder.shapes.items()}
    boundary = torch.full((STEPS, rows), 2)
    boundary[0] = 0
    numbers = [torch.randn(STEPS, rows, generator=rng) for _ in range(4)]
    valid = torch.rand(STEPS, rows, generator=rng) < 0.7
    order = DRAWN(ROWS, generator=torch_rng(SEED, "minibatch"))
    valid[:, order[: ROWS // 2]] = False  # the first minibatch of the first process
    actions = torch.randint(0, 2, (STEPS, rows), generator=rng)
    numbers[0] = numbers[0].abs().neg()
    return policy, Rollout(space, boundary, policy.initial_state(rows), actions, *numbers, valid)


def learned_ragged(policy: MemoryPolicy, rollout: Rollout) -> dict[str, float]:
    """Learn from a rollout three times over; returns the last report."""
    optimizer, rng = torch.optim.Adam(policy.parameters(), lr=1e-3), torch_rng(SEED, "minibatch")
    return [update(policy, optimizer, rollout, VOID, progress=0.0, generator=rng) for _ in range(3)][-1]


def fitted(batches: list[tuple[Tensor, Tensor]], best: bool) -> tuple[nn.Module, Trained]:
    """Fit a net whose last layer is never used, with a validation that gets worse."""
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2), nn.Linear(2, 2))
    scores = iter([0.2, 0.9, 0.1, 0.3, 0.2])

    def validate(_: nn.Module) -> float:
        assert parallel.rank() == 0
        return next(scores)

    options = SupervisedOptions(len(batches), learning_rate=0.1, validate_every=1, keep="best" if best else "last")

    def loss(model: Any, batch: tuple[Tensor, Tensor]) -> Tensor:
        return nn.functional.cross_entropy(model[:3](batch[0]), batch[1])

    return net, fit(net, loss, batches, options, validate=validate)


def examples() -> list[tuple[Tensor, Tensor]]:
    """Batches of both processes' examples."""
    rng = torch_rng(SEED, "data")
    return [(torch.randn(6, 3, generator=rng), torch.randint(0, 2, (6,), generator=rng)) for _ in range(UPDATES)]


def together(rank: int, port: int, place: Path) -> None:
    """What each of the two processes does; what it finds is in ``place/RANK.pt``."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(PROCESSES), "MASTER_PORT": str(port)}
    os.environ |= {"MASTER_ADDR": "localhost", "TORCHELASTIC_RUN_ID": "x"}
    os.environ |= {"TORCHELASTIC_RESTART_COUNT": "0", "TORCHELASTIC_MAX_RESTARTS": "0"}
    torch.set_num_threads(1)
    own = place / f"own{rank}"
    own.mkdir()
    os.chdir(own)
    with parallel.joined():
        with double():
            found = numbers(rank)
        found["refused"] = refused(rank)
        found["lost"] = with_a_lost_worker(rank)
        found["agent"] = [arrays(agent.policy) for agent in resumed(place / "agent", BANDIT, "96", 32)]
        found["fewshot"] = [arrays(learner) for learner in resumed(place / "fewshot", FEWSHOT, "8", 8)]
    found["written"] = [str(path) for path in own.rglob("*")]
    torch.save(found, place / f"{rank}.pt")


def numbers(rank: int) -> dict[str, Any]:
    """What is learned in 64 bits."""
    agent = make_agent(ROWS)
    agent.learn(UPDATES * PROCESSES * ROWS * STEPS)
    policy, rollout = ragged()
    mine = slice(rank * ROWS, (rank + 1) * ROWS)
    parts = {k: v[:, mine] for k, v in rollout._asdict().items() if isinstance(v, Tensor)}
    share = rollout._replace(
        **parts, obs={k: v[:, mine] for k, v in rollout.obs.items()}, state=policy.initial_state(ROWS)
    )
    report = learned_ragged(policy, share)
    half = slice(3 * rank, 3 * rank + 3)
    net, trained = fitted([(x[half], y[half]) for x, y in examples()], best=True)
    return {
        "learned": arrays(agent.policy),
        "steps": agent.num_timesteps,
        "ragged": arrays(policy),
        "report": report,
        "fitted": arrays(net),
        "kept": trained.kept,
    }


def resumed(place: Path, options: dict[str, Any], step: str, every: int) -> Iterator[Any]:
    """The model of a training, and that of the same training from the checkpoint at ``step`` on."""
    share, path = from_config(options, "toy").share(PROCESSES), place / "whole" / "checkpoints" / f"{step}.zip"
    for again in (False, True):
        folder = RunFolder(place / ("again" if again else "whole"))
        start = parallel.from_first(lambda again=again: Saved(*read_checkpoint(path)) if again else None)  # type: ignore[misc]  # a lambda's default has no type
        if parallel.rank():
            session: Session = Follower(folder, SEED, start)
        else:
            folder.path.mkdir(parents=True)
            (folder.path / "config.json").write_text("{}")
            session = Session(folder, SEED, quiet=True, seconds=1e9, steps=every, saved=start)
            session.tracker = Tracker(folder.path, axis=share.axis)
        model = share.build(SEED, torch.device("cpu"))
        share.learn(model, session)
        yield model


def with_a_lost_worker(rank: int) -> dict[str, Any]:
    """What is learned in environments in two worker processes for each process, of which one of the second dies."""
    if rank == 1:
        ORDER.touch()
    family = from_env("CartPole-v1", vary={"length": "0.3..1"}, wrap=DiesOnce, steps=STEPS)
    env = TrialVectorEnv(family, ROWS, workers=2)
    agent = RL2PPO("MemoryPolicy", env, memory=MEMORY, seed=SEED, device="cpu", **PPO)
    valid: list[Tensor | None] = []
    watch = Watch(collected=lambda: valid.append(watch.locals["rollout"].valid))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        agent.learn(3 * PROCESSES * ROWS * STEPS, watch)
    env.close()
    told = [str(one.message) for one in caught if one.category is VoidTrialWarning]
    learned = arrays(agent.policy)
    return {"told": told, "valid": valid, "learned": learned, "steps": agent.num_timesteps}


def refused(rank: int) -> list[str]:
    """The keys of what is refused where processes train together."""
    keys = []
    norm = {**FEWSHOT["classifier"], "encoder": {**FEWSHOT["classifier"]["encoder"], "norm": "running"}}
    lifelong = RL2PPO("MemoryPolicy", TrialVectorEnv(FAMILY, ROWS), memory={**MEMORY_LIFE}, n_steps=STEPS, device="cpu")
    attempts = (
        lambda: from_config({**BANDIT, "train": {**BANDIT["train"], "n_envs": 6}}, "toy").share(PROCESSES),
        lambda: from_config({**FEWSHOT, "train": {**FEWSHOT["train"], "batch": 3}}, "toy").share(PROCESSES),
        lambda: from_config({"kind": "recall"}, "toy").share(PROCESSES),
        lambda: parallel.check_model(from_config({**FEWSHOT, "classifier": norm}, "toy").build(0, torch.device("cpu"))),
        lambda: parallel.check_same("n_envs", 4 + rank),
        lambda: lifelong.learn(100),
    )
    for attempt in attempts:
        try:
            attempt()
        except InputError as error:
            keys.append(str(error.key))
        else:
            keys.append("nothing")
    return keys


MEMORY_LIFE: dict[str, Any] = {"key_size": 4, "value_size": 4, "store": "lifelong", "access": "attention"}
