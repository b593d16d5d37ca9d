from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from report_looks import words
from report_trials import lower, trial

from metarl.evaluation.records import Trial
from metarl.report.episodes import compared, episodes
from metarl.report.reads import memory_reads
from metarl.types import Array


def test_the_first_episode_is_held_against_the_last_whole_one() -> None:
    assert compared(trial()) == [("episode 1 of 3", slice(0, 4)), ("episode 3 of 3", slice(8, 12))]
    assert compared(trial(10)) == [("episode 1 of 3", slice(0, 4)), ("episode 2 of 3", slice(4, 8))]
    assert compared(trial(3)) == [("episode 1 of 1", slice(0, 3))]


def test_reads_are_drawn_over_steps_and_slots(tmp_path: Path, drawn: list[Figure]) -> None:
    memory_reads(trial(), tmp_path / "m.png")
    top, strip = drawn[0].axes[:2]
    (image,) = top.images
    assert list(image.get_extent()) == [0.5, 12.5, 0.5, 11.5]
    np.testing.assert_allclose(np.asarray(image.get_array()), lower(12).T)
    (unread,) = strip.patches
    np.testing.assert_allclose(unread.get_data().values, 1 / np.arange(1, 13), atol=2e-3)  # type: ignore[attr-defined]
    marks = [line.get_xdata()[0] for line in strip.lines]  # type: ignore[index]
    assert marks == [4.5, 8.5]
    assert {"memory slot (the step that it holds)", "read of\nno slot"} <= words(drawn[0])


def test_many_steps_and_slots_are_put_together(tmp_path: Path, drawn: list[Figure]) -> None:
    memory_reads(trial(701), tmp_path / "m.png")
    image = np.asarray(drawn[0].axes[0].images[0].get_array())
    assert image.shape == (350, 234)  # 700 slots in twos, 701 steps in threes
    assert image[0, 0] == pytest.approx((1 / 2 + 2 / 3) / 2, rel=1e-3)  # of steps 2 and 3; at step 1 nothing was there
    assert image[0, -1] == pytest.approx(2 * np.mean([1 / 700, 1 / 701]), rel=1e-2)
    assert np.isnan(image[-1, 0])
    assert "weight (sum of 2 slots, mean of 3 steps)" in words(drawn[0])


@pytest.mark.parametrize(("slots", "named"), [(2, "the episode that it holds"), (5, "in the order of writing")])
def test_fewer_slots_than_steps_say_what_they_hold(tmp_path: Path, drawn: list[Figure], slots: int, named: str) -> None:
    memory_reads(replace(trial(), weights=np.full((12, slots), 0.1)), tmp_path / "m.png")
    assert any(named in text for text in words(drawn[0]))


def test_without_weights_there_is_nothing_to_draw(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="weights"):
        memory_reads(replace(trial(), weights=None), tmp_path / "m.png")


def bandit(rewards: Array) -> Trial:
    n = len(rewards)
    return Trial({"obs": np.ones((n, 1))}, np.arange(n) % 3, rewards.astype(float), np.ones(n, bool))


def test_a_bandit_shows_which_arm_paid(tmp_path: Path, drawn: list[Figure]) -> None:
    paid = np.array([0, 1, 1, 0, 1, 0])
    episodes([bandit(paid)] * 5, tmp_path / "e.png")
    assert len(drawn[0].axes) == 3
    won, lost = drawn[0].axes[0].collections
    np.testing.assert_array_equal(won.get_offsets(), [[2, 1], [3, 2], [5, 1]])
    np.testing.assert_array_equal(lost.get_offsets(), [[1, 0], [4, 0], [6, 2]])
    assert {"pull of the trial", "blue dot: reward 1; orange cross: reward 0"} <= words(drawn[0])


def test_a_bandit_with_any_rewards_shows_them_as_colours(tmp_path: Path, drawn: list[Figure]) -> None:
    episodes([bandit(np.linspace(-2, 1, 9))], tmp_path / "e.png")
    axes, bar = drawn[0].axes
    np.testing.assert_allclose(axes.collections[0].get_array(), np.linspace(-2, 1, 9))
    assert axes.collections[0].get_clim() == (-2, 2)
    assert bar.get_ylabel() == "reward"


def test_traces_show_observation_action_and_reward_of_both_episodes(tmp_path: Path, drawn: list[Figure]) -> None:
    part = trial()
    episodes([part], tmp_path / "e.png")
    grid = np.array(drawn[0].axes).reshape(3, 2)
    for column, steps in enumerate((slice(0, 4), slice(8, 12))):
        for line, values in zip(grid[0, column].lines, part.observations["obs"][steps].T, strict=True):
            np.testing.assert_array_equal(line.get_ydata(), values)
        (actions,) = grid[1, column].patches
        np.testing.assert_array_equal(actions.get_data().values, part.actions[steps])
        (rewards,) = grid[2, column].patches
        np.testing.assert_array_equal(rewards.get_data().values, part.rewards[steps])
    told = {"observation", "action", "reward", f"episode 3 of 3: return {part.rewards[8:].sum():.4g}"}
    assert told <= words(drawn[0])


def test_one_hot_observations_are_drawn_as_their_index(tmp_path: Path, drawn: list[Figure]) -> None:
    states = np.arange(12) % 5
    episodes([trial(obs=np.eye(5)[states][None])], tmp_path / "e.png")
    (index,) = drawn[0].axes[0].patches
    np.testing.assert_array_equal(index.get_data().values, states[:4])  # type: ignore[attr-defined]


def test_wide_and_constant_observations_and_many_actions(tmp_path: Path, drawn: list[Figure]) -> None:
    wide = {"obs.wide": np.random.default_rng(0).random((12, 20)), "obs.same": np.ones((12, 2))}
    episodes([replace(trial(), observations=wide, actions=np.zeros((12, 3)))], tmp_path / "e.png")
    assert len(drawn[0].axes) == 6
    assert drawn[0].axes[0].images[0].get_array().shape == (20, 4)  # type: ignore[union-attr]
    assert {"wide", "action", "reward"} <= words(drawn[0])
    assert "same" not in words(drawn[0])


def test_images_are_shown_as_a_filmstrip(tmp_path: Path, drawn: list[Figure]) -> None:
    shots = np.random.default_rng(0).integers(0, 255, (40, 8, 8, 1)).astype(np.uint8)
    ends = np.arange(40) % 20 == 19
    episodes([replace(trial(40), observations={"obs": shots}, ends=ends)], tmp_path / "e.png")
    shown = [axes for axes in drawn[0].axes if axes.images]
    assert len(shown) == 12
    last = np.asarray(shown[-1].images[0].get_array())
    np.testing.assert_array_equal(last, shots[39, :, :, 0])
    assert any(text.startswith("step 20\naction") for text in words(drawn[0]))


def test_an_only_episode_is_shown_alone_and_none_is_an_error(tmp_path: Path, drawn: list[Figure]) -> None:
    episodes([trial(3)], tmp_path / "e.png")
    assert len(drawn[0].axes) == 3
    with pytest.raises(ValueError, match="no trials to draw"):
        episodes([], tmp_path / "e.png")
