"""How fast many processes train, by a model from a few measured times: ``python scripts/cost_model.py [--rounds N]``.

A rollout with its update takes C seconds of computing, and in between calls of torch.distributed. gloo sends around a
ring: an all-reduce of b bytes among p processes takes 2(p - 1) messages one after the other, of b / p bytes each, and
an all-gather p - 1 of b bytes. Before each message the receiver says that it is ready, so it takes two ways, there and
back. With a seconds for a way, and a bandwidth B,

    seconds(p) = C + sum over calls of (ways(p) a + bytes(p) / B)

C is measured by as many trainings side by side as the machine has processes later, each for itself; a and B by calls
between two processes. The model is compared with two processes, and with two and four hosts (scripts/hosts.py) whose
packets take some milliseconds. Then it tells the steps a second of up to 512 processes with one core each. The picture
goes to docs/images/scaling.png, rows into docs/results/scaling.json. Two cores, Linux, as root; a few minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from cost_ranks import LARGE, SMALL
from hosts import Hosts, unavailable
from results.pages import write_markdown
from results.rows import ROOT, Row, commit, upsert

from metarl.report import canvas

RESULTS = ROOT / "docs" / "results" / "scaling.json"
PICTURE = ROOT / "docs" / "images" / "scaling.png"
COMMAND = "python scripts/cost_model.py"
MODELLED = ("GRU-128, 10 arms, 100 pulls", "preset cartpole")
CHECKED = ((2, 0.0), (2, 0.005), (4, 0.005))
"""Processes, and seconds of a packet from one to another, that the model is compared with."""
ONE = 8  # bytes of a call that is not split: nothing is announced
SIZES = (1, 8, 64, 512)
GOAL = (1 / 1.15, 1.15)
ONE_THREAD = {"OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}


class Link(NamedTuple):
    """Between processes: seconds of a way, and bytes a second."""

    name: str
    latency: float
    bandwidth: float


ASSUMED = (
    Link("50 µs a way, 10 Gbit/s", 50e-6, 1.25e9),
    Link("1 ms a way, 1 Gbit/s", 1e-3, 1.25e8),
)
"""An ordinary network of one hall, and of two sites: not measured."""


def ways(call: str, size: float, processes: int) -> int:
    """How often something travels from one process to another in a call of gloo, one after the other."""
    ring = processes - 1
    if call == "all_reduce":
        return (2 if size <= ONE else 4) * ring
    return 2 * ring + (2 if call == "gather_object" else 0)  # which tells of sizes first


def moved(call: str, size: float, processes: int) -> float:
    """Bytes that each process sends in a call with ``size`` bytes of its own."""
    return {"all_reduce": 2 * (processes - 1) / processes, "all_gather": processes - 1.0}.get(call, 0.0) * size


def split(calls: Mapping[str, float]) -> Iterator[tuple[list[str], float]]:
    """The name and bytes of each kind of call, and how many there are."""
    for known, number in calls.items():
        yield known.split(), number


def talking(calls: Mapping[str, float], processes: int, link: Link) -> float:
    """Seconds of the calls of a rollout with its update.

    Args:
        calls: how many, by ``NAME BYTES``.
        processes: how many there are.
        link: between them.
    """
    if processes == 1:
        return 0.0
    total = 0.0
    for (name, size), number in split(calls):
        waits, sent = ways(name, float(size), processes), moved(name, float(size), processes)
        total += number * (waits * link.latency + sent / link.bandwidth)
    return total


def side_by_side(number: int, case: str, rollouts: int) -> float:
    """Seconds of a rollout with its update, of so many trainings at the same time that know nothing of each other."""
    given = [[f"--case={case}", f"--rollouts={rollouts}", f"--core={core(rank)}"] for rank in range(number)]
    return statistics.mean(one["seconds"] for one in outputs([start(None, 0, words) for words in given]))


def together(processes: int, delay: float, more: list[str]) -> dict[str, Any]:
    """What the first process found, of several that know each other; with a delay each is on a host of its own."""
    with ExitStack() as stack:
        hosts = stack.enter_context(Hosts(processes, delay)) if delay else None
        with socket.socket() as free:
            free.bind(("localhost", 0))
            port = free.getsockname()[1]
        where = [
            f"--processes={processes}",
            f"--port={port}",
            f"--address={hosts.address(0) if hosts else 'localhost'}",
        ]
        ranks = range(processes)
        return outputs(
            [start(hosts, rank, [*where, f"--rank={rank}", f"--core={core(rank)}", *more]) for rank in ranks]
        )[0]


def core(rank: int) -> int:
    """Of a process."""
    free = sorted(os.sched_getaffinity(0))
    return free[rank % len(free)]


def start(hosts: Hosts | None, rank: int, words: list[str]) -> subprocess.Popen[str]:
    """A process, on its host if there are any."""
    command = [sys.executable, str(Path(__file__).with_name("cost_ranks.py")), *words]
    if hosts is not None:
        return hosts.start(rank, command, ONE_THREAD, stdout=subprocess.PIPE)
    return subprocess.Popen(command, env={**os.environ, **ONE_THREAD}, text=True, stdout=subprocess.PIPE)


def outputs(started: list[subprocess.Popen[str]]) -> list[dict[str, Any]]:
    """What processes printed, when all have ended."""
    try:
        told = [one.communicate(timeout=300)[0] for one in started]
    finally:
        for one in started:
            one.kill()
    return [json.loads(text) for text in told]


def link(delay: float) -> Link:
    """Measured between two processes."""
    found = together(2, delay, [])
    small = found[f"all_reduce {SMALL}"]
    way = small / ways("all_reduce", SMALL, 2)
    name = f"{1000 * delay:g} ms between hosts" if delay else "this machine"
    large = max(found[f"all_reduce {LARGE}"] - small, small / 100)  # a busy machine may make it the faster one
    return Link(name, way, LARGE / large)


class Found(NamedTuple):
    """Of a case: steps of a process in a rollout, seconds of computing by processes of the machine, calls, and measured
    seconds by processes and delay.
    """

    steps: int
    alone: dict[int, float]
    calls: dict[str, float]
    measured: dict[tuple[int, float], float]


def measure(case: str, rounds: int, rollouts: int) -> Found:
    """Everything in turn, so many times over; medians."""
    alone: dict[int, list[float]] = {number: [] for number in (1, 2, 4)}
    measured: dict[tuple[int, float], list[float]] = {key: [] for key in CHECKED}
    calls, steps = {}, 0
    for _ in range(rounds):
        for number, times in alone.items():
            times.append(side_by_side(number, case, rollouts))
        for (processes, delay), times in measured.items():
            one = together(processes, delay, [f"--case={case}", f"--rollouts={rollouts}"])
            times.append(one["seconds"])
            calls, steps = one["calls"], round(one["rate"] * one["seconds"] / processes)
    return Found(
        steps,
        {number: statistics.median(times) for number, times in alone.items()},
        calls,
        {key: statistics.median(times) for key, times in measured.items()},
    )


def draw(found: Mapping[str, Found]) -> None:
    """Steps a second by processes, a line for each link, beside twice as many being twice as fast."""
    figure, axes = canvas.panels(10.0, 4.4, 1, len(found), grid=True)
    sizes = [2**n for n in range(10)]
    for axis, (case, one) in zip(axes.flat, found.items(), strict=True):
        silent = [p * one.steps / one.alone[min(p, 2)] for p in sizes]
        axis.plot(sizes, silent, color=canvas.SOFT, ls=":", label="no talking")
        for number, chosen in enumerate(ASSUMED):
            rates = [p * one.steps / (one.alone[min(p, 2)] + talking(one.calls, p, chosen)) for p in sizes]
            axis.plot(sizes, rates, color=canvas.COLORS[number], label=chosen.name)
        rate = 2 * one.steps / one.measured[2, 0.0]
        axis.plot([2], [rate], "o", color=canvas.INK, label="measured", zorder=5)
        axis.set_xscale("log", base=2)
        axis.set_xticks(SIZES, [str(size) for size in SIZES])
        axis.set_yscale("log")
        axis.set_xlabel("processes")
        axis.set_title(case, fontsize=11)
    axes.flat[0].set_ylabel("environment steps a second")
    axes.flat[0].legend(frameon=False, fontsize=8.5)
    canvas.save(figure, PICTURE)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=1, help="of measuring, of which the median counts (default 1)")
    parser.add_argument("--rollouts", type=int, default=2, help="that are timed in each (default 2)")
    parser.add_argument("--case", choices=MODELLED, action="append", help="these alone; then nothing is drawn")
    parser.add_argument("--rows", type=Path, default=RESULTS, help="file of rows")
    args = parser.parse_args()
    if reason := unavailable():
        parser.error(reason)
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # so that no process or host is left
    version = commit()
    links = {delay: link(delay) for delay in dict.fromkeys(delay for _, delay in CHECKED)}
    for chosen in links.values():
        print(f"{chosen.name}: {1e6 * chosen.latency:,.0f} µs a way, {chosen.bandwidth / 1e6:,.0f} MB/s", flush=True)
    found: dict[str, Found] = {}
    common: dict[str, Any] = {"se": None, "n_tasks": 0, "seeds": (0,), "train_seconds": 0.0, "train_steps": 0}
    common |= {"command": COMMAND, "commit": version, "method": "cost model, gloo"}
    for case in args.case or MODELLED:
        one = found[case] = measure(case, args.rounds, args.rollouts)
        each = one.steps
        print(f"{case}: {one.alone}, {sum(one.calls.values()):.0f} calls a rollout: {one.calls}")
        for (processes, delay), seconds in one.measured.items():
            chosen = links[delay]
            talks = talking(one.calls, processes, chosen)
            predicted = one.alone[processes] + talks
            print(f"  {processes} processes, {chosen.name}: {predicted:.3f} s predicted, {seconds:.3f} s measured")
            upsert(
                args.rows,
                Row(
                    setting=f"{case}, {processes} processes, {chosen.name}",
                    metric="steps/s predicted, times those measured",
                    ours=seconds / predicted,
                    goal=GOAL,
                    references={
                        "steps/s measured": round(processes * each / seconds),
                        "steps/s predicted": round(processes * each / predicted),
                        "ms of computing": 1000 * one.alone[processes],
                        "ms of talking, predicted": 1000 * talks,
                    },
                    **common,
                ),
            )
        for chosen in ASSUMED:
            rates = {p: p * each / (one.alone[min(p, 2)] + talking(one.calls, p, chosen)) for p in SIZES}
            half = next(p for p in range(1, 10**6) if talking(one.calls, p, chosen) > one.alone[min(p, 2)])
            print(f"  {chosen.name}: " + ", ".join(f"{p}: {rate:,.0f}" for p, rate in rates.items()) + f"; half {half}")
            upsert(
                args.rows,
                Row(
                    setting=f"{case}, a core for each process, {chosen.name}",
                    metric="processes from which an update talks longer than it computes, predicted",
                    ours=float(half),
                    goal=(None, None),
                    references={f"steps/s of {p}": round(rate) for p, rate in rates.items()}
                    | {"µs a way": 1e6 * chosen.latency, "ways in a rollout of 2": total(one.calls)},
                    **common,
                ),
            )
    if args.rows == RESULTS:
        write_markdown(ROOT / "docs")
    if set(found) == set(MODELLED):
        draw(found)


def total(calls: Mapping[str, float]) -> float:
    """Ways between two processes, one after the other, in a rollout with its update."""
    return sum(number * ways(name, float(size), 2) for (name, size), number in split(calls))


if __name__ == "__main__":
    main()
