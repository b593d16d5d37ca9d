"""What memory cores cost beside torch's LSTM: ``python scripts/benchmark_cores.py [--part time|growth]``.

Every store with every access that can read it, under a feed-forward controller, and the controllers alone. Rows go into
docs/results/cores.json. One thread; run it on an idle machine.
"""

from __future__ import annotations

import argparse
import gc
import resource
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn
from tqdm import tqdm

from metarl import tree
from metarl.memory.contract import MemoryCore
from metarl.memory.options import MemoryOptions
from metarl.memory.registry import build_core, parallel, runnable
from metarl.report.results import Row, commit, upsert
from metarl.types import Boundary, CoreInput

RESULTS = Path(__file__).parent.parent / "docs" / "results" / "cores.json"
STEPS, ROWS, WIDTH, FEEDBACK = 100, 256, 64, 10
EPISODE = 10
ROUNDS = 7
UPDATES, GROWTH_ROWS = 200, 16
SETTING = f"a trial of T={STEPS}, B={ROWS}, D={WIDTH}, episodes of {EPISODE} steps, one thread"
EXTERNAL = ("ntm", "lrua", "dnc")
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


def speed(options: MemoryOptions) -> tuple[float, float, float]:
    """The ratio of the unroll to the LSTM's, in turn; that of an acting step to the unroll / T; the unroll's ms."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        lstm = nn.LSTM(WIDTH, WIDTH)
        core = build_core(options, WIDTH - FEEDBACK, FEEDBACK, STEPS)
    x, begin = trial(ROWS)
    whole = torch.cat(x, -1)
    pairs = []
    for _ in range(ROUNDS + 1):
        ours = timed(lambda: learn(core, x, begin))
        pairs.append((ours, timed(lambda: lstm(whole)[0].sum().backward())))
    with torch.no_grad():
        state = core.unroll(x, core.initial_state(ROWS), begin)[1]
        step = CoreInput(x.now[0], x.feedback[0])
        acting = [timed(lambda: core(step, state, begin[1], donate=True)) for _ in range(60)]
    pairs = pairs[1:]  # the first one warms up
    unroll = statistics.median(ours for ours, _ in pairs)
    ratio = statistics.median(ours / theirs for ours, theirs in pairs)
    return ratio, statistics.median(acting[10:]) / (unroll / STEPS), unroll * 1e3


def state_bytes(options: MemoryOptions, steps: int) -> int:
    """Bytes of one row's state where a trial has so many steps."""
    state = build_core(options, WIDTH - FEEDBACK, FEEDBACK, steps).initial_state(1)
    return sum(leaf.numel() * leaf.element_size() for leaf in tree.leaves(state))


def growth(options: MemoryOptions) -> float:
    """Megabytes by which the peak of the process grows over so many updates, after a tenth of them."""
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
    """Measure every core and keep the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--part", choices=["time", "growth"], help="one part alone")
    parser.add_argument("--only", help="cores whose name contains this")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for name, options, goal in tqdm([c for c in cores() if args.only is None or args.only in c[0]]):
        if args.part != "growth":
            ratio, acting, milliseconds = speed(options)
            references = {"ms": round(milliseconds, 1), "parallel": float(parallel(build_core(options, 54, 10, 100)))}
            keep(name, "forward and backward, times nn.LSTM(64)", ratio, (None, goal), references)
            keep(name, "one acting step, times the unroll's forward and backward / T", acting, (None, 1.0))
            larger = state_bytes(options, 2 * STEPS) / max(1, state_bytes(options, STEPS))
            size = {"bytes at T=100": float(state_bytes(options, STEPS))}
            keep(name, "bytes of a row's state at T=200, times those at T=100", larger, (None, 2.0), size)
        if args.part != "time":
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
    tqdm.write(f"{name}: {ours:.3g} {metric}")


if __name__ == "__main__":
    main()
