"""The wheel: one top-level name, and everything below it."""

import importlib.util
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
SUFFIXES = (".css", ".html", ".js", ".json", ".py", ".pyi", ".toml", ".txt", ".zip")
SOURCES = ("metarl", "envs", "agents")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
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
    return built


@pytest.fixture(scope="module")
def wheel(built: Path) -> zipfile.ZipFile:
    """What is in it."""
    return zipfile.ZipFile(built)


@pytest.fixture(scope="module")
def clean(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ``bin`` of a new environment with the wheel installed; what it depends on is seen where the tests see it."""
    home = tmp_path_factory.mktemp("clean")
    venv.create(home, with_pip=False)
    (packages,) = (home / "lib").glob("python*/site-packages")
    assert not list(packages.iterdir())
    seen = [path for path in sys.path if path.endswith("-packages")]
    (packages / "dependencies.pth").write_text("\n".join(seen) + "\n")  # paths alone: no .pth file there is read
    python = home / "bin" / "python"
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-index", "--no-deps", "-q"]
    run = subprocess.run([*command, "--ignore-installed", str(built)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    names = {path.name for path in packages.iterdir()} - {"dependencies.pth", "__pycache__"}
    assert {name for name in names if not name.endswith(".dist-info")} == {"metarl"}
    return home / "bin"


def test_one_name_and_its_metadata(wheel: zipfile.ZipFile) -> None:
    top = {name.partition("/")[0] for name in wheel.namelist()}
    assert {name for name in top if not name.endswith(".dist-info")} == {"metarl"}
    (info,) = top - {"metarl"}
    assert info.startswith("metarl_memory-")
    assert "metarl = metarl.cli.main:main" in wheel.read(f"{info}/entry_points.txt").decode()
    assert any(name.endswith("LICENSE") for name in wheel.namelist())


def test_everything_is_in_it(wheel: zipfile.ZipFile) -> None:
    expected = set()
    for top in SOURCES:
        for path in (ROOT / top).rglob("*"):
            if path.suffix in SUFFIXES or path.name == "py.typed":
                place = path.relative_to(ROOT).as_posix()
                expected.add(place if top == "metarl" else f"metarl/{place}")
    held = {name for name in wheel.namelist() if name.startswith("metarl/")}
    assert held == expected
    assert {"metarl/envs/table.py", "metarl/agents/rl2.py", "metarl/agents/baselines/gittins.py"} <= held
    assert any(name.startswith("metarl/presets/") and name.endswith(".toml") for name in held)
    assert {"metarl/zoo/bandit/checkpoint.zip", "metarl/zoo/bandit/card.json"} <= held


def test_installed_it_is_imported_and_trains_from_another_folder(clean: Path, tmp_path: Path) -> None:
    where = "import metarl, metarl.envs, metarl.agents as a; print(metarl.__file__, metarl.envs.__file__, a.__file__)"
    run = subprocess.run([clean / "python", "-c", where], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert all(Path(path).is_relative_to(clean.parent) for path in run.stdout.split())
    toy = ["train.total_timesteps=400", "train.n_envs=8", "threads=1", "env.arms=3", "env.pulls=10"]
    toy += ["eval.trials=20", "eval.tuning_trials=10"]
    command = [str(clean / "metarl"), "train", "bandit", "--out", "run"]
    for setting in toy:
        command += ["--set", setting]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert "memory off" in run.stdout
    assert (tmp_path / "run" / "evaluation.json").is_file()
