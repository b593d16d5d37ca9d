"""Metrics of any length: read line by line, thinned, and what is no row left out with a count."""

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from metarl.runs.folder import RunError, RunFolder
from metarl.runs.metrics import read_metrics

NAMES: dict[str, Any] = {"means": ("a", "b"), "last": ("env_steps", "time")}


def written(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(line + "\n" for line in lines))
    return path


def test_a_short_file_is_read_as_it_is(tmp_path: Path) -> None:
    rows = [{"env_steps": 1, "a": 0.1, "c": 3}, {"env_steps": 2, "b": None, "time": 0.5}, {"a": 2, "b": None}]
    path = written(tmp_path, *map(json.dumps, rows))
    with path.open("a") as file:
        file.write('{"a": 1')  # cut short
    assert read_metrics(path, **NAMES) == [{"env_steps": 1, "a": 0.1}, {"env_steps": 2, "time": 0.5}, {"a": 2}]
    assert read_metrics(tmp_path / "none", **NAMES) == []


def test_a_long_file_is_thinned_by_means_of_neighbours(tmp_path: Path) -> None:
    every = [{"env_steps": i, "a": float(i), "time": i / 2} | ({"b": 1.0} if i == 5 else {}) for i in range(10)]
    rows = read_metrics(written(tmp_path, *map(json.dumps, every)), **NAMES, most=4)
    assert rows == [
        {"env_steps": 2, "time": 1.0, "a": 1.0},
        {"env_steps": 5, "time": 2.5, "a": 4.0, "b": 1.0},
        {"env_steps": 8, "time": 4.0, "a": 7.0},
        {"env_steps": 9, "time": 4.5, "a": 9.0},
    ]


@pytest.mark.parametrize("bad", ["[]", "1", "null", '"a"', "{", "", "[" * 100_000, '{"a": ' * 300, "\0" * 300_000])
def test_what_is_no_row_is_left_out_and_counted(tmp_path: Path, bad: str) -> None:
    left_out(tmp_path, bad)


@pytest.mark.parametrize("name", ["a", "not drawn", "time", "env_steps"])
@pytest.mark.parametrize("value", ["9" * 400, "NaN", "-Infinity", "1e999", "1e300", '"1"', "[1]", "{}", "true"])
def test_a_row_of_what_is_no_number_is_left_out_and_counted(tmp_path: Path, name: str, value: str) -> None:
    left_out(tmp_path, f'{{"b": 1, "{name}": {value}}}')


@pytest.mark.parametrize("row", ['"env_steps": 4', '"env_steps": 5.5', '"env_steps": null', '"time": 4', '"time": -1'])
def test_a_row_that_goes_back_is_left_out_and_counted(tmp_path: Path, row: str) -> None:
    path = written(tmp_path, '{"env_steps": 5, "time": 5}', f"{{{row}}}", '{"env_steps": 5, "time": 5.5}')
    with pytest.warns(UserWarning, match="1 of its 3 lines"):
        assert read_metrics(path, **NAMES) == [{"env_steps": 5, "time": 5}, {"env_steps": 5, "time": 5.5}]
    with pytest.raises(RunError, match="line 2"):
        RunFolder(tmp_path).metrics()


def left_out(tmp_path: Path, bad: str) -> None:
    path = written(tmp_path, '{"a": 1}', bad, '{"a": 2}')
    with pytest.warns(UserWarning, match="1 of its 3 lines"):
        assert read_metrics(path, **NAMES) == [{"a": 1}, {"a": 2}]


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, '{"a": 1}')
    with path.open("ab") as file:
        file.truncate(2**26)  # zeros without an end of line
    tracemalloc.start()
    with pytest.warns(UserWarning, match="damaged"):
        assert read_metrics(path, **NAMES) == [{"a": 1}]
    assert tracemalloc.get_traced_memory()[1] < 2**22
    tracemalloc.stop()


def test_a_device_is_no_file(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.symlink_to("/dev/zero")
    with pytest.raises(RunError) as error:
        read_metrics(path, **NAMES)
    assert error.value.key == str(path)
