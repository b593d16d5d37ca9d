import numpy as np
import pytest

from metarl.evaluation.aggregate import interquartile_mean, performance_profile, probability_of_improvement


def test_an_interquartile_mean_leaves_out_a_quarter_at_either_end() -> None:
    scores = [np.array([0.0, 1, 2, 1000]), np.array([-1000.0, 1, 2, 3])]
    assert interquartile_mean(scores).mean == pytest.approx((1 + 1 + 2 + 2) / 4)
    assert interquartile_mean([np.array([1.0, 2.0, 6.0])]).mean == pytest.approx(3), "three runs have no quarter"


def test_its_interval_narrows_with_runs_and_never_mixes_tasks() -> None:
    rng = np.random.default_rng(0)
    few, many = (interquartile_mean([rng.normal(size=n)]) for n in (5, 200))
    assert many.half < few.half / 2
    assert many.low < 0 < many.high
    alike = interquartile_mean([np.full(3, 1.0), np.full(3, 5.0)])
    assert alike.low == alike.high == alike.mean, "strata without spread give no interval"


def test_improvement_counts_pairs_within_tasks_and_half_of_ties() -> None:
    one = probability_of_improvement([np.array([1.0, 3]), np.array([9.0, 9])], [np.array([2.0, 2]), np.array([9.0, 9])])
    assert one.mean == pytest.approx((0.5 + 0.5) / 2)
    sure = probability_of_improvement([np.array([5.0, 6, 7])], [np.array([1.0, 2, 3])])
    assert (sure.mean, sure.low, sure.high) == (1, 1, 1)
    with pytest.raises(ValueError, match="1 and 2 tasks"):
        probability_of_improvement([np.ones(3)], [np.ones(3), np.ones(3)])


def test_a_profile_is_the_mean_share_of_runs_above() -> None:
    profile = performance_profile([np.array([1.0, 2, 3, 4]), np.array([3.0, 3])], np.array([0.0, 2.5, 3, 9]))
    np.testing.assert_allclose(profile.share, [1, (0.5 + 1) / 2, 0.25 / 2, 0])
    assert (profile.low <= profile.share).all()
    assert (profile.share <= profile.high).all()
