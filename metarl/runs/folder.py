"""The run folder: everything that one run leaves behind, made once and never overwritten.

::

    config.json    the options, nested, as given      metrics.jsonl   one line for each logged step
    meta.json      versions, commit, command line     checkpoint.zip  the trained agent
    status.json    running, finished, interrupted or failed           manifest.json   checksums of all but the status
    checkpoints/   the state of training at its last two checkpoints, from which it is resumed
    figures/       pictures

No environment variable is ever written, and values on the command line that look like secrets are removed.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, get_args

from metarl.config import InputError, build, choice
from metarl.files import MANIFEST, read_json, remove_left, write_json
from metarl.runs import manifest
from metarl.runs.entries import located
from metarl.runs.provenance import Provenance, describe_run, now
from metarl.runs.rows import Row, read_rows
from metarl.runs.status import Status, check_status

A_RUN = "a folder made by `metarl train`, with config.json, metrics.jsonl and checkpoint.zip"


class RunError(InputError):
    """A run folder that is missing, damaged, or no run."""


@dataclass(frozen=True)
class RunFolder:
    """A folder of one run; make it with :meth:`create` or :meth:`create_at`, find it again with :meth:`open`."""

    path: Path

    @classmethod
    def create(cls, root: str | Path, name: str, *, seed: int) -> RunFolder:
        """Make ``root/NAME-YYYYmmdd-HHMMSS-sSEED``, with ``-2``, ``-3``, ... behind it where that exists.

        Args:
            root: where runs are kept; made where it is missing.
            name: the beginning of the folder's name, such as the preset.
            seed: of the training.

        Raises:
            RunError: ``name`` is empty or a path.
            OSError: the folder can't be made.
        """
        if not name or Path(name).name != name:
            raise RunError(key="the name of a run", given=name, expected="one without slashes")
        stem = f"{name}-{datetime.now():%Y%m%d-%H%M%S}-s{seed}"
        number = 1
        while True:
            path = Path(root) / (stem if number == 1 else f"{stem}-{number}")
            with suppress(FileExistsError):  # another process was first
                path.mkdir(parents=True)
                return cls(path)
            number += 1

    @classmethod
    def create_at(cls, path: str | Path) -> RunFolder:
        """Make the folder ``path``, or take it where it is empty, or a run was killed there before it had begun.

        Raises:
            FileExistsError: something is there already; nothing is touched.
        """
        path = Path(path)
        if path.exists() and not (path.is_dir() and (_unbegun(path) or not any(path.iterdir()))):
            raise FileExistsError(f"{path} exists and is not empty; choose another folder or remove it first")
        path.mkdir(parents=True, exist_ok=True)
        return cls(path)

    @classmethod
    def open(cls, path: str | Path) -> RunFolder:
        """Find a run again, or an entry of the zoo: ``zoo:NAME``.

        Raises:
            RunError: there is no such folder, it holds no run, its config.json or meta.json is damaged, or a file of it
                was changed after it was written.
        """
        try:
            folder = cls(located(path))
        except InputError as error:
            raise RunError.of(error) from None
        if not folder.path.is_dir():
            raise RunError(f"there is no folder {path}", key=str(path), expected=A_RUN)
        if not (folder.path / "config.json").is_file():
            if _unbegun(folder.path):
                remedy = f"start it anew as at first; --out {path} takes the same folder"
                problem = f"the run in {path} was cut off before it had begun: it has no config.json"
                raise RunError(problem, key=str(path), expected=A_RUN, remedy=remedy)
            raise RunError(f"{path} is not a run folder: it has no config.json", key=str(path), expected=A_RUN)
        _ = folder.config
        try:
            manifest.verify(folder.path, finished=folder._finished)
        except InputError as error:
            raise RunError.of(error) from None
        if (folder.path / "meta.json").exists():
            _ = folder.meta
        return folder

    def start(self, config: Mapping[str, Any], argv: Sequence[str] | None = None) -> None:
        """Write meta.json, the status "running", and config.json.

        Args:
            config: the options, nested, as plain data.
            argv: the command line; by default this process's.

        Raises:
            RunError: there is a run in the folder; nothing is written.
        """
        if (self.path / "config.json").exists():
            raise RunError(f"there is a run in {self.path} already", key=str(self.path), remedy="use another folder")
        manifest.begin(self.path)
        remove_left(self.path.glob(".*.tmp"))
        write_json(self.path / "meta.json", asdict(describe_run(sys.argv if argv is None else argv)))
        self.set_status("running")
        write_json(self.path / "config.json", config)  # last: with it, the folder is a run

    def go_on(self, argv: Sequence[str] | None = None) -> None:
        """Add a process that resumes the run to meta.json, and remove the temporary files that dead ones left."""
        meta, again = self.meta, describe_run(sys.argv if argv is None else argv)
        write_json(self.path / "meta.json", asdict(replace(meta, resumed=(*meta.resumed, again))))
        remove_left(self.path.rglob(".*.tmp"))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Within, no other process can train in this folder; the system ends that with the process.

        Raises:
            RunError: another process does.
        """
        try:
            import fcntl
        except ImportError:  # Windows has none
            yield
            return
        folder = os.open(self.path, os.O_RDONLY)
        try:
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                remedy = "wait for it, or use another folder"
                raise RunError(f"another process trains in {self.path}", key=str(self.path), remedy=remedy) from None
            except OSError:  # a file system without locks
                pass
            yield
        finally:
            os.close(folder)

    @property
    def held(self) -> bool:
        """Whether a process trains in this folder now; False where the system can't tell."""
        try:
            with self._shared():
                return False
        except BlockingIOError:
            return True
        except (ImportError, OSError):  # Windows, or a file system without locks
            return False

    @contextmanager
    def _shared(self) -> Iterator[None]:
        import fcntl

        folder = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_SH | fcntl.LOCK_NB)
            yield
        finally:
            os.close(folder)

    def set_status(self, status: Status, **details: Any) -> None:
        """Write status.json: the status, when it began, and any further plain ``details``."""
        choice(status, get_args(Status), "the status of a run")
        path, told = self.path / "status.json", {"status": status, "since": now(), **details}
        running = status == "running"
        try:
            if not running:
                manifest.seal(self.path, running=False)
            write_json(path, told)
            if running:  # only now, since the metrics of a finished run have a checksum at every moment
                manifest.seal(self.path, running=True)
        except OSError:  # on a full disk the old file's own place is left
            with path.open("r+", encoding="utf-8") as file:
                file.write(json.dumps(told) + "\n")
                file.truncate()

    @property
    def _finished(self) -> bool:
        try:
            return self.status["status"] == "finished"
        except RunError:  # it was cut off before, or the status is damaged
            return False

    @property
    def config(self) -> dict[str, Any]:
        """The options, nested, as given to :meth:`start`."""
        return self._read("config.json")

    @property
    def fingerprint(self) -> str:
        """A hash of config.json: a checkpoint belongs to that file alone."""
        return sha256((self.path / "config.json").read_bytes()).hexdigest()

    @property
    def meta(self) -> Provenance:
        """Versions, commit, command line, machine and start time."""
        data = self._read("meta.json")
        try:
            return build(Provenance, data, f"{self.path / 'meta.json'} is damaged")
        except InputError as error:
            raise RunError.of(error) from None

    @property
    def status(self) -> dict[str, Any]:
        """The last status set; a run that was killed still says ``running``."""
        data = self._read("status.json")
        try:
            check_status(data, f"{self.path / 'status.json'} is damaged")
        except InputError as error:
            raise RunError.of(error) from None
        return data

    @property
    def is_entry(self) -> bool:
        """Whether it is an entry of the zoo: a model with its card, to use and not to go on with."""
        return (self.path / manifest.CARD).exists()

    @property
    def checkpoint(self) -> Path:
        """Where the trained agent is saved."""
        return self.path / "checkpoint.zip"

    @property
    def checkpoints(self) -> list[Path]:
        """The states of training that were saved, oldest first."""
        found = (self.path / "checkpoints").glob("*.zip")
        return sorted((path for path in found if path.stem.isdecimal()), key=lambda path: int(path.stem))

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

    @property
    def film(self) -> Path:
        """The animation of a test trial, where there is one."""
        return self.figures / "trial.gif"

    def metrics(self) -> list[Row]:
        """The rows of metrics.jsonl, oldest first; a last line cut short by a crash is left out.

        Raises:
            RunError: a line before the last is damaged.
        """
        path = self.path / "metrics.jsonl"
        lines = path.read_bytes().split(b"\n") if path.is_file() else [b""]
        rows = []
        for number, row in enumerate(read_rows(lines[:-1]), start=1):  # what follows the last newline is unfinished
            if isinstance(row, ValueError):
                problem = f"{path} is damaged at line {number}: {row}"
                raise RunError(problem, key=str(path), expected="one JSON object of numbers a line")
            rows.append(row)
        return rows

    def _read(self, name: str) -> dict[str, Any]:
        path = self.path / name
        try:
            return read_json(path)
        except FileNotFoundError:
            problem = f"the run {self.path} has no {name}"
            raise RunError(problem, key=str(path), remedy="it didn't start properly, so train again") from None
        except InputError as error:
            raise RunError.of(error) from None


def _unbegun(path: Path) -> bool:
    """Whether there is nothing in a folder but what :meth:`RunFolder.start` writes before config.json."""
    own = (MANIFEST, "meta.json", "status.json")
    names = [found.name for found in path.iterdir()]
    return bool(names) and all(
        name in own or (name.startswith(tuple(f".{one}." for one in (*own, "config.json"))) and name.endswith(".tmp"))
        for name in names
    )
