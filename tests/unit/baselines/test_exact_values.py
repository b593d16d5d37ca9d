from functools import cache

import pytest

from metarl.agents.baselines import bayes
from metarl.agents.baselines.bayes import bayes_optimal_value, dependent_value, is_small
from metarl.tasks.family.priors import LOWER_RATES

State = tuple[tuple[int, int], ...]


def by_recursion(arms: int, pulls: int) -> tuple[float, int]:
    """The value, and how many states there are with a pull to choose, without any cleverness but sorting."""

    @cache
    def value(state: State) -> float:
        if sum(map(sum, state)) == pulls:
            return 0.0
        best = 0.0
        for i, (s, f) in enumerate(state):
            p = (1 + s) / (2 + s + f)
            won, lost = (tuple(sorted((*state[:i], arm, *state[i + 1 :]))) for arm in ((s + 1, f), (s, f + 1)))
            best = max(best, p * (1 + value(won)) + (1 - p) * value(lost))
        seen.add(state)
        return best

    seen: set[State] = set()
    return value(((0, 0),) * arms), len(seen)


@pytest.mark.parametrize(
    ("arms", "pulls", "value"), [(5, 10, 6.660), (10, 10, 6.714), (50, 10, 6.714), (2, 100, 64.918)]
)
def test_published_values(arms: int, pulls: int, value: float) -> None:
    assert bayes_optimal_value(arms, pulls) == pytest.approx(value, abs=5e-4)


@pytest.mark.parametrize(("arms", "pulls"), [(1, 1), (1, 9), (2, 2), (2, 15), (3, 9), (4, 7), (6, 6), (9, 5)])
def test_agrees_with_plain_recursion(arms: int, pulls: int, monkeypatch: pytest.MonkeyPatch) -> None:
    value, count = by_recursion(arms, pulls)
    assert bayes_optimal_value(arms, pulls) == pytest.approx(value, abs=1e-12)
    monkeypatch.setattr(bayes, "MOST_STATES", count)
    assert is_small.__wrapped__(arms, pulls)
    monkeypatch.setattr(bayes, "MOST_STATES", count - 1)
    assert not is_small.__wrapped__(arms, pulls)


def test_many_arms_are_told_apart_across_words() -> None:
    # 12 touched arms of 8 bits do not fit one 63-bit key; unused arms change nothing.
    assert bayes_optimal_value(13, 13) == pytest.approx(bayes_optimal_value(40, 13), abs=1e-12)
    assert bayes_optimal_value(12, 13) == pytest.approx(by_recursion(12, 13)[0], abs=1e-12)


def test_large_bandits_are_refused() -> None:
    with pytest.raises(ValueError, match="10 arms and 100 pulls"):
        bayes_optimal_value(10, 100)
    with pytest.raises(ValueError, match="1"):
        bayes_optimal_value(0, 10)
    assert all(is_small(*size) for size in [(2, 100), (3, 40), (4, 30), (5, 25), (50, 20)])
    assert not any(is_small(*size) for size in [(2, 500), (50, 500), (1000, 30)])


def dependent_by_recursion(dependence: str, pulls: int) -> float:
    """The value of two arms whose rates add up to one: both choices are tried in every state, by Bayes' rule alone."""
    low = LOWER_RATES.get(dependence)
    rates = [(i + 0.5) / 2000 for i in range(2000)] if low is None else [low, 1 - low]

    @cache
    def value(first: int, second: int) -> float:
        """After so many signs for either arm."""
        if first + second == pulls:
            return 0.0
        weights = [rate**first * (1 - rate) ** second for rate in rates]
        p = sum(w * rate for w, rate in zip(weights, rates, strict=True)) / sum(weights)
        for_first, for_second = value(first + 1, second), value(first, second + 1)
        pull_first = p * (1 + for_first) + (1 - p) * for_second
        pull_second = (1 - p) * (1 + for_second) + p * for_first
        return max(pull_first, pull_second)

    return value(0, 0)


@pytest.mark.parametrize("dependence", ["uniform", *LOWER_RATES])
@pytest.mark.parametrize("pulls", [1, 2, 9])
def test_dependent_arms_agree_with_plain_recursion(dependence: str, pulls: int) -> None:
    assert dependent_value(dependence, pulls) == pytest.approx(dependent_by_recursion(dependence, pulls), rel=1e-5)


# Computed elsewhere, for the 100 pulls of Wang et al. (2016).
@pytest.mark.parametrize(
    ("dependence", "value"), [("uniform", 73.779), ("easy", 89.37), ("medium", 74.00), ("hard", 57.69)]
)
def test_values_of_dependent_arms(dependence: str, value: float) -> None:
    assert dependent_value(dependence, 100) == pytest.approx(value, abs=0.006)
