import re
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from metarl import Choice, Integers, LogUniform, Normal, Uniform
from metarl.tasks.family import splits as finite
from metarl.tasks.family.ranges import Range
from metarl.tasks.family.reading import as_range, parse_levels, parse_range, parse_vary
from metarl.types import SPLITS

TEXTS = {
    "0.3..1.0": Uniform(0.3, 1),
    "-1..5": Uniform(-1, 5),
    " 1e-3 .. .5 ": Uniform(0.001, 0.5),
    "log:1e-3..1": LogUniform(1e-3, 1),
    "normal:0,1": Normal(0, 1),
    "normal:-0.5,1e-2": Normal(-0.5, 0.01),
    "int:1..5": Integers(1, 5),
    "int:-3..0": Integers(-3, 0),
    "a,b,c": Choice(("a", "b", "c")),
    "4x4, 8x8": Choice(("4x4", "8x8")),
    "1,2,5": Choice((1, 2, 5)),
    "1,2.5,-3": Choice((1, 2.5, -3)),
    "true,false": Choice((True, False)),
}


@pytest.mark.parametrize(("text", "range_"), TEXTS.items(), ids=TEXTS)
def test_texts_are_read_and_written(text: str, range_: Range) -> None:
    assert parse_range(text) == range_
    assert as_range("x", range_.plain()) == range_
    if not isinstance(range_, Choice):
        assert parse_range(str(range_)) == range_


@pytest.mark.parametrize("range_", TEXTS.values(), ids=TEXTS)
def test_draws_lie_in_the_space_and_depend_on_the_generator_alone(range_: Range) -> None:
    draws = [range_.sample(np.random.default_rng(0), 2000) for _ in range(2)]
    assert np.array_equal(*draws)
    assert draws[0].shape == (2000,)
    assert draws[0].dtype == range_.space.dtype
    assert all(range_.space.contains(np.asarray(one)) for one in (*draws[0][:100], *range_.probes))
    assert len(set(draws[0].tolist())) == (range_.size or 2000)
    assert type(range_.value(draws[0][0])) in (int, float, bool, str)


def test_draws_have_the_distribution_that_they_are_named_after() -> None:
    rng = np.random.default_rng(0)
    n = 20_000
    uniform = Uniform(2, 4).sample(rng, n)
    assert uniform.mean() == pytest.approx(3, abs=0.02)
    logs = np.log10(LogUniform(1e-3, 1).sample(rng, n))
    assert np.histogram(logs, 3, (-3, 0))[0] == pytest.approx([n / 3] * 3, rel=0.05)
    normal = Normal(5, 0.1).sample(rng, n)
    assert (normal.mean(), normal.std()) == (pytest.approx(5, abs=0.005), pytest.approx(0.1, rel=0.03))
    assert np.bincount(Integers(1, 3).sample(rng, n)) == pytest.approx([0, n / 3, n / 3, n / 3], rel=0.05)


def test_a_choice_is_drawn_as_an_index() -> None:
    choice = Choice(("small", "large"))
    assert choice.space == spaces.Discrete(2)
    assert [choice.value(np.int64(i)) for i in choice.probes] == ["small", "large"]
    assert Choice((True, 1)).size == 2  # equal to Python, but two values
    assert Choice(([1], [2])).value(1) == [2]
    assert parse_range("True, False") == Choice((True, False))


@pytest.mark.parametrize(
    ("kind", "given", "named"),
    [
        (Uniform, (1, 1), "low < high"),
        (Uniform, (0, float("inf")), "inf"),
        (Uniform, ("0", 1), "'0'"),
        (Uniform, (True, 2), "True"),
        (LogUniform, (0, 1), "0 < low"),
        (Normal, (0, 0), "sd > 0"),
        (Integers, (1, 2.5), "high=2.5"),
        (Integers, (3, 1), "low < high"),
        (Integers, (0, 2**60), "high="),
        (Choice, (("a",),), "two values"),
        (Choice, (("a", "a"),), "twice"),
        (Choice, (([1], [1]),), "twice"),
        (Choice, ((1, 1.0),), "twice"),
        (Choice, ("ab",), "'ab'"),
    ],
)
def test_ranges_that_are_none(kind: Any, given: tuple[Any, ...], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        kind(*given)


BAD_TEXTS = [
    *("", "5", "a", "1..", "a..b", "1..2..3", "a,,b", "a,a", "a,None", "nan..1", "1..0.5", "0..1e999"),
    *("int:1..5.5", "int:1,5", "log:-1..1", "normal:1", "normal:0,-1", "gauss:0,1"),
]


@pytest.mark.parametrize("text", BAD_TEXTS)
def test_texts_that_are_no_range(text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(repr(text))):
        parse_range(text)


def test_vary_on_the_command_line() -> None:
    assert parse_vary("length=0.3..1.0") == ("length", "0.3..1.0")
    for text in ("length", "=1..2", "a b=1..2", "le-ngth=1..2", "length=3"):
        with pytest.raises(ValueError, match="cannot read"):
            parse_vary(text)
    with pytest.raises(ValueError, match="length"):
        as_range("length", 3)


def test_seeds() -> None:
    assert parse_levels("0..999") == range(1000)
    assert parse_levels("3, 7,9") == (3, 7, 9)
    assert parse_levels(np.arange(3)) == (0, 1, 2)
    texts = ["", "3..1", "a", "-1..3", "1,1", "0..99999999999"]
    for bad in (*texts, [1, 1], [-1], [0.5], [True], 3, {1: 2}, range(2_000_000)):
        with pytest.raises(ValueError, match="levels is"):
            parse_levels(bad)


@pytest.mark.parametrize("total", [20, 29, 100, 1234])
def test_members_are_parted_once_and_for_all(total: int) -> None:
    parts = [finite.members(np.arange(finite.count(total, s)), total, s).tolist() for s in SPLITS]
    assert sorted(member for part in parts for member in part) == list(range(total))
    assert [len(part) for part in parts[1:]] == [total // 10] * 2
    whole = total // 10 * 10
    for part in parts[1:]:  # one of each ten neighbours
        assert [member // 10 for member in sorted(part)] == list(range(whole // 10))


def test_parting_is_no_pattern_and_stays_as_it_is() -> None:
    test = finite.members(np.arange(1000), 10_000, "test")
    assert np.bincount(test % 10, minlength=10) == pytest.approx(np.full(10, 100), abs=35)
    assert test[:6].tolist() == [6, 11, 24, 35, 48, 58]
    assert finite.members(np.array([2**60 // 10 - 1]), 2**60, "test")[0] < 2**60
