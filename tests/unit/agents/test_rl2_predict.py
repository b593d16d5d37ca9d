"""RL2PPO as Stable-Baselines3 asks it, one step at a time."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from rl2_toys import ALONE, FAMILY, MEMORY, ROLLOUT, STEPS, make, same, trial_boundaries, trials, vector
from stable_baselines3.common.vec_env import DummyVecEnv, VecMonitor

from metarl import tree
from metarl.config import InputError
from metarl.evaluation.play import rollout_trials
from metarl.memory.ablation import ablated
from metarl.nets.policy import MemoryPolicy
from metarl.seeding import sequence
from metarl.tasks.trial.env import TrialEnv
from metarl.tasks.trial.layout import TrialInputs
from metarl.tasks.vector.sb3 import as_vec_env, stepping
from metarl.training.collect import TrainingState, collect
from metarl.types import FEEDBACK_KEYS, Array, Boundary, Ints, NonFiniteError, TrialObservation


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


@pytest.mark.parametrize(
    ("change", "error", "word"),
    [
        (lambda o: {k: v for k, v in o.items() if k != "prev_reward"}, ValueError, "prev_reward"),
        (lambda o: {**o, "task": o["obs"]}, ValueError, "task"),
        (lambda o: {**o, "obs": o["obs"][:, :3]}, ValueError, "shape"),
        (lambda o: {**o, "obs": o["obs"][:1]}, ValueError, "different leading axes"),
        (lambda o: {k: v[None] for k, v in o.items()}, ValueError, "leading axes"),
        (lambda o: {**o, "obs": o["obs"].astype(str)}, TypeError, "dtype"),
        (lambda o: o["obs"], TypeError, "ndarray"),
        (lambda o: {**o, "obs": o["obs"] * np.nan}, NonFiniteError, "not finite"),
    ],
)
def test_observations_that_do_not_fit_are_refused(change: Any, error: type[Exception], word: str) -> None:
    with pytest.raises(error, match=word) as caught:
        make().predict(change(trials(2)[0]))
    assert "\n" not in str(caught.value)


def test_states_and_starts_that_do_not_fit_are_refused() -> None:
    agent, good = make(), trials(2)[0]
    _, state = agent.predict(good)
    _, other = make(memory=ALONE).predict(good)
    for wrong in (other, tree.index(state, [0]), (state,)):
        with pytest.raises(InputError) as caught:
            agent.predict(good, wrong)
        assert caught.value.key == "state"
    with pytest.raises(ValueError, match="episode_start has 3 entries"):
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


def test_the_policy_depends_on_what_it_remembers() -> None:
    """Another first episode changes what is said in the last one, and no longer once memory is off."""
    agent = make().learn(2 * ROLLOUT)
    seen = [agent.policy.prepare(o) for o in trials(6)]
    obs = {k: torch.stack([o[k] for o in seen]) for k in seen[0]}
    moved = {k: v.clone() for k, v in obs.items()}
    moved["prev_action"][1] = moved["prev_action"][1].roll(1, -1)
    moved["prev_reward"][1:3] = 1 - moved["prev_reward"][1:3]
    actions = torch.zeros(STEPS, 6, dtype=torch.long)

    def change() -> float:
        with torch.no_grad():
            empty = agent.policy.initial_state(6)
            left, right = (agent.policy.evaluate(o, empty, trial_boundaries(6), actions).log_prob for o in (obs, moved))
        return float((left - right)[-2:].abs().max())

    assert change() > 1e-6
    with ablated(agent.policy.core, "off"):
        assert change() == 0.0


EPISODIC = [
    {**MEMORY, "working_memory": "episode"},
    {**MEMORY, "horizon": "episode"},
    {**MEMORY, "store_options": {"write": "episode"}},
]


@pytest.mark.parametrize("off", [None, *FEEDBACK_KEYS])
@pytest.mark.parametrize("memory", [MEMORY, *EPISODIC], ids=["trial", "working memory", "horizon", "write"])
def test_predicting_collecting_and_playing_agree(off: str | None, memory: dict[str, Any]) -> None:
    """Step by step through SB3's face, in collecting and in playing: the same actions, whatever is switched off."""
    inputs = {off: False} if off else {}
    agent = make(vector(**inputs), memory=memory).learn(ROLLOUT)
    torch.nn.init.orthogonal_(agent.policy.head.linear.weight)  # far from uniform
    keep = KeepActions(agent.actor(deterministic=True))
    test = vector("test", 6, **inputs)
    batch = rollout_trials(keep, lambda rows: test, 6, rows=6)
    played = np.stack(keep.actions)

    state = TrainingState.start(agent.policy, test.reset(seed=keep.seed)[0])
    certain = Certain(agent.policy)
    rollout = collect(certain, test, state, STEPS, generator=torch.Generator(), gamma=0.9, lam=0.9)  # type: ignore[arg-type]  # a stub
    assert np.array_equal(rollout.actions.numpy(), played)
    assert np.array_equal(rollout.boundary.numpy(), trial_boundaries(6))
    again = agent.policy.evaluate(rollout.obs, rollout.state, rollout.boundary, rollout.actions)
    torch.testing.assert_close(again.value, rollout.values)

    face: Any = as_vec_env(test)
    face.seed(keep.seed)
    obs, memory_state, start, rewards = face.reset(), None, np.ones(6, bool), []
    if off == "prev_done" and memory is not MEMORY:
        with pytest.raises(ValueError, match="prev_done"):
            agent.predict(obs)
        return
    for t in range(STEPS):
        actions, memory_state = agent.predict(obs, memory_state, start, deterministic=True)
        assert np.array_equal(actions, played[t])
        obs, reward, start, _ = face.step(actions)
        rewards.append(reward)
    assert np.array_equal(np.stack(rewards, 1), batch.rewards)


class KeepActions:
    """Acts as another actor, and keeps its actions and the seed of the environment that it is played with."""

    def __init__(self, actor: Any) -> None:
        self.actor, self.actions = actor, []
        self.seed = int(sequence(0, "evaluation", 0).generate_state(1)[0])

    def reset(self, n: int, rng: np.random.Generator) -> None:
        self.actor.reset(n, rng)

    def act(self, obs: TrialObservation, boundary: Ints) -> Array:
        self.actions.append(self.actor.act(obs, boundary))
        return self.actions[-1]


class Certain:
    """A policy that takes its most probable actions."""

    def __init__(self, policy: MemoryPolicy) -> None:
        self.policy = policy

    def __getattr__(self, name: str) -> Any:
        return getattr(self.policy, name)

    def __call__(self, *args: Any, **options: Any) -> Any:
        return self.policy(*args, **options, deterministic=True)


def test_damaged_weights_play_no_trial() -> None:
    agent = make()
    with torch.no_grad():
        next(agent.policy.core.parameters()).fill_(torch.nan)
    with pytest.raises(NonFiniteError):
        rollout_trials(agent.actor(), lambda rows: vector("test", rows), 4, rows=4)


@pytest.mark.parametrize("memory", EPISODIC)
def test_switching_the_flag_off_hides_it_from_the_net(memory: dict[str, Any]) -> None:
    seen, hidden = (make(vector(prev_done=on), memory=memory) for on in (True, False))
    assert hidden.policy.encoder.feedback_size == seen.policy.encoder.feedback_size - 1
    hidden.learn(ROLLOUT)
    assert hidden.num_timesteps == ROLLOUT


class Silent(gym.Wrapper[Any, Any, Any, Any]):
    """Says nothing of where inner episodes end."""

    def reset(self, **options: Any) -> Any:
        obs, info = self.env.reset(**options)
        return obs, {k: v for k, v in info.items() if k != "episode_end"}

    def step(self, action: Any) -> Any:
        obs, reward, terminated, truncated, info = self.env.step(action)
        return obs, reward, terminated, truncated, {k: v for k, v in info.items() if k != "episode_end"}


def test_who_must_know_the_ends_of_episodes_says_so_where_they_cannot_be_told() -> None:
    env = Silent(TrialEnv(FAMILY, inputs=TrialInputs(prev_done=False)))
    make(env, memory=ALONE).learn(STEPS)
    with pytest.raises(ValueError, match="must know where episodes end"):
        make(env, memory=EPISODIC[0]).learn(STEPS)
    make(Silent(TrialEnv(FAMILY)), memory=EPISODIC[0]).learn(STEPS)


@pytest.mark.filterwarnings("ignore:.*already wrapped")
@pytest.mark.parametrize("wrap", [lambda env: env, VecMonitor], ids=["bare", "wrapped"])
def test_sb3s_vectors_tell_where_episodes_end(wrap: Any) -> None:
    inputs = TrialInputs(prev_done=False)
    rows: Any = DummyVecEnv([lambda: TrialEnv(FAMILY, inputs=inputs)] * 2)
    for env in (rows, as_vec_env(vector(n=2, prev_done=False))):
        agent = make(wrap(env), memory=EPISODIC[0])
        trials, _ = stepping(agent.env)  # type: ignore[arg-type]  # it has one
        trials.reset(seed=0)
        found = [trials.advance(np.zeros(2, int)).boundary for _ in range(STEPS)]
        assert np.array_equal(np.stack(found[:-1]), trial_boundaries(2)[1:])
        assert (found[-1] == Boundary.TRIAL).all()
        assert trials.knows_episodes
