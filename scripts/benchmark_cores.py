"""What memory cores cost beside torch's LSTM: ``python scripts/benchmark_cores.py [--part time|growth] [--core NAME]``.

Every store with every access that can read it, under a feed-forward controller, and the controllers alone. Rows go
into docs/results/cores.json. One thread, and core and LSTM in a process each, in turn: what else runs in a process
leaves the allocator in a state that makes the LSTM up to twice as fast. Run it on an idle machine.
"""

from __future__ import annotations

import argparse
import gc
import multiprocessing
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import torch
from results.rows import Row, commit, upsert
from torch import nn
from tqdm import tqdm

from metarl import tree
from metarl.memory.contract import MemoryCore
from metarl.memory.options import MemoryOptions
from metarl.memory.registry import build_core, runnable
from metarl.types import Boundary, CoreInput

RESULTS = Path(__file__).parent.parent / "docs" / "results" / "cores.json"
STEPS, ROWS, WIDTH, FEEDBACK = 100, 256, 64, 10
EPISODE = 10
ROUNDS = 9
UPDATES, GROWTH_ROWS = 200, 16
SETTING = f"a trial of T={STEPS}, B={ROWS}, D={WIDTH}, episodes of {EPISODE} steps, one thread"
EXTERNAL = ("ntm", "lrua", "dnc")
PARTS = ("time", "growth")
GOALS = {"episodic+attention": 2.0, "key_value+attention": 4.0, "delta+native": 4.0, "reinstated": 4.0}
GOALS |= {"ntm+native": 8.0, "lrua+native": 8.0, "dnc+native": 20.0}


def cores() -> Iterator[tuple[str, MemoryOptions, float | None]]:
    """Each core at the width of the benchmark, with the ratio it should not exceed if there is one."""
    for name, options in runnable():
        if options.controller != "feedforward" and "+" in name and "reinstated" not in name and "emitted" not in name:
            continue  # the store's cost is shown under the feed-forward controller
        part = 32 if options.store in EXTERNAL else WIDTH  # a word of 64 is half key, half value
        held = "holds" in options.store_options
        options = replace(
            options,
            controller_options={"hidden_size": WIDTH},
            key_size=part,
            value_size=None if held or options.store == "none" else part,
            gate=options.controller != "feedforward",  # as in the presets: it has nothing else to go by
        )
        goal = 1.0 if name == "mingru" else None
        if options.emit == "input":
            goal = next((limit for part, limit in GOALS.items() if part in name), goal)
        yield name, options, goal


def trial(rows: int) -> tuple[CoreInput, torch.Tensor]:
    """Inputs ``[T, B, D]`` and the boundaries of a whole trial."""
    x = torch.randn(STEPS, rows, WIDTH, generator=torch.Generator().manual_seed(0))
    begin = torch.full((STEPS, rows), int(Boundary.INSIDE))
    begin[::EPISODE] = Boundary.EPISODE
    begin[0] = Boundary.TRIAL
    return CoreInput(x[..., :-FEEDBACK], x[..., -FEEDBACK:]), begin


def learn(core: MemoryCore, x: CoreInput, begin: torch.Tensor) -> None:
    """Forward and backward over the trial."""
    core.unroll(x, core.initial_state(begin.shape[1]), begin)[0].sum().backward()


def timed(call: Callable[[], object]) -> float:
    """Seconds of a call."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


class Speed(NamedTuple):
    """What a core costs."""

    ratio: float
    """Forward and backward over the trial, divided by the LSTM's."""
    acting: float
    """An acting step, divided by forward and backward / T."""
    ms: float
    lstm_ms: float


def serve(options: MemoryOptions | None, rounds: Connection) -> None:
    """Time a round whenever asked to: of the core that ``options`` describe, or of the LSTM; then acting steps."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    x, begin = trial(ROWS)
    if options is None:
        lstm, whole = nn.LSTM(WIDTH, WIDTH), torch.cat([x.now, x.feedback], -1)
        while rounds.recv():
            rounds.send(timed(lambda: lstm(whole)[0].sum().backward()))
        return
    core = build_core(options, WIDTH - FEEDBACK, FEEDBACK, STEPS)
    while rounds.recv():
        rounds.send(timed(lambda: learn(core, x, begin)))
    with torch.no_grad():
        state = core.unroll(x, core.initial_state(ROWS), begin)[1]
        step = CoreInput(x.now[0], x.feedback[0])
        acting = [timed(lambda: core(step, state, begin[1], donate=True)) for _ in range(60)]
    rounds.send(min(acting))


def speed(options: MemoryOptions) -> Speed:
    """Time a core and the LSTM in turn, each in a process of its own."""
    context = multiprocessing.get_context("spawn")
    sides = []
    for side in (options, None):
        ours, theirs = context.Pipe()
        process = context.Process(target=serve, args=(side, theirs), daemon=True)
        process.start()
        sides.append((ours, process))
    times: list[list[float]] = [[], []]
    for _ in range(ROUNDS):
        for (asked, _process), kept in zip(sides, times, strict=True):
            asked.send(True)
            kept.append(asked.recv())
    for asked, _process in sides:
        asked.send(False)
    acting = sides[0][0].recv()
    for _side, process in sides:
        process.join()
    unroll, lstm = (min(kept) for kept in times)  # the least disturbed round
    return Speed(unroll / lstm, acting / (unroll / STEPS), unroll * 1e3, lstm * 1e3)


def state_bytes(options: MemoryOptions, steps: int) -> int:
    """Bytes of one row's state for trials of a given number of steps."""
    state = build_core(options, WIDTH - FEEDBACK, FEEDBACK, steps).initial_state(1)
    return sum(leaf.numel() * leaf.element_size() for leaf in tree.leaves(state))


def growth(options: MemoryOptions) -> float:
    """Megabytes by which the peak of the process grows over the updates, after the first tenth of them."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        core = build_core(options, WIDTH - FEEDBACK, FEEDBACK, STEPS)
    optimizer, (x, begin) = torch.optim.Adam(core.parameters()), trial(GROWTH_ROWS)

    def updates(count: int) -> int:
        for _ in range(count):
            optimizer.zero_grad()
            learn(core, x, begin)
            optimizer.step()
        gc.collect()
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    before = updates(UPDATES // 10)
    return (updates(UPDATES) - before) / 2**10


def main() -> None:
    """Measure every core, each in a process of its own, and keep the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=PARTS, help="one part alone")
    parser.add_argument("--core", help="this one alone, in this process")
    args = parser.parse_args()
    known = {name: (options, goal) for name, options, goal in cores()}
    if args.core is None:
        for name in tqdm(known):
            for part in PARTS if args.part is None else [args.part]:  # apart, or growth would hide below time's peak
                subprocess.run([sys.executable, __file__, "--core", name, "--part", part], check=True)
    elif args.core not in known or args.part is None:
        parser.error(f"--core takes --part and one of {', '.join(known)}; got {args.core!r} and {args.part!r}")
    else:
        torch.set_num_threads(1)
        (time_it if args.part == "time" else watch_it)(args.core, *known[args.core])


def time_it(name: str, options: MemoryOptions, goal: float | None) -> None:
    """Rows of what a core costs in time and in state."""
    found = speed(options)
    references = {"ms": round(found.ms, 1), "LSTM ms": round(found.lstm_ms, 1)}
    keep(name, "forward and backward, times nn.LSTM(64)", found.ratio, (None, goal), references)
    keep(name, "one acting step, times the unroll's forward and backward / T", found.acting, (None, 1.0))
    small, large = (max(1, state_bytes(options, steps)) for steps in (STEPS, 2 * STEPS))
    size = {"bytes at T=100": float(small)}
    keep(name, "bytes of a row's state at T=200, times those at T=100", large / small, (None, 2.0), size)


def watch_it(name: str, options: MemoryOptions, goal: float | None) -> None:
    """The row of what a core's updates leave behind."""
    keep(name, f"MB that {UPDATES} updates add to the peak of the process", growth(options), (None, 10.0))


def keep(
    name: str,
    metric: str,
    ours: float,
    goal: tuple[float | None, float | None],
    references: dict[str, float] | None = None,
) -> None:
    """Write a row and say it."""
    row = Row(
        setting=SETTING,
        method=name,
        metric=metric,
        ours=ours,
        se=None,
        goal=goal,
        references=references or {},
        n_tasks=0,
        seeds=(0,),
        train_seconds=0.0,
        train_steps=0,
        command="python scripts/benchmark_cores.py",
        commit=commit(),
    )
    upsert(RESULTS, row)
    print(f"{name}: {ours:.3g} {metric}")


if __name__ == "__main__":
    main()
