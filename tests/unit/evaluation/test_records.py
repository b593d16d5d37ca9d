import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_fewshot_runs import sets, streams
from report_trials import arrays, lower

from metarl.evaluation import records
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
    assert kept(tmp_path, weights=None)[0].weights is None, "without a store there are none"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"rewards": None}, "rewards"),
        ({"actions": np.zeros((2, 7))}, "disagree"),
        ({"rewards": np.zeros(12)}, "rewards"),
        ({"lengths": np.array([12, 13])}, "longer"),
        ({"lengths": np.array([12])}, "longer"),
        ({"weights": np.zeros((13, 3))}, "weights"),
    ],
)
def test_damaged_trials_are_refused(tmp_path: Path, change: dict[str, Any], named: str) -> None:
    with pytest.raises(RunError, match=f"trials.npz .*{named}"):
        kept(tmp_path, **change)


@pytest.mark.parametrize("content", [b"", b"not arrays", b"PK\x03\x04 and no more"])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "trials.npz").write_bytes(content)
    with pytest.raises(RunError, match="arrays"):
        read_trials(RunFolder(tmp_path))


def test_pickled_trials_are_not_run(tmp_path: Path) -> None:
    class Canary:
        def __reduce__(self) -> Any:
            return (Path(tmp_path / "ran").touch, ())

    with (tmp_path / "trials.npz").open("wb") as file:
        np.savez(file, rewards=np.array([Canary()], dtype=object))
    with pytest.raises(RunError, match="arrays"):
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
    ("change", "named"),
    [
        ({"predicted": None}, "predicted"),
        ({"query_y": np.zeros((4, 9), int)}, "disagree"),
        ({"query_x": np.zeros((4, 10, 9, 9), np.uint8)}, "disagree"),
        ({"query_y": np.full((4, 10), 7)}, "classes"),
        ({"support_y": np.tile([0, 1, 2, 4, 4], (4, 1))}, "classes"),
        ({"weights": np.ones((4, 10))}, "weights"),
        ({"weights": np.full((4, 10, 5), np.nan)}, "finite"),
        ({"support_x": None}, "neither"),
        ({"predicted": np.array([object()])}, "arrays"),
        (streams() | {"stream_y": np.zeros((2, 20, 5), int)}, "disagree"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, change: dict[str, Any], named: str) -> None:
    made = {name: part for name, part in (sets() | change).items() if part is not None}
    np.savez_compressed(tmp_path / EPISODES, **made)
    with pytest.raises(RunError, match=rf"{EPISODES} .*{named}"):
        read_episodes(RunFolder(tmp_path))


def header(shape: object, descr: str = "<f8") -> bytes:
    """An array's header, without the array."""
    text = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


@pytest.mark.parametrize(
    "content",
    [
        *(header(shape) for shape in ("(1000000000000,)", "(10000, 10000, 10000)", "(-1, -5)", "1", "(" * 999, "(9,)")),
        *(header((), descr) for descr in ("|O", "|V1000000000", "<U250000000", "garbage")),
        b"\x93NUMPY\x09\x00",
        b"",
    ],
    ids=range(12),
)
def test_an_array_that_claims_more_than_there_is_is_refused_unread(tmp_path: Path, content: bytes) -> None:
    with zipfile.ZipFile(tmp_path / "trials.npz", "w") as archive:
        archive.writestr("rewards.npy", content)
    with pytest.raises(RunError) as caught:
        read_trials(RunFolder(tmp_path))
    assert caught.value.key == str(tmp_path / "trials.npz")


def test_arrays_too_large_together_are_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept(tmp_path)
    monkeypatch.setattr(records, "MAX_BYTES", 1000)
    with pytest.raises(RunError) as caught:
        read_trials(RunFolder(tmp_path))
    assert caught.value.key == str(tmp_path / "trials.npz")
