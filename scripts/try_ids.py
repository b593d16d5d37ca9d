"""Every id of other packages of environments, tried: ``python scripts/try_ids.py --work FILE --jobs 2``.

An id passes if ``metarl.check_env`` finds nothing broken and an agent of the preset ``general`` trains on it for 1,000
steps, with nothing said but levels 0..99, and 200 steps a trial where the environment has no time limit. Training stops
sooner where that takes too long, after one rollout and update or more; the steps of such ids are told. Left out are
ids of which the registry has a newer version. Ids that ``gym.make`` alone can't make and reset count apart.

Each id is tried in a process that is replaced if it crashes or hangs. What is done is kept in the file of ``--work``,
so that the command goes on where it was ended. At the end docs/results/ids/any_env.json is made of it, and the shares
that pass go into docs/results/any_env.json.

The packages were installed, beside metarl, by (Python 3.11; gymnasium-robotics needs MuJoCo 3, minigrid's wheel lacks
the images of its WFC environments):

    pip install swig
    pip install minigrid==3.2.0 popgym==1.0.7 highway-env==1.12.1 gymnasium-robotics==1.4.2 mujoco==3.3.7 \
        "gymnasium[box2d,toy-text,classic-control]==1.4.0" imageio
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import multiprocessing
import os
import re
import tempfile
import threading
import time
from collections import Counter
from importlib import metadata
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from results.rows import ROOT, Row, commit, upsert
from tqdm import tqdm

from metarl.files import write_json
from metarl.runs.provenance import versions

ROWS = ROOT / "docs" / "results" / "any_env.json"
RESULTS = ROOT / "docs" / "results" / "ids" / "any_env.json"
COMMAND = "python scripts/try_ids.py --work FILE --jobs 2"
COUNTED = ("tried", "passed", "left_out", "not_made", "not_tried")
GOAL = 95.0  # per cent of the ids that can be made
PACKAGES = {  # by module: what the package is called
    "gymnasium": "gymnasium",
    "minigrid": "minigrid",
    "popgym": "popgym",
    "highway_env": "highway-env",
    "gymnasium_robotics": "gymnasium-robotics",
}
ALSO = ("mujoco", "box2d", "pygame-ce")  # whose versions matter, too
LEVELS, NO_LIMIT = "0..99", 200  # seeds, and steps of a trial where an environment sets no time limit
STEPS, ENVS, ROLLOUT = 1000, 4, 25
CHECK_SECONDS, TRAIN_SECONDS = 1.5, 150.0  # for a rule of the check, and for training
STARTING = 300.0  # seconds in which a process must be ready
STAGES = ("make", "check", "train")
Record = dict[str, Any]


def serve(module: str, pipe: Connection) -> None:
    """In a process of its own: say which ids there are, then try those that are asked for."""
    os.environ["SDL_VIDEODRIVER"] = "dummy"
    os.chdir(tempfile.gettempdir())  # MuJoCo leaves a log where it runs
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)  # packages print much
    os.dup2(quiet, 2)
    importlib.import_module(module)
    pipe.send(listing(module))
    with contextlib.suppress(EOFError):
        while True:
            pipe.send(attempt(pipe.recv(), module, pipe))


def listing(module: str) -> Record:
    """The ids of a package in their newest versions, and the others."""
    import gymnasium as gym
    from gymnasium.envs.registration import parse_env_id

    newest: dict[Any, int] = {}
    for name in gym.registry:
        *which, version = parse_env_id(name)
        newest[tuple(which)] = max(newest.get(tuple(which), 0), version or 0)
    ids: list[str] = []
    old: list[str] = []
    for name, spec in gym.registry.items():
        entry = spec.entry_point if isinstance(spec.entry_point, str) else getattr(spec.entry_point, "__module__", "")
        if re.split(r"[.:]", entry)[0] == module:
            *which, version = parse_env_id(name)
            (ids if (version or 0) == newest[tuple(which)] else old).append(name)
    return {"ids": sorted(ids), "left_out": sorted(old)}


def attempt(name: str, module: str, pipe: Connection) -> Record:
    """Make, check and train; each stage is announced before it begins."""
    from metarl.tasks.family.errors import told

    begun, record = time.monotonic(), {"package": module, "id": name}
    try:
        for stage in STAGES:
            pipe.send(stage)
            record["stage"] = stage
            reason = {"make": make, "check": check, "train": train}[stage](name, module, record)
            if reason:
                break
        else:
            record["stage"] = "passed"
    except BaseException as error:  # whatever the environment may raise
        reason = told(error)
    if reason:
        record["reason"] = " ".join(reason.split())[:400]
    return record | {"seconds": round(time.monotonic() - begun, 1)}


def make(name: str, module: str, record: Record) -> None:
    """Plain ``gym.make``; notes whether a trial needs to be given its steps."""
    import gymnasium as gym

    from metarl.tasks.family.members import time_limit

    env = gym.make(name)
    env.reset(seed=0)
    if time_limit(env) is None:
        record["given"] = {"steps": NO_LIMIT}
    env.close()


def options(name: str, module: str, record: Record) -> dict[str, Any]:
    """The section ``env``, as the command line makes it."""
    return {"id": name, "import": [module], "levels": LEVELS, **record.get("given", {})}


def check(name: str, module: str, record: Record) -> str:
    """``metarl check-env``; what is broken."""
    from metarl.experiments.rl.experiment import make_family
    from metarl.tasks.check.check_env import check_env

    findings = check_env(make_family(options(name, module, record), "train"), seconds=CHECK_SECONDS)
    record["advice"] = [finding.name for finding in findings if finding.level == "advice"]
    return "; ".join(f"{finding.name}: {finding.message}" for finding in findings if not finding.ok)


def train(name: str, module: str, record: Record) -> None:
    """``metarl train``, without its evaluation."""
    import torch

    from metarl.experiments.presets import load_experiment
    from metarl.experiments.rl.experiment import RL2Experiment

    torch.set_num_threads(1)
    small = {"total_timesteps": STEPS, "n_envs": ENVS, "n_steps": ROLLOUT}
    settings = {"env": options(name, module, record), "train": small, "ppo.n_minibatches": 1}
    experiment = load_experiment("general", settings)
    assert isinstance(experiment, RL2Experiment)
    agent = experiment.build(0, torch.device("cpu"))
    begun = time.monotonic()
    while agent.num_timesteps < STEPS and (agent.num_timesteps == 0 or time.monotonic() - begun < TRAIN_SECONDS):
        agent.learn(ENVS * ROLLOUT, reset_num_timesteps=False, log_interval=None)
        record["steps"] = agent.num_timesteps
    assert agent.env is not None
    agent.env.close()


class Child:
    """A process that tries ids of one package.

    Raises:
        RuntimeError: it does not get ready.
    """

    def __init__(self, module: str) -> None:
        context = multiprocessing.get_context("spawn")
        self.module, (self.pipe, theirs) = module, context.Pipe()
        self.process = context.Process(target=serve, args=(module, theirs), daemon=True)
        self.process.start()
        theirs.close()
        self.listing: Record = {}
        try:
            self.listing = self.pipe.recv() if self.pipe.poll(STARTING) else {}
        except EOFError:
            self.process.join()
        if not self.listing:
            self.end()
            raise RuntimeError(f"{module} cannot be imported, or not in time; install it as said above")

    def ask(self, name: str, seconds: float) -> Record:
        """Try an id; ends this process if that takes too long, or crashes it."""
        begun, stage, reason = time.monotonic(), "make", ""
        self.pipe.send(name)
        try:
            while self.pipe.poll(max(0.0, begun + seconds - time.monotonic())):
                said = self.pipe.recv()
                if isinstance(said, dict):
                    return said
                stage = said
            reason = f"took more than {seconds:g} s"
        except (EOFError, ConnectionError):
            self.process.join(5)
            reason = f"the process died with exit code {self.process.exitcode}"
        self.end()
        seconds = round(time.monotonic() - begun, 1)
        return {"package": self.module, "id": name, "stage": stage, "reason": reason, "seconds": seconds}

    @property
    def alive(self) -> bool:
        """Whether it can be asked again."""
        return self.process.is_alive()

    def end(self) -> None:
        """End the process; it does so itself when nothing can be asked any more, unless it hangs."""
        self.pipe.close()
        self.process.join(5)
        self.process.kill()
        self.process.join()


class Work:
    """What is done, in a file of JSON lines; ids are handed out once.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.lock = path, threading.Lock()
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        records = [json.loads(line) for line in lines]
        self.lists: dict[str, Record] = {one["package"]: one for one in records if "ids" in one}
        self.done: dict[str, Record] = {one["id"]: one for one in records if "id" in one}

    def add(self, record: Record) -> None:
        """Keep a record, at once."""
        with self.lock, self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
            if "ids" in record:
                self.lists[record["package"]] = record
            else:
                self.done[record["id"]] = record

    def list_ids(self, module: str) -> list[str]:
        """The ids of a package."""
        if module not in self.lists:
            child = Child(module)
            self.add({"package": module, **child.listing})
            child.end()
        return list(self.lists[module]["ids"])


def run(work: Work, todo: list[tuple[str, str]], until: float, seconds: float, bar: Any) -> None:
    """Try ids of the common list until it is empty or the time is up."""
    child: Child | None = None
    while time.monotonic() < until:
        with work.lock:
            if not todo:
                break
            module, name = todo.pop(0)
        if child is None or not child.alive or child.module != module:
            if child is not None:
                child.end()
            child = Child(module)
        bar.set_description(name, refresh=False)
        work.add(child.ask(name, seconds))
        bar.update()
    if child is not None:
        child.end()


def summary(work: Work) -> Record:
    """What docs/results/any_env.json holds."""
    packages = {PACKAGES[module]: package(work, module) for module in PACKAGES if module in work.lists}
    installed = {name: version(name) for name in (*PACKAGES.values(), *ALSO)}
    return {
        "about": __doc__.split("\n\n")[1].replace("\n", " "),
        "command": COMMAND,
        "commit": commit(),
        "versions": {**versions(), **installed},
        "seconds": round(sum(one["seconds"] for one in work.done.values())),
        "packages": packages,
    }


def package(work: Work, module: str) -> Record:
    """The part of a package."""
    listed = work.lists[module]
    done = [work.done[name] for name in listed["ids"] if name in work.done]
    stages = Counter(one["stage"] for one in done)
    tell = [{key: one[key] for key in ("id", "stage", "reason")} for one in done if one["stage"] != "passed"]
    return {
        "ids": len(listed["ids"]) + len(listed["left_out"]),
        "left_out": len(listed["left_out"]),
        "not_tried": len(listed["ids"]) - len(done),
        "not_made": stages["make"],
        "tried": len(done) - stages["make"],
        "passed": stages["passed"],
        "with_fewer_steps": {one["id"]: one["steps"] for one in done if one.get("steps", STEPS) < STEPS},
        "with_advice": dict(Counter(rule for one in done for rule in one.get("advice", ()))),
        "failed": [one for one in tell if one["stage"] != "make"],
        "gym_make_fails": [one for one in tell if one["stage"] == "make"],
    }


def rows(made: Record) -> list[Row]:
    """The shares of ids that pass, of each package and of all."""
    parts = {f"{name} {made['versions'][name]}": [part] for name, part in made["packages"].items()}
    parts |= {"all five packages": list(made["packages"].values())}
    out = []
    for name, each in parts.items():
        counts = {key: sum(part[key] for part in each) for key in COUNTED}
        if counts["tried"]:
            out.append(
                Row(
                    setting=f"ids of {name}, levels 0..99",
                    method="check_env, and 1,000 steps of the preset general",
                    metric="% of the ids that gym.make can make",
                    ours=100 * counts["passed"] / counts["tried"],
                    se=None,
                    n_tasks=counts["tried"],
                    seeds=(0,),
                    goal=(GOAL if len(each) > 1 else None, None),
                    references={
                        "older versions, left out": counts["left_out"],
                        "not made by gym.make": counts["not_made"],
                        "not tried": counts["not_tried"],
                        "with fewer steps": sum(len(part["with_fewer_steps"]) for part in each),
                    },
                    command=COMMAND,
                    train_seconds=0,
                    train_steps=STEPS,
                    commit=made["commit"],
                )
            )
    return out


def version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def main() -> None:
    """Try what is not done yet, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="file of JSON lines that keeps what is done")
    parser.add_argument("--only", choices=PACKAGES.values(), action="append", help="package (repeatable)")
    parser.add_argument("--match", default="", help="try only ids that this regular expression is found in")
    parser.add_argument("--jobs", type=int, default=1, help="processes at a time")
    parser.add_argument("--limit", type=float, default=float("inf"), help="seconds after which no other id is begun")
    parser.add_argument("--id-limit", type=float, default=300.0, help="seconds that an id may take (default 300)")
    parser.add_argument("--out", type=Path, default=RESULTS, help=f"the table (default {RESULTS.relative_to(ROOT)})")
    args = parser.parse_args()
    until, work = time.monotonic() + args.limit, Work(args.work)
    modules = [module for module, name in PACKAGES.items() if not args.only or name in args.only]
    todo = [(module, name) for module in modules for name in work.list_ids(module) if re.search(args.match, name)]
    todo = [(module, name) for module, name in todo if name not in work.done]
    with tqdm(total=len(todo), unit="id", disable=None) as bar:
        jobs = [threading.Thread(target=run, args=(work, todo, until, args.id_limit, bar)) for _ in range(args.jobs)]
        for job in jobs:
            job.start()
        for job in jobs:
            job.join()
    made = summary(work)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_json(args.out, made)
    if args.out == RESULTS:
        upsert(ROWS, *rows(made), alone=True)
    for name, part in made["packages"].items():
        print(f"{name}: {part['passed']} of {part['tried']} pass, {part['not_made']} can't be made, ", end="")
        print(f"{part['left_out']} have newer versions, {part['not_tried']} not tried")


if __name__ == "__main__":
    main()
