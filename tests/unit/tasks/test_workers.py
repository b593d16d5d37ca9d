"""Rows in worker processes: the same trials for any number of them, and what happens where one fails."""

import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from vector_toys import Failing, FailingAtOnce, Fragile, Furnished, Registered, Walk

from metarl.agents.rl2 import RL2PPO
from metarl.config import ConfigError
from metarl.envs.bernoulli_bandit import BernoulliBandit
from metarl.experiments.presets import load_experiment
from metarl.experiments.rl.experiment import RL2Experiment
from metarl.tasks.vector.env import TrialVectorEnv
from metarl.tasks.vector.sb3 import as_vec_env
from metarl.tasks.vector.workers import WorkerError, WorkerRows
from metarl.training.collect import TrainingState, collect
from metarl.types import Boundary, StepResult

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def no_child_is_left() -> Iterator[None]:
    yield
    assert multiprocessing.active_children() == []


def run(env: TrialVectorEnv) -> list[Any]:
    """All that an environment shows."""
    try:
        obs, info = env.reset(seed=4)
        out = [*obs.values(), info["task"]["push"]]
        actions = np.random.default_rng(1).integers(2, size=(60, env.num_envs))
        for action in actions:
            obs, rewards, ended, _, info = env.step(action)
            out += [*obs.values(), rewards, ended]
            if info:
                out += [*info["final_obs"].values(), info["task"]["push"], info["_task"]]
        return out
    finally:
        env.close()


@pytest.mark.parametrize("family", [Registered(), Furnished()], ids=["an id of the user's module", "a Dict"])
def test_the_number_of_workers_changes_nothing(family: Walk) -> None:
    expected = run(TrialVectorEnv(family, 5))
    for workers in (1, 2, 3) if isinstance(family, Registered) else (2,):
        got = run(TrialVectorEnv(family, 5, workers=workers))
        assert all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in zip(got, expected, strict=True))


PUSH = {"push": np.array([0.5, 0.25, 0.75, 0.5])}  # row 1 fails, and with it worker 0, which has rows 0 and 1
WHAT = {"raise": "in step(.|\n)*the wheel came off at 100%", "hang": "no answer for 1 s", "die": "exit code 3"}


@pytest.mark.parametrize("how", WHAT)
def test_a_worker_that_fails_is_replaced_and_its_trials_are_void(how: str) -> None:
    said = rf"worker 0 \(rows 0 to 1\) (.|\n)*{WHAT[how]}(.|\n)*row 1(.|\n)*push=0\.25\}}, seed \d+(.|\n)*1 of 10"
    env = TrialVectorEnv(Failing(how=how), 4, workers=2, worker_timeout=1.0 if how == "hang" else 30.0)
    try:
        env.reset(seed=0, options={"tasks": PUSH})
        for _ in range(6):
            last, _, ended, _, info = env.step(np.zeros(4, int))
            assert info == {}
        with pytest.warns(RuntimeWarning, match=said):
            obs, rewards, ended, _, info = env.step(np.zeros(4, int))
        assert ended.tolist() == info["void"].tolist() == [True, True, False, False]
        assert rewards[:2].tolist() == [0, 0]
        assert np.array_equal(info["final_obs"]["obs"][:2], last["obs"][:2])
        assert obs["time"].ravel().tolist() == [0, 0, np.float32(0.7), np.float32(0.7)]
        assert info["_task"].tolist() == [True, True, False, False]
        assert not np.isin(info["task"]["push"][:2], PUSH["push"]).any()
        assert all(np.isfinite(part).all() for part in (*obs.values(), *info["final_obs"].values()))
        again, _, ended, _, info = env.step(np.zeros(4, int))
        assert not ended.any()
        assert again["time"].ravel().tolist() == [np.float32(t) for t in (0.1, 0.1, 0.8, 0.8)]
        assert not np.array_equal(again["obs"][:2], obs["obs"][:2])
    finally:
        env.close()


def test_the_other_rows_do_not_notice() -> None:
    """What the rows of the sound worker show is what they show where nothing fails."""
    seen = []
    for how in ("none", "raise"):
        env = TrialVectorEnv(Failing(how=how) if how == "raise" else Walk(episodes=100, steps=10), 4, workers=2)
        env.reset(seed=0, options={"tasks": PUSH})
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            steps = [env.step(np.ones(4, int)) for _ in range(9)]
        seen.append([(obs["obs"][2:], rewards[2:], ended[2:]) for obs, rewards, ended, _, _ in steps])
        env.close()
    assert all(np.array_equal(x, y) for a, b in zip(*seen, strict=True) for x, y in zip(a, b, strict=True))


def test_two_runs_with_one_seed_have_the_same_tasks_and_restarts_are_bounded() -> None:
    runs = []
    for _ in range(2):
        env = TrialVectorEnv(Failing(), 4, workers=2, max_restarts=1)
        tasks = [env.reset(seed=1)[1]["task"]["push"]]
        message = r"the wheel came off(.|\n)*of 1 restarts \(max_restarts\) none is left"
        with warnings.catch_warnings(record=True) as caught, pytest.raises(WorkerError, match=message):  # noqa: PT012
            warnings.simplefilter("always")
            for _ in range(100):
                *_, info = env.step(np.zeros(4, int))
                tasks += [info["task"]["push"]] if info else []
        assert len(caught) == 1
        assert multiprocessing.active_children() == []
        runs.append(tasks)
        env.close()
    assert len(runs[0]) > 1
    assert all(np.array_equal(a, b) for a, b in zip(*runs, strict=True))


def test_a_family_that_fails_at_once_is_told_at_once() -> None:
    env = TrialVectorEnv(FailingAtOnce(), 2, workers=2)
    with pytest.raises(WorkerError, match=r"worker 0 (.|\n)*no such simulator\nin row 0, task \{push=") as caught:
        env.reset(seed=0)
    assert "restart" not in str(caught.value)


def test_a_worker_that_is_still_importing_plays_nothing_and_only_its_start_is_timed() -> None:
    env = TrialVectorEnv(Walk(), 2, workers=1, worker_timeout=60, start_timeout=1e-3)
    with pytest.raises(WorkerError, match=r"no answer for 0\.001 s(.|\n)*start_timeout") as caught:
        env.reset(seed=0)
    assert "push=" not in str(caught.value)


def test_a_worker_that_fails_as_a_trial_begins_is_replaced_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """The trial that could not begin is void after one step, in all rows of the worker."""
    pushes = iter([[0.5, 0.5], [0.5, 0.1], [0.5, 0.75]])
    monkeypatch.setattr(Fragile, "sample_batch", lambda self, rng, n: {"push": np.array(next(pushes))})
    env = TrialVectorEnv(Fragile(), 2, workers=1)
    try:
        env.reset(seed=0)
        for _ in range(2):
            env.step(np.zeros(2, int))
        with pytest.warns(RuntimeWarning, match=r"the simulator is gone\nin row 1, task \{push=0\.1\}"):
            obs, rewards, ended, _, info = env.step(np.zeros(2, int))
        assert ended.all()
        assert rewards.all()
        assert "void" not in info
        assert np.isfinite(obs["obs"]).all()
        _, rewards, ended, _, info = env.step(np.zeros(2, int))
        assert ended.all()
        assert info["void"].all()
        assert not rewards.any()
        assert info["task"]["push"].tolist() == [0.5, 0.75]
        _, rewards, ended, _, info = env.step(np.zeros(2, int))
        assert rewards.all()
        assert not ended.any()
    finally:
        env.close()


def test_ctrl_c_leaves_no_child_and_training_can_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    env = TrialVectorEnv(Walk(), 2, workers=1)
    env.reset(seed=0)
    for child in multiprocessing.active_children():  # the terminal sends it to all
        os.kill(child.pid or 0, signal.SIGINT)
    assert "void" not in env.step(np.zeros(2, int))[-1]

    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("metarl.tasks.vector.process.WorkerProcess.answer", interrupted)
        with pytest.raises(KeyboardInterrupt):
            env.step(np.zeros(2, int))
    assert multiprocessing.active_children() == []
    *_, info = env.step(np.zeros(2, int))
    assert info["void"].all()
    *_, info = env.step(np.zeros(2, int))
    assert "void" not in info
    env.close()


HANG = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
import numpy as np
from vector_toys import Failing
from metarl import TrialVectorEnv
if __name__ == "__main__":
    env = TrialVectorEnv(Failing(how="hang"), 1, workers=1, worker_timeout=600.0)
    env.reset(seed=0, options={"tasks": {"push": np.array([0.25])}})
    while True:
        env.step(np.zeros(1, int))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_worker_that_hangs_ends_with_its_parent(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "hang.py").write_text(HANG)
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(
        [sys.executable, tmp_path / "hang.py"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": path},
    )
    with process:
        assert process.stdout is not None
        assert process.stdout.readline() == "hangs\n"
        process.send_signal(number)
        try:
            assert process.communicate(timeout=30)[0] == ""  # ends once the worker, which writes there too, is gone
        finally:
            process.kill()
    assert process.returncode != 0


def test_voids_are_counted_and_trained_on_nowhere() -> None:
    env = TrialVectorEnv(Failing(), 4, workers=2)
    face: Any = as_vec_env(env)
    policy = RL2PPO("MemoryPolicy", face, n_steps=10, n_epochs=1, n_minibatches=1, device="cpu").policy
    state = TrainingState.start(policy, env.reset(seed=0, options={"tasks": PUSH})[0])
    counted: list[list[str]] = []

    def on_step(result: StepResult, taken: object) -> bool:
        counted.append([",".join(sorted(info)) for info in face.infos(result)])
        return True

    with pytest.warns(RuntimeWarning, match="the wheel came off"):
        rollout = collect(policy, env, state, 8, generator=torch.Generator(), gamma=0.9, lam=0.9, on_step=on_step)
    env.close()
    assert rollout is not None
    assert counted[6] == ["TimeLimit.truncated,terminal_observation,void"] * 2 + [""] * 2
    assert rollout.valid is not None
    assert rollout.valid.T.tolist() == [[False] * 7 + [True]] * 2 + [[True] * 8] * 2
    assert rollout.boundary[7].tolist() == [Boundary.TRIAL] * 2 + [Boundary.INSIDE] * 2


def test_an_agent_trains_with_workers() -> None:
    env = TrialVectorEnv(Walk(), 4, workers=2)
    agent = RL2PPO("MemoryPolicy", env, n_steps=25, n_epochs=1, n_minibatches=1, device="cpu")
    agent.learn(4 * 25)
    assert agent.num_timesteps == 100
    env.close()


class Stubborn(Walk):
    """Cannot be pickled."""

    def __reduce__(self) -> Any:
        raise pickle.PicklingError("never")


def test_a_family_that_cannot_travel_or_needs_no_workers_is_refused() -> None:
    with pytest.raises(ValueError, match="BernoulliBandit"):
        TrialVectorEnv(BernoulliBandit(), 4, workers=2)
    with pytest.raises(ValueError, match=r"Walk .*never"):
        WorkerRows(Stubborn(), 2, 1)


def test_training_options_have_workers() -> None:
    with pytest.raises(ConfigError, match="BernoulliBandit is stepped as arrays"):
        load_experiment("bandit", {"train.workers": 2})
    experiment = load_experiment("bandit")
    assert isinstance(experiment, RL2Experiment)
    assert experiment.train.workers == 0
    with pytest.raises(ConfigError) as error:
        load_experiment("bandit", {"train.start_timeout": 0.0})
    assert error.value.key == "train.start_timeout"
    slow = load_experiment("general", {"train.start_timeout": 300.0, "train.worker_timeout": 5})
    assert isinstance(slow, RL2Experiment)
    rows = slow.make_env("train", 2, workers=1)._batched
    assert (rows._start_timeout, rows._timeout) == (300.0, 5)  # type: ignore[attr-defined]
