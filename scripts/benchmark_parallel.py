"""What a second process adds to a training: ``python scripts/benchmark_parallel.py [--rounds N] [--rollouts N]``.

One process on one core and two on two train the same agent in turn, with as many environments each. Rows go
into docs/results/scaling.json: how many times the steps a second, and the share of an update that is spent in calls
of torch.distributed, waiting for the slower process included. Run it on an idle machine with two cores or more.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import queue
import socket
import statistics
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from results.pages import write_markdown
from results.rows import ROOT, Row, commit, upsert

from metarl import parallel
from metarl.agents.rl2_env import Watch
from metarl.experiments.presets import load_experiment

COMMAND = "python scripts/benchmark_parallel.py"
RESULTS = ROOT / "docs" / "results" / "scaling.json"
COLLECTIVES = ("all_reduce", "all_gather", "broadcast_object_list", "gather_object")
GRU = str(ROOT / "scripts" / "peers" / "gru.toml")


class Case(NamedTuple):
    """An agent, the environments of each process, and the goals: of steps a second, and of the share."""

    preset: str
    settings: Mapping[str, Any]
    rows: int
    goals: tuple[float | None, float | None]


CASES = {
    "GRU-128, 10 arms, 100 pulls": Case(GRU, {"ppo.n_epochs": 4, "ppo.n_minibatches": 4}, 256, (1.8, 0.08)),
    "preset bandit": Case("bandit", {}, 128, (None, None)),
    "preset cartpole": Case("cartpole", {}, 128, (None, None)),
}


class Timed(NamedTuple):
    """Steps a second of all processes, seconds and calls of torch.distributed of a rollout with its update, and more.

    Args:
        share: of updates that was communication.
        size: bytes of the parameters.
        calls: how many, and bytes of each, by ``NAME BYTES``.
    """

    rate: float
    share: float
    size: int
    seconds: float
    calls: dict[str, float]


def train(rank: int, processes: int, port: int, name: str, rollouts: int, answers: Any) -> None:
    """Train in one of the processes, on a core of its own; the first answers."""
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[rank]})
    if processes > 1:
        launch(rank, processes, "localhost", port)
    found = timed(name, rollouts)
    if rank == 0:
        answers.put(found)


def launch(rank: int, processes: int, address: str, port: int) -> None:
    """Tell this process of the others, as ``torchrun`` would."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes)}
    os.environ |= {"MASTER_ADDR": address, "MASTER_PORT": str(port), "TORCHELASTIC_RUN_ID": "benchmark"}
    os.environ |= {"TORCHELASTIC_RESTART_COUNT": "0", "TORCHELASTIC_MAX_RESTARTS": "0"}


def timed(name: str, rollouts: int) -> Timed:
    """Train so many rollouts after two that warm up, together with the other processes."""
    torch.set_num_threads(1)
    launched = parallel.launched()
    processes = 1 if launched is None else launched.processes
    case = CASES[name]
    rows = {"train.n_envs": processes * case.rows}
    experiment = load_experiment(case.preset, {**case.settings, **rows, "device": "cpu"})
    spent, began, updates, talked = [0.0], [0.0], [0.0], [0.0]
    calls: Counter[str] = Counter()
    whole_calls: dict[str, int] = {}

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def made(*given: Any, **options: Any) -> Any:
            start = time.perf_counter()
            try:
                return call(*given, **options)
            finally:
                spent[0] += time.perf_counter() - start
                sent = next((one.numel() * one.element_size() for one in given if isinstance(one, torch.Tensor)), 0)
                calls[f"{call.__name__} {sent}"] += 1

        return made

    for collective in COLLECTIVES:
        setattr(dist, collective, counted(getattr(dist, collective)))
    times: list[float] = []

    def between() -> None:
        now = time.perf_counter()
        if len(times) > 1:  # the first rollout and update warm up
            updates[0] += now - began[0]
            talked[0] += spent[0]
            whole_calls.update(calls)
        else:
            calls.clear()
        times.append(now)

    def collected() -> None:
        spent[0], began[0] = 0.0, time.perf_counter()

    with parallel.joined():
        agent = experiment.share(processes).build(0, torch.device("cpu"))
        steps = agent.n_steps or agent.trial_steps
        whole = agent.n_envs * processes * steps
        watch = Watch(between=between, collected=collected)
        agent.learn((rollouts + 2) * whole, watch, log_interval=None)
        size = sum(p.numel() * p.element_size() for p in agent.policy.parameters())
    seconds = (times[-1] - times[1]) / rollouts
    each = {name: number / rollouts for name, number in whole_calls.items()}
    return Timed(whole / seconds, talked[0] / updates[0], size, seconds, each)


def measured(processes: int, name: str, rollouts: int) -> Timed:
    """One training by so many processes."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    given = [(rank, processes, port, name, rollouts, answers) for rank in range(processes)]
    started = [context.Process(target=train, args=one, daemon=True) for one in given]
    for process in started:
        process.start()
    answer: Timed | None = None
    while answer is None:
        try:
            answer = answers.get(timeout=1)
        except queue.Empty:
            if any(process.exitcode for process in started):  # the others would wait for it
                raise RuntimeError(f"a process of {name} ended with an error") from None
    for process in started:
        process.join()
    return answer


def main() -> None:
    """Measure each case in turn and keep the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="trainings of each kind, of which the median counts")
    parser.add_argument("--rollouts", type=int, default=6, help="rollouts that are timed in each")
    parser.add_argument("--case", choices=CASES, action="append", help="these alone")
    args = parser.parse_args()
    if len(os.sched_getaffinity(0)) < 2:
        parser.error("two processes need two cores, and this one may use one alone")
    version = commit()
    for name in args.case or CASES:
        case = CASES[name]
        pairs = [(measured(1, name, args.rollouts), measured(2, name, args.rollouts)) for _ in range(args.rounds)]
        one, two = (statistics.median(pair[i].rate for pair in pairs) for i in (0, 1))
        speedup = statistics.median(both.rate / alone.rate for alone, both in pairs)
        share, size = statistics.median(both.share for _, both in pairs), pairs[0][1].size
        found = (
            ("steps/s of 2 processes on 2 cores, times those of 1 on 1", speedup, (case.goals[0], None)),
            ("share of an update spent in communication and waiting for it", share, (None, case.goals[1])),
        )
        for metric, ours, goal in found:
            row = Row(
                setting=f"{name}, {case.rows} environments a process",
                method="2 processes, gloo",
                metric=metric,
                ours=ours,
                se=None,
                n_tasks=0,
                seeds=(0,),
                goal=goal,
                references={
                    "1 process, steps/s": round(one),
                    "2 processes, steps/s": round(two),
                    "gradient bytes": size,
                },
                command=COMMAND,
                train_seconds=0.0,
                train_steps=0,
                commit=version,
            )
            upsert(RESULTS, row)
        print(f"{name}: {one:,.0f} and {two:,.0f} steps/s, {speedup:.2f} times; communication {share:.1%} of an update")
    write_markdown(ROOT / "docs")


if __name__ == "__main__":
    main()
