import pytest

from metarl.functional import cosine, linear


def test_schedules_go_from_start_to_end_and_no_further() -> None:
    assert [linear(1.0, 0.2, p) for p in (-1.0, 0.0, 0.5, 1.0, 2.0)] == pytest.approx([1.0, 1.0, 0.6, 0.2, 0.2])
    assert [cosine(1.0, 0.2, p) for p in (0.0, 0.25, 0.5, 1.0, 2.0)] == pytest.approx([1.0, 0.8828427, 0.6, 0.2, 0.2])
