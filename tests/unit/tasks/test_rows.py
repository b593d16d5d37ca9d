"""Rows of any family as a batch: equal to single trial environments, element for element."""

from typing import Any

import numpy as np
import pytest
from vector_toys import Failing, FailingAtOnce, Walk

from metarl.envs.bernoulli_bandit import BernoulliBandit
from metarl.tasks.family.distribution import Task
from metarl.tasks.trial.env import TrialEnv
from metarl.tasks.vector.env import TrialVectorEnv
from metarl.tasks.vector.sb3 import as_vec_env
from metarl.tasks.vector.sync import SyncRows


class Planned:
    """A generator that answers with the inner seeds planned for a row."""

    def __init__(self, seeds: list[int]) -> None:
        self.seeds = iter(seeds)

    def integers(self, *_: Any, size: int, **__: Any) -> np.ndarray:
        return np.array([next(self.seeds) for _ in range(size)])


@pytest.fixture
def plan(monkeypatch: pytest.MonkeyPatch) -> list[list[tuple[dict[str, Any], int]]]:
    """For each of four rows, the tasks and seeds of its trials, noted as they begin."""
    trials: list[list[tuple[dict[str, Any], int]]] = [[] for _ in range(4)]
    start = SyncRows.start_seeded

    def noted(self: SyncRows, tasks: Any, seeds: Any, rows: Any) -> Any:
        for j, row in enumerate(rows):
            trials[row].append(({k: v[j] for k, v in tasks.items()}, int(seeds[j])))
        return start(self, tasks, seeds, rows)

    monkeypatch.setattr(SyncRows, "start_seeded", noted)
    return trials


def test_rows_equal_single_trials_element_for_element(plan: list[list[tuple[dict[str, Any], int]]]) -> None:
    """Trials of 3 episodes of random lengths, or 25 steps, so that rows end and begin apart from each other."""
    family, n, steps = Walk(), 4, 150
    actions = np.random.default_rng(0).integers(2, size=(steps, n))
    vector = TrialVectorEnv(family, n)
    obs, _ = vector.reset(seed=0)
    seen, rewards, ends, infos = [obs], [], [], []
    for action in actions:
        obs, reward, terminated, truncated, info = vector.step(action)
        assert not truncated.any()
        seen.append(obs)
        rewards.append(reward)
        ends.append(terminated)
        infos.append(info)
    lengths = set()
    for row in range(n):
        single = TrialEnv(family)
        single._tasks_rng = np.random.default_rng(0)  # unused: tasks are pinned
        single.np_random = Planned([seed for _, seed in plan[row]])  # type: ignore[assignment]
        trials = iter([Task.from_arrays(family.family, task) for task, _ in plan[row]])
        expected, _ = single.reset(options={"task": next(trials)})
        length = 0
        for t in range(steps):
            assert all(np.array_equal(seen[t][k][row], expected[k]) for k in expected)
            assert all(seen[t][k].dtype == expected[k].dtype for k in expected)
            expected, reward, terminated, _, _ = single.step(actions[t, row])
            length += 1
            assert reward == rewards[t][row]
            assert terminated == ends[t][row]
            if terminated:
                assert infos[t]["_final_obs"][row]
                assert all(np.array_equal(infos[t]["final_obs"][k][row], expected[k]) for k in expected)
                lengths.add(length)
                length = 0
                expected, begun = single.reset(options={"task": next(trials)})
                assert infos[t]["task"]["push"][row] == begun["task"]["push"]
    assert len(lengths) > 5
    assert 25 in lengths


def test_reset_cuts_trials_under_way() -> None:
    env = TrialVectorEnv(Walk(), 3)
    runs = []
    for steps in (7, 40):
        obs, info = env.reset(seed=3)
        runs.append([obs["obs"], info["task"]["push"]])
        for _ in range(steps):
            obs, *_ = env.step(np.ones(3, int))
            runs[-1].append(obs["obs"])
    assert all(np.array_equal(a, b) for a, b in zip(*runs, strict=False))


def test_an_error_tells_row_task_and_seed(plan: list[list[tuple[dict[str, Any], int]]]) -> None:
    env = TrialVectorEnv(Failing(), 4, max_restarts=0)
    env.reset(seed=0, options={"tasks": {"push": np.array([0.5, 0.75, 0.25, 0.5])}})
    for _ in range(6):
        env.step(np.zeros(4, int))
    with pytest.raises(RuntimeError, match="the wheel came off") as caught:
        env.step(np.zeros(4, int))
    assert caught.value.__notes__ == [f"in row 2, task {{push=0.25}}, seed {plan[2][0][1]}, step 7 of Failing"]


def test_an_error_of_a_single_trial_tells_task_and_seed() -> None:
    env = TrialEnv(Failing())
    env.reset(seed=0, options={"task": Task("Failing", (("push", 0.25),))})
    for _ in range(6):
        env.step(0)
    with pytest.raises(RuntimeError, match="the wheel came off") as caught:
        env.step(0)
    assert caught.value.__notes__[0].startswith("in task {push=0.25}, seed ")


@pytest.mark.parametrize("env", [TrialEnv(FailingAtOnce()), TrialVectorEnv(FailingAtOnce(), 2)], ids=["one", "rows"])
def test_an_environment_that_cannot_be_made_tells_its_task(env: Any) -> None:
    with pytest.raises(FileNotFoundError, match="no such simulator") as caught:
        env.reset(seed=0)
    assert "task {push=" in caught.value.__notes__[0]
    env.close()


def test_only_dynamics_that_can_be_saved_are_resumable() -> None:
    assert not as_vec_env(TrialVectorEnv(Walk(), 2)).resumable  # type: ignore[attr-defined]
    assert as_vec_env(TrialVectorEnv(BernoulliBandit(), 2)).resumable  # type: ignore[attr-defined]
