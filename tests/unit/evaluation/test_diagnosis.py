"""Accuracy, AUROC, Brier score and calibration of probabilities of two classes."""

import numpy as np
import pytest

from metarl.evaluation.diagnosis import calibration_error, scores

ILL = np.array([[1, 1, 0, 0], [1, 0, 1, 0]], bool)


def test_scores_by_hand() -> None:
    p = np.array([[0.9, 0.4, 0.3, 0.1], [0.2, 0.2, 0.6, 0.5]])
    found = scores(p, ILL)
    np.testing.assert_allclose(found.accuracy, [0.75, 2.5 / 4])
    np.testing.assert_allclose(found.auroc, [1.0, (0.5 + 0 + 1 + 1) / 4])
    np.testing.assert_allclose(found.brier[0], (0.01 + 0.36 + 0.09 + 0.01) / 4)


def test_a_guess_of_one_half_is_the_middle_of_everything() -> None:
    found = scores(np.full((2, 4), 0.5), ILL)
    assert [part.tolist() for part in found] == [[0.5, 0.5], [0.5, 0.5], [0.25, 0.25]]
    assert calibration_error(np.full((2, 4), 0.5), ILL) == 0


def test_calibration_error_is_the_gap_of_each_bin() -> None:
    assert calibration_error(ILL.astype(float), ILL) == 0
    assert calibration_error(~ILL, ILL) == 1
    p = np.array([0.95, 0.95, 0.95, 0.95, 0.15, 0.15])
    ill = np.array([1, 1, 1, 0, 0, 0], bool)
    assert calibration_error(p, ill) == pytest.approx((abs(3 - 4 * 0.95) + 0.3) / 6)
