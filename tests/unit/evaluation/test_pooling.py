import numpy as np
import pytest
from report_runs import bandit, barcode
from scipy.stats import t

from metarl.evaluation.pooling import mean_over_seeds, pooled


def test_one_run_has_the_interval_over_its_tasks() -> None:
    mean, half = mean_over_seeds(np.array([[1.0, 2.0]]), np.array([[0.1, 0.2]]), shared=False)
    np.testing.assert_array_equal(mean, [1, 2])
    np.testing.assert_allclose(half, [0.196, 0.392])


def test_the_interval_is_that_of_student_where_seeds_differ_more_than_tasks() -> None:
    means, errors = np.array([[1.0], [2.0], [6.0]]), np.full((3, 1), 0.1)
    mean, half = mean_over_seeds(means, errors, shared=False)
    assert mean == 3
    np.testing.assert_allclose(half, t.ppf(0.975, 2) * np.sqrt(7 / 3))
    _, shared = mean_over_seeds(means, errors, shared=True)
    np.testing.assert_allclose(shared, t.ppf(0.975, 2) * np.sqrt(7 / 3 + 0.01))


def test_the_interval_is_never_less_than_that_over_tasks() -> None:
    _, half = mean_over_seeds(np.ones((4, 1)), np.full((4, 1), 0.2), shared=False)
    np.testing.assert_allclose(half, t.ppf(0.975, 3) * 0.1)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("seeds", [0.0, 1.0, 3.0])
def test_the_interval_covers_the_truth(seeds: float, shared: bool) -> None:
    rng = np.random.default_rng(0)
    runs, n = 3, 20_000
    means = rng.normal(0, seeds, (runs, n)) + rng.normal(0, 1, (1 if shared else runs, n))
    mean, half = mean_over_seeds(means, np.ones((runs, n)), shared)
    assert (np.abs(mean) <= half).mean() > 0.945


def test_lists_of_different_lengths_are_pooled_as_far_as_all_go() -> None:
    long = bandit(20)
    pair = pooled([long, bandit(10, seed=1)], "by_episode")
    assert pair is not None
    np.testing.assert_allclose(pair[0], np.mean([long.by_episode[:10], bandit(10).by_episode], 0))
    assert pooled([long, barcode()], "by_exposure") is None
    assert pooled([], "by_episode") is None
