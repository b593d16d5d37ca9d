"""Small simulators of bandits and MDPs, written apart from the package's environments."""

import numpy as np

from metarl.tasks.family.priors import LOWER_RATES, BarcodePrior, BernoulliPrior, GaussianPrior, TabularPrior
from metarl.types import Actor, Array, Boundary, Floats, TrialObservation


def feedback_of(arms: int, action: Array | None, reward: Floats | None, n: int) -> TrialObservation:
    """The trial observation after ``action``, or at a trial's start for None."""
    if action is None or reward is None:
        return {"prev_action": np.zeros((n, arms), np.float32), "prev_reward": np.zeros((n, 1), np.float32)}
    one_hot = np.eye(arms, dtype=np.float32)[np.asarray(action, dtype=int)]
    return {"prev_action": one_hot, "prev_reward": reward.astype(np.float32)[:, None]}


def play_bandit(actor: Actor, prior: BernoulliPrior | GaussianPrior, n: int, seed: int = 0) -> Floats:
    """Returns ``[n]``; the tasks and the random number behind each reward depend on ``seed`` alone."""
    tasks, draws, policy = (np.random.default_rng([seed, stream]) for stream in range(3))
    shape = (n, prior.arms)
    worth = tasks.random(shape) if isinstance(prior, BernoulliPrior) else tasks.standard_normal(shape)
    if isinstance(prior, BernoulliPrior) and prior.dependence != "none":
        low = LOWER_RATES.get(prior.dependence)
        first = worth[:, 0] if low is None else np.where(worth[:, 0] < 0.5, low, 1 - low)
        worth = np.stack([first, 1 - first], axis=1)
    actor.reset(n, policy)
    obs, begin = feedback_of(prior.arms, None, None, n), np.full(n, Boundary.TRIAL)
    total = np.zeros(n)
    for _ in range(prior.pulls):
        action = actor.act(obs, begin)
        mean = worth[np.arange(n), action]
        if isinstance(prior, BernoulliPrior):
            reward = (draws.random(n) < mean).astype(float)
        else:
            reward = mean + prior.noise * draws.standard_normal(n)
        total += reward
        obs, begin = feedback_of(prior.arms, action, reward, n), np.full(n, Boundary.EPISODE)
    return total


def play_tabular(actor: Actor, prior: TabularPrior, n: int, seed: int = 0) -> Floats:
    """Returns ``[n]``; the tasks and the random numbers of each step depend on ``seed`` alone."""
    tasks, draws, policy = (np.random.default_rng([seed, stream]) for stream in range(3))
    rows = np.arange(n)
    means = prior.reward_mean + tasks.standard_normal((n, prior.states, prior.actions))
    chances = tasks.dirichlet(np.ones(prior.states), (n, prior.states, prior.actions))
    actor.reset(n, policy)
    obs, begin = feedback_of(prior.actions, None, None, n), np.full(n, Boundary.TRIAL)
    total = np.zeros(n)
    for _ in range(prior.episodes):
        state = np.zeros(n, int)
        for _ in range(prior.horizon):
            action = actor.act({**obs, "obs": np.eye(prior.states, dtype=np.float32)[state]}, begin)
            reward = means[rows, state, action] + prior.noise * draws.standard_normal(n)
            total += reward
            obs, begin = feedback_of(prior.actions, action, reward, n), np.full(n, Boundary.INSIDE)
            state = (chances[rows, state, action].cumsum(1) < draws.random((n, 1))).sum(1).clip(max=prior.states - 1)
        begin = np.full(n, Boundary.EPISODE)
    return total


def play_barcode(actor: Actor, prior: BarcodePrior, n: int, seed: int = 0) -> Floats:
    """The rewards of each episode by context and exposure, ``[n, contexts, repeats]``."""
    rng = np.random.default_rng([seed, 0])
    actor.reset(n, np.random.default_rng([seed, 1]))
    rows = np.arange(n)
    good = rng.integers(prior.arms, size=(n, prior.contexts))
    numbers = np.array([rng.choice(2**10, prior.contexts, replace=False) for _ in rows])
    bits = (numbers[..., None] >> np.arange(10) & 1).astype(np.float32)
    order = rng.permuted(np.tile(np.repeat(np.arange(prior.contexts), prior.repeats), (n, 1)), axis=1)
    seen = np.zeros((n, prior.contexts), dtype=int)
    rewards = np.zeros((n, prior.contexts, prior.repeats))
    obs = feedback_of(prior.arms, None, None, n)
    for episode, context in enumerate(order.T):
        for pull in range(prior.pulls):
            begin = Boundary.INSIDE if pull else Boundary.EPISODE if episode else Boundary.TRIAL
            action = actor.act({**obs, "obs": bits[rows, context]}, np.full(n, begin))
            chance = np.where(action == good[rows, context], prior.high, prior.low)
            reward = (rng.random(n) < chance).astype(float)
            rewards[rows, context, seen[rows, context]] += reward
            obs = feedback_of(prior.arms, action, reward, n)
        seen[rows, context] += 1
    return rewards


class Continued:
    """An actor that is prepared once and then plays trial after trial, told so by TRIAL alone."""

    def __init__(self, actor: Actor, n: int) -> None:
        actor.reset(n, np.random.default_rng(0))
        self.act = actor.act

    def reset(self, n: int, rng: np.random.Generator) -> None:
        pass
