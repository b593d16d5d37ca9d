"""Trap 7: one trajectory in every autoreset mode and kind of vector environment, and none of it lost or invented."""

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv
from vector_toys import Constant, Failing, Walk

from metarl.agents.rl2 import RL2PPO
from metarl.memory.options import MemoryOptions
from metarl.nets.policy import MemoryPolicy
from metarl.tasks.trial.env import TrialEnv
from metarl.tasks.vector.sb3 import TrialVecEnv, as_vec_env
from metarl.tasks.vector.workers import WorkerError
from metarl.training.collect import Rollout, TrainingState, collect
from metarl.types import Boundary

ROWS, TRIALS = 3, 4
MODES = list(AutoresetMode)
KINDS = [(kind, mode) for kind in (SyncVectorEnv, AsyncVectorEnv) for mode in MODES]
IDS = [f"{kind.__name__}-{mode.value}" for kind, mode in KINDS]


@contextmanager
def vec_env(kind: Any, mode: AutoresetMode, family: Any = None, **options: Any) -> Iterator[TrialVecEnv]:
    make = partial(TrialEnv, Walk() if family is None else family)
    env = as_vec_env(kind([make] * ROWS, autoreset_mode=mode), **options)
    assert isinstance(env, TrialVecEnv)
    try:
        yield env
    finally:
        env.close()
    assert multiprocessing.active_children() == []


def played(env: VecEnv) -> list[list[list[Any]]]:
    """For each row the transitions of its first trials; the action of a row depends on its own steps alone."""
    actions = np.random.default_rng(0).integers(2, size=(ROWS, 1000))
    env.seed(5)
    obs: Any = env.reset()
    rows: list[list[list[Any]]] = [[] for _ in range(ROWS)]
    ended = np.zeros(ROWS, int)
    while ended.min() < TRIALS:
        taken = np.array([actions[i, len(rows[i])] for i in range(ROWS)])
        following, rewards, done, infos = env.step(taken)
        for i in range(ROWS):
            if infos[i].get("void"):
                assert done[i]
                assert rewards[i] == 0
                assert "episode" not in infos[i]
                assert np.array_equal(infos[i]["terminal_observation"]["obs"], obs["obs"][i])
                continue
            if ended[i] == TRIALS:
                continue
            row = [obs[key][i].copy() for key in sorted(obs)] + [taken[i], np.float32(rewards[i]), done[i]]
            if done[i]:
                info, ended[i] = infos[i], ended[i] + 1
                row += [info["terminal_observation"][key] for key in sorted(obs)] + [info["TimeLimit.truncated"]]
                row += [info["episode"][key] for key in "rl"] if "episode" in info else []
            rows[i].append(row)
        obs = following
    return rows


@pytest.fixture(scope="module")
def reference() -> list[list[list[Any]]]:
    """What SB3's own vector environment makes of the trials, each under SB3's Monitor."""
    env = DummyVecEnv([lambda: Monitor(TrialEnv(Walk()))] * ROWS)
    assert as_vec_env(env) is env
    return played(env)


@pytest.mark.parametrize(("kind", "mode"), KINDS, ids=IDS)
def test_equal_trajectories_give_equal_transitions(kind: Any, mode: Any, reference: Any) -> None:
    with vec_env(kind, mode) as env:
        got = played(env)
    for row, expected in zip(got, reference, strict=True):
        assert len(row) == len(expected)
        for a, b in zip(row, expected, strict=True):
            # SB3's Monitor rounds returns
            assert all(np.array_equal(x, y) for x, y in zip(a[:-2], b[:-2], strict=True))
            assert np.allclose(a[-2:], b[-2:], rtol=0, atol=1e-6)
    assert len({len(row) for row in got}) > 1


def test_sb3s_processes_pass_through(reference: Any) -> None:
    env = SubprocVecEnv([partial(TrialEnv, Walk())] * ROWS, start_method="fork")
    try:
        got = played(as_vec_env(env))
    finally:
        env.close()
    told = 2 * 5 + 4  # two observations of five parts; action, reward, done, truncated
    for row, expected in zip(got, reference, strict=True):
        for a, b in zip(row, expected, strict=True):
            assert all(np.array_equal(x, y) for x, y in zip(a[:told], b[:told], strict=True))


@pytest.mark.parametrize(("kind", "mode"), KINDS, ids=IDS)
def test_reset_infos_describe_the_trial_under_way(kind: Any, mode: Any) -> None:
    with vec_env(kind, mode) as env:
        env.seed(0)
        env.reset()
        tasks = [info["task"]["push"] for info in env.reset_infos]
        for _ in range(60):
            obs, _, done, infos = env.step(np.zeros(ROWS, int))
            for i in range(ROWS):
                begins = done[i] and (mode != AutoresetMode.NEXT_STEP or "void" in infos[i])
                now = env.reset_infos[i]["task"]["push"]
                assert (now != tasks[i]) == begins
                assert not begins or obs["time"][i] == 0  # type: ignore[call-overload,index]
                assert env.reset_infos[i]["trial_start"]
                tasks[i] = now


class Greedy(MemoryPolicy):
    """Takes the best action, so that steps that are dead in one mode don't shift the others' random numbers."""

    def forward(self, *args: Any, **options: Any) -> Any:
        return super().forward(*args, **{**options, "deterministic": True})


def rollout(kind: Any, mode: Any) -> Rollout:
    with vec_env(kind, mode) as env:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            memory = MemoryOptions(controller_options={"hidden_size": 8})
            policy = Greedy(env.observation_space, env.action_space, memory, 25, False)  # type: ignore[arg-type]  # a Dict; a mean that runs depends on the order
        env.seed(5)
        state = TrainingState.start(policy, env.reset())
        made = collect(policy, env.trials, state, 120, generator=torch.Generator(), gamma=0.9, lam=0.8)
    assert made is not None
    return made


def test_rollouts_are_equal_after_masking() -> None:
    expected = rollout(SyncVectorEnv, AutoresetMode.SAME_STEP)
    assert expected.valid is None
    for kind, mode in KINDS[1:]:
        got = rollout(kind, mode)
        assert (got.valid is not None) == (mode == AutoresetMode.NEXT_STEP)
        for i in range(ROWS):
            kept = torch.ones(120, dtype=torch.bool) if got.valid is None else got.valid[:, i]
            begins = (got.boundary[kept, i] == Boundary.TRIAL).nonzero()
            whole = int(begins[-1])  # the last trial is cut by the end of the rollout
            assert len(begins) > 3
            for name in ("boundary", "actions", "log_probs", "values", "advantages", "returns"):
                a, b = getattr(got, name)[kept, i][:whole], getattr(expected, name)[:whole, i]
                assert torch.equal(a, b), name
            for key in expected.obs:
                assert torch.equal(got.obs[key][kept, i][:whole], expected.obs[key][:whole, i])


@pytest.mark.parametrize("mode", MODES)
def test_evaluate_policy_counts_every_trial_once(mode: Any) -> None:
    results = []
    for one in (AutoresetMode.SAME_STEP, mode):
        with vec_env(SyncVectorEnv, one) as env:
            env.seed(1)
            results.append(evaluate_policy(Constant(), env, n_eval_episodes=9, return_episode_rewards=True))  # type: ignore[arg-type]
    assert sorted(results[0][1]) == sorted(results[1][1])  # type: ignore[arg-type]
    assert np.allclose(sorted(results[0][0]), sorted(results[1][0]))  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", MODES)
def test_an_agent_learns_in_every_mode(mode: Any) -> None:
    with vec_env(SyncVectorEnv, mode) as env:
        agent = RL2PPO("MemoryPolicy", env, n_steps=30, n_epochs=1, n_minibatches=1, device="cpu")
        agent.learn(ROWS * 60)
        assert agent.num_timesteps == ROWS * 60


FAILURES = [
    ("raise", r"process of row 1 raised an error:\n(.|\n)*in step(.|\n)*the wheel came off(.|\n)*push=0\.1\b.*seed \d"),
    ("hang", "the processes of the rows 1 gave no answer for 0.5 s"),
    ("die", "the process of row 1 died with exit code 3"),
]


@pytest.mark.filterwarnings("ignore")  # Gymnasium warns of an error too, without a word of whose
@pytest.mark.parametrize(("how", "message"), FAILURES, ids=[how for how, _ in FAILURES])
def test_a_process_that_fails_is_told_and_none_is_left(how: str, message: str) -> None:
    families = [Fixed(push=push, how=how) for push in (0.5, 0.1, 0.5)]
    env = as_vec_env(
        AsyncVectorEnv([partial(TrialEnv, family) for family in families], autoreset_mode=AutoresetMode.SAME_STEP),
        worker_timeout=0.5 if how == "hang" else 30.0,
    )
    env.reset()
    for _ in range(6):
        env.step(np.zeros(ROWS, int))
    with pytest.raises(WorkerError, match=message):
        env.step(np.zeros(ROWS, int))
    assert multiprocessing.active_children() == []
    env.close()


@dataclass(frozen=True, kw_only=True)
class Fixed(Failing):
    """One task alone."""

    push: float

    def sample_batch(self, rng: np.random.Generator, n: int) -> Any:
        return {"push": np.full(n, self.push)}


@pytest.mark.parametrize("seconds", [0, -1.0, float("inf"), True, "1"])
def test_bad_timeouts(seconds: Any) -> None:
    env = SyncVectorEnv([partial(TrialEnv, Walk())], autoreset_mode=AutoresetMode.SAME_STEP)
    with pytest.raises(ValueError, match="above 0"):
        as_vec_env(env, worker_timeout=seconds)


@pytest.mark.parametrize("kind", ["async", "sync", "subproc"])
def test_a_test_row_among_others_cannot_be_trained_on(kind: str) -> None:
    makers = [partial(TrialEnv, Walk(split=split)) for split in ("train", "test", "train")]
    env: Any = {
        "async": partial(AsyncVectorEnv, autoreset_mode=AutoresetMode.SAME_STEP),
        "sync": partial(SyncVectorEnv, autoreset_mode=AutoresetMode.NEXT_STEP),
        "subproc": partial(SubprocVecEnv, start_method="fork"),
    }[kind](makers)
    try:
        with pytest.raises(ValueError, match="draws test tasks"):
            RL2PPO("MemoryPolicy", env, n_steps=5, device="cpu")
    finally:
        env.close()
