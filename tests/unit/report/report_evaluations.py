"""Evaluations with round numbers, in the format of ``evaluation.json``."""

from typing import Any

import numpy as np


def result(by_episode: list[float], **more: Any) -> dict[str, Any]:
    mean = sum(by_episode)
    base = {"return_mean": mean, "return_se": 0.1, "return_interval": [mean - 0.2, mean + 0.2], "steps_to_adapt": 23}
    return {**base, "by_episode": by_episode, "by_episode_se": [0.004] * len(by_episode), **more}


def bandit(pulls: int = 100) -> dict[str, Any]:
    """Random 50, agent 80, Gittins 85 at 100 pulls."""
    rise = lambda rate: np.linspace(2 * rate - 0.9, 0.9, pulls).tolist()  # noqa: E731
    names = {"greedy": 0.79, "epsilon-greedy": 0.79, "UCB1": 0.83, "Thompson": 0.77, "Gittins": 0.85}
    return {
        "env": "metarl/BernoulliBandit-v0",
        "env_options": {"arms": 10, "pulls": pulls},
        "split": "test",
        "trials": 10_000,
        "seed": 0,
        "steps_per_trial": pulls,
        "random_return": pulls / 2,
        **result(rise(0.8)),
        "greedy_return_mean": 0.81 * pulls,
        "references": {"random": result([0.5] * pulls), **{name: result(rise(rate)) for name, rate in names.items()}},
        "ceilings": {"best arm known": pulls * 10 / 11},
        "ablations": {"off": result([0.5] * pulls), "shuffled": result([0.6] * pulls)},
    }


def barcode() -> dict[str, Any]:
    """Per episode: random 1.8, agent 8, ideal memory 8.4; one exposure of each context in every tenth of the trial."""

    def played(first: float, later: float) -> dict[str, Any]:
        exposures = [first] + [later] * 9
        return result(
            [value for value in exposures for _ in range(10)], by_exposure=exposures, by_exposure_se=[0.02] * 10
        )

    return {
        "env": "metarl/BarcodeBandit-v0",
        "env_options": {},
        "split": "test",
        "trials": 1000,
        "steps_per_trial": 1000,
        **played(4.4, 8.4),
        "references": {
            "random": played(1.8, 1.8),
            "within episode": played(4.436, 4.436),
            "ideal memory": played(4.436, 8.9),
        },
        "ceilings": {"ideal memory": 8.44, "oracle": 9.0},
        "ablations": {"off": played(4, 4)},
    }
