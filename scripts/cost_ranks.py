"""One of the processes whose times make the cost model; ``scripts/cost_model.py`` starts it.

It trains a case of ``scripts/benchmark_parallel.py``, or only talks to the others, and prints what it found as JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from functools import partial

import torch
import torch.distributed as dist
from benchmark_parallel import CASES, launch, timed

from metarl import parallel

SMALL, LARGE, TURNS = 64, 1 << 20, 15  # bytes of a call, and calls of each kind


def talked() -> dict[str, float]:
    """Seconds of a call of torch.distributed, the median, by ``NAME BYTES``."""
    found = {}
    for size in (SMALL, LARGE):
        own = torch.zeros(size // 4)
        everyone = [torch.zeros_like(own) for _ in range(parallel.size())]
        calls = {"all_reduce": partial(dist.all_reduce, own), "all_gather": partial(dist.all_gather, everyone, own)}
        for name, call in calls.items():
            times = []
            for _ in range(TURNS):
                began = time.perf_counter()
                call()
                times.append(time.perf_counter() - began)
            found[f"{name} {size}"] = statistics.median(times[2:])  # the first ones open the connections
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", choices=CASES, help="that is trained; default: only talk")
    parser.add_argument("--rollouts", type=int, default=3)
    parser.add_argument("--core", type=int, required=True)
    parser.add_argument("--rank", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--address", default="localhost")
    parser.add_argument("--port", type=int, default=0)
    args = parser.parse_args()
    os.sched_setaffinity(0, {args.core})
    if args.processes > 1:
        launch(args.rank, args.processes, args.address, args.port)
    if args.case is None:
        with parallel.joined():
            print(json.dumps(talked()))
    else:
        print(json.dumps(timed(args.case, args.rollouts)._asdict()))


if __name__ == "__main__":
    main()
