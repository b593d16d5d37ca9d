"""What training of an agent costs: seconds of collecting and of updating, matrix products, and memory."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from metarl.agents.rl2_env import Watch, tracking_logger
from metarl.evaluation.products import LiveBytes, counting
from metarl.runs.tracking import Metrics

if TYPE_CHECKING:
    from metarl.agents.rl2 import RL2PPO

WARM_UP = 1
"""Rollouts with their updates that are not timed."""


@dataclass(frozen=True, kw_only=True)
class Throughput:
    """What one rollout and its update cost; seconds are medians.

    Args:
        n_envs: trials side by side.
        n_steps: steps of each in a rollout.
        trial_steps: of a trial; None: they differ.
        parameters: trained numbers.
        device: that torch computed on.
        threads: of torch.
        rollouts: that were timed.
        collect_seconds: of a rollout.
        update_seconds: of its update.
        update_bytes: the most that tensors of an update take at a time, beside weights and rollout.
        start_bytes: what was resident of the process before it learned; None: the system does not say.
        peak_bytes: the most that was resident, up to the end of the timed updates; None: as before.
    """

    n_envs: int
    n_steps: int
    trial_steps: int | None
    parameters: int
    device: str
    threads: int
    rollouts: int
    collect_seconds: float
    update_seconds: float
    update_bytes: int
    start_bytes: int | None
    peak_bytes: int | None

    @property
    def steps(self) -> int:
        """Environment steps of a rollout."""
        return self.n_envs * self.n_steps

    @property
    def seconds(self) -> float:
        """Of a rollout with its update."""
        return self.collect_seconds + self.update_seconds

    @property
    def steps_per_second(self) -> float:
        """Of training."""
        return self.steps / self.seconds


@dataclass(frozen=True)
class Operations:
    """Floating-point operations of matrix products and convolutions.

    Args:
        collect: in a rollout.
        update: in its update.
    """

    collect: int
    update: int

    @property
    def total(self) -> int:
        """In both."""
        return self.collect + self.update


class _Log:
    """Keeps the numbers that an agent logs, a row for each rollout."""

    def __init__(self) -> None:
        self.rows: list[Metrics] = []

    def log(self, metrics: Metrics, *, step: int) -> None:
        """See :meth:`metarl.runs.tracking.Tracker.log`."""
        self.rows.append(metrics)

    def median(self, name: str) -> float:
        return statistics.median(number for row in self.rows if (number := row[name]) is not None)


def measure(agent: RL2PPO, rollouts: int) -> Throughput:
    """Train ``agent`` for some rollouts, and measure.

    One update warms up, and after those that are timed comes one, slower, in which bytes are counted. The peak of the
    process is right only where nothing larger ran in it before.

    Args:
        agent: with its environment; it has learned when this returns.
        rollouts: to time.

    Raises:
        ValueError: the environment does not say how long a trial is.
        NonFiniteError: an observation, reward, loss or gradient is not finite.
    """
    log = _Log()
    agent.set_logger(tracking_logger(log))  # type: ignore[arg-type]  # of a tracker it needs the log alone
    start = _resident("VmRSS")
    _learn(agent, WARM_UP)
    log.rows.clear()
    _learn(agent, rollouts)
    timed = {name: log.median(f"time/{name}_seconds") for name in ("rollout", "update")}
    peak = _resident("VmHWM")
    with LiveBytes() as live:
        _learn(agent, 1, Watch(collected=live.restart))
    return Throughput(
        n_envs=agent.n_envs,
        n_steps=_steps(agent),
        trial_steps=agent.trial_steps,
        parameters=sum(p.numel() for p in agent.policy.parameters()),
        device=str(agent.device),
        threads=torch.get_num_threads(),
        rollouts=rollouts,
        collect_seconds=timed["rollout"],
        update_seconds=timed["update"],
        update_bytes=live.added,
        start_bytes=start,
        peak_bytes=peak,
    )


def count(agent: RL2PPO) -> Operations:
    """Train ``agent`` for one rollout, and count its operations; they don't depend on the machine.

    Args:
        agent: as for :func:`measure`.

    Raises:
        ValueError, NonFiniteError: as of :func:`measure`.
    """
    collected: list[int] = []
    with counting() as counter:
        _learn(agent, 1, Watch(collected=lambda: collected.append(counter.get_total_flops())))
        return Operations(collected[0], counter.get_total_flops() - collected[0])


def _learn(agent: RL2PPO, rollouts: int, callback: Watch | None = None) -> None:
    agent.learn(rollouts * agent.n_envs * _steps(agent), callback, reset_num_timesteps=not agent.num_timesteps)


def _steps(agent: RL2PPO) -> int:
    steps = agent.n_steps or agent.trial_steps
    if steps is None:
        raise ValueError("the environment does not say how long a trial is; give n_steps")
    return steps


def _resident(name: str) -> int | None:
    """A number of bytes that Linux tells of this process; elsewhere None."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:")), None)
