"""Commands of the command line, run in the process of the tests."""

import contextlib
import io
import json
from pathlib import Path
from typing import Any, NamedTuple

from metarl.cli.main import main


class Ran(NamedTuple):
    status: int
    out: str
    err: str


def run(*arguments: str | Path) -> Ran:
    """A command in this process."""
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as end:
            status = int(str(end.code))
    return Ran(status, out.getvalue(), err.getvalue())


NET = ["memory.key_size=12", "memory.value_size=12", "memory.controller_options.hidden_size=8", "threads=1"]
AGENT = [*NET, "train.n_envs=4", "eval.trials=20", "eval.tuning_trials=5"]  # settings of a small agent

CLASSIFIER = """
kind = "fewshot"
about = "a classifier, without distortions"
threads = 1
classifier.readout = "votes"
classifier.encoder = { width = 8, norm = "running" }
classifier.memory.access_options = { empty_slot = false }
train = { ways = 2, queries = 1 }
eval = { cells = [[2, 1]], queries = 1, episodes = 4, validation = [2, 1], validation_episodes = 2 }
fit = { updates = 2, validate_every = 1 }
"""
"""A preset of a small classifier, of whatever images."""


def settings(*assignments: str) -> list[str]:
    """Assignments as options of the command line."""
    return [word for assignment in assignments for word in ("--set", assignment)]


def files(folder: Path) -> dict[str, bytes]:
    """What lies in a folder, by its path from there."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def evaluation(*arguments: str | Path) -> dict[str, Any]:
    """What ``metarl eval --json`` prints."""
    done = run("eval", *arguments, "--json")
    assert (done.status, done.err) == (0, "")
    result = json.loads(done.out)
    assert isinstance(result, dict)
    return result
