"""Random actions in every space that a trial has."""

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from metarl.agents.baselines import Random
from metarl.types import Array

N = 4000


def actions(space: spaces.Space[Any], mask: list[int] | None = None) -> Array:
    actor = Random(space)
    actor.reset(N, np.random.default_rng(0))
    obs = {} if mask is None else {"action_mask": np.tile(np.array(mask, np.float32), (N, 1))}
    chosen = actor.act(obs, np.zeros(N, int))
    assert all(space.contains(one) for one in chosen)
    return chosen


@pytest.mark.parametrize("space", [spaces.Discrete(4, start=-2), spaces.MultiDiscrete([3, 2], start=[0, 5])])
def test_every_choice_is_as_likely_as_the_others(space: spaces.Space[Any]) -> None:
    for column in actions(space).reshape(N, -1).T:
        counts = np.unique(column, return_counts=True)[1]
        assert np.abs(counts - N / len(counts)).max() < 5 * np.sqrt(N / len(counts))


def test_what_is_forbidden_is_never_chosen() -> None:
    assert set(actions(spaces.Discrete(4, start=1), [1, 0, 0, 1])) == {1, 4}
    assert np.unique(actions(spaces.MultiDiscrete([3, 2]), [0, 1, 1, 1, 0]), axis=0).tolist() == [[1, 0], [2, 0]]


def test_boxes_are_filled() -> None:
    bounded = actions(spaces.Box(np.array([-1, 2], np.float32), np.array([1, 6], np.float32)))
    np.testing.assert_allclose(bounded.astype(float).mean(0), [0, 4], atol=0.1)
    np.testing.assert_allclose(bounded.astype(float).std(0), [2 / 12**0.5, 4 / 12**0.5], rtol=0.05)
    np.testing.assert_allclose(actions(spaces.Box(-np.inf, np.inf, (1,))).astype(float).std(), 1, rtol=0.05)
    assert (actions(spaces.Box(0.0, np.inf, (2,))).astype(float) >= 0).all()


def test_other_spaces_are_refused() -> None:
    with pytest.raises(ValueError, match="not MultiBinary"):
        Random(spaces.MultiBinary(2))
