from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from metarl.agents.baselines import gittins
from metarl.agents.baselines.gittins import GittinsTable, gittins_table
from metarl.files import cache_folder
from metarl.types import Floats

HORIZON = 60


def states(left: int, horizon: int = HORIZON) -> list[tuple[int, int]]:
    return [(s, pulls - s) for pulls in range(horizon - left + 1) for s in range(pulls + 1)]


def index(s: int, f: int, left: int, horizon: int = HORIZON) -> float:
    return float(gittins_table(horizon).index(np.array(s), np.array(f), np.array(left)))


def bisected(s: int, f: int, left: int) -> float:
    """The index by its definition: the smallest sure reward for which retiring at once is best."""

    def pulling_gains(x: float) -> bool:
        @cache
        def value(a: int, b: int, m: int) -> float:
            return max(m * x, pull(a, b, m)) if m else 0.0

        def pull(a: int, b: int, m: int) -> float:
            p = (1 + a) / (2 + a + b)
            return p * (1 + value(a + 1, b, m - 1)) + (1 - p) * value(a, b + 1, m - 1)

        return pull(s, f, left) > left * x

    low, high = 0.0, 1.0
    while high - low > 1e-6:
        middle = (low + high) / 2
        low, high = (middle, high) if pulling_gains(middle) else (low, middle)
    return low


@pytest.mark.parametrize(
    ("s", "f", "left"), [(0, 0, 60), (0, 0, 2), (0, 5, 40), (5, 0, 40), (3, 3, 20), (0, 30, 30), (30, 0, 30), (9, 2, 8)]
)
def test_agrees_with_bisection(s: int, f: int, left: int) -> None:
    assert index(s, f, left) == pytest.approx(bisected(s, f, left), abs=1e-3)


@pytest.mark.parametrize("left", [1, 2, 7, 30, 59, 60])
def test_lies_between_the_mean_and_one_and_is_the_mean_for_the_last_pull(left: int) -> None:
    for s, f in states(left):
        mean = (1 + s) / (2 + s + f)
        assert mean - 1e-6 <= index(s, f, left) <= 1
        assert left > 1 or index(s, f, left) == pytest.approx(mean, abs=1e-5)


@pytest.mark.parametrize("left", [2, 7, 30])
def test_rises_with_success_and_falls_with_failure(left: int) -> None:
    for s, f in states(left + 1):
        assert index(s + 1, f, left) > index(s, f, left) > index(s, f + 1, left)


def test_rises_with_the_pulls_left_and_not_with_the_horizon() -> None:
    for s, f in [(0, 0), (2, 1), (0, 4), (10, 10)]:
        by_left = [index(s, f, left) for left in range(1, HORIZON - s - f + 1)]
        assert (np.diff(by_left) > -1e-4).all()
        assert by_left[-1] > by_left[0] + 0.01
    assert index(1, 2, 7, horizon=10) == index(1, 2, 7)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("METARL_CACHE", str(tmp_path / "deep" / "cache"))
    return tmp_path / "deep" / "cache"


def places(table: GittinsTable) -> list[int]:
    """Where the index of every state lies whose number left is kept."""
    numbered = replace(table, values=np.arange(len(table.values), dtype=np.float64))
    return [
        int(numbered.index(np.array(s), np.array(f), np.array(left)))
        for left in table.kept
        for s, f in states(int(left), table.horizon)
    ]


def test_holds_every_state_once_and_compactly() -> None:
    table = gittins_table(HORIZON)
    assert places(table) == list(range(HORIZON * (HORIZON + 1) * (HORIZON + 2) // 6))
    assert (table.values.shape, table.values.dtype) == ((len(places(table)),), np.float32)


@pytest.fixture
def thin(folder: Path, monkeypatch: pytest.MonkeyPatch) -> GittinsTable:
    """Made as those of long horizons are, once the complete one is known."""
    gittins_table(120)
    monkeypatch.setattr(gittins, "COMPLETE", 10)
    table = gittins_table.__wrapped__(120)
    assert isinstance(table, GittinsTable)
    return table


def test_with_few_numbers_left_an_index_is_interpolated_between_its_neighbours(thin: GittinsTable) -> None:
    whole = gittins_table(120)
    assert len(thin.kept) < 120 / 2
    assert len(thin.values) < 0.7 * len(whole.values)
    assert {1, 2, 16, 120} <= set(thin.kept)
    worst = 0.0
    for left in range(1, 121):
        s, f = np.array(states(left, 120)).T
        near, exact = (table.index(s, f, np.array(left)) for table in (thin, whole))
        worst = max(worst, float(np.abs(near - exact).max()))
        if left in thin.kept:
            assert (near == exact).all()
            continue
        steps = thin.kept[np.searchsorted(thin.kept, left) - 1 :][:2]
        known = [i for i, at in enumerate(s + f) if at + steps[1] <= 120]  # the complete table has both neighbours
        low, high = (whole.index(s[known], f[known], step) for step in steps)
        assert (np.abs(near - exact)[known] <= high - low + 1e-5).all()
    assert 0 < worst < 5e-4


def test_indices_of_many_states_at_once(thin: GittinsTable) -> None:
    s, f, left = np.array([[3, 0], [9, 40]]), np.array([[1, 0], [9, 2]]), np.array([[100], [61]])
    many = thin.index(s, f, left)
    for row, column in np.ndindex(2, 2):
        assert many[row, column] == thin.index(s[row, column], f[row, column], left[row, 0])


@pytest.mark.parametrize("horizon", [2, 17, 501, 1000])
def test_sparse_numbers_rise_to_the_horizon(horizon: int) -> None:
    kept = gittins._sparse(horizon)
    assert (kept[0], kept[-1]) == (1, horizon)
    assert (np.diff(kept) > 0).all()
    assert (np.diff(kept) <= np.maximum(1, 0.1 * kept[:-1])).all()


@pytest.mark.parametrize("horizon", [0, -3, gittins.LONGEST + 1])
def test_refuses_other_horizons(horizon: int) -> None:
    with pytest.raises(ValueError, match=f"horizon of {horizon} pulls: it must lie between 1 and 1000"):
        gittins_table(horizon)


def fresh(horizon: int) -> Floats:
    """The table as a new process would get it."""
    return gittins_table.__wrapped__(horizon).values


def test_is_kept_on_disk(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values = fresh(12)
    assert [path.name for path in folder.iterdir()] == ["gittins-12-v1.npy"]
    monkeypatch.setattr(gittins, "_solve", lambda horizon, kept: pytest.fail("solved again"))
    again = fresh(12)
    assert (again == values).all()
    assert not again.flags.writeable


DAMAGES: dict[str, Callable[[bytes, Floats], bytes | Floats]] = {
    "empty": lambda intact, values: b"",
    "cut": lambda intact, values: intact[:-10],
    "text": lambda intact, values: b"not an array",
    "header": lambda intact, values: intact.replace(b"(364,)", b"((64,)"),
    "other shape": lambda intact, values: values[:-1],
    "not finite": lambda intact, values: values * np.float32(np.nan),
    "pickle": lambda intact, values: np.array([{}] * 364),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_built_again(folder: Path, damage: str) -> None:
    values = fresh(12)
    file = folder / "gittins-12-v1.npy"
    intact = file.read_bytes()
    damaged = DAMAGES[damage](intact, values)
    if isinstance(damaged, bytes):
        file.write_bytes(damaged)
    else:
        np.save(file, damaged, allow_pickle=True)
    assert file.read_bytes() != intact
    assert (fresh(12) == values).all()
    assert file.read_bytes() == intact


def test_a_cache_that_cannot_be_written_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("METARL_CACHE", str(tmp_path / "file" / "cache"))
    assert (fresh(12) == gittins_table(12).values).all()
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("METARL_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"
    monkeypatch.setenv("METARL_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "metarl"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "home" / ".cache" / "metarl"
