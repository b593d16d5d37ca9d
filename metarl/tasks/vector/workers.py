"""The rows of a family spread over worker processes, which may fail without ending the training."""

from __future__ import annotations

import pickle
import time
import warnings
from typing import Any

import numpy as np
from gymnasium.vector.utils import CloudpickleWrapper, create_empty_array

from metarl.config import InputError
from metarl.tasks.family.checks import real_number, whole_number
from metarl.tasks.family.distribution import BatchedEnv, TaskBatch, TaskDistribution
from metarl.tasks.trial.inner import describe_trial, inner_seeds
from metarl.tasks.vector.process import CLOSE_SECONDS, START_SECONDS, FailedError, StartError, WorkerProcess
from metarl.types import Array, Bools, Floats, Ints, Observations, VoidTrialWarning

NAMED_ROWS = 8  # rows of a late process that are named with task and seed


class WorkerError(RuntimeError):
    """A process of environments raised, hung or died, and training cannot go on."""


class WorkerRows(BatchedEnv):
    """``n`` inner environments of a family in ``workers`` processes, each with a ``SyncRows`` over its part.

    Gymnasium's ``AsyncVectorEnv`` has a process for each row, and ends with the first that dies or hangs.

    Tasks and seeds come from the caller's streams alone, so that what is played does not depend on the number of
    workers. A worker that raises, dies or does not answer in time is killed and replaced: its rows are
    :attr:`broken` for that step (reward 0, end of the episode, the last observation once more) and a VoidTrialWarning
    gives the child's traceback, the tasks and the seeds.

    Processes are spawned, as forking one with threads (torch's) is not safe; a script that trains must therefore guard
    its entry with ``if __name__ == "__main__":``. They start with the first :meth:`start`.

    Args:
        distribution: the family that tasks come from.
        n: number of rows.
        workers: number of processes, at most ``n``.
        timeout: seconds in which a worker must answer.
        start_timeout: seconds in which a new worker must have imported what it needs; until then nothing else counts.
        max_restarts: processes that may be replaced before :class:`WorkerError` is raised.

    Raises:
        ValueError: a bad number, or a family that cannot be sent to another process.
    """

    def __init__(
        self,
        distribution: TaskDistribution,
        n: int,
        workers: int,
        timeout: float = 60.0,
        max_restarts: int = 10,
        start_timeout: float = START_SECONDS,
    ) -> None:
        whole_number("workers", workers, at_least=1)
        whole_number("max_restarts", max_restarts, at_least=0)
        real_number("worker_timeout", timeout, above=0)
        self._start_timeout = real_number("start_timeout", start_timeout, above=0)
        if workers > n:
            raise InputError(key="workers", given=workers, expected=f"at most {n}, the number of rows")
        try:
            self._payload = pickle.dumps(CloudpickleWrapper(distribution))  # type: ignore[arg-type]  # any object will do
        except Exception as error:
            raise ValueError(
                f"{distribution.family} cannot be sent to worker processes ({error}); leave out of its options what "
                "cannot be pickled, or use workers=0"
            ) from error
        self._timeout, self._max_restarts, self._restarts = timeout, max_restarts, 0
        self._bounds = [(int(part[0]), int(part[-1]) + 1) for part in np.array_split(np.arange(n), workers)]
        self._workers: list[WorkerProcess] = []
        self._proved = False
        self._rows = np.arange(n)
        self._trials: list[tuple[TaskBatch, int]] = [({}, 0)] * n
        self._last: Any = create_empty_array(distribution.observation_space, n, fn=np.zeros)

    def start(self, tasks: TaskBatch, rng: np.random.Generator, rows: Ints | None = None) -> Observations:
        """See :meth:`metarl.tasks.family.distribution.BatchedEnv.start`.

        The rows of a worker that fails here are :attr:`broken` in the next step.

        Raises:
            WorkerError: a worker failed when it was first used, or more failed than may be replaced.
        """
        rows = self._rows if rows is None else rows
        seeds = inner_seeds(rng, len(rows))
        for j, row in enumerate(rows):
            self._trials[row] = ({name: values[j] for name, values in tasks.items()}, int(seeds[j]))
        if not self._workers:
            self._workers = [self._spawn(index) for index in range(len(self._bounds))]
        parts = {}
        for index, (first, end) in enumerate(self._bounds):
            part = np.flatnonzero((rows >= first) & (rows < end))
            if len(part):
                mine = {name: values[part] for name, values in tasks.items()}
                self._workers[index].ask("start_seeded", mine, seeds[part], rows[part] - first)
                parts[index] = rows[part]
        for index, obs in self._answers(list(parts)).items():
            self._workers[index].lost = False
            _write(self._last, parts[index], obs)
        self._proved = True
        return {k: v[rows] for k, v in self._last.items()} if isinstance(self._last, dict) else self._last[rows]

    def step(self, actions: Array, rng: np.random.Generator) -> tuple[Observations, Array, Bools]:
        """See :meth:`metarl.tasks.family.distribution.BatchedEnv.step`; each environment has its own generator.

        Raises:
            WorkerError: more workers failed than may be replaced.
        """
        at_work = [index for index, worker in enumerate(self._workers) if not worker.lost]
        for index in at_work:
            first, end = self._bounds[index]
            self._workers[index].ask("step_told", actions[first:end])
        rewards, done = np.zeros(len(self._rows)), np.ones(len(self._rows), np.bool_)
        broken = np.ones(len(self._rows), np.bool_)
        told: dict[str, Floats] = {}
        for index, (obs, got_rewards, got_done, got_told) in self._answers(at_work).items():
            rows = slice(*self._bounds[index])
            _write(self._last, rows, obs)
            rewards[rows], done[rows], broken[rows] = got_rewards, got_done, False
            for name, values in (got_told or {}).items():
                told.setdefault(name, np.full(len(self._rows), np.nan))[rows] = values
        self.told = told or None
        self.broken = broken if broken.any() else None
        return self._last, rewards, done

    def close(self) -> None:
        """End the processes; one that does not end by itself is killed."""
        for worker in self._workers:
            worker.ask(None)
        deadline = time.monotonic() + CLOSE_SECONDS
        for worker in self._workers:
            worker.end(max(0.0, deadline - time.monotonic()))
        self._workers = []

    def _spawn(self, index: int) -> WorkerProcess:
        first, end = self._bounds[index]
        return WorkerProcess(self._payload, first, end - first, self._start_timeout)

    def _answers(self, asked: list[int]) -> dict[int, Any]:
        """What the workers ``asked`` answered, without those that failed and were replaced."""
        since, out = time.monotonic(), {}
        for index in asked:
            try:
                out[index] = self._workers[index].answer(since, self._timeout)
            except FailedError as error:
                self._replace(index, error)
            except BaseException:  # Ctrl-C: what was asked is never read, so these processes are of no more use
                self.close()
                raise
        return out

    def _replace(self, index: int, error: FailedError) -> None:
        """Put a new process in the place of one that failed, with a warning."""
        self._workers[index].kill()
        first, end = self._bounds[index]
        what = f"worker {index} (rows {first} to {end - 1}) {str(error).rstrip()}"
        if not isinstance(error, StartError):
            what += f"\nit was playing\n{self._playing(index)}"
        if not self._proved or self._restarts == self._max_restarts:
            self.close()
            why = f"\nof {self._max_restarts} restarts (max_restarts) none is left" if self._proved else ""
            raise WorkerError(f"{what}{why}")
        self._restarts += 1
        self._workers[index] = self._spawn(index)
        warnings.warn(
            f"{what}\nits trials are void and new ones begin in a new process "
            f"(restart {self._restarts} of {self._max_restarts})",
            VoidTrialWarning,
            stacklevel=5,
        )

    def _playing(self, index: int) -> str:
        """The trials of a worker, a line each."""
        first, end = self._bounds[index]
        lines = [f"  row {row}: {describe_trial(*self._trials[row])}" for row in range(first, end)]
        rest = [f"  and {len(lines) - NAMED_ROWS} more rows"] if len(lines) > NAMED_ROWS else []
        return "\n".join(lines[:NAMED_ROWS] + rest)


def _write(out: Any, rows: Ints | slice, obs: Observations) -> None:
    """Put observations into the rows of a batch."""
    if isinstance(obs, dict):
        for name, part in obs.items():
            out[name][rows] = part
    else:
        out[rows] = obs
