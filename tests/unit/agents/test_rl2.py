"""RL2PPO: what it can be built from, seeds, and Stable-Baselines3's tools."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from rl2_toys import FAMILY, MEMORY, ROLLOUT, ROWS, STEPS, make, parameters, same, trials, vector
from stable_baselines3.common.callbacks import BaseCallback, CheckpointCallback, EvalCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.utils import LinearSchedule
from stable_baselines3.common.vec_env import DummyVecEnv

from metarl.agents.rl2 import RL2PPO
from metarl.agents.rl2_env import tracking_logger
from metarl.config import InputError
from metarl.envs import distribution
from metarl.memory.options import MemoryOptions
from metarl.tasks.trial.env import TrialEnv
from metarl.tasks.vector.env import TrialVectorEnv
from metarl.tasks.vector.sb3 import as_vec_env
from metarl.types import NonFiniteError, Split, StepResult

# What it can be built from


def sync() -> gym.vector.VectorEnv[Any, Any, Any]:
    return gym.make_vec(
        "metarl/BarcodeBandit-v0",
        ROWS,
        vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": AutoresetMode.SAME_STEP},
        **FAMILY.options(),
    )


@pytest.mark.parametrize(
    ("env", "rows"),
    [
        ("metarl/BernoulliBandit-v0", ROWS),
        (FAMILY, ROWS),
        (vector(n=3), 3),
        (sync(), ROWS),
        (DummyVecEnv([lambda: TrialEnv(FAMILY)] * 2), 2),
        (TrialEnv(FAMILY), 1),
    ],
    ids=["id", "distribution", "native", "sync", "SB3", "single"],
)
def test_it_learns_in_whatever_emits_trials_and_can_be_saved(env: Any, rows: int, tmp_path: Path) -> None:
    agent = make(env)
    before = parameters(agent)
    steps = agent.trial_steps
    assert agent.n_envs == rows
    assert agent.learn(rows * steps + 1) is agent
    assert agent.num_timesteps == 2 * rows * steps, "rounded up to whole rollouts"
    assert not same(parameters(agent), before)
    agent.save(tmp_path / "agent")
    assert same(parameters(RL2PPO.load(tmp_path / "agent", device="cpu")), parameters(agent))


def trial_env(split: Split) -> Callable[[], TrialEnv]:
    return lambda: TrialEnv(FAMILY.with_split(split))


class Switches(TrialEnv):
    def __init__(self) -> None:
        super().__init__(FAMILY)
        self.action_space = gym.spaces.MultiBinary(2)


@pytest.mark.parametrize(
    ("env", "error", "word"),
    [
        (gym.make("CartPole-v1"), ValueError, r"metarl\.from_env"),
        (7, TypeError, "got int"),
        ("metarl/BarcodeBandit-v7", gym.error.Error, "BarcodeBandit"),
        (Switches(), ValueError, "MultiBinary"),
        (vector("test"), ValueError, "test tasks"),
        (FAMILY.with_split("test"), ValueError, "test tasks"),
        (
            DummyVecEnv([lambda: TrialEnv(FAMILY), lambda: TrialEnv(FAMILY.with_split("test"))]),
            ValueError,
            "test tasks",
        ),
    ],
)
def test_what_it_cannot_learn_in_is_refused(env: Any, error: type[Exception], word: str) -> None:
    with pytest.raises(error, match=word):
        make(env)


def test_test_tasks_that_come_later_are_refused_too() -> None:
    held: Any = vector()
    agent = make(held)
    with pytest.raises(ValueError, match="test tasks"):
        agent.set_env(vector("test"))
    held.distribution = FAMILY.with_split("test")
    with pytest.raises(ValueError, match="test tasks"):
        agent.learn(ROLLOUT)
    assert agent.num_timesteps == 0


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"learning_rat": 1e-3}, "learning_rat"),
        ({"gamma": 1.5}, "gamma"),
        ({"n_steps": 0}, "n_steps"),
        ({"schedule_steps": 0}, "schedule_steps"),
        ({"memory": {"controler": "gru"}}, "controler"),
        ({"memory": {**MEMORY, "controller": "gruu"}}, "memory.controller"),
        ({"memory": MemoryOptions(working_memory="week")}, "working_memory"),  # type: ignore[arg-type]  # wrong on purpose
        ({"batch_size": STEPS + 1}, "batch_size"),
        ({"batch_size": 3 * STEPS}, "batch_size"),  # of 4 sequences
        ({"batch_size": 0}, "batch_size"),
        ({"batch_size": STEPS, "n_minibatches": 2}, "batch_size"),
        ({"policy_kwargs": {"net_arch": [64]}}, "policy_kwargs"),
        ({"learning_rate": lambda remaining: 1e-3 * remaining**2}, "learning_rate"),
        ({"learning_rate": lambda remaining: 1e-3 * remaining, "learning_rate_end": 0.0}, "learning_rate"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], key: str) -> None:
    with pytest.raises(InputError) as error:
        RL2PPO("MemoryPolicy", vector(), **{"memory": MEMORY, "device": "cpu"} | options)
    assert error.value.key == key


def test_options_of_sb3_are_taken_over(tmp_path: Path) -> None:
    schedule = LinearSchedule(1e-3, 1e-4, 1.0)
    agent = RL2PPO("MemoryPolicy", vector(), memory=MEMORY, device="cpu", batch_size=2 * STEPS, learning_rate=schedule)
    assert agent.options.n_minibatches == 2
    assert (agent.options.learning_rate, agent.options.learning_rate_end) == pytest.approx((1e-3, 1e-4))
    agent.save(tmp_path / "agent")
    assert RL2PPO.load(tmp_path / "agent", device="cpu").options == agent.options


def test_an_agent_shows_what_it_is() -> None:
    agent = make()
    agent.learn(ROLLOUT)
    shown = repr(agent)
    for part in ("BarcodeBandit", f"n_envs={ROWS}", "gru+episodic+attention", f"{ROLLOUT:,} steps"):
        assert part in shown
    assert f"{sum(p.numel() for p in agent.policy.parameters()):,} parameters" in shown


# Seeds


def global_state() -> tuple[Any, ...]:
    return torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002 (looked at, not drawn from)


def test_the_seed_decides_and_no_global_generator_is_touched() -> None:
    before = global_state()
    one, two, other = (make(seed=seed) for seed in (0, 0, 1))
    assert same(parameters(one), parameters(two))
    assert not same(parameters(one), parameters(other))
    torch.manual_seed(5)  # what others do with it changes nothing here
    for agent in (one, two):
        agent.learn(2 * ROLLOUT)
    assert same(parameters(one), parameters(two))
    torch.set_rng_state(torch.tensor(before[0], dtype=torch.uint8))
    obs = trials(2)[0]
    make().learn(ROLLOUT).predict(obs)
    assert global_state() == before


def test_looking_at_the_agent_does_not_change_its_training() -> None:
    class Curious(BaseCallback):
        def _on_step(self) -> bool:
            self.model.predict(trials(1)[0])  # type: ignore[arg-type]
            return True

    watched, alone = make(), make()
    watched.learn(2 * ROLLOUT, callback=Curious())
    alone.learn(2 * ROLLOUT)
    assert same(parameters(watched), parameters(alone))


# SB3's own tools


def test_callbacks_and_evaluation(tmp_path: Path) -> None:
    agent = make()
    evaluation = EvalCallback(
        as_vec_env(vector("validation")), eval_freq=STEPS, n_eval_episodes=8, log_path=str(tmp_path), verbose=0
    )
    checkpoints = CheckpointCallback(STEPS, str(tmp_path / "saved"), name_prefix="agent")
    with pytest.warns(UserWarning, match="saved inside a rollout") as told:
        agent.learn(2 * ROLLOUT, callback=[evaluation, checkpoints])
    assert len(told) == 1
    assert len(evaluation.evaluations_results) == 2
    saved = sorted((tmp_path / "saved").iterdir())
    assert [path.name for path in saved] == [f"agent_{n * ROLLOUT}_steps.zip" for n in (1, 2)]
    assert RL2PPO.load(saved[0], device="cpu").num_timesteps == ROLLOUT
    for env in (TrialEnv(FAMILY.with_split("test")), as_vec_env(vector("test"))):
        mean, spread = evaluate_policy(agent, env, n_eval_episodes=6, deterministic=False, warn=False)
        assert 0 <= mean <= STEPS
        assert spread >= 0


@pytest.mark.filterwarnings("ignore:rich is experimental")
def test_progress_bar(capsys: pytest.CaptureFixture[str]) -> None:
    agent = make()
    for rollouts in (2, 3):  # the second time it goes on
        agent.learn(rollouts * ROLLOUT, progress_bar=True, reset_num_timesteps=False)
        printed = capsys.readouterr()
        assert f"{rollouts * ROLLOUT}/{rollouts * ROLLOUT}" in printed.out + printed.err


def test_a_callback_can_stop_in_the_middle_and_training_goes_on() -> None:
    class StopAt(BaseCallback):
        def _on_step(self) -> bool:
            return self.n_calls < STEPS + 3

    agent = make()
    agent.learn(10 * ROLLOUT, callback=StopAt())
    assert agent.num_timesteps == ROWS * (STEPS + 3)
    agent.learn(ROLLOUT, reset_num_timesteps=False)
    assert agent.num_timesteps == ROWS * (STEPS + 3) + ROLLOUT


def test_what_is_logged_goes_to_the_tracker() -> None:
    class Keeping:
        def __init__(self) -> None:
            self.rows: list[tuple[int, dict[str, Any]]] = []

        def log(self, metrics: dict[str, Any], *, step: int) -> None:
            self.rows.append((step, dict(metrics)))

    agent, tracker = make(), Keeping()
    agent.set_logger(tracking_logger(tracker))  # type: ignore[arg-type]
    agent.learn(3 * ROLLOUT, log_interval=1)
    assert [step for step, _ in tracker.rows] == [ROLLOUT, 2 * ROLLOUT, 3 * ROLLOUT]
    row = tracker.rows[-1][1]
    assert {"train/ratio_error", "train/learning_rate", "rollout/ep_rew_mean", "time/fps"} <= set(row)
    assert row["rollout/ep_len_mean"] == STEPS
    assert row["train/ratio_error"] < 1e-5
    assert all(isinstance(number, int | float) for number in row.values())
    make().learn(ROLLOUT, log_interval=None)


def test_schedules_run_on_their_own_steps_and_not_on_the_argument_of_learn() -> None:
    rates = []

    class Rates(BaseCallback):
        def _on_rollout_start(self) -> None:
            rates.append(self.model.optimizer.param_groups[0]["lr"])  # type: ignore[attr-defined]

        def _on_step(self) -> bool:
            return True

    agent = make(learning_rate=0.004, schedule_steps=4 * ROLLOUT)
    agent.learn(2 * ROLLOUT, callback=Rates())
    agent.learn(2 * ROLLOUT, callback=Rates(), reset_num_timesteps=False)
    assert rates[1:] == pytest.approx([0.004, 0.003, 0.002])
    assert agent.optimizer.param_groups[0]["lr"] == pytest.approx(0.001)


def test_it_acts_without_dropout_after_training_and_from_a_file(tmp_path: Path) -> None:
    def encoder(space: Any) -> torch.nn.Module:
        return torch.nn.Sequential(torch.nn.Linear(space.shape[0], 8), torch.nn.Dropout(0.5))

    agent = make(encoder=encoder).learn(ROLLOUT)
    agent.save(tmp_path / "agent")
    for one in (agent, RL2PPO.load(tmp_path / "agent", device="cpu", encoder=encoder)):
        assert not any(part.training for part in one.policy.modules())


def test_memory_has_room_for_the_longest_trial_of_any_row() -> None:
    short, long = (distribution("metarl/BernoulliBandit-v0", arms=3, pulls=pulls) for pulls in (3, 7))
    envs = [lambda: TrialEnv(short), lambda: TrialEnv(long)]
    for rows in (envs, envs[::-1]):
        agent = RL2PPO("MemoryPolicy", rows, memory=MEMORY, device="cpu")
        assert agent.trial_steps == agent.policy.core.memory.store.capacity == 7


def test_a_broken_environment_is_named() -> None:
    class Broken(TrialVectorEnv):
        def advance(self, actions: Any) -> StepResult:
            result = super().advance(actions)
            if self._steps[0] == 3:
                result.obs["obs"][2, 0] = np.nan
            return result

    agent = make(Broken(FAMILY, ROWS))
    before = parameters(agent)
    with pytest.raises(NonFiniteError, match=r"BarcodeBandit gave a obs .* in environment 2 at step 2"):
        agent.learn(ROLLOUT)
    assert same(parameters(agent), before)


def test_interrupt_ends_learning_within_a_step_and_once() -> None:
    agent = make()

    def stop(local: dict[str, Any], _: dict[str, Any]) -> bool:
        agent.interrupt()
        return True

    agent.learn(10_000, callback=stop)
    assert agent.num_timesteps == agent.n_envs
    agent.learn(ROLLOUT)
    assert agent._n_updates == 1, "the next call learns again"
