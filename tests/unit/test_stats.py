"""Means with intervals."""

import numpy as np
import pytest

from metarl.functional.stats import Interval, bootstrap_mean, standard_error


def test_the_interval_agrees_with_the_normal_one_where_that_holds() -> None:
    samples = np.random.default_rng(0).normal(3.0, 2.0, 4000)
    interval = bootstrap_mean(samples)
    expected = 1.96 * 2.0 / np.sqrt(4000)
    assert interval.mean == samples.mean()
    assert interval.low < interval.mean < interval.high
    assert interval.half == pytest.approx(expected, rel=0.1)


def test_the_interval_covers_the_mean_about_nineteen_times_in_twenty() -> None:
    rng = np.random.default_rng(1)
    intervals = [bootstrap_mean(rng.exponential(1.0, 100), seed) for seed in range(200)]
    covered = np.mean([i.low <= 1.0 <= i.high for i in intervals])
    assert 0.89 <= covered <= 0.99


def test_the_same_seed_gives_the_same_interval_and_what_does_not_vary_has_no_width() -> None:
    samples = np.arange(50)
    assert bootstrap_mean(samples, 3) == bootstrap_mean(samples, 3) != bootstrap_mean(samples, 4)
    assert bootstrap_mean(np.full(10, 0.5)) == Interval(0.5, 0.5, 0.5)
    assert bootstrap_mean(np.array([2])) == Interval(2.0, 2.0, 2.0)


def test_standard_error() -> None:
    assert standard_error(np.array([1, 2, 3, 4])) == pytest.approx(np.sqrt(5 / 3) / 2)
    assert standard_error(np.array([7.0])) == 0.0
