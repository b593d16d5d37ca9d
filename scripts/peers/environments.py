"""One virtual environment for each peer, made from its list of exact versions."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LISTS = Path(__file__).parent / "requirements"
PLACE = ROOT / "build" / "peers"
PEERS = tuple(path.stem for path in sorted(LISTS.glob("*.txt")))


def install(peer: str, options: Sequence[str] = ()) -> str | None:
    """Make the environment of a peer, unless it is there with the same versions.

    Args:
        peer: one of :data:`PEERS`.
        options: of pip.

    Returns:
        Why it can't be had; None: it is there.
    """
    wanted = (LISTS / f"{peer}.txt").read_text(encoding="utf-8")
    mark = PLACE / peer / "installed.txt"
    if mark.is_file() and mark.read_text(encoding="utf-8") == wanted:
        return None
    try:
        _run(sys.executable, "-m", "venv", "--clear", PLACE / peer)
        _run(python(peer), "-m", "pip", "install", "--quiet", *options, "-r", LISTS / f"{peer}.txt")
    except subprocess.CalledProcessError as error:
        lines = [line for line in error.stdout.splitlines() if line.startswith("ERROR")] or error.stdout.splitlines()
        return lines[-1] if lines else f"{error.cmd[0]} ended with {error.returncode}"
    mark.write_text(wanted, encoding="utf-8")
    return None


def missing(peer: str) -> str | None:
    """Why a peer can't be run; None: it can."""
    return None if (PLACE / peer / "installed.txt").is_file() else f"{peer} is not installed: make peers installs it"


def python(peer: str) -> Path:
    """The interpreter of a peer's environment."""
    return PLACE / peer / "bin" / "python"


def _run(*command: str | Path) -> None:
    subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
