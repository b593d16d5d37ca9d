"""Tables of patients: what is read, and how episodes are drawn of them and of random tables."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from metarl.config import InputError
from metarl.data.diseases import DISEASES, TABLES, Cohort, Table, cohort, cohorts
from metarl.data.random_tables import RandomTables
from metarl.data.tables import Tables, filled

MISSING = [table.package for table in TABLES if find_spec(table.package) is None]
with_apps = pytest.mark.skipif(bool(MISSING), reason=f"needs the extra apps: {MISSING}")
TOY = Table("toys", "toys", "toys.csv", "CC0", "ill", ("yes",), ("no",), ("id",), ("visit", "1"), ("weight",))


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with one table, whose code must not be run."""
    folder = tmp_path / "toys"
    (folder / "data").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise SystemExit('imported')")
    text = "id,visit,age,sex,colour,weight,ill\n1,1,50,f,red,70,yes\n2,1,NA,m,blue,0,no\n2,2,61,m,blue,9,no\n"
    (folder / "data" / "toys.csv").write_text(text + "3,1,30,f,green,80,no\n4,1,30,f,green,80,maybe\n", "utf-8-sig")
    monkeypatch.syspath_prepend(str(tmp_path))
    cohort.cache_clear()
    return folder / "data" / "toys.csv"


def made(name: str, ill: int, well: int, width: int = 3) -> Cohort:
    """A table whose numbers are those of its patients, ill ones from 100 on."""
    table = Table(name, "none", "none.csv", "CC0", "ill", ("1",), ("0",))
    x = np.r_[100 + np.arange(ill), np.arange(well)][:, None] + np.zeros(width)
    return Cohort(table, tuple("abc"[:width]), x.astype(np.float32), np.arange(ill + well) < ill)


def test_a_table_is_read_as_numbers_without_running_code(package: Path) -> None:
    read = cohort(TOY)
    assert read.features == ("visit", "age", "sex: m", "colour: blue", "colour: green", "colour: red", "weight")
    assert read.ill.tolist() == [True, False, False], "the second visit and the unclear patient are left out"
    nan = np.nan
    expected = [[1, 50, 0, 0, 0, 1, 70], [1, nan, 1, 1, 0, 0, nan], [1, 30, 0, 0, 1, 0, 80]]
    np.testing.assert_array_equal(read.x, np.array(expected, np.float32))


def test_a_missing_package_and_another_table_are_told(package: Path) -> None:
    with pytest.raises(InputError, match=r"package nowhere, which is not installed.*metarl-memory\[apps\]"):
        cohort(Table("toys", "nowhere", "toys.csv", "CC0", "ill", ("yes",), ("no",)))
    package.write_text("id,visit\n1,1\n")
    with pytest.raises(InputError, match="not the table that this version reads"):
        cohort(TOY)


@with_apps
def test_ten_diseases_are_read() -> None:
    found = cohorts()
    assert len(DISEASES) == 10
    assert [one.table for one in found] == list(TABLES)
    for one in found:
        assert one.x.shape == (len(one.ill), len(one.features))
        assert min(one.ill.sum(), (~one.ill).sum()) >= 20, "ten labelled patients of a class, and ten queries"
        assert one.table.label not in one.features
        assert np.isfinite(one.x).mean() > 0.8
        assert not np.isinf(one.x).any()
        assert (np.isfinite(one.x).sum(0) > 0).all()
    assert [one.x.shape for one in cohorts(("breast cancer",))] == [(569, 30), (699, 9)]
    assert max(one.x.shape[1] for one in found) <= RandomTables(136).shape[0]


@with_apps
def test_no_column_gives_the_diagnosis_away() -> None:
    for one in cohorts():
        for name, column in zip(one.features, one.x.T, strict=True):
            known = np.isfinite(column)
            x, ill = column[known], one.ill[known]
            for threshold in np.unique(x)[1:]:
                above = x >= threshold
                assert not np.array_equal(above, ill), (one.table, name)
                assert not np.array_equal(~above, ill), (one.table, name)


def test_episodes_are_of_one_table_with_its_classes_in_random_order() -> None:
    source = Tables([made("a", 6, 8), made("b", 9, 5, width=2)], features=4)
    assert (source.classes, source.per_class, source.shape) == (2, 5, (4,))
    drawn = source.sample(np.random.default_rng(0), 40, 2, 3, 2)
    assert drawn.support_x.shape == (40, 6, 4)
    ill = drawn.support_x[..., 0] >= 100
    assert (ill.sum(1) == 3).all()
    orders = {bool((one == label).all()) for one, label in zip(ill, drawn.support_y, strict=True)}
    assert orders == {True, False}
    widths = np.isfinite(drawn.support_x).sum(2)
    assert (widths == widths[:, :1]).all()
    assert set(widths[:, 0].tolist()) == {2, 3}
    for support, query in zip(drawn.support_x[..., 0], drawn.query_x[..., 0], strict=True):
        assert len({*support, *query}) == 10, "no patient twice"
    again = source.sample(np.random.default_rng(0), 40, 2, 3, 2)
    np.testing.assert_array_equal(again.support_x, drawn.support_x)


def test_too_much_is_refused() -> None:
    source = Tables([made("a", 6, 8)], features=3)
    with pytest.raises(InputError, match="at most 2"):
        source.sample(np.random.default_rng(0), 1, 3, 1, 1)
    with pytest.raises(InputError, match="at most 6"):
        source.sample(np.random.default_rng(0), 1, 2, 5, 2)
    with pytest.raises(InputError, match="3 or more"):
        Tables([made("a", 6, 8)], features=2)
    with pytest.raises(InputError, match="one table or more"):
        Tables([], features=2)
    with pytest.raises(InputError, match="4 or more"):
        RandomTables(3)


def test_random_tables_are_many_kinds_and_the_same_again() -> None:
    source = RandomTables(40)
    drawn = source.sample(np.random.default_rng(0), 64, 2, 4, 4)
    again = source.sample(np.random.default_rng(0), 64, 2, 4, 4)
    np.testing.assert_array_equal(drawn.query_x, again.query_x)
    assert (np.bincount(drawn.support_y[0]) == 4).all()
    known = np.isfinite(drawn.support_x)
    widths = known.any(1).sum(1)
    assert len(set(widths.tolist())) >= 3
    assert widths.max() <= 40
    assert 0.02 < 1 - known[known.any(1)[:, None].repeat(8, 1)].mean() < 0.4, "something is missing, not much"
    assert not np.isinf(drawn.support_x).any()


def test_random_tables_can_be_learned_from() -> None:
    """Beside chance, by the means of classes on columns as they are."""
    drawn = RandomTables(40).sample(np.random.default_rng(1), 300, 2, 10, 5)
    support, query = np.nan_to_num(drawn.support_x), np.nan_to_num(drawn.query_x)
    mean, spread = support.mean(1, keepdims=True), support.std(1, keepdims=True) + 1e-6
    support, query = (np.clip((x - mean) / spread, -3, 3) for x in (support, query))
    means = np.stack([(support * (drawn.support_y == c)[..., None]).sum(1) / 10 for c in (0, 1)], 1)
    near = np.square(query[:, :, None] - means[:, None]).sum(-1).argmin(-1)
    assert 0.6 < (near == drawn.query_y).mean() < 0.9


def test_rows_are_filled_up() -> None:
    np.testing.assert_array_equal(filled(np.ones((1, 2), np.float32), 3), [[1, 1, np.nan]])
