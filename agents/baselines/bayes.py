"""Exact Bayes-optimal values of small bandits, by dynamic programming over what has been seen of each arm.

Independent arms are alike under the prior, so a state is the multiset of (successes, failures) of the arms pulled so
far; states are built forwards, one layer for each pull, and valued backwards.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from math import comb, factorial
from typing import NamedTuple

import numpy as np

from metarl.tasks.family.priors import LOWER_RATES
from metarl.types import Floats, Ints

MOST_STATES = 3_000_000  # the largest number of states that is solved: a few seconds and 0.6 GB at most

Chances = Callable[[Ints, Ints], Floats]
"""From successes and failures ``[n, touched]`` to success probabilities ``[n, touched + 1]``, the last of a new arm."""
_Layer = dict[int, Ints]
"""The states after a number of pulls: for each number of touched arms, sorted codes ``[n, touched]``."""


class _Link(NamedTuple):
    """One move from all states with ``source`` touched arms: pull arm ``column``, with or without success.

    Args:
        place: the resulting state's place among those with ``target`` touched arms, ``[n]``.
    """

    source: int
    column: int
    success: bool
    target: int
    place: Ints


@cache
def bayes_optimal_value(arms: int, pulls: int) -> float:
    """The best expected total reward of a Bernoulli bandit whose success rates are drawn from Beta(1, 1).

    For two arms x 100 pulls it is 64.918.

    Raises:
        ValueError: the bandit has more than :data:`MOST_STATES` states.
    """
    return optimal_value(arms, pulls, _beta_chances)


@cache
def dependent_value(dependence: str, pulls: int) -> float:
    """The same of two arms whose rates add up to one (Wang et al. 2016): 73.779 for 100 pulls, drawn uniformly.

    A failure of one arm says what a success of the other does, so all pulls tell as much and the arm that is better by
    the posterior is best. A state is how often the first arm was spoken for.

    Args:
        dependence: one of :data:`metarl.tasks.family.priors.DEPENDENCES`, but not "none".
        pulls: in a trial.
    """
    total, weights = 0.0, np.ones(1)  # of the numbers of pulls that spoke for the first arm
    for pull in range(pulls):
        spoke = np.arange(pull + 1)
        if dependence == "uniform":
            rate = (1 + spoke) / (2 + pull)
        else:
            low = LOWER_RATES[dependence]
            good = 1 / (1 + ((1 - low) / low) ** (pull - 2.0 * spoke))  # chance that the first arm has the higher rate
            rate = low + (1 - 2 * low) * good
        total += float(weights @ np.maximum(rate, 1 - rate))
        weights = np.append(weights * (1 - rate), 0) + np.insert(weights * rate, 0, 0)
    return total


def _beta_chances(successes: Ints, failures: Ints) -> Floats:
    touched = (1 + successes) / (2 + successes + failures)
    return np.concatenate((touched, np.full((len(touched), 1), 0.5)), axis=1)


def optimal_value(arms: int, pulls: int, chances: Chances) -> float:
    """The best expected number of successes in a trial of a bandit whose arms are alike before the first pull.

    Args:
        arms: number of arms.
        pulls: number of pulls in a trial.
        chances: success probabilities of the arms, given what has been seen of them.

    Raises:
        ValueError: there are more than :data:`MOST_STATES` states.
    """
    if arms < 1 or pulls < 1:
        raise ValueError(f"{arms} arms and {pulls} pulls: both must be at least 1")
    if not is_small(arms, pulls):
        raise ValueError(
            f"{arms} arms and {pulls} pulls have more than {MOST_STATES:,} states, too many for exact dynamic "
            "programming; small enough are 2 arms x 100 pulls, 3 x 40, 4 x 30, 5 x 25, and any number of arms x 20"
        )
    base = pulls + 1  # the code of an arm is successes * base + failures
    layers: list[_Layer] = [{0: np.zeros((1, 0), dtype=np.int32)}]
    links: list[list[_Link]] = []
    for _ in range(pulls - 1):
        layer, made = _grow(layers[-1], arms, base)
        layers.append(layer)
        links.append(made)

    values: dict[int, Floats] = {}
    for layer, made in zip(reversed(layers), [[], *reversed(links)], strict=True):
        p = {touched: chances(*np.divmod(codes, base))[:, :arms] for touched, codes in layer.items()}
        worth = {touched: chance.copy() for touched, chance in p.items()}  # the coming reward itself
        for source, column, success, target, place in made:
            chance = p[source][:, column]
            worth[source][:, column] += (chance if success else 1 - chance) * values[target][place]
        values = {touched: worths.max(axis=1) for touched, worths in worth.items()}
    return float(values[0][0])


def _grow(layer: _Layer, arms: int, base: int) -> tuple[_Layer, list[_Link]]:
    """The states one pull after ``layer``, and the moves that lead to them."""
    arrivals: dict[int, list[tuple[int, int, bool, Ints]]] = {}
    for touched, codes in layer.items():
        for column in range(min(touched + 1, arms)):
            target = max(touched, column + 1)
            for success in (True, False):
                child = np.zeros((len(codes), target), dtype=np.int32)
                child[:, :touched] = codes
                child[:, column] += base if success else 1
                child.sort(axis=1)
                arrivals.setdefault(target, []).append((touched, column, success, child))
    grown: _Layer = {}
    links: list[_Link] = []
    for target, group in arrivals.items():
        grown[target], index = _distinct(np.concatenate([child for *_, child in group]), base)
        ends = np.cumsum([len(child) for *_, child in group])
        for (source, column, success, _), part in zip(group, np.split(index, ends[:-1]), strict=True):
            links.append(_Link(source, column, success, target, part))
    return grown, links


def _distinct(codes: Ints, base: int) -> tuple[Ints, Ints]:
    """The distinct rows of ``codes``, and for each row of ``codes`` its place among them."""
    bits = (base * base - 1).bit_length()
    width = 63 // bits
    words = [
        sum((codes[:, i].astype(np.int64) << (bits * (i - first)) for i in columns), np.zeros(len(codes), np.int64))
        for first in range(0, codes.shape[1], width)
        for columns in [range(first, min(first + width, codes.shape[1]))]
    ]
    order = np.lexsort(words)
    new = np.zeros(len(codes), dtype=bool)
    new[0] = True
    for word in words:
        new[1:] |= np.diff(word[order]) != 0
    index = np.empty(len(codes), dtype=np.int32)
    index[order] = np.cumsum(new) - 1
    return codes[order[new]], index


@cache
def is_small(arms: int, pulls: int) -> bool:
    """Whether a bandit has at most :data:`MOST_STATES` states in which there is a pull to choose."""
    seen, touched = pulls - 1, min(arms, pulls - 1)
    # Ordered states over the number of orders: a bound that settles large bandits at once.
    if any(comb(seen + 2 * j, 2 * j) // factorial(j) > MOST_STATES for j in range(1, touched + 1)):
        return False
    # counts[j][t]: multisets of j arms with t pulls in all; an arm with p pulls has p + 1 states.
    counts = [[0] * (seen + 1) for _ in range(touched + 1)]
    counts[0][0] = 1
    for p in range(1, seen + 1):
        for j in range(touched, 0, -1):  # downwards, so that arms with p pulls are added once
            for t in range(seen, p - 1, -1):
                more = range(1, min(j, t // p) + 1)
                counts[j][t] += sum(counts[j - c][t - c * p] * comb(p + c, c) for c in more)
    return sum(map(sum, counts)) <= MOST_STATES
