"""What an expert would do reaches the loss, in its time and nowhere else."""

from typing import Any

import numpy as np
import pytest
import torch
from training_toys import PLAIN, ToyEnv, generator, make_policy, random_rollout

from metarl.agents import baselines
from metarl.config import ConfigError, build
from metarl.envs import distribution
from metarl.nets.policy import MemoryPolicy
from metarl.tasks.vector.env import TrialVectorEnv
from metarl.training.collect import Rollout, TrainingState, collect
from metarl.training.imitation import Imitation, ImitationOptions
from metarl.training.ppo import PPOOptions, ppo_loss
from metarl.types import Actor, Array, Boundary, Ints, TrialObservation

BANDIT = distribution("metarl/BernoulliBandit-v0", arms=3, pulls=6)
MDP = distribution("metarl/TabularMDP-v0", states=3, actions=3, horizon=3, episodes=2)
ROWS = 5


class Playing:
    """Trials of a family with a policy."""

    def __init__(self, family: Any) -> None:
        self.env = TrialVectorEnv(family, ROWS)
        spaces = self.env.single_observation_space, self.env.single_action_space
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.policy = MemoryPolicy(*spaces, PLAIN, family.trial_steps, False)  # type: ignore[arg-type]  # a Dict
        self.state = TrainingState.start(self.policy, self.env.reset(seed=1)[0])
        self.generator = generator()

    def collect(self, steps: int, expert: Actor, weight: float) -> Rollout:
        given: Any = {"generator": self.generator, "gamma": 0.0, "lam": 0.0}
        rollout = collect(self.policy, self.env, self.state, steps, imitation=Imitation(expert, weight), **given)
        assert rollout is not None
        return rollout


class Counting:
    """An expert whose action is the number of steps of the trial that it saw, modulo 3."""

    def reset(self, n: int, rng: np.random.Generator) -> None:
        self.count: Ints = np.zeros(n, int)

    def act(self, obs: TrialObservation, boundary: Ints) -> Array:
        self.count = np.where(boundary == Boundary.TRIAL, 0, self.count + 1)
        return self.count % 3


def test_an_expert_is_imitated_from_the_beginning_of_a_trial_on() -> None:
    """Trials of six steps: of one that is under way as the rollout begins, the expert has not seen the beginning."""
    playing, expert = Playing(BANDIT), Counting()
    actions, weights = [], []
    for steps in (4, 7):
        expert.reset(ROWS, np.random.default_rng(0))
        rollout = playing.collect(steps, expert=expert, weight=0.5)
        assert rollout.expert is not None
        assert rollout.imitation is not None
        actions += rollout.expert[:, 0].tolist()
        weights += rollout.imitation[:, 0].tolist()
    assert weights == [0.5] * 4 + [0.0] * 2 + [0.5] * 5
    assert [a for a, w in zip(actions, weights, strict=True) if w] == [0, 1, 2, 0, 0, 1, 2, 0, 1]


@pytest.mark.parametrize(("family", "name"), [(BANDIT, "Gittins"), (MDP, "PSRL"), (MDP, "Bayes bonus")])
def test_references_say_what_they_would_do_in_the_agents_place(family: Any, name: str) -> None:
    playing = Playing(family)
    prior = family.prior
    expert, beside = (baselines.references(prior)[name]() for _ in range(2))
    for one in (expert, beside):
        one.reset(ROWS, np.random.default_rng(4))
    rollout = playing.collect(6, expert=expert, weight=1.0)
    env = TrialVectorEnv(family, ROWS)
    obs, boundary = env.reset(seed=1)[0], np.full(ROWS, Boundary.TRIAL)
    for t in range(6):
        assert rollout.expert is not None
        assert rollout.expert[t].tolist() == beside.act(obs, boundary).tolist()
        result = env.advance(rollout.actions[t].numpy())
        obs, boundary = result.obs, result.boundary
    assert (rollout.expert != rollout.actions).any()


def test_the_loss_of_imitation_by_hand() -> None:
    env = ToyEnv([4] * 6)
    policy = make_policy(env)
    rollout = random_rollout(policy, env, 4)
    valid = torch.rand(4, 6, generator=generator(1)) < 0.7
    expert = torch.randint(0, 3, (4, 6), generator=generator(2))
    weights = 0.5 * (torch.rand(4, 6, generator=generator(3)) < 0.5).float()
    imitating = rollout._replace(valid=valid, expert=expert, imitation=weights)
    with torch.no_grad():
        plain, _ = ppo_loss(policy, rollout._replace(valid=valid), PPOOptions(), 0.1)
        loss, report = ppo_loss(policy, imitating, PPOOptions(), 0.1)
        rated = policy.evaluate(rollout.obs, rollout.state, rollout.boundary, expert).log_prob
    counts = valid & (weights > 0)
    assert 0 < int(counts.sum()) < int(valid.sum())
    assert float(loss - plain) == pytest.approx(float(-0.5 * rated[counts].sum() / valid.sum()), abs=1e-6)
    assert float(report["imitation_loss"]) == pytest.approx(float(-rated[counts].mean()), abs=1e-6)
    assert float(report["imitation_weight"]) == 0.5


def test_the_weight_of_imitation_falls_to_zero() -> None:
    options = ImitationOptions(expert="Gittins", until=0.4, weight=2.0)
    found = [options.weight_at(progress) for progress in (0.0, 0.1, 0.4, 0.9)]
    assert found == pytest.approx([2.0, 1.5, 0.0, 0.0])
    assert ImitationOptions().weight_at(0.0) == 0


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ({"until": 0.2}, "until"),
        ({"weight": 0.5}, "weight"),
        ({"expert": "Gittins", "until": 0.0}, "until"),
        ({"expert": "Gittins", "until": 1.5}, "until"),
        ({"expert": "Gittins", "weight": 0.0}, "weight"),
        ({"experts": "Gittins"}, "experts"),
    ],
)
def test_options_that_do_not_fit_are_refused(given: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build(ImitationOptions, given)
    assert caught.value.key == key
