import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metarl.evaluation.records import (
    EPISODES,
    FewShotRecord,
    Trial,
    episodes_file,
    read_episodes,
    read_trials,
    trials_file,
    write_record,
)
from metarl.runs.folder import RunError, RunFolder
from metarl.types import Array

sys.path.append(str(Path(__file__).resolve().parents[1] / "report"))
from report_fewshot_runs import sets, streams


def arrays(n: int = 2, steps: int = 12, **change: Any) -> dict[str, Array]:
    rng = np.random.default_rng(0)
    ends = np.zeros((n, steps), bool)
    ends[:, 3::4] = True
    return {
        "obs": rng.normal(size=(n, steps, 4)).astype(np.float32),
        "actions": rng.integers(0, 3, (n, steps)),
        "rewards": rng.random((n, steps), dtype=np.float32),
        "ends": ends,
        "lengths": np.array([steps, steps - 4][:n]),
        "weights": lower(steps),
        **change,
    }


def lower(steps: int) -> Array:
    """Equal weights over what was written before and over no slot."""
    weights = np.full((steps, steps - 1), np.nan, np.float16)
    for t in range(steps):
        weights[t, :t] = 1 / (t + 1)
    return weights


def kept(path: Path, **change: Any) -> list[Trial]:
    made = {name: part for name, part in arrays(**change).items() if part is not None}
    write_record(trials_file(RunFolder(path)), made)
    return read_trials(RunFolder(path))


def test_trials_come_back_as_long_as_they_were(tmp_path: Path) -> None:
    first, second = kept(tmp_path, **{"obs.extra": np.ones((2, 12, 1))})
    assert (len(first.rewards), len(second.rewards)) == (12, 8)
    assert {name: part.shape for name, part in second.observations.items()} == {"obs": (8, 4), "obs.extra": (8, 1)}
    np.testing.assert_array_equal(first.rewards, arrays()["rewards"][0])
    assert first.weights is not None
    np.testing.assert_array_equal(first.weights, lower(12))
    assert second.weights is None
    assert [path.name for path in tmp_path.iterdir()] == ["trials.npz"]


def test_trials_without_a_store_have_no_weights(tmp_path: Path) -> None:
    assert kept(tmp_path, weights=None)[0].weights is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rewards": None}, "it lacks 'rewards'"),
        ({"actions": np.zeros((2, 7))}, r"its parts disagree: \(2, 7\) and \(2, 12\)"),
        ({"rewards": np.zeros(12)}, r"its rewards have the shape \(12,\)"),
        ({"lengths": np.array([12, 13])}, "longer than what was kept"),
        ({"lengths": np.array([12])}, "longer than what was kept"),
        ({"weights": np.zeros((13, 3))}, r"its weights have the shape \(13, 3\)"),
    ],
)
def test_damaged_trials_are_refused_in_one_line(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(RunError, match=f"trials.npz is damaged.*{message}.*remove it and run `metarl eval") as error:
        kept(tmp_path, **change)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", [b"", b"not arrays", b"PK\x03\x04 and no more"])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "trials.npz").write_bytes(content)
    with pytest.raises(RunError, match=r"is damaged \(it holds no arrays\)"):
        read_trials(RunFolder(tmp_path))


def test_pickled_trials_are_not_run(tmp_path: Path) -> None:
    class Canary:
        def __reduce__(self) -> Any:
            return (Path(tmp_path / "ran").touch, ())

    with (tmp_path / "trials.npz").open("wb") as file:
        np.savez(file, rewards=np.array([Canary()], dtype=object))
    with pytest.raises(RunError, match="it holds no arrays"):
        read_trials(RunFolder(tmp_path))
    assert not (tmp_path / "ran").exists()


def test_a_trial_is_cut_into_its_episodes() -> None:
    ends = np.arange(12) % 4 == 3
    for steps, last in ((12, slice(8, 12)), (10, slice(8, 10))):
        trial = Trial({}, np.zeros(steps), np.zeros(steps), ends[:steps])
        assert trial.episodes() == [slice(0, 4), slice(4, 8), last]


def few_shot(path: Path, made: dict[str, Any]) -> FewShotRecord:
    run = RunFolder(path)
    write_record(episodes_file(run), {name: part for name, part in made.items() if part is not None})
    record = read_episodes(run)
    assert record is not None
    return record


def test_episodes_come_back_with_what_was_predicted(tmp_path: Path) -> None:
    assert read_episodes(RunFolder(tmp_path)) is None
    assert read_trials(RunFolder(tmp_path)) == []
    record = few_shot(tmp_path, sets(n=6) | streams())
    assert record.episodes is not None
    assert record.streams is not None
    assert record.episodes.weights is not None
    assert record.episodes.correct.mean() == pytest.approx(0.9)
    assert record.streams.correct.sum() == record.streams.correct.size - 2
    most = record.episodes.weights.argmax(2)
    np.testing.assert_array_equal(np.take_along_axis(record.episodes.support_y, most, 1), record.episodes.predicted)
    alone = few_shot(tmp_path, sets())
    assert alone.streams is None


def test_weights_of_other_slots_are_left_out(tmp_path: Path) -> None:
    record = few_shot(tmp_path, sets() | {"weights": np.ones((4, 10, 17), np.float16)})
    assert record.episodes is not None
    assert record.episodes.weights is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"predicted": None}, "it lacks 'predicted'"),
        ({"query_y": np.zeros((4, 9), int)}, "disagree"),
        ({"query_x": np.zeros((4, 10, 9, 9), np.uint8)}, "disagree"),
        ({"query_y": np.full((4, 10), 7)}, "none of 5 classes"),
        ({"support_y": np.tile([0, 1, 2, 4, 4], (4, 1))}, "has not all of 5 classes"),
        ({"weights": np.ones((4, 10))}, "its weights have the shape"),
        ({"weights": np.full((4, 10, 5), np.nan)}, "not finite"),
        ({"support_x": None}, "neither episodes nor streams"),
        ({"predicted": np.array([object()])}, "it holds no arrays"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    made = {name: part for name, part in (sets() | change).items() if part is not None}
    np.savez_compressed(tmp_path / EPISODES, **made)
    with pytest.raises(RunError, match=rf"{EPISODES} is damaged \(.*{message}.*`metarl eval"):
        read_episodes(RunFolder(tmp_path))


def test_streams_that_disagree_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"labels .* and predictions .* disagree"):
        few_shot(tmp_path, streams() | {"stream_y": np.zeros((2, 20, 5), int)})
