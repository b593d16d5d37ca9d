import numpy as np
import pytest
from gymnasium import spaces

from metarl.envs.barcode_bandit import BarcodeBandit
from metarl.envs.bernoulli_bandit import BernoulliBandit
from metarl.tasks.trial.layout import TrialInputs, TrialLayout, is_trial_space
from metarl.types import FEEDBACK_KEYS

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
    layout = layout_of(spaces.Discrete(1), spaces.Box(0.5, 1.0, (2,)))
    assert contained(layout, layout.observe(np.zeros(1, int), 0)), "also where zero is no action"


@pytest.mark.parametrize("off", [{key} for key in FEEDBACK_KEYS] + [set(FEEDBACK_KEYS)])
def test_parts_switched_off_shrink_the_space(off: set[str]) -> None:
    family = BernoulliBandit(arms=3, pulls=5)
    layout = TrialLayout(family, TrialInputs(**dict.fromkeys(off, False)))
    left = {"obs", *FEEDBACK_KEYS} - off
    assert set(layout.observation_space.spaces) == left
    assert set(layout.observe(np.zeros(2, int), 0)) == left


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


def test_reveal_appends_the_task_vector() -> None:
    family = BarcodeBandit(arms=2, contexts=2, repeats=1, pulls=1, bits=3, reveal=True)
    layout = TrialLayout(family)
    tasks = {
        "contexts": np.array([[[0, 1, 1], [1, 0, 0]]], np.int8),
        "best": np.array([[1, 0]]),
        "order": np.array([[1, 0]]),
    }
    vector = layout.task_vector(tasks)
    rows = layout.observe(tasks["contexts"][:, 1], 0, tasks=vector)
    assert vector is not None
    assert vector.tolist() == [[0, 1, 1, 0, *[0, 1, 1, 1, 0, 0], 0, 1, 1, 0]]
    assert rows["obs"].tolist() == [[1, 0, 0, *vector[0]]]
    assert contained(layout, rows)


def test_a_revealed_number_between_bounds_is_scaled() -> None:
    task = {"force": spaces.Box(5.0, 15.0, (2,), np.float32), "fixed": spaces.Box(3.0, 3.0, (1,), np.float64)}
    layout = layout_of(spaces.Discrete(1), spaces.Discrete(2), **task)
    vector = layout.task_vector({"force": np.array([[5.0, 12.5]]), "fixed": np.array([[3.0]])})
    assert vector is not None
    assert vector.tolist() == [[0.0, -1.0, 0.5]]  # the parameters in alphabetical order
    assert contained(layout, layout.observe(np.zeros(1, int), 0, tasks=vector))


def test_reveal_stands_beside_a_dict_observation_unless_a_part_has_its_name() -> None:
    inner = spaces.Dict({"room": spaces.Discrete(2)})
    layout = layout_of(inner, spaces.Discrete(2), goal=spaces.Discrete(3))
    rows = layout.observe({"room": np.array([1])}, 0, tasks=layout.task_vector({"goal": np.array([2])}))
    assert rows["obs.task"].tolist() == [[0, 0, 1]]
    assert contained(layout, rows)
    with pytest.raises(ValueError, match=r"obs\.task"):
        layout_of(spaces.Dict({"task": spaces.Discrete(2)}), spaces.Discrete(2), goal=spaces.Discrete(3))


@pytest.mark.parametrize(
    ("observation", "action", "named"),
    [
        (spaces.Text(3), spaces.Discrete(2), "obs .*Text"),
        (spaces.Tuple([BOX]), spaces.Discrete(2), "obs .*Tuple"),
        (spaces.Dict({"a": spaces.Dict({"b": BOX})}), spaces.Discrete(2), r"obs\.a .*Dict"),
        (BOX, spaces.MultiBinary(2), "action space MultiBinary"),
        (spaces.Dict({"a": BOX, "action_mask": spaces.MultiBinary(3)}), spaces.Discrete(2), "action_mask.* of 2"),
        (spaces.Dict({"a": BOX, "action_mask": spaces.MultiBinary(1)}), BOX, "action_mask"),
        (spaces.Dict({"action_mask": spaces.MultiBinary(2)}), spaces.Discrete(2), "mask"),
    ],
)
def test_unsupported_spaces_are_named(observation: spaces.Space, action: spaces.Space, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        layout_of(observation, action)


@pytest.mark.parametrize(
    ("space", "actions", "error", "named"),
    [
        (spaces.Discrete(3), np.array([0, 3]), ValueError, "action 3 of row 1"),
        (spaces.Discrete(3), np.array([-1, 0]), ValueError, "action -1 of row 0"),
        (spaces.Discrete(3), np.array([0]), ValueError, r"\(2,\).*\(1,\)"),
        (spaces.Discrete(3), np.array([0.0, 1.0]), TypeError, "float64"),
        (BOX, np.array([[0.0, 0.0], [0.0, np.nan]]), ValueError, "of row 1"),
    ],
)
def test_bad_actions(space: spaces.Space, actions: np.ndarray, error: type[Exception], named: str) -> None:
    with pytest.raises(error, match=named):
        layout_of(spaces.Discrete(1), space).check_actions(actions, 2)


def test_observations_share_no_memory() -> None:
    layout = layout_of(spaces.Box(0, 1, (2,), np.float32), spaces.Box(-1, 1, (2,), np.float32))
    obs, actions, rewards = (np.zeros((2, 2), np.float32), np.zeros((2, 2), np.float32), np.zeros(2, np.float32))
    rows = layout.observe(obs, 1, actions, rewards, np.zeros(2, bool))
    given = (obs, actions, rewards)
    assert not any(np.shares_memory(row, array) for row in rows.values() for array in given)


@pytest.mark.parametrize(
    "space",
    [
        BOX,
        spaces.Dict({"time": spaces.Box(0, 1, (1,))}),
        spaces.Dict({"obs": spaces.Box(0, 1, (2,)), "achieved_goal": spaces.Box(0, 1, (2,))}),
        spaces.Dict({"obs": spaces.Discrete(2)}),
        spaces.Dict({"obs": spaces.Box(0, 1, (2, 2))}),
    ],
)
def test_what_is_no_trial_space(space: spaces.Space) -> None:
    assert not is_trial_space(space)


def test_pictures_stay_pictures_a_task_goes_beside_them_and_other_shapes_and_types_are_refused() -> None:
    layout = layout_of(spaces.Box(0, 255, (4, 5, 1), np.uint8), spaces.Discrete(2), goal=spaces.Discrete(3))
    assert layout.observation_space["obs"] == spaces.Box(0, 255, (4, 5, 1), np.uint8)
    picture = np.arange(20, dtype=np.uint8).reshape(1, 4, 5, 1)
    rows = layout.observe(picture, 0, tasks=layout.task_vector({"goal": np.array([2])}))
    assert rows["obs"].dtype == np.uint8
    assert np.array_equal(rows["obs"], picture)
    assert rows["obs.task"].tolist() == [[0, 0, 1]]
    assert contained(layout, rows)
    with pytest.raises(ValueError, match="uint8"):
        layout.observe(picture.astype(np.float32), 0)
    with pytest.raises(ValueError, match=r"obs .*\(3,\).*\(2,\)"):
        layout_of(BOX, spaces.Discrete(2)).observe(np.zeros((1, 3)), 0)


def test_multi_binary_masks_and_a_scaled_reward() -> None:
    inner = spaces.Dict({"keys": spaces.MultiBinary(3), "action_mask": spaces.MultiBinary(5)})
    family = Spaces(inner, spaces.MultiDiscrete([2, 3]))
    layout = TrialLayout(family, TrialInputs(prev_reward_scale=0.5))  # type: ignore[arg-type]
    obs = {"keys": np.array([[1, 0, 1]]), "action_mask": np.array([[1, 0, 1, 1, 0]])}
    rows = layout.observe(obs, np.array([3]), np.array([[1, 2]]), np.array([4.0]), np.array([True]))
    assert set(rows) == {"obs.keys", "action_mask", "prev_action", "prev_reward", "prev_done", "time"}
    assert rows["action_mask"].tolist() == [[1, 0, 1, 1, 0]]
    assert rows["prev_action"].tolist() == [[0, 1, 0, 0, 1]]
    assert rows["prev_reward"].tolist() == [[2.0]]
    assert contained(layout, rows)
    assert is_trial_space(layout.observation_space)
