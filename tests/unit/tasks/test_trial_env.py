"""A tiny numbered family whose every observation and reward is unique, so that nothing can shift unseen."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from metarl.envs.barcode_bandit import BarcodeBandit
from metarl.envs.bernoulli_bandit import BernoulliBandit
from metarl.tasks.family.distribution import Task, TaskBatch, TaskDistribution
from metarl.tasks.trial.env import TrialEnv, make_trial
from metarl.tasks.trial.layout import TrialInputs
from metarl.types import SPLITS, Array


class NumberedEnv(gym.Env[Array, Any]):
    """Observation ``100 * episode + step`` (within the task), reward the same plus 0.5; ends after ``length`` steps."""

    def __init__(self, family: "Numbered") -> None:
        self.family, self.episode = family, -1
        self.observation_space, self.action_space = family.observation_space, family.action_space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Array, dict[str, Any]]:
        super().reset(seed=seed)
        self.episode, self.t = self.episode + 1, 0
        return self._obs(), {"inner": self.episode}

    def step(self, action: Any) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        reward = 100.0 * self.episode + self.t + 0.5
        self.t += 1
        end = self.t == self.family.length
        return self._obs(), reward, end and not self.family.truncates, end and self.family.truncates, {}

    def _obs(self) -> Array:
        return np.array([100.0 * self.episode + self.t], np.float32)


@dataclass(frozen=True, kw_only=True)
class Numbered(TaskDistribution):
    length: int = 2
    steps: int = 5
    truncates: bool = False
    family: ClassVar[str] = "Numbered"

    observation_space = spaces.Box(0, 1000, (1,), np.float32)
    action_space = spaces.Discrete(3)
    task_space = spaces.Dict({"number": spaces.Box(0.0, 1.0, (), np.float64)})

    @property
    def trial_steps(self) -> int:
        return self.steps

    def sample_batch(self, rng: np.random.Generator, n: int) -> TaskBatch:
        return {"number": rng.random(n)}

    def make(self, task: Mapping[str, Array]) -> NumberedEnv:
        return NumberedEnv(self)


def play(env: TrialEnv, actions: list[int]) -> tuple[list[Any], list[float], list[bool], list[dict[str, Any]]]:
    obs, info = env.reset(seed=0)
    seen, rewards, ends, infos = [obs], [], [], [info]
    for action in actions:
        obs, reward, terminated, truncated, info = env.step(action)
        assert not truncated
        seen.append(obs)
        rewards.append(reward)
        ends.append(terminated)
        infos.append(info)
    return seen, rewards, ends, infos


def test_feedback_is_aligned_across_inner_episodes() -> None:
    seen, rewards, _, _ = play(TrialEnv(Numbered()), [1, 2, 0, 1, 2])
    assert [float(o["prev_reward"][0]) for o in seen] == [0.0, *rewards]
    assert rewards == [0.5, 1.5, 100.5, 101.5, 200.5]
    assert [o["prev_action"].tolist() for o in seen[:3]] == [[0, 0, 0], [0, 1, 0], [0, 0, 1]]


@pytest.mark.parametrize("truncates", [False, True])
def test_every_step_tells_where_it_is(truncates: bool) -> None:
    """No observation is shown twice or out of order, and the flag marks time-outs too."""
    seen, _, ends, infos = play(TrialEnv(Numbered(truncates=truncates)), [0] * 5)
    assert [float(o["obs"][0]) for o in seen] == [0, 1, 100, 101, 200, 201]
    assert [float(o["prev_done"][0]) for o in seen] == [0, 0, 1, 0, 1, 0]
    assert [float(o["time"][0]) for o in seen] == [np.float32(t / 5) for t in range(6)]
    assert ends == [False] * 4 + [True]
    assert [i["episode_end"] for i in infos] == [False, False, True, False, True, False]
    assert [i["episode_final_obs"].item() for i in infos if "episode_final_obs" in i] == [2, 102]
    assert [i["step_in_trial"] for i in infos] == [0, 1, 2, 3, 4, 5]
    assert [i["episode_in_trial"] for i in infos] == [0, 0, 1, 1, 2, 2]
    assert [i["trial_start"] for i in infos] == [True] + [False] * 5
    assert infos[0]["split"] == "train"
    assert infos[2]["inner"] == 1


def test_one_task_a_trial_and_another_the_next() -> None:
    env = TrialEnv(Numbered())
    _, first = env.reset(seed=0)
    inner = env._inner.env
    for _ in range(5):
        *_, info = env.step(0)
        assert "task" not in info
        assert env._inner.env is inner
    _, second = env.reset()
    assert first["task"]["number"] != second["task"]["number"]
    assert env._inner.env is not inner


def test_same_step_plays_every_action() -> None:
    """Ten actions, ten rewards, and the trial's true end in ``final_obs``."""
    env = SyncVectorEnv([lambda: TrialEnv(Numbered())] * 2, autoreset_mode=AutoresetMode.SAME_STEP)
    env.reset(seed=0)
    rewards = []
    for step in range(1, 11):
        obs, reward, terminated, _, info = env.step(np.zeros(2, int))
        rewards.append(reward[0])
        assert terminated.tolist() == [step % 5 == 0] * 2
        assert ("final_obs" in info) == (step % 5 == 0)
        if step % 5 == 0:
            assert obs["obs"].tolist() == [[0], [0]]
            assert [row["obs"].item() for row in info["final_obs"]] == [201, 201]
            assert [row["time"].item() for row in info["final_obs"]] == [1, 1]
    assert rewards == [0.5, 1.5, 100.5, 101.5, 200.5] * 2


def test_seed_zero_is_reproducible_and_decides_the_task() -> None:
    env = TrialEnv(BernoulliBandit(arms=4, pulls=20))
    env.reset(seed=5)
    runs = [play(env, [0, 1, 2, 3] * 5) for _ in range(2)]
    for a, b in zip(runs[0][0], runs[1][0], strict=True):
        assert all(np.array_equal(a[k], b[k]) for k in a)
    assert np.array_equal(runs[0][3][0]["task"]["rates"], runs[1][3][0]["task"]["rates"])
    assert not np.array_equal(env.reset(seed=1)[1]["task"]["rates"], runs[0][3][0]["task"]["rates"])


def test_no_global_generator_is_touched() -> None:
    numpy_state, python_state = np.random.get_state(legacy=False), random.getstate()  # noqa: NPY002 (looked at, not drawn from)
    for family in (BernoulliBandit(pulls=5), BarcodeBandit(contexts=2, repeats=2, pulls=2)):
        env = TrialEnv(family)
        for seed in (0, None):
            env.reset(seed=seed)
            for _ in range(4):
                env.step(0)
    after = np.random.get_state(legacy=False)  # noqa: NPY002 (looked at, not drawn from)
    assert np.array_equal(numpy_state["state"]["key"], after["state"]["key"])
    assert numpy_state["state"]["pos"] == after["state"]["pos"]
    assert python_state == random.getstate()


def test_unseeded_trials_differ_and_report_their_entropy() -> None:
    envs = [TrialEnv(Numbered()) for _ in range(2)]
    numbers = [float(env.reset()[1]["task"]["number"]) for env in envs]
    assert numbers[0] != numbers[1]
    again = TrialEnv(Numbered())
    assert float(again.reset(seed=envs[0].np_random_seed)[1]["task"]["number"]) == numbers[0]


def test_splits_with_one_seed_have_different_tasks() -> None:
    trials = [TrialEnv(Numbered(split=split)).reset(seed=0) for split in SPLITS]
    assert len({float(info["task"]["number"]) for _, info in trials}) == 3


def test_a_pinned_task_is_played_and_the_next_is_drawn() -> None:
    family = BarcodeBandit(arms=3, contexts=2, repeats=1, pulls=1, bits=4)
    batch = family.sample_batch(np.random.default_rng(0), 2)
    task = Task.from_json(family.task(batch, 1).to_json())
    env = TrialEnv(family)
    _, info = env.reset(seed=0, options={"task": task})
    assert all(np.array_equal(info["task"][k], batch[k][1]) for k in batch)
    assert all(info["task"][k].dtype == batch[k].dtype for k in batch)
    first_free = env.reset()[1]["task"]["contexts"]
    assert np.array_equal(first_free, env.reset(seed=0)[1]["task"]["contexts"])


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"options": {"tasks": 1}}, "reset option"),
        ({"options": {"task": {"rates": [0.1, 0.2]}}}, "reset option"),
        ({"options": {"task": Task("Other", ())}}, "'Other'.*'BernoulliBandit'"),
        ({"options": {"task": Task("BernoulliBandit", ())}}, "keys"),
        ({"options": {"task": Task("BernoulliBandit", (("rates", (0.1,)),))}}, r"\(1, 2\)"),
        ({"options": {"task": Task("BernoulliBandit", (("rates", (0.1, 1.5)),))}}, "outside"),
        ({"options": {"task": Task("BernoulliBandit", (("rates", (0.1, "x")),))}}, "float32"),
        *(({"seed": seed}, "seed") for seed in (-1, 1.5, "a")),
    ],
)
def test_bad_resets(options: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        TrialEnv(BernoulliBandit(arms=2)).reset(**options)


def test_steps_outside_a_trial_are_refused() -> None:
    env = TrialEnv(BernoulliBandit(pulls=1))
    with pytest.raises(gym.error.ResetNeeded):
        env.step(0)
    env.reset(seed=0)
    env.step(0)
    with pytest.raises(gym.error.ResetNeeded):
        env.step(0)


def test_make_trial_sorts_options_from_inputs_and_names_the_valid_ones() -> None:
    env = make_trial("metarl.envs.bernoulli_bandit:BernoulliBandit", arms=3, time=False, split="test", reveal=True)
    assert env.layout.inputs == TrialInputs(time=False)
    assert env.split == "test"
    assert env.reset(seed=0)[0]["obs"].shape == (4,)
    with pytest.raises(ValueError, match=r"'armz'.*prev_action.*'arms'"):
        make_trial("metarl.envs.bernoulli_bandit:BernoulliBandit", armz=3)
