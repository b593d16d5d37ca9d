"""Agents that are loaded and learn on in environments that can't be saved: what is exact, and that no task repeats."""

import itertools
import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from rl2_toys import FAMILY, ROLLOUT, ROWS, STEPS, make, parameters, same, vector
from stable_baselines3.common.callbacks import CheckpointCallback

from metarl import RL2PPO, TrialEnv, TrialVectorEnv, as_vec_env, from_env
from metarl.tasks.trial.inner import InnerRow

TRIAL = 10
HALF = 2 * ROWS * TRIAL


def poles(workers: int = 0, rows: int = ROWS) -> TrialVectorEnv:
    return TrialVectorEnv(from_env("CartPole-v1", {"length": "0.3..1"}, steps=TRIAL), rows, workers=workers)


@pytest.fixture
def lengths(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The tasks of the trials that began in this process."""
    begun: list[float] = []
    begin = InnerRow.begin

    def noted(row: InnerRow, task: Any, seed: int) -> Any:
        begun.append(float(task["length"]))
        return begin(row, task, seed)

    monkeypatch.setattr(InnerRow, "begin", noted)
    return begun


@pytest.mark.parametrize("workers", [0, 2])
def test_whole_trials_of_ordinary_environments_go_on_exactly(workers: int, tmp_path: Path) -> None:
    options = {"schedule_steps": 2 * HALF, "seed": 3}
    whole = make(poles(), **options).learn(2 * HALF)
    make(poles(), **options).learn(HALF).save(tmp_path / "half")
    env = poles(workers)
    resumed = RL2PPO.load(tmp_path / "half", env=env, device="cpu").learn(HALF, reset_num_timesteps=False)
    env.close()
    assert same(parameters(resumed), parameters(whole))
    assert torch.equal(resumed.generators["policy"].get_state(), whole.generators["policy"].get_state())


@pytest.mark.parametrize("rows", [ROWS, ROWS - 1])
def test_inside_trials_others_begin_and_no_task_repeats(rows: int, tmp_path: Path, lengths: list[float]) -> None:
    make(poles(), n_steps=TRIAL + 3).learn(HALF).save(tmp_path / "half")
    before = set(lengths)
    lengths.clear()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        resumed = RL2PPO.load(tmp_path / "half", env=poles(rows=rows), device="cpu")
    assert any("can't be saved" in str(one.message) for one in said) is (rows == ROWS)
    resumed.learn(HALF, reset_num_timesteps=False)
    assert len(set(lengths)) == len(lengths) > 0
    assert not before & set(lengths)


def test_foreign_vectors_are_seeded_anew(tmp_path: Path) -> None:
    def foreign() -> Any:
        return gym.vector.SyncVectorEnv([lambda: TrialEnv(FAMILY)] * ROWS)

    def resumed() -> Any:
        with pytest.warns(UserWarning, match="not exactly"):
            agent = RL2PPO.load(tmp_path / "saved", env=foreign(), device="cpu")
        assert agent.env is not None
        return agent.env.reset()

    first = as_vec_env(foreign())
    first.seed(0)
    begun = [first.reset()]
    agent = make(foreign())
    for _ in range(2):  # the second goes on from elsewhere, so its tasks are others too
        agent.learn(ROLLOUT, reset_num_timesteps=False).save(tmp_path / "saved")
        begun.append(resumed())
    for one, other in itertools.combinations(begun, 2):
        assert not all(np.array_equal(a, b) for a, b in zip(one.values(), other.values(), strict=True))


def test_what_a_callback_saves_inside_a_rollout_repeats_no_task(tmp_path: Path) -> None:
    agent = make(n_steps=STEPS)
    with pytest.warns(UserWarning, match="not learned from it"):
        agent.learn(2 * ROLLOUT, callback=CheckpointCallback(STEPS + 1, str(tmp_path), name_prefix="inside"))
    (path,) = tmp_path.glob("inside*.zip")
    env = vector()
    resumed = RL2PPO.load(path, env=env, device="cpu")
    assert resumed.num_timesteps == (STEPS + 1) * ROWS
    fresh = vector()
    fresh.reset(seed=agent.seed)
    begun = [env._tasks_rng, fresh._tasks_rng]
    assert begun[0].bit_generator.state != begun[1].bit_generator.state  # type: ignore[union-attr]  # both have begun
    assert resumed.learn(ROLLOUT, reset_num_timesteps=False).num_timesteps == (STEPS + 1) * ROWS + ROLLOUT
