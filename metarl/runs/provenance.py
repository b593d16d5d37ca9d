"""Where a result came from: versions, commit, command line (without secrets), machine and time."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import metadata
from pathlib import Path

from metarl.files import readable
from metarl.types import Size

PACKAGES = ("torch", "numpy", "gymnasium", "stable_baselines3", "wandb", "safetensors")
DISTRIBUTION = "metarl-memory"
REMOVED = "<removed>"

# "key" alone is no secret on the command line: memories have keys.
_SECRET_OPTION = re.compile(r"(api|access|private)[-_]?key|token$|secret|passw|credential", re.IGNORECASE)
_SECRET_VARIABLE = re.compile(r"key|token|secret|passw|credential", re.IGNORECASE)
_SECRET_VALUE = re.compile(r"(?=[A-Za-z]*\d)(?=\d*[A-Za-z])[A-Za-z0-9]{32,}|wandb_v\d+_\w+|://[^/\s]*@")


@dataclass(frozen=True)
class Commit:
    """A commit of the source code; printed short, with ``+dirty`` where the code differed from it.

    Args:
        commit: the full hash.
        dirty: whether files of the checkout differ from the commit.
    """

    commit: str
    dirty: bool

    def __str__(self) -> str:
        return self.commit[:7] + "+dirty" * self.dirty


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where a result came from: what ``meta.json`` holds.

    Args:
        versions: of packages; None of one that is not installed.
        git: the commit of the checkout; None where there is none.
        command: the command line, program first, without secrets.
        platform: the machine and its system.
        cpus: how many it has; None where it doesn't say.
        started: when, in ISO 8601.
        resumed: the same of each process that resumed the run.

    Raises:
        ValueError: ``started`` is no time.
    """

    versions: dict[str, str | None]
    git: Commit | None = None
    command: tuple[str, ...]
    platform: str
    cpus: Size | None = None
    started: str
    resumed: tuple[Provenance, ...] = ()

    def __post_init__(self) -> None:
        datetime.fromisoformat(self.started)


def commit(root: str | Path | None = None, exclude: Sequence[str] = ()) -> Commit | None:
    """The commit of a checkout; None where there is none (an installed package), or where git fails.

    Args:
        root: the folder with ``.git`` in it; by default, the one that this package lies in.
        exclude: paths below ``root`` whose changes don't count.
    """
    root = Path(__file__).resolve().parents[2] if root is None else Path(root)
    if not (root / ".git").exists():  # never the repository that happens to lie around an installed package
        return None
    state = ["status", "--porcelain", "--", ".", *(f":(exclude){path}" for path in exclude)]
    try:
        head, changes = (
            subprocess.run(
                ["git", "--no-optional-locks", "-C", str(root), *command],
                capture_output=True,
                text=True,
                check=True,
                timeout=10,
            ).stdout.strip()
            for command in (["rev-parse", "HEAD"], state)
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return Commit(head, bool(changes))


def describe_run(argv: Sequence[str]) -> Provenance:
    """Versions, commit, command line, machine and start time.

    Args:
        argv: the command line, program first; of the program only the name is kept, of secrets nothing.
    """
    return Provenance(
        versions=versions(),
        git=commit(),
        command=tuple(
            readable(Path(arg).name if index == 0 else arg) for index, arg in enumerate(without_secrets(argv))
        ),
        platform=platform.platform(),
        cpus=os.cpu_count(),
        started=now(),
    )


def versions() -> dict[str, str | None]:
    """The versions of metarl, Python and the packages that results depend on; None for one that is not installed."""

    def version(distribution: str) -> str | None:
        try:
            return metadata.version(distribution)
        except metadata.PackageNotFoundError:
            return None

    own = {"metarl": version(DISTRIBUTION), "python": platform.python_version()}
    return own | {name: version(name) for name in PACKAGES}


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


def now() -> str:
    """The local time with its zone, to the second, in ISO 8601."""
    return datetime.now().astimezone().isoformat(timespec="seconds")
