"""The wheel: one top-level name, and everything below it."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
SOURCES = ("metarl", "envs", "agents")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Built from a copy, so that nothing is left behind in the sources."""
    if importlib.util.find_spec("setuptools") is None:
        pytest.skip("setuptools is not installed, so no wheel can be built without the network")
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q", "-w", str(out), "."]
    run = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    (built,) = out.iterdir()
    return zipfile.ZipFile(built)


def test_one_name_and_its_metadata(wheel: zipfile.ZipFile) -> None:
    top = {name.partition("/")[0] for name in wheel.namelist()}
    assert {name for name in top if not name.endswith(".dist-info")} == {"metarl"}
    (info,) = top - {"metarl"}
    assert info.startswith("metarl_memory-")
    assert "metarl = metarl.cli:main" in wheel.read(f"{info}/entry_points.txt").decode()
    assert any(name.endswith("LICENSE") for name in wheel.namelist())


def test_everything_is_in_it(wheel: zipfile.ZipFile) -> None:
    expected = set()
    for top in SOURCES:
        for path in (ROOT / top).rglob("*"):
            if path.suffix in (".py", ".toml") or path.name == "py.typed":
                place = path.relative_to(ROOT).as_posix()
                expected.add(place if top == "metarl" else f"metarl/{place}")
    held = {name for name in wheel.namelist() if name.startswith("metarl/")}
    assert held == expected
    assert {"metarl/envs/table.py", "metarl/agents/rl2.py", "metarl/agents/baselines/gittins.py"} <= held
    assert any(name.startswith("metarl/presets/") and name.endswith(".toml") for name in held)
