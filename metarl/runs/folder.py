"""The run folder: everything that one run leaves behind, made once and never overwritten.

::

    config.json    the options, nested, as given      metrics.jsonl   one line for each logged step
    meta.json      versions, commit, command line     checkpoint.zip  the trained agent
    status.json    running, finished, interrupted or failed           figures/  pictures

No environment variable is ever written, and values on the command line that look like secrets are removed.
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Literal, get_args

Status = Literal["running", "finished", "interrupted", "failed"]

PACKAGES = ("torch", "numpy", "gymnasium", "stable_baselines3", "wandb", "safetensors")
DISTRIBUTION = "metarl-memory"
REMOVED = "<removed>"

# "key" alone is no secret on the command line: memories have keys.
_SECRET_OPTION = re.compile(r"(api|access|private)[-_]?key|token$|secret|passw|credential", re.IGNORECASE)
_SECRET_VARIABLE = re.compile(r"key|token|secret|passw|credential", re.IGNORECASE)
_SECRET_VALUE = re.compile(r"(?=[A-Za-z]*\d)(?=\d*[A-Za-z])[A-Za-z0-9]{32,}|wandb_v\d+_\w+|://[^/\s]*@")


class RunError(ValueError):
    """A run folder that is missing, damaged, or none at all; the message is one line."""


@dataclass(frozen=True)
class RunFolder:
    """A folder of one run; make it with :meth:`create` or :meth:`create_at`, find it again with :meth:`open`."""

    path: Path

    @classmethod
    def create(cls, root: str | Path, name: str, *, seed: int) -> RunFolder:
        """Make ``root/NAME-YYYYmmdd-HHMMSS-sSEED``, with ``-2``, ``-3``, ... behind it where that exists."""
        if not name or Path(name).name != name:
            raise ValueError(f"the name of a run is {name!r}, expected one without slashes")
        stem = f"{name}-{datetime.now():%Y%m%d-%H%M%S}-s{seed}"
        number = 1
        while True:
            path = Path(root) / (stem if number == 1 else f"{stem}-{number}")
            try:
                path.mkdir(parents=True)  # fails where another process was first
            except FileExistsError:
                number += 1
            else:
                return cls(path)

    @classmethod
    def create_at(cls, path: str | Path) -> RunFolder:
        """Make the folder ``path``, or take it where it exists and is empty.

        Raises:
            FileExistsError: something is there already; nothing is touched.
        """
        path = Path(path)
        if path.exists() and not (path.is_dir() and not any(path.iterdir())):
            raise FileExistsError(f"{path} exists and is not empty; choose another folder or remove it first")
        path.mkdir(parents=True, exist_ok=True)
        return cls(path)

    @classmethod
    def open(cls, path: str | Path) -> RunFolder:
        """Find a run again.

        Raises:
            RunError: there is no such folder, it holds no run, or its config.json is damaged.
        """
        folder = cls(Path(path))
        what = "a run folder is made by `metarl train` and holds config.json, metrics.jsonl and checkpoint.zip"
        if not folder.path.is_dir():
            raise RunError(f"there is no folder {path}; {what}")
        if not (folder.path / "config.json").is_file():
            raise RunError(f"{path} is not a run folder: it has no config.json; {what}")
        _ = folder.config
        return folder

    def start(self, config: Mapping[str, Any], argv: Sequence[str] | None = None) -> None:
        """Write config.json, meta.json (``argv`` is the command line, by default this process's) and the status."""
        write_json_atomic(self.path / "meta.json", describe_run(sys.argv if argv is None else argv))
        self.set_status("running")
        write_json_atomic(self.path / "config.json", config)  # last: with it, the folder is a run

    def set_status(self, status: Status, **details: Any) -> None:
        """Write status.json: the status, when it began, and any further plain ``details``."""
        if status not in get_args(Status):
            raise ValueError(f"unknown status {status!r}; a run is {', '.join(get_args(Status))}")
        write_json_atomic(self.path / "status.json", {"status": status, "since": _now(), **details})

    @property
    def config(self) -> dict[str, Any]:
        """The options, nested, as given to :meth:`start`."""
        return self._read("config.json")

    @property
    def meta(self) -> dict[str, Any]:
        """Versions, commit, command line, machine and start time; see :func:`describe_run`."""
        return self._read("meta.json")

    @property
    def status(self) -> dict[str, Any]:
        """The last status set; a run that was killed still says ``running``."""
        return self._read("status.json")

    @property
    def checkpoint(self) -> Path:
        """Where the trained agent is saved."""
        return self.path / "checkpoint.zip"

    @property
    def evaluation(self) -> Path:
        """Where the evaluation on test tasks is kept."""
        return self.path / "evaluation.json"

    @property
    def figures(self) -> Path:
        """The folder of pictures; made when first asked for."""
        path = self.path / "figures"
        path.mkdir(exist_ok=True)
        return path

    def metrics(self) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl, oldest first; a last line cut short by a crash is left out.

        Raises:
            RunError: a line before the last is damaged.
        """
        path = self.path / "metrics.jsonl"
        lines = path.read_bytes().split(b"\n") if path.exists() else [b""]
        rows = []
        for number, line in enumerate(lines[:-1], start=1):  # what follows the last newline is unfinished
            try:
                rows.append(json.loads(line))
            except ValueError:
                raise RunError(f"{path} is damaged at line {number}; expected one JSON object a line") from None
        return rows

    def _read(self, name: str) -> dict[str, Any]:
        path = self.path / name
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise RunError(f"the run folder {self.path} has no {name}; it did not start properly") from None
        except ValueError as error:
            raise RunError(f"{path} is damaged: {error}; expected the JSON that `metarl train` wrote") from None
        if not isinstance(data, dict):
            raise RunError(f"{path} is damaged: it holds a {type(data).__name__}, expected a JSON object")
        return data


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A temporary path beside ``path`` to write to; it takes the place of ``path`` only if all goes well.

    So a crash at any moment leaves the old file or the new one, never half of one.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json_atomic(path: str | Path, data: Mapping[str, Any]) -> None:
    """Write ``data`` as JSON, whole or not at all; NaN and infinities, which JSON lacks, raise ValueError."""
    text = json.dumps(data, indent=2, allow_nan=False) + "\n"
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def describe_run(argv: Sequence[str]) -> dict[str, Any]:
    """What is needed to know where a result came from: versions, commit, command line, machine, time."""
    versions = {"metarl": _version(DISTRIBUTION), "python": platform.python_version()}
    return {
        "versions": versions | {name: _version(name) for name in PACKAGES},
        "git": _git(Path(__file__).resolve().parent.parent),
        "command": [Path(arg).name if index == 0 else arg for index, arg in enumerate(without_secrets(argv))],
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "started": _now(),
    }


def without_secrets(argv: Sequence[str]) -> list[str]:
    """The arguments, with values replaced that have a secret's name or looks, or are a secret of the environment."""
    secrets = [value for name, value in os.environ.items() if _SECRET_VARIABLE.search(name) and len(value) >= 8]
    kept: list[str] = []
    for arg in argv:
        name, equals, _ = arg.partition("=")
        follows = kept and kept[-1].startswith("-") and "=" not in kept[-1] and _SECRET_OPTION.search(kept[-1])
        if equals and _SECRET_OPTION.search(name):
            kept.append(f"{name}={REMOVED}")
        elif follows or _SECRET_VALUE.search(arg) or any(secret in arg for secret in secrets):
            kept.append(REMOVED)
        else:
            kept.append(arg)
    return kept


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _git(root: Path) -> dict[str, Any] | None:
    """Commit of the source checkout and whether files differ from it; None where metarl is installed without one."""
    if not (root / ".git").exists():  # never the repository that happens to lie around an installed package
        return None
    try:
        commit, changes = (
            subprocess.run(
                ["git", "--no-optional-locks", "-C", str(root), *command],
                capture_output=True,
                text=True,
                check=True,
                timeout=10,
            ).stdout.strip()
            for command in (("rev-parse", "HEAD"), ("status", "--porcelain"))
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit, "dirty": bool(changes)}


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")
