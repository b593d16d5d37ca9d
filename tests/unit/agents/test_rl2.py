"""RL2PPO: stable-baselines3's face, our inside."""

from __future__ import annotations

import random
import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.callbacks import BaseCallback, CheckpointCallback, EvalCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv

from metarl import tree
from metarl.agents.rl2 import RL2PPO, tracking_logger
from metarl.config import ConfigError
from metarl.envs import distribution
from metarl.memory.ablation import ablated
from metarl.memory.options import MemoryOptions
from metarl.tasks.trial.env import TrialEnv
from metarl.tasks.trial.layout import TrialInputs
from metarl.tasks.vector.env import TrialVectorEnv
from metarl.tasks.vector.sb3 import as_vec_env
from metarl.training.checkpoint import CheckpointError, optimizer_to_tensors, write_checkpoint
from metarl.training.collect import begins, to_tensors
from metarl.types import NonFiniteError

FAMILY = distribution("metarl/BarcodeBandit-v0", arms=3, contexts=2, repeats=2, pulls=2, bits=5)
STEPS = FAMILY.trial_steps
MEMORY = {"controller": "gru", "controller_options": {"hidden_size": 8}, "key_size": 4, "value_size": 4}
ALONE = {"controller": "gru", "store": "none", "access": "none", "controller_options": {"hidden_size": 8}}
ROWS = 4
ROLLOUT = ROWS * STEPS


def vector(split: Any = "train", n: int = ROWS, **inputs: bool) -> TrialVectorEnv:
    return TrialVectorEnv(FAMILY.with_split(split), n, inputs=TrialInputs(**inputs))


def make(env: Any = None, **options: Any) -> RL2PPO:
    options = {"memory": MEMORY, "n_envs": ROWS, "n_minibatches": 2, "n_epochs": 2, "device": "cpu", **options}
    return RL2PPO("MemoryPolicy", vector() if env is None else env, **options)


def parameters(agent: RL2PPO) -> list[torch.Tensor]:
    return [p.detach().clone() for p in agent.policy.parameters()]


def same(left: list[torch.Tensor], right: list[torch.Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(left, right, strict=True))


def trials(n: int, seed: int = 0, steps: int = STEPS) -> list[dict[str, Any]]:
    """The observations of a batch of held-out trials played at random."""
    env = vector("validation", n)
    rng = np.random.default_rng(seed)
    obs, _ = env.reset(seed=seed)
    seen = [obs]
    for _ in range(steps - 1):
        obs = env.step(rng.integers(3, size=n))[0]
        seen.append(obs)
    return seen


# What it can be built from


def sync() -> gym.vector.VectorEnv[Any, Any, Any]:
    return gym.make_vec(
        "metarl/BarcodeBandit-v0",
        ROWS,
        vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": AutoresetMode.SAME_STEP},
        arms=3,
        contexts=2,
        repeats=2,
        pulls=2,
        bits=5,
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
    assert steps is not None
    assert agent.n_envs == rows
    assert agent.learn(rows * steps + 1) is agent
    assert agent.num_timesteps == 2 * rows * steps, "rounded up to whole rollouts"
    assert not same(parameters(agent), before)
    agent.save(tmp_path / "agent")
    assert same(parameters(RL2PPO.load(tmp_path / "agent", device="cpu")), parameters(agent))


def test_what_emits_no_trials_is_refused_with_the_way_out() -> None:
    with pytest.raises(ValueError, match=r"metarl\.from_env"):
        make(gym.make("CartPole-v1"))
    with pytest.raises(TypeError, match=r"expected an id, .* a Gymnasium VectorEnv or an SB3 VecEnv, got int"):
        make(7)
    with pytest.raises(gym.error.Error, match="BarcodeBandit"):
        make("metarl/BarcodeBandit-v7")


def test_spaces_without_a_head_are_refused() -> None:
    class Switches(TrialEnv):
        def __init__(self) -> None:
            super().__init__(FAMILY)
            self.action_space = gym.spaces.MultiBinary(2)

    with pytest.raises(ValueError, match=r"unsupported action space MultiBinary.*supported: Discrete"):
        make(Switches())


def test_test_tasks_are_refused_everywhere() -> None:
    message = "test tasks, which are kept for the final figure; make it with split='train'"
    with pytest.raises(ValueError, match=message):
        make(vector("test"))
    with pytest.raises(ValueError, match=message):
        make(FAMILY.with_split("test"))
    families = [FAMILY, FAMILY.with_split("test")]
    mixed = DummyVecEnv([lambda family=family: TrialEnv(family) for family in families])
    with pytest.raises(ValueError, match=message):
        make(mixed)
    agent = make()
    with pytest.raises(ValueError, match=message):
        agent.set_env(vector("test"))
    held: Any = vector()
    agent = make(held)
    held.distribution = FAMILY.with_split("test")
    with pytest.raises(ValueError, match=message):
        agent.learn(ROLLOUT)
    assert agent.num_timesteps == 0


def test_options_that_do_not_exist_or_fit_are_refused_in_one_line() -> None:
    for options, message in (
        ({"learning_rat": 1e-3}, "learning_rate"),
        ({"gamma": 1.5}, "gamma"),
        ({"memory": {"controler": "gru"}}, "controller"),
        ({"memory": {**MEMORY, "controller": "gruu"}}, "did you mean 'gru'"),
        ({"memory": MemoryOptions(working_memory="week")}, "working_memory"),  # type: ignore[arg-type]
    ):
        with pytest.raises(ConfigError, match=message) as caught:
            make(**options)
        assert "\n" not in str(caught.value)
    for name in ("n_steps", "schedule_steps"):
        with pytest.raises(ValueError, match=f"{name} must be an integer of at least 1, not 0"):
            make(**{name: 0})


@pytest.mark.parametrize(
    "memory",
    [
        {**MEMORY, "working_memory": "episode"},
        {**MEMORY, "horizon": "episode"},
        {**MEMORY, "store_options": {"write": "episode"}},
    ],
)
def test_a_memory_that_needs_the_ends_of_episodes_must_see_them(memory: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must see where episodes end: make the environment with prev_done=True"):
        make(vector(prev_done=False), memory=memory)
    make(vector(), memory=memory)
    make(vector(prev_done=False))


# Seeds


def global_state() -> tuple[Any, ...]:
    return torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002


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


# Predict


def test_predict_carries_the_state_of_a_trial_as_training_does() -> None:
    agent = make().learn(2 * ROLLOUT)
    seen = trials(5)
    state, actions = None, []
    for obs in seen:
        action, state = agent.predict(obs, state, deterministic=True)
        actions.append(action)
    begin = torch.tensor(np.stack([begins(o, np.full(5, t == 0)) for t, o in enumerate(seen)]))
    stacked = {k: torch.stack([to_tensors(o, agent.device)[k] for o in seen]) for k in seen[0]}
    with torch.no_grad():
        y, last = agent.policy.core.unroll(agent.policy.encoder(stacked), agent.policy.initial_state(5), begin)
    assert np.array_equal(np.stack(actions), agent.policy.head(y).argmax(-1).numpy())
    content, expected = (agent.policy.core.memory.store.content(s.store) for s in (state, last))
    for left, right in zip(content[:3], expected[:3], strict=True):
        torch.testing.assert_close(left, right)


def test_predict_takes_one_observation_or_a_batch() -> None:
    agent = make()
    batch = trials(3)
    states: list[Any] = [None, None]
    for obs in batch:
        actions, states[0] = agent.predict(obs, states[0], deterministic=True)
        action, states[1] = agent.predict({k: v[1] for k, v in obs.items()}, states[1], deterministic=True)
        assert actions.shape == (3,)
        assert np.shape(action) == ()
        assert action == actions[1]
        assert agent.action_space.contains(action)


def test_episode_start_begins_a_trial_in_its_rows_alone() -> None:
    agent = make().learn(ROLLOUT)
    first, other = trials(2, seed=0), trials(2, seed=1)
    state = None
    for obs in first[:3]:
        _, state = agent.predict(obs, state)
    kept = tree.map_tensors(torch.Tensor.clone, state)
    _, after = agent.predict(other[0], state, episode_start=np.array([True, False]))
    _, fresh = agent.predict(other[0])
    assert torch.equal(after.controller.h[0], fresh.controller.h[0])
    assert not torch.equal(after.controller.h[1], fresh.controller.h[1])
    assert after.store.writes.tolist() == [0, 3]
    assert same(list(tree.leaves(state)), list(tree.leaves(kept))), "the state passed in stays as it is"


def test_predict_refuses_what_does_not_fit() -> None:
    agent = make()
    good = trials(2)[0]
    without = {k: v for k, v in good.items() if k != "prev_reward"}
    cases: list[tuple[Any, type[Exception], str]] = [
        (without, ValueError, "expected .*prev_reward"),
        ({**good, "task": good["obs"]}, ValueError, "has the parts .*task"),
        ({**good, "obs": good["obs"][:, :3]}, ValueError, r"observation 'obs' has shape \(2, 3\), expected \[..., 5\]"),
        ({**good, "obs": good["obs"][:1]}, ValueError, "different leading axes"),
        ({k: v[None] for k, v in good.items()}, ValueError, "leading axes"),
        ({**good, "obs": good["obs"].astype(str)}, TypeError, "dtype <U"),
        (good["obs"], TypeError, "the observation is a ndarray, expected a dict"),
        ({**good, "obs": good["obs"] * np.nan}, NonFiniteError, "obs that is not finite"),
    ]
    for obs, error, message in cases:
        with pytest.raises(error, match=message) as caught:
            agent.predict(obs)
        assert "\n" not in str(caught.value)
    _, state = agent.predict(good)
    _, other = make(memory=ALONE).predict(good)
    for wrong in (other, tree.index(state, [0]), (state,)):
        with pytest.raises(ValueError, match=r"belongs to another core or batch.*initial_state"):
            agent.predict(good, wrong)
    with pytest.raises(ValueError, match="episode_start has 3 entries for 2 observations"):
        agent.predict(good, state, episode_start=np.ones(3, bool))


def test_predict_warns_once_where_the_memory_was_forgotten() -> None:
    agent = make()
    seen = trials(2)
    agent.predict(seen[0])
    agent.predict(seen[3], episode_start=np.ones(2, bool))
    with pytest.warns(UserWarning, match="without a state in the middle of a trial.*pass the state"):
        agent.predict(seen[3])
    agent.predict(seen[4])
    with pytest.warns(UserWarning, match="without a state"):
        make().predict(seen[3], episode_start=np.zeros(2, bool))


def test_trap_12_the_policy_depends_on_what_it_remembers() -> None:
    """Another first episode changes what is said in the last one, and no longer once memory is off."""
    agent = make().learn(2 * ROLLOUT)
    seen = [to_tensors(o, agent.device) for o in trials(6)]
    begin = torch.tensor(np.stack([begins(o, np.full(6, t == 0)) for t, o in enumerate(trials(6))]))
    obs = {k: torch.stack([o[k] for o in seen]) for k in seen[0]}
    moved = {k: v.clone() for k, v in obs.items()}
    moved["prev_action"][1] = moved["prev_action"][1].roll(1, -1)
    moved["prev_reward"][1:3] = 1 - moved["prev_reward"][1:3]
    actions = torch.zeros(STEPS, 6, dtype=torch.long)

    def change() -> float:
        with torch.no_grad():
            empty = agent.policy.initial_state(6)
            left, right = (agent.policy.evaluate(o, empty, begin, actions).log_prob for o in (obs, moved))
        return float((left - right)[-2:].abs().max())

    assert change() > 1e-6
    with ablated(agent.policy.core, "off"):
        assert change() == 0.0


# Save and load


def test_a_loaded_agent_predicts_the_same(tmp_path: Path) -> None:
    agent = make().learn(2 * ROLLOUT)
    agent.save(tmp_path / "agent")
    assert (tmp_path / "agent.zip").is_file()
    loaded = RL2PPO.load(tmp_path / "agent.zip", device="cpu")
    assert loaded.env is None
    for deterministic in (True, False):
        states: list[Any] = [None, None]
        for obs in trials(4):
            left, states[0] = agent.predict(obs, states[0], deterministic=deterministic)
            right, states[1] = loaded.predict(obs, states[1], deterministic=deterministic)
            assert np.array_equal(left, right)
    with pytest.raises(ValueError, match=r"no environment to learn in; call set_env\(env\) first"):
        loaded.learn(ROLLOUT)
    loaded.set_env(vector())
    loaded.learn(ROLLOUT)


@pytest.mark.parametrize("memory", [MEMORY, ALONE], ids=["episodic", "alone"])
@pytest.mark.parametrize("n_steps", [None, 5], ids=["whole trials", "mid-trial"])
def test_training_resumed_is_training_never_interrupted(tmp_path: Path, memory: Any, n_steps: int | None) -> None:
    rollouts = 3
    half = rollouts * ROWS * (n_steps or STEPS)
    options = {"memory": memory, "n_steps": n_steps, "schedule_steps": 2 * half, "seed": 3}
    whole = make(**options).learn(2 * half)
    make(**options).learn(half).save(tmp_path / "half")
    resumed = RL2PPO.load(tmp_path / "half", env=vector(), device="cpu")
    assert resumed.num_timesteps == half
    resumed.learn(half, reset_num_timesteps=False)
    assert resumed.num_timesteps == whole.num_timesteps == 2 * half
    assert same(parameters(resumed), parameters(whole))
    left, right = (optimizer_to_tensors(agent.optimizer) for agent in (whole, resumed))
    assert set(left) == set(right)
    assert all(torch.equal(tensor, right[name]) for name, tensor in left.items())
    for name, generator in whole.generators.items():
        assert torch.equal(generator.get_state(), resumed.generators[name].get_state())
    states: list[Any] = [agent.env.state_dict()["env"] for agent in (whole, resumed)]  # type: ignore[union-attr]
    assert states[0]["tasks_rng"] == states[1]["tasks_rng"]
    assert states[0]["env_rng"] == states[1]["env_rng"]
    assert np.array_equal(states[0]["steps"], states[1]["steps"])


def test_trap_38_load_makes_a_new_agent(tmp_path: Path) -> None:
    agent = make().learn(ROLLOUT)
    agent.save(tmp_path / "agent")
    agent.learn(ROLLOUT)
    before = parameters(agent)
    loaded = agent.load(tmp_path / "agent", device="cpu")
    assert loaded is not agent
    assert same(parameters(agent), before)
    assert not same(parameters(loaded), before)
    assert isinstance(RL2PPO.__dict__["load"], classmethod)


def test_what_cannot_be_loaded_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        RL2PPO.load(tmp_path / "none")
    write_checkpoint(tmp_path / "other.zip", {"kind": "classifier"}, {})
    with pytest.raises(CheckpointError, match="holds a 'classifier', not an agent of RL2PPO"):
        RL2PPO.load(tmp_path / "other")
    make().save(tmp_path / "agent")
    wider = TrialVectorEnv(distribution("metarl/BernoulliBandit-v0", arms=4, pulls=5), ROWS)
    with pytest.raises(ValueError, match=r"the environment has spaces .* was trained on .*same options"):
        RL2PPO.load(tmp_path / "agent", env=wider, device="cpu")
    with pytest.raises(ValueError, match="a checkpoint is always whole"):
        make().save(tmp_path / "part", exclude=["policy"])
    assert not (tmp_path / "part.zip").exists()


def test_another_environment(tmp_path: Path) -> None:
    agent = make().learn(ROLLOUT)
    agent.set_env(vector("validation"))
    agent.learn(ROLLOUT, reset_num_timesteps=False)
    with pytest.raises(ValueError, match=r"has 3 rows, the agent 4; load\(path, env\) changes that number"):
        agent.set_env(vector(n=3))
    with pytest.raises(ValueError, match="spaces do not match"):
        agent.set_env(vector(time=False))
    agent.save(tmp_path / "agent")
    more = RL2PPO.load(tmp_path / "agent", env=vector(n=7), device="cpu")
    assert more.n_envs == 7
    assert more.learn(7 * STEPS, reset_num_timesteps=False).num_timesteps == 2 * ROLLOUT + 7 * STEPS


# SB3's own tools


def test_callbacks_and_evaluation(tmp_path: Path) -> None:
    agent = make()
    evaluation = EvalCallback(
        as_vec_env(vector("validation")), eval_freq=STEPS, n_eval_episodes=8, log_path=str(tmp_path), verbose=0
    )
    checkpoints = CheckpointCallback(STEPS, str(tmp_path / "saved"), name_prefix="agent")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        agent.learn(2 * ROLLOUT, callback=[evaluation, checkpoints])
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


def test_a_broken_environment_is_named() -> None:
    class Broken(TrialVectorEnv):
        def step(self, actions: Any) -> Any:
            obs, rewards, *rest = super().step(actions)
            if self._steps[0] == 3:
                obs["obs"][2, 0] = np.nan
            return obs, rewards, *rest

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
    agent.learn(1)
    assert agent._n_updates == 1, "the next call learns again"
