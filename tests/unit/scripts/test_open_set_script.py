"""scripts/open_set.py: the area under the curve and its error over episodes."""

import numpy as np
import open_set
import pytest

from metarl.functional.stats import auroc


def test_scores_apart_have_no_error_and_equal_ones_are_chance() -> None:
    known, unknown = np.full((5, 4, 2), 0.9), np.full((5, 4, 2), 0.1)
    assert open_set.area(open_set.Measured(known, unknown), 0) == (1.0, 0.0)
    value, _ = open_set.area(open_set.Measured(known, known), 1)
    assert value == 0.5


def test_the_error_is_what_other_episodes_would_change() -> None:
    rng = np.random.default_rng(0)

    def drawn() -> open_set.Measured:
        shape, by_episode = (60, 5, 2), rng.normal(0, 1, (60, 1, 1))  # queries of an episode are alike
        return open_set.Measured(1 + by_episode + rng.normal(0, 1, shape), rng.normal(0, 1, shape))

    found = [open_set.area(drawn(), 0) for _ in range(60)]
    values, errors = np.array(found).T
    assert errors.mean() == pytest.approx(values.std(), rel=0.3)
    one = drawn()
    assert open_set.area(one, 1)[0] == auroc(one.known[..., 1].ravel(), one.unknown[..., 1].ravel())
