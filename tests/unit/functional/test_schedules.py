"""Schedules, and the public face of the functions."""

from __future__ import annotations

import subprocess
import sys

import pytest

from metarl import functional
from metarl.functional import cosine, linear


def test_schedules_go_from_start_to_end_and_no_further() -> None:
    assert [linear(1.0, 0.2, p) for p in (-1.0, 0.0, 0.5, 1.0, 2.0)] == pytest.approx([1.0, 1.0, 0.6, 0.2, 0.2])
    assert [cosine(1.0, 0.2, p) for p in (0.0, 0.25, 0.5, 1.0, 2.0)] == pytest.approx([1.0, 0.8828427, 0.6, 0.2, 0.2])


def test_every_public_function_has_a_home() -> None:
    assert sorted(functional.__all__) == sorted(functional._HOMES)
    assert all(callable(getattr(functional, name)) for name in functional.__all__)
    assert set(functional.__all__) <= set(dir(functional))
    with pytest.raises(AttributeError, match="no_such"):
        functional.no_such  # noqa: B018


def test_the_face_loads_nothing_before_it_is_used() -> None:
    code = "import sys, metarl.functional; assert not {'torch', 'scipy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
