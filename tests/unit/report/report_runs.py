"""Evaluations with round numbers, and the runs that hold them."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from metarl.evaluation.records import trials_file, write_record
from metarl.evaluation.results import ActorResult, AgentEvaluation, Difference, ReferenceResult, write_evaluation
from metarl.runs.folder import RunFolder

CONFIG: dict[str, Any] = {
    "kind": "rl2",
    "env": {"id": "metarl/BernoulliBandit-v0", "arms": 10, "pulls": 100},
    "train": {"total_timesteps": 1000, "n_envs": 4, "workers": None},
    "memory": {"store": "episodic", "horizon": "trial", "access_options": {}},
    "eval": {"trials": 100},
    "about": "made up",
}


def fields(by_episode: list[float], exposures: list[float] | None = None) -> dict[str, Any]:
    """Those of a result."""
    mean, count = sum(by_episode), len(by_episode)
    return {
        "return_mean": mean,
        "return_se": 0.1,
        "return_interval": (mean - 0.2, mean + 0.2),
        "steps_to_adapt": 23,
        "by_episode": tuple(by_episode),
        "by_episode_se": (0.004,) * count,
        "episode_mean": mean / count,
        "episode_se": 0.1 / count,
        "episode_interval": ((mean - 0.2) / count, (mean + 0.2) / count),
        "by_exposure": exposures and tuple(exposures),
    }


def reference(*args: Any) -> ReferenceResult:
    return ReferenceResult(**fields(*args), agent_minus=Difference(0.0, (-1.0, 1.0)))


def bandit(pulls: int = 100, **more: Any) -> AgentEvaluation:
    """Random 50, agent 80, Gittins 85 at 100 pulls."""
    rise = lambda rate: np.linspace(2 * rate - 0.9, 0.9, pulls).tolist()  # noqa: E731
    names = {"greedy": 0.79, "epsilon-greedy": 0.79, "UCB1": 0.83, "Thompson": 0.77, "Gittins": 0.85}
    evaluation = AgentEvaluation(
        **fields(rise(0.8)),
        env="metarl/BernoulliBandit-v0",
        env_options={"arms": 10, "pulls": pulls},
        split="test",
        trials=10_000,
        seed=0,
        steps_per_trial=pulls,
        greedy=ActorResult(**{**fields(rise(0.81)), "steps_to_adapt": 21}),
        references={"random": reference([0.5] * pulls)} | {k: reference(rise(rate)) for k, rate in names.items()},
        ceilings={"best arm known": pulls * 10 / 11},
        ablations={"off": ActorResult(**fields([0.5] * pulls)), "shuffled": ActorResult(**fields([0.6] * pulls))},
    )
    return replace(evaluation, **more)


def barcode(**more: Any) -> AgentEvaluation:
    """Per episode: random 1.8, agent 8, ideal memory 8.4; one exposure of each context in every tenth of the trial."""

    def played(first: float, later: float) -> tuple[list[float], list[float]]:
        exposures = [first] + [later] * 9
        return [value for value in exposures for _ in range(10)], exposures

    evaluation = AgentEvaluation(
        **fields(*played(4.4, 8.4)),
        env="metarl/BarcodeBandit-v0",
        split="test",
        trials=1000,
        seed=0,
        steps_per_trial=1000,
        references={
            "random": reference(*played(1.8, 1.8)),
            "within episode": reference(*played(4.436, 4.436)),
            "ideal memory": reference(*played(4.436, 8.9)),
        },
        ceilings={"ideal memory": 8.44, "oracle": 9.0},
        ablations={"off": ActorResult(**fields(*played(4, 4)))},
    )
    return replace(evaluation, **more)


def made(
    path: Path,
    seed: int = 0,
    evaluation: AgentEvaluation | None = None,
    *,
    evaluated: bool = True,
    played: bool = True,
    learned: bool = True,
    **config: Any,
) -> RunFolder:
    """A run whose options differ from ``CONFIG`` in the sections given."""
    run = RunFolder.create_at(path)
    options = {
        name: {**part, **config.get(name, {})} if isinstance(part, dict) else config.get(name, part)
        for name, part in CONFIG.items()
    }
    run.start({**options, "seed": seed}, ["metarl", "train", "bandit", "--set", "a=<b>&"])
    if evaluated:
        write_evaluation(run, replace(evaluation or bandit(), seed=seed))
    if learned:
        rows = [{"env_steps": 100 * i, "time": float(i), "rollout/ep_rew_mean": seed + i / 2} for i in range(1, 11)]
        (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if played:
        n = 20
        arrays = {
            "obs": np.ones((2, n, 1), np.float32),
            "actions": np.arange(2 * n).reshape(2, n) % 3,
            "rewards": np.ones((2, n), np.float32),
            "ends": np.ones((2, n), bool),
            "lengths": np.array([n, n]),
            "weights": np.tril(np.full((n, n - 1), 0.05, np.float16), -1),
        }
        write_record(trials_file(run), arrays)
    run.set_status("finished")
    return run
