"""``metarl`` in processes of its own that kill themselves at a point, or are killed; and what they leave behind."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from metarl.runs.folder import RunFolder
from metarl.training.checkpoint import read_checkpoint

DIE = "os.kill(os.getpid(), signal.SIGKILL)"
IN_SAVES = """
import zipfile
points, own = [], os.getpid()
def point(before=True):
    if os.getpid() == own:
        points.append(before)
        if len(points) == {number}: {happen}
def counted(owner, name, before):
    real = getattr(owner, name)
    def call(*given, **options):
        if before: point()
        result = real(*given, **options)
        if not before: point()
        return result
    setattr(owner, name, call)
counted(os, "fsync", True)
counted(os, "replace", True)
counted(zipfile.ZipFile, "writestr", False)
import atexit
atexit.register(lambda: print("points", len(points), file=sys.stderr))
"""
"""Something happens at a point inside a save: before a file is flushed or replaced, or between members of a zip."""


def process(*arguments: str | Path, before: str = "") -> subprocess.Popen[str]:
    """``metarl`` with ``arguments``, after some code, in a session of its own."""
    code = f"import os, signal, sys\n{before}\nfrom metarl.cli.main import main\nsys.exit(main(sys.argv[1:]))"
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )


def metarl(*arguments: str | Path, before: str = "") -> tuple[int, str, str]:
    """The status, output and errors of a process."""
    started = process(*arguments, before=before)
    out, err = started.communicate(timeout=300)
    return started.returncode, out, err


def members(leader: int) -> list[int]:
    """The processes that belong to the session of ``leader``, zombies left out."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has just ended
            state, _, _, owner = stat.read_text().rpartition(") ")[2].split()[:4]
            if int(owner) == leader and state != "Z":
                found.append(int(stat.parent.name))
    return found


def left(leader: int, seconds: float = 60.0) -> list[int]:
    """The processes of a session that don't end within so many seconds."""
    end = time.monotonic() + seconds
    while (found := members(leader)) and time.monotonic() < end:
        time.sleep(0.05)
    return found


def outcome(folder: RunFolder) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The weights and records, and the metrics without times."""
    rows = [{k: v for k, v in row.items() if not k.startswith("time")} for row in folder.metrics()]
    groups = read_checkpoint(folder.checkpoint)[1]
    kept = {f"{group}.{k}": v for group in ("policy", "optimizer", "model") for k, v in groups.get(group, {}).items()}
    for name in ("trials.npz", "episodes.npz"):
        if (folder.path / name).exists():
            with np.load(folder.path / name) as arrays:
                kept |= {f"{name}.{key}": torch.as_tensor(arrays[key]) for key in arrays.files}
    return kept, rows


def differences(one: RunFolder, other: RunFolder) -> list[str]:
    """What two runs differ in, of weights, records, metrics and evaluation; times don't count."""
    (weights, rows), (expected, expected_rows) = outcome(one), outcome(other)
    names = weights.keys() ^ expected.keys()
    names |= {k for k in weights.keys() & expected.keys() if not same(weights[k], expected[k])}
    names |= {"metrics.jsonl"} if rows != expected_rows else set()
    return sorted(names | ({"evaluation.json"} if untimed(one.evaluation) != untimed(other.evaluation) else set()))


def same(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two arrays ``[...]`` are equal; a NaN is equal to a NaN."""
    return one.shape == other.shape and torch.equal(one.nan_to_num(nan=0.5), other.nan_to_num(nan=0.5))


def untimed(path: Path) -> Any:
    """What a file of JSON holds, without seconds."""

    def without(data: Any) -> Any:
        if isinstance(data, dict):
            return {k: without(v) for k, v in data.items() if "seconds" not in k}
        return [without(one) for one in data] if isinstance(data, list) else data

    return without(json.loads(path.read_text()))
