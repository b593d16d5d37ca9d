"""What is told in training reaches what it is meant for, and nothing else."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from training_toys import PLAIN, ToyEnv, generator, make_policy, random_rollout, start

from metarl.agents import baselines
from metarl.config import ConfigError, build
from metarl.envs import distribution
from metarl.nets.heads import ToldCritic
from metarl.nets.policy import MemoryPolicy
from metarl.tasks.vector.env import TrialVectorEnv
from metarl.training.collect import Rollout, TrainingState, collect
from metarl.training.ppo import PPOOptions, minibatch, ppo_loss
from metarl.training.privileged import PrivilegeOptions, Privileges
from metarl.types import Array, Boundary, Floats, Ints, NonFiniteError, StepResult, TrialObservation

BANDIT = distribution("metarl/BernoulliBandit-v0", arms=3, pulls=6)
MDP = distribution("metarl/TabularMDP-v0", states=3, actions=3, horizon=3, episodes=2)
POLE = distribution("metarl/CartPolePhysics-v0", episodes=2, max_steps=8)
ROWS = 5


class Playing:
    """Trials of a family with a policy, whose critic may be told the task."""

    def __init__(self, family: Any, told: bool = False) -> None:
        self.env = TrialVectorEnv(family, ROWS)
        size = self.env.tell_tasks() if told else None
        self.told = (lambda: self.env.told_tasks) if told else None
        spaces = self.env.single_observation_space, self.env.single_action_space
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.policy = MemoryPolicy(*spaces, PLAIN, family.trial_steps, False, task_size=size)  # type: ignore[arg-type]  # a Dict
        self.state = TrainingState.start(self.policy, self.env.reset(seed=1)[0])
        self.generator = generator()

    def collect(self, steps: int, on_step: Any = lambda *_: True, **options: Any) -> Rollout:
        privileges = Privileges(told_tasks=self.told, **{k: options.pop(k) for k in list(options) if k in TOLD})
        given = {"generator": self.generator, "gamma": 0.0, "lam": 0.0, "on_step": on_step, **options}
        rollout = collect(self.policy, self.env, self.state, steps, privileges=privileges, **given)
        assert rollout is not None
        return rollout


TOLD = ("means", "expert", "weight")


def test_expected_rewards_reach_the_estimates_and_nothing_else() -> None:
    told, plain = Playing(BANDIT), Playing(BANDIT)
    rates, paid = told.env.info["task"]["rates"], []

    def on_step(result: StepResult, taken: Any) -> bool:
        paid.append(result.reward.copy())
        return True

    rollout = told.collect(6, on_step, means=told.env.mean_rewards, reward_scale=0.5)
    other = plain.collect(6, reward_scale=0.5)
    means = np.take_along_axis(rates, rollout.actions.numpy().T, 1).T
    torch.testing.assert_close(rollout.returns, torch.as_tensor(0.5 * means))
    assert set(np.unique(paid)) == {0.0, 1.0}
    torch.testing.assert_close(other.returns, torch.as_tensor(0.5 * np.array(paid)).float())
    assert torch.equal(rollout.actions, other.actions)
    assert all(torch.equal(part, other.obs[key]) for key, part in rollout.obs.items())


def test_a_mean_that_is_not_finite_is_named() -> None:
    playing = Playing(BANDIT)
    with pytest.raises(NonFiniteError, match=r"Toy gave a mean reward .* environment 2 at step 7"):
        playing.collect(1, means=lambda _: np.array([0, 0, np.nan, 0, 0]), name="Toy", first_step=7)


@pytest.mark.parametrize("family", [MDP, POLE], ids=["equal lengths", "unequal lengths"])
def test_the_update_tells_the_critic_what_acting_told_it(family: Any) -> None:
    """Rollouts that end inside trials, of rows in several trials each, in minibatches."""
    playing = Playing(family, told=True)
    most = 0
    for steps in (4, 50, 7):
        rollout = playing.collect(steps)
        assert rollout.tasks is not None
        most = max(most, len(rollout.tasks))
        for rows in (torch.arange(ROWS), torch.tensor([3, 1])):
            batch = minibatch(rollout, rows)
            again = playing.policy.evaluate(batch.obs, batch.state, batch.boundary, batch.actions, tasks=batch.tasks)
            torch.testing.assert_close(again.value, batch.values)
            torch.testing.assert_close(again.log_prob, batch.log_probs)
    assert most > 2


def test_other_tasks_change_values_and_never_an_action() -> None:
    playing = Playing(MDP, told=True)
    state = playing.policy.initial_state(ROWS)
    obs = playing.policy.prepare(playing.state.obs)
    begin = torch.full((ROWS,), int(Boundary.TRIAL))
    tasks = torch.as_tensor(playing.env.told_tasks)

    def acted(tasks: Any) -> Any:
        return playing.policy(obs, state, begin, generator=generator(), tasks=tasks)[0]

    first, permuted, untold = acted(tasks), acted(tasks.roll(1, 0)), acted(None)
    for other in (permuted, untold):
        assert torch.equal(first.action, other.action)
        assert torch.equal(first.log_prob, other.log_prob)
    assert (first.value != permuted.value).all()
    assert untold.value.isnan().all()
    rollout = playing.collect(9)
    assert rollout.tasks is not None
    parts = rollout.obs, rollout.state, rollout.boundary, rollout.actions
    one, other = (playing.policy.evaluate(*parts, tasks=x) for x in (rollout.tasks, rollout.tasks.roll(1, 1)))
    assert torch.equal(one.log_prob, other.log_prob)
    assert torch.equal(one.entropy, other.entropy)
    assert (one.value != other.value).all()


def test_the_policy_learns_nothing_through_what_the_critic_is_told() -> None:
    playing = Playing(MDP, told=True)
    rollout = playing.collect(6)
    found = []
    for tasks in (rollout.tasks, None if rollout.tasks is None else rollout.tasks.roll(1, 1)):
        playing.policy.zero_grad()
        loss, _ = ppo_loss(playing.policy, rollout._replace(tasks=tasks), PPOOptions(vf_coef=0.0), 0.1)
        loss.backward()
        found.append([p.grad.clone() for p in playing.policy.core.parameters() if p.grad is not None])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
    assert any(part.any() for part in found[0])


def test_the_rest_of_a_trial_is_worth_what_the_critic_says_that_is_told_the_task_under_way() -> None:
    """What follows the last step of a rollout is the first value of the next one."""
    playing = Playing(POLE, told=True)
    for steps in (5, 6, 4):
        rollout = playing.collect(steps, gamma=0.5)
        following = playing.state.boundary != Boundary.TRIAL
        last = rollout.returns[-1]
        after = Playing.collect(playing, 1).values[0]
        expected = 1 + 0.5 * after * torch.as_tensor(following)
        torch.testing.assert_close(last, expected)


class Numbered(ToyEnv):
    """Rows in tasks with a number, which is one more in the next trial."""

    numbers = np.array([[10.0], [20.0]])

    def advance(self, actions: Any) -> StepResult:
        result = super().advance(actions)
        self.numbers = np.where(result.ended[:, None], self.numbers + 1, self.numbers)
        return result


def test_a_trial_that_is_cut_is_worth_what_the_critic_says_that_is_told_its_own_task() -> None:
    env = Numbered([2, 3], cut=[True, True])
    policy = make_policy(env)
    policy.critic, policy.told = critic = ToldCritic(4, 1), True  # type: ignore[assignment]  # a module in place of a bare linear one
    for part in critic[0].parameters():
        nn.init.zeros_(part)
    nn.init.ones_(critic[0].told.weight)
    nn.init.constant_(critic[0].out.weight, 1 / ToldCritic.WIDTH)  # so the value is the number of the task
    told = Privileges(told_tasks=lambda: env.numbers)
    options: dict[str, Any] = {"generator": generator(), "gamma": 0.5, "lam": 0.0}
    rollout = collect(policy, env, start(policy, env), 4, privileges=told, **options)
    assert rollout is not None
    assert rollout.values.T.tolist() == [[10, 10, 11, 11], [20, 20, 20, 21]]
    assert rollout.returns.T.tolist() == [[6, 6, 6.5, 6.5], [11, 11, 11, 11.5]]
    assert rollout.tasks is not None
    assert rollout.tasks[..., 0].tolist() == [[10, 20], [11, 21]]


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
    options = PrivilegeOptions(imitate="Gittins", imitate_until=0.4, imitate_weight=2.0)
    found = [options.imitation_at(progress) for progress in (0.0, 0.1, 0.4, 0.9)]
    assert found == pytest.approx([2.0, 1.5, 0.0, 0.0])
    assert PrivilegeOptions().imitation_at(0.0) == 0


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ({"imitate_until": 0.2}, "imitate_until"),
        ({"imitate_weight": 0.5}, "imitate_weight"),
        ({"imitate": "Gittins", "imitate_until": 0.0}, "imitate_until"),
        ({"imitate": "Gittins", "imitate_until": 1.5}, "imitate_until"),
        ({"expected_reward": True}, "expected_reward"),
    ],
)
def test_options_that_do_not_fit_are_refused(given: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build(PrivilegeOptions, given)
    assert caught.value.key == key


def test_the_critic_tells_trials_apart() -> None:
    """Rows in different trials at the same step: each is rated with its own task."""
    critic = ToldCritic(2, 1)
    y, tasks = torch.randn(3, 2, 2), torch.tensor([[[1.0], [2.0]], [[3.0], [4.0]]])
    trial = torch.tensor([[0, 0], [1, 0], [1, 1]])
    values = critic(y, tasks, trial).detach()
    for t in range(3):
        for b in range(2):
            alone: Floats = critic(y[t, b : b + 1], tasks[trial[t, b], b : b + 1]).detach().numpy()
            assert float(values[t, b]) == pytest.approx(float(alone[0, 0]), abs=1e-6)
