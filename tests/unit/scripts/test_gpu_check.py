"""What can be seen of the check of a GPU on a machine without one."""

import os
import subprocess
from collections import Counter
from pathlib import Path

import gpu_check
import pytest
import torch
from gpu_check import TRACKS, Sides, check, copies

SCRIPT = Path(gpu_check.__file__).with_suffix(".sh")


def test_copies_between_the_devices_are_counted() -> None:
    names = ["Memcpy HtoD (Pageable -> Device)", "Memcpy DtoH (Device -> Pageable)", "Memcpy DtoD", "aten::copy_"]
    assert copies([*names, names[0]]) == Counter({"to the GPU": 2, "from the GPU": 1})


def test_a_gradient_that_differs_and_copies_that_grow_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recall = TRACKS["recall"]
    exact, rows = Sides.gradients, iter([1.0, 2.0])
    errors = iter([0.0, 1.0])
    monkeypatch.setattr(Sides, "gradients", lambda side, batch: exact(side, batch) + next(errors))
    monkeypatch.setattr(gpu_check, "profiled", lambda work: {"to the GPU": next(rows) * work()})
    found = list(check(recall, {**recall.settings, **recall.small}, torch.device("cpu"), tmp_path / "run"))
    assert [good for _, good in found] == [True, True, False, False]


def test_the_script_runs_the_check_as_it_is_told(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\necho "$@"\nexit "${STATUS:-0}"\n')
    python.chmod(0o755)
    told = {**os.environ, "PYTHON": str(python), "DEVICE": "cpu", "SMALL": "1"}
    done = subprocess.run([SCRIPT], env=told, capture_output=True, text=True, check=True)
    assert "scripts/gpu_check.py --device cpu --small" in done.stdout.splitlines()
    assert done.stdout.splitlines()[-1] == "all checks passed"
    failed = subprocess.run([SCRIPT], env={**told, "STATUS": "1"}, capture_output=True, text=True, check=False)
    assert failed.returncode == 1
    assert "all checks passed" not in failed.stdout
