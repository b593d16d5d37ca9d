"""Contexts recognised by barcodes with flipped bits, held against enumerations of all that could have been."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import permutations
from typing import Any

import numpy as np
import pytest
from baseline_play import Continued, feedback_of

from metarl.agents.baselines import ceilings, references
from metarl.agents.baselines.barcode import FlippedMemory, exposure_values
from metarl.agents.baselines.recognition import Recognition
from metarl.envs.barcode_bandit import BarcodeBandit
from metarl.evaluation.play import rollout_trials
from metarl.tasks.family.priors import BarcodePrior
from metarl.tasks.vector.env import TrialVectorEnv
from metarl.types import Boundary, Floats

TOY = BarcodeBandit(arms=3, contexts=2, repeats=2, pulls=3, bits=10, high=0.8, low=0.3, flips=1, split="test")


def orders(prior: BarcodePrior) -> list[tuple[int, ...]]:
    return sorted(set(permutations(np.repeat(np.arange(prior.contexts), prior.repeats).tolist())))


def explained(prior: BarcodePrior, shown: Floats) -> Floats:
    """The likelihood of each code ``[2^bits]`` of one barcode, but for a factor."""
    codes = np.arange(2**prior.bits)[:, None] >> np.arange(prior.bits) & 1
    return ((codes != shown).sum(1) == prior.flips).astype(float)


def of_codes(prior: BarcodePrior, order: tuple[int, ...], likelihoods: list[Floats], distinct: bool) -> float:
    """The likelihood of all barcodes in this order, summed over the codes of two contexts."""
    each = np.ones((2, 2**prior.bits))
    for context, one in zip(order, likelihoods, strict=False):
        each[context] *= one
    return float(each[0].sum() * each[1].sum() - distinct * (each[0] * each[1]).sum())


@pytest.mark.parametrize("flips", [1, 2])
def test_weights_are_the_posterior_given_what_was_filed(flips: int) -> None:
    prior = BarcodePrior(arms=2, contexts=2, repeats=3, pulls=1, high=0.9, low=0.1, bits=4, flips=flips)
    rng, undecided = np.random.default_rng(0), 0
    for _ in range(30):
        codes, order = rng.integers(2, size=(2, 4)), rng.permutation(np.repeat([0, 1], 3))
        recognition, likelihoods = Recognition(prior, 1), []
        filed: list[int] = []
        numbers: dict[int, int] = {}
        for context in order:
            shown = codes[context] ^ rng.permuted(np.arange(4) < flips)
            likelihoods.append(explained(prior, shown))
            expected = np.zeros(2)
            for other in orders(prior):
                first = {one: i for i, one in enumerate(dict.fromkeys(other))}
                if [first[one] for one in other[: len(filed)]] == filed:
                    expected[first[other[len(filed)]]] += of_codes(prior, other, likelihoods, distinct=False)
            weights = recognition.weigh(np.array([0]), shown[None].astype(np.float32))[0]
            assert weights == pytest.approx(expected / expected.sum(), abs=1e-6)
            undecided += 0.01 < weights[0] < 0.99
            filed.append(numbers.setdefault(int(context), len(numbers)))
            recognition.file(np.array([0]), np.array(filed[-1:]), shown[None].astype(np.float32))
    assert undecided > 10


def believed(n: int) -> Iterator[tuple[Floats, Floats]]:
    """Step by step, the actor's posterior over the best arm ``[n, arms]``, and that over all partitions and codes."""
    prior, rng = TOY.prior, np.random.default_rng(0)
    tasks, actor, rows = TOY.sample_batch(rng, n), FlippedMemory(TOY.prior), np.arange(n)
    actor.reset(n, rng)
    barcodes = tasks["contexts"][rows[:, None], tasks["order"]] ^ tasks["flipped"]
    likelihoods = [[explained(prior, barcode) for barcode in row] for row in barcodes]
    rewards = np.ones((n, TOY.episodes, prior.arms, prior.arms))  # their likelihood if the last one is the best arm
    obs = feedback_of(prior.arms, None, None, n)
    for episode in range(TOY.episodes):
        best = tasks["best"][rows, tasks["order"][:, episode]]
        weights = np.array(
            [[of_codes(prior, o, one[: episode + 1], distinct=True) for o in orders(prior)] for one in likelihoods]
        )
        for pull in range(prior.pulls):
            begin = Boundary.INSIDE if pull else Boundary.EPISODE if episode else Boundary.TRIAL
            arm = actor.act({**obs, "obs": barcodes[:, episode].astype(np.float32)}, np.full(n, begin))
            exact = np.zeros((n, prior.arms))
            evidence = rewards.prod(2)
            for order, weight in zip(orders(prior), weights.T, strict=True):
                each = np.ones((2, n, prior.arms))
                for e, context in enumerate(order[: episode + 1]):
                    each[context] *= evidence[:, e]
                now = order[episode]
                exact += (weight * each[1 - now].sum(1))[:, None] * each[now]
            own = np.exp(actor._log_odds[:, -1] - actor._log_odds[:, -1].max(1, keepdims=True))
            yield own / own.sum(1, keepdims=True), exact / exact.sum(1, keepdims=True)
            reward = rng.random(n) < np.where(arm == best, prior.high, prior.low)
            for which in range(prior.arms):
                chance = np.where(arm == which, prior.high, prior.low)
                rewards[rows, episode, arm, which] *= np.where(reward, chance, 1 - chance)
            obs = feedback_of(prior.arms, arm, reward.astype(float), n)


def test_beliefs_are_nearly_those_over_all_partitions() -> None:
    off = [np.abs(own - exact).max(1) for own, exact in believed(150)]
    assert np.max(off[:3]) < 1e-9
    assert np.max(off[3:6]) < 0.01  # nothing is settled yet but where the first barcode belongs; codes may be equal
    assert (np.array(off[6:]) < 0.01).mean() > 0.9


@pytest.mark.parametrize("flips", [1, 19])
def test_few_flips_cost_ideal_memory_nothing(flips: int) -> None:
    family = BarcodeBandit(arms=4, contexts=3, repeats=4, pulls=5, high=0.8, low=0.3, flips=flips, split="test")
    actor = Continued(FlippedMemory(family.prior), 1000)
    for seed in range(2):  # the second time it is told of a new trial by TRIAL alone
        played = rollout_trials(actor, lambda n: TrialVectorEnv(family, n), 1000, seed=seed)
        each = played.returns / family.episodes
        assert each.mean() == pytest.approx(exposure_values(family.prior).mean(), abs=4 * float(each.std()) / 1000**0.5)


def test_what_is_known_is_called_what_it_is() -> None:
    prior = TOY.prior
    assert list(references(prior)) == ["within episode", "ideal memory"]
    assert list(ceilings(prior)) == ["random", "within episode", "context told", "oracle"]
    assert ceilings(prior)["context told"] == ceilings(replace(prior, flips=0))["ideal memory"]
    assert list(references(replace(prior, bits=20, flips=7))) == ["within episode"]  # of too many codes


def test_bad_input() -> None:
    prior: Any = replace(TOY.prior, contexts=1, repeats=1)
    actor, begin, nothing = FlippedMemory(prior), np.full(2, Boundary.EPISODE), feedback_of(3, None, None, 2)
    actor.reset(2, np.random.default_rng(0))
    with pytest.raises(ValueError, match="lacks 'obs'"):
        actor.act(nothing, begin)
    with pytest.raises(ValueError, match="3 bits, expected 10"):
        actor.act({**nothing, "obs": np.zeros((2, 3), np.float32)}, begin)
    actor.act({**nothing, "obs": np.zeros((2, 10), np.float32)}, begin)
    with pytest.raises(ValueError, match="more than 1 episodes"):
        actor.act({**nothing, "obs": np.zeros((2, 10), np.float32)}, begin)
