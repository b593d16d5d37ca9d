"""Ours beside its peers, in turn on one machine: ``python scripts/peers/compare.py PART [--quick]``.

PART is install (an environment for each peer), steps (training steps a second), seconds (of training until a mean
return of 80), busy (ours beside busy processes) or all. What was measured stays in a folder and is not measured again.
Rows go into docs/results/throughput.json. Run it on an idle machine.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import statistics
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import environments
from sides import OURS, PeerError, Running, Side, busy_processes, race

sys.path.append(str(Path(__file__).resolve().parents[1]))  # where the package of the results lies
from results.pages import write_markdown
from results.rows import ROOT, Row, commit, upsert

NAME = "throughput"
SETTING = "Bernoulli bandit k=10, n=100"
SPEED = f"{SETTING}, recurrent PPO, 128 units, 4 epochs x 4 minibatches, float32, one thread"
BAR, CAP, SEEDS = 80.0, 300.0, (0, 1, 2)
ALONE = str(Path(__file__).parent / "gru.toml")
FOUR = ("--set", "ppo.n_epochs=4", "--set", "ppo.n_minibatches=4")

GRU = Side("RL2PPO, GRU, 256 environments", OURS, ("--preset", ALONE, *FOUR))
LSTM = Side("RL2PPO, LSTM, 256 environments", OURS, (*GRU.options, "--set", "memory.controller=lstm"))
DUMMY = Side("sb3-contrib RecurrentPPO, its default net, 64 environments in a DummyVecEnv", "sb3", ("--envs", "64"))
NATIVE = Side(
    "sb3-contrib RecurrentPPO, one shared LSTM, 256 environments in a VecEnv of their own",
    "sb3",
    ("--native", "--small"),
)
JAX = Side("JAX recurrent PPO, GRU, 256 environments", "jax")
SCAN = Side("TorchRL recurrent PPO, LSTM by its scan backend, 256 environments", "torchrl")
PAIRS = (
    ("dummy", LSTM, DUMMY, 8.0),
    ("native", LSTM, NATIVE, 1.6),
    ("jax", GRU, JAX, 0.6),
    ("torchrl", LSTM, SCAN, None),
)
"""What takes turns, with the least ratio that is wanted."""

RACERS = {
    "jax": Side("JAX recurrent PPO, GRU", "jax", ("--epochs", "2", "--minibatches", "8")),
    "ours": Side("preset bandit", OURS),
    "gru": Side(
        "RL2PPO with the GRU and the settings of the JAX peer, but for a rate that falls to 0",
        OURS,
        ("--preset", ALONE),
    ),
}
FASTER = 8.0  # the least ratio of seconds that is wanted
THREADS = {"one thread": "1", "threads as torch chooses": "0"}
SHARE = 0.4  # the least share of throughput that is wanted beside a busy process a core


class Plan(NamedTuple):
    """How much is measured.

    Args:
        out: where what was measured is kept.
        results: the file of rows.
        rounds: turns of each side.
        rollouts: of a turn.
        seeds: of races.
        toy: further options of the scripts: of our own, and of peers.
        race: options of a race.
    """

    out: Path
    results: Path
    rounds: int = 7
    rollouts: int = 2
    seeds: tuple[int, ...] = SEEDS
    toy: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
    race: tuple[str, ...] = ("--bar", str(BAR), "--cap", str(CAP))

    def sized(self, side: Side) -> Side:
        """``side`` with the options of a toy, if this is one."""
        return side._replace(options=(*side.options, *self.toy[side.peer != OURS]))

    def once(self, name: str, measure: Callable[[], Any]) -> Any:
        """What ``measure`` gives, with the commit; from the folder where it was measured before."""
        path = self.out / f"{name}.json"
        if not path.is_file():
            self.out.mkdir(parents=True, exist_ok=True)
            measured = {"commit": commit(), **measure()}
            path.write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")
        return json.loads(path.read_text(encoding="utf-8"))


def quick(out: Path) -> Plan:
    """A plan of seconds, whose rows stay beside what was measured."""
    small = ("--set", "env.pulls=5", "--set", "train.n_envs=8", "--set", "train.total_timesteps=400")
    race_options = ("--bar", str(BAR), "--cap", "1", "--window", "16")
    return Plan(out, out / f"{NAME}.json", 1, 1, (0,), (small, ("--envs", "8")), race_options)


def turns(first: Running, second: Running, plan: Plan) -> dict[str, list[float]]:
    """Rates of two learners that take turns, after a warm-up that may compile."""
    for side in (first, second):
        side.rate(2)
    pairs = [(first.rate(plan.rollouts), second.rate(plan.rollouts)) for _ in range(plan.rounds)]
    return {"ours": [one for one, _ in pairs], "theirs": [other for _, other in pairs]}


def steps(plan: Plan) -> None:
    """Training steps a second of ours and of each peer, and their ratio."""
    for name, ours, theirs, wanted in PAIRS:
        if left_out(theirs):
            continue

        def measure(ours: Side = ours, theirs: Side = theirs) -> dict[str, Any]:
            with Running(plan.sized(ours)) as first, Running(plan.sized(theirs)) as second:
                facts = {"versions": second.facts["versions"], "parameters": first.facts["parameters"]}
                return {**facts, **turns(first, second, plan)}

        try:
            measured = plan.once(f"steps-{name}", measure)
        except PeerError as error:
            print(f"{theirs.name}: left out: {error}")
            continue
        one, other = (statistics.median(measured[key]) for key in ("ours", "theirs"))
        ratios = [a / b for a, b in zip(measured["ours"], measured["theirs"], strict=True)]
        put(
            plan,
            setting=SPEED,
            method=f"{ours.name} / {theirs.name}",
            metric=f"ratio of training steps/s (median of {len(ratios)} turns)",
            ours=statistics.median(ratios),
            goal=(wanted, None),
            references={f"{ours.name}, steps/s": round(one), f"{theirs.name}, steps/s": round(other)},
            command="python scripts/peers/compare.py steps",
            commit=measured["commit"],
            parameters=measured["parameters"],
            flags=versions(measured),
        )


def seconds(plan: Plan) -> None:
    """Seconds of training until a mean return of 80; the contestants take turns, seed by seed."""
    racers = {name: side for name, side in RACERS.items() if not left_out(side)}
    found: dict[str, list[Any]] = {name: [] for name in racers}
    for seed in plan.seeds:
        for name, side in racers.items():
            options = ("--seed", str(seed), *plan.race)
            try:
                measured = plan.once(f"seconds-{name}-s{seed}", partial(race, plan.sized(side), *options))
            except PeerError as error:
                print(f"{side.name}, seed {seed}: left out: {error}")
                continue
            found[name].append(measured)
    medians = {name: statistics.median(counted(m) for m in runs) for name, runs in found.items() if runs}
    for name, median in medians.items():
        many = len(found[name])
        common = {
            "setting": f"{SETTING}, one thread, mean of the last 1,024 trials of training at least, sampled actions",
            "seeds": plan.seeds[:many],
            "command": "python scripts/peers/compare.py seconds",
            "commit": found[name][0]["commit"],
            "parameters": found[name][0]["parameters"],
            "train_seconds": median,
            "train_steps": int(statistics.median(m["steps"] for m in found[name])),
            "flags": "; ".join(filter(None, [versions(found[name][0]), short_of(found[name])])),
        }
        metric = f"seconds to a mean return of {BAR:g} (median of {many} seeds)"
        put(plan, **common, method=racers[name].name, metric=metric, ours=median, goal=(None, None))
        if name != "jax" and "jax" in medians:
            both = [*found["jax"], *found[name]]
            common["flags"] = "; ".join(filter(None, [versions(found["jax"][0]), short_of(both)]))
            put(
                plan,
                **common,
                method=f"{RACERS['jax'].name} / {racers[name].name}",
                metric=f"ratio of {metric}",
                ours=medians["jax"] / median,
                goal=(FASTER if name == "ours" else None, None),
            )


def counted(measured: Any) -> float:
    """The seconds of a race; those of the limit where the bar was not reached."""
    return CAP if measured["seconds"] is None else float(measured["seconds"])


def short_of(runs: Sequence[Any]) -> str:
    """How many races did not reach the bar; empty: all did."""
    short = [run for run in runs if run["seconds"] is None]
    best = max((run["best"] for run in short if run["best"] is not None), default=None)
    told = "" if best is None else f" (best {best:.1f})"
    return f"{len(short)} of {len(runs)} did not reach it{told} and count as {CAP:g}" if short else ""


def busy(plan: Plan) -> None:
    """Training steps a second with one busy process a core beside it, as a share of those without, in turn."""
    cores = os.cpu_count() or 1
    for name, threads in THREADS.items():
        side = plan.sized(Side("preset bandit", OURS, ("--threads", threads)))

        def measure(side: Side = side) -> dict[str, Any]:
            rates: dict[str, list[float]] = {"idle": [], "busy": []}
            with Running(side) as ours:
                ours.rate(2)
                for _ in range(plan.rounds):
                    rates["idle"].append(ours.rate(plan.rollouts))
                    others = busy_processes(cores)
                    try:
                        rates["busy"].append(ours.rate(plan.rollouts))
                    finally:
                        for other in others:
                            other.kill()
                            other.wait()
                return {**ours.facts, **rates}

        measured = plan.once(f"busy-{threads}", measure)
        ratios = [a / b for a, b in zip(measured["busy"], measured["idle"], strict=True)]
        put(
            plan,
            setting=f"{SETTING}, one busy process a core beside it ({cores} cores)",
            method=f"preset bandit, {name}",
            metric=f"training steps/s as a share of those on the idle machine (median of {len(ratios)} turns)",
            ours=statistics.median(ratios),
            goal=(SHARE, None),
            references={f"{key}, steps/s": round(statistics.median(measured[key])) for key in ("idle", "busy")},
            command="python scripts/peers/compare.py busy",
            commit=measured["commit"],
            parameters=measured["parameters"],
        )


def versions(measured: Any) -> str:
    """The versions of what was compared, as text."""
    return ", ".join(f"{name} {version}" for name, version in measured["versions"].items())


def left_out(side: Side) -> bool:
    """Whether a side can't be run; the reason is printed."""
    reason = side.missing()
    if reason:
        print(f"{side.name}: left out: {reason}")
    return reason is not None


def put(plan: Plan, **values: Any) -> None:
    """Keep a row and say it."""
    empty: dict[str, Any] = {"se": None, "n_tasks": 0, "seeds": (0,), "references": {}}
    row = Row(**{**empty, "train_seconds": 0.0, "train_steps": 0, **values})
    upsert(plan.results, row)
    if plan.results.parent == ROOT / "docs" / "results":
        write_markdown(ROOT / "docs")
    told = f" ({row.flags})" if row.flags else ""
    print(f"{row.method}: {row.ours:.3g}, {row.metric}, goal {row.goal[0]}{told}")


def install(options: Sequence[str]) -> None:
    """Make the environments; what can't be had is told."""
    for peer in environments.PEERS:
        reason = environments.install(peer, options)
        print(f"{peer}: {'installed' if reason is None else f'left out: {reason}'}")


PARTS: dict[str, Callable[[Plan], None]] = {"steps": steps, "seconds": seconds, "busy": busy}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=["install", *PARTS, "all"])
    parser.add_argument("--out", type=Path, default=Path("runs/peers"), help="where what was measured is kept")
    parser.add_argument("--quick", action="store_true", help="toy size; rows stay in the folder of --out")
    parser.add_argument("--pip", type=shlex.split, default=[], help="options of pip install, in one text")
    args = parser.parse_args(arguments)
    if args.part in ("install", "all"):
        install(args.pip)
    plan = quick(args.out) if args.quick else Plan(args.out, ROOT / "docs" / "results" / f"{NAME}.json")
    for name, part in PARTS.items():
        if args.part in (name, "all"):
            part(plan)


if __name__ == "__main__":
    main()
