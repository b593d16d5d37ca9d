"""What environments tell in ``info``: success and other numbers, wherever trials are stepped."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor

from metarl import RL2PPO, TrialEnv, TrialVectorEnv, evaluate, from_env
from metarl.config import InputError
from metarl.envs.bernoulli_bandit import BernoulliBandit
from metarl.evaluation.results import read_evaluation, write_evaluation
from metarl.experiments.rl.experiment import make_family
from metarl.report.tables import evaluation_table
from metarl.tasks.family.env_family import EnvFamily
from metarl.tasks.vector.sb3 import as_vec_env, stepping


class Tells(gym.Env[Any, Any]):
    """Episodes of three steps; succeeds at the second for action 1, and says so at that step alone."""

    observation_space, action_space = spaces.Box(-1, 1, (1,)), spaces.Discrete(2)

    def __init__(self, goal: int = 0, key: str = "is_success", score: Any = None) -> None:
        self.goal, self.key, self.score = goal, key, score

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.t = 0
        return np.zeros(1, np.float32), {"score": 99.0}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        self.t += 1
        info: dict[str, Any] = {"junk": np.zeros(self.t)}
        if self.t == 2:
            info[self.key] = np.bool_(action == 1)
        if self.score is not None or self.t < 3:  # a whole number first, which must not make others whole
            told = int(action) if self.t == 1 else np.array(self.t / 4 + action)
            info["score"] = told if self.score is None else self.score
        return np.zeros(1, np.float32), 1.0, self.t == 3, False, info


def family(infos: Any = ("score",), **options: Any) -> EnvFamily:
    kwargs = options.pop("kwargs", {})
    return from_env(Tells, {"goal": [0, 1]}, infos=infos, kwargs=kwargs, **{"episodes": 2, "steps": 6, **options})


FAMILY = family()
ACTIONS = [np.array([1, i > 2]) for i in range(6)]  # row 1 succeeds in the second episode alone
NAN = np.nan


def vector_of(kind: str) -> Any:
    make = partial(TrialEnv, FAMILY)
    if kind in ("native", "workers"):
        return TrialVectorEnv(FAMILY, 2, workers=2 if kind == "workers" else 0)
    if kind == "SB3":
        return DummyVecEnv([lambda: Monitor(make())] * 2)
    if kind == "VecMonitor":
        return VecMonitor(as_vec_env(TrialVectorEnv(FAMILY, 2)))
    mode = AutoresetMode[kind.split()[1]]
    return (AsyncVectorEnv if "async" in kind else SyncVectorEnv)([make] * 2, autoreset_mode=mode)


@pytest.mark.parametrize(
    "kind",
    ["native", "workers", "sync SAME_STEP", "sync NEXT_STEP", "sync DISABLED", "async SAME_STEP", "SB3", "VecMonitor"],
)
@pytest.mark.filterwarnings("ignore:The environment is already wrapped with a `Monitor`")
def test_numbers_reach_every_step_and_every_trial(kind: str) -> None:
    env = as_vec_env(vector_of(kind))
    trials, infos_of = stepping(env)
    trials.reset(seed=0)
    steps = []
    for actions in ACTIONS:
        result = trials.advance(actions)
        infos = infos_of(result)
        steps.append(result.told)
    env.close()
    assert [told and np.array(told["score"]).tolist() for told in steps] == [
        *([1, 0], [1.5, 0.5], None),
        *([1, 1], [1.5, 1.5], None),
    ]
    assert [told["success"].tolist() for told in steps if told and "success" in told] == [[1, 0], [1, 1]]
    assert [info["is_success"] for info in infos] == [1.0, 0.5]
    assert [info["episode"]["score"] for info in infos] == [1.5, 1.0]
    assert [info["episode"]["r"] for info in infos] == [6, 6]


def test_gymnasiums_infos_have_masks() -> None:
    env = TrialVectorEnv(FAMILY, 2)
    env.reset(seed=0)
    infos = [env.step(actions)[4] for actions in ACTIONS[:3]]
    assert (infos[0]["score"].tolist(), infos[0]["_score"].tolist()) == ([1, 0], [True, True])
    assert infos[1]["success"].tolist() == [1, 0]
    assert infos[2] == {}
    view = as_vec_env(env)
    view.reset()
    assert view.step(ACTIONS[0])[3] == [{"score": 1.0}, {"score": 0.0}]


def test_a_single_trial_keeps_its_info() -> None:
    env = TrialEnv(FAMILY)
    assert env.reset(seed=0)[1]["score"] == 99.0
    assert env.step(1)[4]["junk"].shape == (1,)
    assert env.step(1)[4]["is_success"] is np.True_


def test_a_trial_that_is_cut_in_its_first_episode_counts() -> None:
    env = as_vec_env(TrialVectorEnv(family(episodes=None, steps=2), 2))
    env.reset()
    env.step(np.array([0, 0]))
    infos = env.step(np.array([1, 0]))[3]
    assert [info["is_success"] for info in infos] == [1, 0]


def test_a_list_of_test_tasks_of_ones_own_keeps_them() -> None:
    parted = from_env(Tells, levels=range(30), test=range(100, 120), infos=("score",), episodes=2, steps=6)
    for split in ("train", "test"):
        env = TrialVectorEnv(parted.with_split(split), 2)
        env.reset(seed=0)
        assert env.step(ACTIONS[0])[4]["score"].tolist() == [1, 0]


@pytest.mark.parametrize("bad", ["much", np.zeros(2), np.inf, [1]])
@pytest.mark.parametrize("rows", [0, 2])
def test_anything_but_a_number_is_refused(bad: Any, rows: int) -> None:
    made = family(kwargs={"score": bad})
    env: Any = TrialVectorEnv(made, rows, max_restarts=0) if rows else TrialEnv(made)
    env.reset(seed=0)
    with pytest.raises(InputError) as error:
        env.step(np.ones(2, int) if rows else 1)
    assert (error.value.key, error.value.given is bad) == ("info['score']", True)
    assert "task {goal=" in error.value.__notes__[0]


@pytest.mark.parametrize("bad", [("episode",), [3], 3, ("_x",), ("task", "score")])
def test_names_with_another_meaning_are_refused(bad: Any) -> None:
    with pytest.raises(InputError) as error:
        family(bad)
    assert error.value.key == "infos"


def test_presets_name_them_too() -> None:
    env = {"id": "CartPole-v1", "vary": {"length": "0.3..1.0"}, "infos": ["score"]}
    made = make_family(env, "train")
    assert (made.infos, made.options()["infos"]) == (("score",), ["score"])


def test_an_agent_logs_them_and_an_evaluation_reports_them_by_episode(tmp_path: Path) -> None:
    agent = RL2PPO("MemoryPolicy", FAMILY, n_envs=2, n_minibatches=1, n_epochs=1, device="cpu")
    agent.learn(12, log_interval=None)
    buffer, logged = agent.ep_info_buffer, agent.logger.name_to_value
    assert buffer is not None
    assert logged["rollout/success_rate"] == np.mean([info["success"] for info in buffer])
    assert logged["rollout/score_mean"] == np.mean([info["score"] for info in buffer])
    result = evaluate(agent, FAMILY, trials=8, rows=3, quiet=True)
    every = [result, result.greedy, *result.ablations.values(), *result.references.values()]
    for one in every:
        assert one is not None
        assert one.infos["success"] == tuple(score - 0.5 for score in one.infos["score"])  # type: ignore[operator]
        assert len(one.infos["score"]) == len(one.infos_se["score"]) == 2
    sparse = replace(result, infos={"score": (0.5, None)}, infos_se={"score": (0.1, None)})
    write_evaluation(tmp_path / "evaluation.json", sparse)
    assert read_evaluation(tmp_path / "evaluation.json") == sparse
    assert "0.50 ± 0.20" in evaluation_table(sparse)
    table = evaluation_table(result)
    assert table.count("random") == 3
    assert "episode 2" in table


def test_success_that_is_told_to_some_actors_alone_is_none_for_others() -> None:
    """The environment says nothing where it was not reached, as many do."""

    class OnlySuccess(Tells):
        def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
            *rest, _ = super().step(action)
            return *rest, {"success": True} if action == self.t == 1 else {}  # type: ignore[return-value]

    made = from_env(OnlySuccess, {"goal": [0, 1]}, episodes=2, steps=6, infos=("never",))
    agent = RL2PPO("MemoryPolicy", made, n_envs=2, n_minibatches=1, device="cpu")
    with pytest.warns(UserWarning, match="never"):
        result = evaluate(agent, made, trials=8, quiet=True)
    assert result.greedy is not None
    assert set(result.greedy.infos["success"]) <= {0, 1}
    assert 0 < result.infos["success"][0] < 1  # type: ignore[operator]
    assert "never" not in result.infos


def test_arrays_of_tasks_may_tell_too() -> None:
    family = BernoulliBandit(arms=2, pulls=3)
    env = TrialVectorEnv(family, 2)
    env.reset(seed=0)
    assert env.advance(np.zeros(2, int)).told is None
    env._batched.told = {"success": np.array([1.0, NAN])}
    env.step(np.zeros(2, int))
    assert env.info["_success"].tolist() == [True, False]
