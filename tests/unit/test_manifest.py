"""The checksums of a run folder: every change of a kept file is named, and a crash at any instant is none."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from metarl import files
from metarl.config import InputError
from metarl.files import MANIFEST, write_json, write_text
from metarl.runs.folder import RunError, RunFolder

NAMES = ("config.json", "meta.json", "evaluation.json", "metrics.jsonl", "checkpoint.zip", "trials.npz")


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    run = RunFolder.create_at(tmp_path / "run")
    run.start({"seed": 1, "arms": 7}, argv=["metarl"])
    (run.path / "metrics.jsonl").write_text('{"env_steps": 1}\n')
    write_text(run.checkpoint, "weights 1")
    run.set_status("finished")
    write_json(run.evaluation, {"mean": 1})
    write_text(run.path / "trials.npz", "arrays 1")
    return run


@pytest.mark.parametrize("name", NAMES)
def test_one_changed_digit_is_named(run: RunFolder, name: str) -> None:
    RunFolder.open(run.path)
    path = run.path / name
    kept = path.read_bytes()
    place = next(i for i, byte in enumerate(kept) if chr(byte).isdigit())
    path.write_bytes(kept[:place] + (b"8" if kept[place : place + 1] == b"9" else b"9") + kept[place + 1 :])
    with pytest.raises(RunError) as caught:
        RunFolder.open(run.path)
    assert caught.value.key == str(path)
    assert MANIFEST in str(caught.value.remedy)
    (run.path / MANIFEST).unlink()  # the user's way out
    with pytest.warns(UserWarning, match=MANIFEST):
        RunFolder.open(run.path)


def test_rows_taken_away_are_named(run: RunFolder) -> None:
    (run.path / "metrics.jsonl").write_text("")
    with pytest.raises(RunError) as caught:
        RunFolder.open(run.path)
    assert caught.value.key == str(run.path / "metrics.jsonl")


@pytest.mark.parametrize("listed", [[], {}, {"config.json": 1}, {"config.json": [1]}, {"config.json": []}])
def test_a_damaged_manifest_is_named(run: RunFolder, listed: Any) -> None:
    (run.path / MANIFEST).write_text(files.json.dumps(listed))
    with pytest.raises(RunError):
        RunFolder.open(run.path)


def test_metrics_without_a_checksum_are_named_where_the_run_is_finished(run: RunFolder) -> None:
    sums = files.read_manifest(run.path) or {}
    files.write_manifest(run.path, {**sums, "metrics.jsonl": []})
    with pytest.raises(RunError) as caught:
        RunFolder.open(run.path)
    assert caught.value.key == str(run.path / "metrics.jsonl")


def test_files_may_be_missing_and_metrics_grow_while_a_run_trains(run: RunFolder) -> None:
    for name in NAMES[2:]:
        (run.path / name).unlink()
        RunFolder.open(run.path)
    run.set_status("running")
    for rows in (1, 2):
        (run.path / "metrics.jsonl").write_text('{"env_steps": 1}\n' * rows)
        assert len(RunFolder.open(run.path).metrics()) == rows


class Killed(BaseException):
    """The process ends here."""


def instants(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """With each turn, what is written ends one replaced file later."""
    replace = os.replace
    for last in range(20):
        left = [last]

        def killed(source: Any, target: Any, left: list[int] = left) -> None:
            if not left[0]:
                raise Killed
            left[0] -= 1
            replace(source, target)

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", killed)
            yield


@pytest.mark.parametrize("name", ["checkpoint.zip", "evaluation.json"])
@pytest.mark.parametrize("there", [True, False], ids=["replaced", "new"])
def test_a_crash_at_any_instant_leaves_a_run_that_opens(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch, name: str, there: bool
) -> None:
    path = run.path / name
    if not there:
        path.unlink()
    for turn, _ in enumerate(instants(monkeypatch)):
        try:
            for part in range(3):
                write_text(path, f"{turn} {part}")
            break
        except Killed:
            RunFolder.open(run.path)
    assert turn > 4
    RunFolder.open(run.path)
    assert files.read_manifest(run.path)[name] == [files.digest(path)]  # type: ignore[index]  # there is a manifest


def test_a_crash_while_the_status_is_set_leaves_a_run_that_opens(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in instants(monkeypatch):
        try:
            run.set_status("running")
            with (run.path / "metrics.jsonl").open("a") as file:
                file.write('{"env_steps": 2}\n')
            run.set_status("finished")
            break
        except Killed:
            RunFolder.open(run.path)
    RunFolder.open(run.path)


@pytest.mark.parametrize("name", ["checkpoint.zip", "evaluation.json", MANIFEST])
def test_nothing_else_is_written_over_a_file_of_a_run(run: RunFolder, name: str) -> None:
    with pytest.raises(InputError) as caught:
        files.check_target(run.path / name, "--save")
    assert caught.value.key == "--save"
    assert files.check_target(run.path / "memory.zip", "--save") == run.path / "memory.zip"
    RunFolder.open(run.path)


def test_a_manifest_of_something_else_protects_nothing(tmp_path: Path) -> None:
    write_json(tmp_path / MANIFEST, {"icons": "two", "checkpoint.zip": {}})
    assert files.check_target(tmp_path / "checkpoint.zip", "--save")
