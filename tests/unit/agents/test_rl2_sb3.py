"""RL2PPO as users of Stable-Baselines3 know it: numbers, schedules, callbacks, evaluation; and what a rollout takes."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from rl2_toys import ALONE, FAMILY, MEMORY, ROLLOUT, ROWS, STEPS, make, parameters, same, vector
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv

from metarl import RL2PPO, TrialEnv, TrialVectorEnv, as_vec_env, from_env
from metarl.agents import rl2_learn
from metarl.config import InputError


def test_numbers_of_numpy_are_numbers(tmp_path: Any) -> None:
    plain, numpy = (
        make(
            FAMILY,
            memory={**MEMORY, "key_size": whole(4)},
            n_envs=whole(ROWS),
            n_steps=whole(STEPS),
            schedule_steps=whole(64),
            seed=whole(3),
            n_minibatches=whole(2),
            learning_rate=real(0.25),
            gamma=real(0.5),
        ).learn(whole(ROLLOUT))
        for whole, real in ((int, float), (np.int64, np.float32))
    )
    assert numpy.options == plain.options
    assert same(parameters(numpy), parameters(plain))
    numpy.save(tmp_path / "agent")
    assert RL2PPO.load(tmp_path / "agent", device="cpu").seed == 3


def test_without_a_seed_each_agent_has_its_own_and_tells_it() -> None:
    first, second = make(seed=None), make(seed=None)
    assert first.seed != second.seed
    assert same(parameters(make(seed=first.seed)), parameters(first))
    assert not same(parameters(first), parameters(second))


@pytest.mark.parametrize("name", ["learning_rate", "clip_range", "ent_coef"])
def test_schedules_may_be_linear_functions(name: str) -> None:
    options = make(**{name: lambda remaining: 0.1 + 0.2 * remaining}).options
    assert (getattr(options, name), getattr(options, f"{name}_end")) == pytest.approx((0.3, 0.1))
    for other in ({name: lambda remaining: remaining**2}, {name: lambda remaining: remaining, f"{name}_end": 0.1}):
        with pytest.raises(InputError) as error:
            make(**other)
        assert error.value.key == name
        assert f"{name}_end" in str(error.value.remedy)


def test_the_clip_range_runs_to_its_end() -> None:
    options = make(clip_range=0.2, clip_range_end=0.1).options
    assert [options.clip_range_at(progress) for progress in (0, 0.5, 1)] == pytest.approx([0.2, 0.15, 0.1])
    assert make(clip_range=0.2).options.clip_range_at(1) == 0.2


@pytest.mark.parametrize(
    ("kwargs", "word"),
    [
        ({"net_arch": [64]}, "hidden_size"),
        ({"features_extractor_class": object}, "encoder="),
        ({"optimizer_class": torch.optim.SGD}, "learning_rate"),
        ({"anything": 1}, "MemoryOptions"),
    ],
)
def test_policy_kwargs_are_refused_with_what_to_write(kwargs: dict[str, Any], word: str) -> None:
    with pytest.raises(InputError) as error:
        make(policy_kwargs=kwargs)
    assert error.value.key == "policy_kwargs"
    assert word in str(error.value.remedy)


def test_options_of_a_part_are_found() -> None:
    with pytest.raises(InputError) as error:
        make(memory={"controller": "gru", "hidden_size": 64})
    assert error.value.key == "hidden_size"
    assert "controller_options.hidden_size" in str(error.value.remedy)


def test_callbacks_see_the_local_variables_of_sb3() -> None:
    seen: list[dict[str, Any]] = []

    def keep(local: dict[str, Any], _: dict[str, Any]) -> bool:
        seen.append(dict(local))
        return True

    agent = make()
    agent.learn(ROLLOUT, callback=keep)
    assert len(seen) == STEPS
    for step in seen:
        assert (step["actions"].shape, step["values"].shape, step["log_probs"].shape) == ((ROWS,),) * 3
        shown = np.where(step["dones"], -1, step["new_obs"]["prev_action"].argmax(1))
        assert np.array_equal(shown, np.where(step["dones"], -1, step["actions"]))
        assert (step["self"], step["rewards"].dtype, len(step["infos"])) == (agent, np.float32, ROWS)


def held_out() -> TrialEnv:
    return TrialEnv(FAMILY.with_split("validation"))


KINDS: dict[str, Any] = {
    "single": held_out,
    "native": lambda: as_vec_env(TrialVectorEnv(FAMILY.with_split("validation"), 3)),
    "family": lambda: as_vec_env(FAMILY.with_split("validation"), 3),
    "sync": lambda: as_vec_env(SyncVectorEnv([held_out] * 3, autoreset_mode=AutoresetMode.SAME_STEP)),
    "make_vec": lambda: as_vec_env(
        gym.make_vec("metarl/BarcodeBandit-v0", num_envs=3, **{**FAMILY.options(), "split": "validation"})
    ),
    "SB3": lambda: as_vec_env(DummyVecEnv([held_out] * 2)),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore:Evaluation environment is not wrapped")  # SB3's, for what has no Monitor
def test_evaluate_policy_plays_whole_trials_of_any_kind(kind: str) -> None:
    returns, lengths = evaluate_policy(make(memory=ALONE), KINDS[kind](), 6, return_episode_rewards=True)
    assert lengths == [STEPS] * 6
    assert len(returns) == 6  # type: ignore[arg-type]  # SB3's type forgets the lists


@pytest.mark.filterwarnings("ignore:Training and eval env are not of the same type")
@pytest.mark.parametrize("kind", ["single", "native", "make_vec"])
def test_eval_callback_takes_any_kind(kind: str) -> None:
    watched = EvalCallback(KINDS[kind](), n_eval_episodes=3, eval_freq=STEPS, warn=False, verbose=0)
    make(memory=ALONE).learn(ROLLOUT, callback=watched)
    assert np.isfinite(watched.last_mean_reward)


# What a rollout takes


def test_a_rollout_larger_than_what_was_asked_for_is_said() -> None:
    agent = make()
    with pytest.warns(UserWarning, match=f"{ROLLOUT - 1} .*{ROWS} x {STEPS} = {ROLLOUT}"):
        agent.learn(ROLLOUT - 1)


def test_a_rollout_that_memory_cannot_hold_is_refused_before_anything_is_played(monkeypatch: Any) -> None:
    agent = make()
    needed = rl2_learn.rollout_bytes(agent, ROWS, STEPS)
    assert needed > STEPS * ROWS * 4 * sum(space.shape[0] for space in agent.observation_space.values())  # type: ignore[attr-defined, index]  # a Dict of vectors
    assert rl2_learn.available_bytes(torch.device("cpu")) is None or make().learn(ROLLOUT)
    monkeypatch.setattr(rl2_learn, "available_bytes", lambda device: needed - 1)
    with pytest.raises(InputError) as error:
        agent.learn(ROLLOUT)
    assert error.value.key == "a rollout"
    assert agent.num_timesteps == 0
    assert agent._last_obs is None


def test_environments_of_gymnasium_have_the_sizes_of_the_preset_general() -> None:
    short, long = (from_env("CartPole-v1", {"length": "0.3..1.0"}, episodes=2, steps=n) for n in (20, 400))
    agents = [
        RL2PPO("MemoryPolicy", env, memory=ALONE, device="cpu", **more)
        for env, more in (
            (short, {}),
            (long, {}),
            (long, {"n_envs": 3, "n_steps": 300}),
            (TrialVectorEnv(long, 4), {}),
            (FAMILY, {}),
        )
    ]
    assert [(agent.n_envs, agent.n_steps) for agent in agents] == [
        (64, None),
        (64, 250),
        (3, 300),
        (4, None),
        (256, None),
    ]


def test_a_vector_of_trials_is_loaded_with_whole_trials_as_it_was_saved(tmp_path: Any) -> None:
    family = from_env("CartPole-v1", {"length": "0.3..1.0"}, episodes=2, steps=300)
    RL2PPO("MemoryPolicy", TrialVectorEnv(family, 2), memory=ALONE, device="cpu").save(tmp_path / "agent")
    assert RL2PPO.load(tmp_path / "agent", family, device="cpu").n_steps is None
    assert vector().trial_steps == STEPS
