"""The arithmetic of the cost model."""

import pytest
from cost_model import Link, moved, talking, ways

LINK = Link("toy", 1.0, 100.0)


def test_a_ring_of_twice_as_many_waits_twice_as_often() -> None:
    assert [ways("all_reduce", 1000, p) for p in (1, 2, 3, 5)] == [0, 4, 8, 16]
    assert [ways("all_gather", 24, p) for p in (1, 2, 3, 5)] == [0, 2, 4, 8]
    assert moved("all_reduce", 100, 2) == 100
    assert moved("all_reduce", 100, 1000) == pytest.approx(199.8), "bytes hardly grow with the processes"


def test_calls_add_up() -> None:
    calls = {"all_reduce 100": 2.0, "all_gather 10": 3.0}
    assert talking(calls, 1, LINK) == 0
    assert talking(calls, 2, LINK) == pytest.approx(2 * (4 + 1) + 3 * (2 + 0.1))
