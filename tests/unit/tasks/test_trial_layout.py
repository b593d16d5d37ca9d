from __future__ import annotations

import numpy as np
import pytest
from gymnasium import spaces

from metarl.envs.barcode_bandit import BarcodeBandit
from metarl.envs.bernoulli_bandit import BernoulliBandit
from metarl.tasks.distribution import TaskDistribution
from metarl.tasks.layout import INPUTS, TrialInputs, TrialLayout, is_trial_space

BOX = spaces.Box(-1.0, 1.0, (2,), np.float64)


class Spaces:
    """Just what a layout reads of a distribution."""

    trial_steps = 10
    reveal = False

    def __init__(self, observation_space: spaces.Space, action_space: spaces.Space, **task: spaces.Space) -> None:
        self.observation_space, self.action_space = observation_space, action_space
        self.task_space, self.reveal = spaces.Dict(task), bool(task)


def layout_of(observation_space: spaces.Space, action_space: spaces.Space, **task: spaces.Space) -> TrialLayout:
    return TrialLayout(Spaces(observation_space, action_space, **task))  # type: ignore[arg-type]


def contained(layout: TrialLayout, rows: dict[str, np.ndarray]) -> bool:
    n = len(next(iter(rows.values())))
    return all(layout.observation_space.contains({k: v[i] for k, v in rows.items()}) for i in range(n))


def test_no_previous_action_differs_from_action_zero() -> None:
    layout = TrialLayout(BernoulliBandit(arms=3, pulls=5))
    at_start = layout.observe(np.zeros(1, int), 0)
    after_zero = layout.observe(np.zeros(1, int), 1, np.array([0]), np.zeros(1), np.zeros(1, bool))
    assert at_start["prev_action"].tolist() == [[0, 0, 0]]
    assert after_zero["prev_action"].tolist() == [[1, 0, 0]]


@pytest.mark.parametrize("off", INPUTS)
def test_a_part_switched_off_shrinks_the_space(off: str) -> None:
    family = BernoulliBandit(arms=3, pulls=5)
    layout = TrialLayout(family, TrialInputs(**{off: False}))
    full = set(TrialLayout(family).observation_space.spaces)
    assert full - set(layout.observation_space.spaces) == {off}
    assert set(layout.observe(np.zeros(2, int), 0)) == full - {off}


def test_all_parts_off_leave_the_observation() -> None:
    layout = TrialLayout(BernoulliBandit(), TrialInputs(*[False] * 4))
    assert set(layout.observation_space.spaces) == {"obs"}


def test_discrete_start_is_honoured() -> None:
    layout = layout_of(spaces.Discrete(3, start=5), spaces.Discrete(2, start=-1))
    rows = layout.observe(np.array([5, 7]), 3, np.array([-1, 0]), np.array([0.5, 2.0]), np.array([False, True]))
    assert rows["obs"].tolist() == [[1, 0, 0], [0, 0, 1]]
    assert rows["prev_action"].tolist() == [[1, 0], [0, 1]]
    assert rows["prev_reward"].tolist() == [[0.5], [2.0]]
    assert rows["prev_done"].tolist() == [[0.0], [1.0]]
    assert rows["time"].tolist() == [[np.float32(0.3)]] * 2
    assert contained(layout, rows)


def test_box_and_dict_observations_with_box_actions() -> None:
    inner = spaces.Dict({"pose": spaces.Box(-np.inf, np.inf, (2, 2)), "room": spaces.Discrete(3)})
    layout = layout_of(inner, BOX)
    actions = np.array([[0.25, -1.0], [0.0, 1.0]])
    obs = {"pose": np.arange(8.0).reshape(2, 2, 2), "room": np.array([0, 2])}
    rows = layout.observe(obs, 9, actions, np.ones(2), np.ones(2, bool))
    assert rows["obs.pose"].tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert rows["obs.room"].tolist() == [[1, 0, 0], [0, 0, 1]]
    assert rows["prev_action"].tolist() == actions.tolist()
    assert contained(layout, rows)
    assert is_trial_space(layout.observation_space)


def test_no_previous_box_action_lies_in_the_space() -> None:
    layout = layout_of(spaces.Discrete(1), spaces.Box(0.5, 1.0, (2,)))
    assert contained(layout, layout.observe(np.zeros(1, int), 0))


def test_reveal_appends_the_task_vector() -> None:
    family = BarcodeBandit(arms=2, contexts=2, repeats=1, pulls=1, bits=3, reveal=True)
    plain, layout = TrialLayout(family.with_split("train")), TrialLayout(family)
    tasks = {
        "contexts": np.array([[[0, 1, 1], [1, 0, 0]]], np.int8),
        "best": np.array([[1, 0]]),
        "order": np.array([[1, 0]]),
    }
    vector = layout.task_vector(tasks)
    rows = layout.observe(tasks["contexts"][:, 1], 0, tasks=vector)
    assert vector is not None
    assert vector.tolist() == [[0, 1, 1, 0, *[0, 1, 1, 1, 0, 0], 0, 1, 1, 0]] or vector.shape == (1, 14)
    assert rows["obs"].tolist() == [[1, 0, 0, *vector[0]]]
    assert contained(layout, rows)
    assert plain.observation_space == layout.observation_space
