import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread
from report_looks import words
from report_runs import bandit, barcode

from metarl.evaluation.results import AgentEvaluation
from metarl.report.adaptation import adaptation_curve
from metarl.report.canvas import spread
from metarl.report.learning import learning_curve


def curve(figure: Figure, color: str) -> np.ndarray:
    return next(np.asarray(line.get_ydata()) for line in figure.axes[0].lines if line.get_color() == color)


def metrics(rows: int = 200) -> list[dict[str, Any]]:
    kinds = {"rollout/ep_rew_mean": 70.0, "train/entropy": 2.0, "train/explained_variance": 0.5}
    return [
        {"env_steps": 1000 * i, "time": 2.0 * i, **{k: v + i % 2 for k, v in kinds.items()}} for i in range(1, rows + 1)
    ]


def test_a_bandit_names_every_line_axis_and_task(tmp_path: Path, drawn: list[Figure]) -> None:
    path = adaptation_curve(bandit(), tmp_path / "a.png")
    assert imread(path).shape[:2] == (690, 1140)  # 7.6 x 4.6 inches at 150 dpi
    lines = {"agent", "agent, memory off", "agent, keys shuffled", "random", "greedy", "UCB1", "Thompson", "Gittins"}
    assert lines | {"pull of the trial", "metarl/BernoulliBandit-v0 (arms=10, pulls=100)"} <= words(drawn[0])
    assert "mean reward per pull\n(averaged over 5 neighbouring pulls)" in words(drawn[0])
    assert "10,000 trials of test tasks; bands: 95 % intervals of the mean" in words(drawn[0])


def test_smoothing_is_a_mean_of_neighbours_and_keeps_the_ends(tmp_path: Path, drawn: list[Figure]) -> None:
    by = np.random.default_rng(0).random(100).tolist()
    adaptation_curve(bandit(by_episode=by), tmp_path / "a.png")
    shown = curve(drawn[0], "#0072B2")
    np.testing.assert_allclose(shown[[0, 1, 50, 99]], [by[0], np.mean(by[:3]), np.mean(by[48:53]), by[99]])


@pytest.mark.parametrize(
    ("evaluation", "values", "told"),
    [
        (bandit(20), bandit(20).by_episode, {"pull of the trial", "mean reward per pull"}),
        (
            barcode(),
            barcode().by_exposure,
            {"exposure of the episode's context", "oracle", "ideal memory", *map(str, range(1, 11))},
        ),
        (barcode(by_exposure=None), barcode().by_episode, {"episode of the trial", "mean reward per episode"}),
    ],
    ids=["a short bandit", "by exposure", "without exposures"],
)
def test_few_points_are_not_smoothed(
    tmp_path: Path, drawn: list[Figure], evaluation: AgentEvaluation, values: tuple[float, ...], told: set[str]
) -> None:
    adaptation_curve(evaluation, tmp_path / "a.png")
    np.testing.assert_array_equal(curve(drawn[0], "#0072B2"), values)
    assert told <= words(drawn[0])


@pytest.mark.parametrize(
    ("evaluation", "bands"),
    [
        (bandit(references={f"my reference {i}": bandit().references["greedy"] for i in range(5)}), 3),
        (bandit(references={}, ablations={}, ceilings={}), 1),
        (bandit(env_options={f"option_number_{i}": i for i in range(7)}), 3),
        (bandit(1), 3),
    ],
    ids=["unknown references", "the bare agent", "many options", "one step"],
)
def test_bands_are_those_of_the_agent_and_its_ablations(
    tmp_path: Path, drawn: list[Figure], evaluation: AgentEvaluation, bands: int
) -> None:
    adaptation_curve(evaluation, tmp_path / "a.png")
    assert len(drawn[0].axes[0].collections) == bands


def test_a_failed_write_keeps_the_old_image(tmp_path: Path) -> None:
    (tmp_path / "a.nonsense").write_text("old")
    with pytest.raises(ValueError, match="nonsense"):
        adaptation_curve(bandit(), tmp_path / "a.nonsense")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a.nonsense", "old")]


def test_labels_are_spread_as_little_as_possible() -> None:
    free = np.array([0.1, 0.5, 0.9])
    np.testing.assert_allclose(spread(free, 0.1), free)
    np.testing.assert_allclose(spread(np.array([0.5, 0.5, 0.5]), 0.1), [0.4, 0.5, 0.6])
    np.testing.assert_allclose(spread(np.array([0.0, 1.0, 1.0]), 0.1), [0.0, 0.9, 1.0])


def test_a_learning_curve_has_return_entropy_and_explained_variance(tmp_path: Path, drawn: list[Figure]) -> None:
    learning_curve(metrics(), "rl2", tmp_path / "l.png")
    names = {"return of a training trial (reward)", "environment steps", "policy entropy (nats)", "50 k"}
    assert names | {"explained variance\n(share)", "200,000 environment steps in 6 min 40 s"} <= words(drawn[0])
    raw, smooth = drawn[0].axes[0].lines
    np.testing.assert_array_equal(np.asarray(raw.get_xydata())[:2], [[1000, 71], [2000, 70]])
    np.testing.assert_array_equal(smooth.get_xdata(), 1000 * np.arange(1, 201))
    assert np.ptp(np.asarray(smooth.get_ydata())[3:-3]) < 0.2


def test_rows_without_a_number_are_left_out(tmp_path: Path, drawn: list[Figure]) -> None:
    rows: list[dict[str, Any]] = [
        {"env_steps": 5, "rollout/ep_rew_mean": None},
        {"env_steps": 10, "rollout/ep_rew_mean": 3},
        {"env_steps": 20},
    ]
    learning_curve(rows, "rl2", tmp_path / "l.png")
    (axes,) = drawn[0].axes  # no panel for what was never logged
    (line,) = axes.lines
    np.testing.assert_array_equal(line.get_xydata(), [[10, 3]])
    assert "20 environment steps" in words(drawn[0])


@pytest.mark.parametrize("rows", [[], [{"env_steps": 1, "train/entropy": 2.0}]])
def test_no_return_is_an_error(tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    with pytest.raises(ValueError, match="rollout/ep_rew_mean"):
        learning_curve(rows, "rl2", tmp_path / "l.png")


def test_matplotlib_is_imported_late_and_pyplot_never(tmp_path: Path) -> None:
    code = """
import sys
from metarl.report import build, learning
assert not {"matplotlib", "torch", "scipy.optimize"} & set(sys.modules)
learning.learning_curve([{"env_steps": 1, "rollout/ep_rew_mean": 1.0}], "rl2", "l.png")
assert "matplotlib.figure" in sys.modules and "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
    assert (tmp_path / "l.png").is_file()
