"""Runs that are killed at fifty instants, or signalled: ``python scripts/killed_runs.py kills`` or ``signals``.

Each kind of run is carried out once as it is. Half of the kills then come inside saves, where a process kills itself
before it flushes or replaces a file, or between members of a zip; the other half at random instants from when the run
folder is there. Then the run is resumed and compared with the one that was never cut off. Signals come at each stage.
The counts go into docs/results/reliability.json. What is done is kept in --work, and not done again. Linux only.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from killing import DIE, IN_SAVES, differences, left, metarl, process, untimed
from results.rows import ROOT, Row, commit, upsert

from metarl.config import InputError
from metarl.files import read_json, write_json
from metarl.runs.folder import RunFolder

ROWS = ROOT / "docs" / "results" / "reliability.json"
AGENT = """kind = "rl2"
threads = 1
checkpoint_steps = 300
memory = { key_size = 8, value_size = 8, controller_options = { hidden_size = 8 } }
eval = { trials = 100, tuning_trials = 20, rows = 50 }
"""
BANDIT = AGENT + 'env = { id = "metarl/BernoulliBandit-v0", arms = 3, pulls = 12 }\n'
CART = AGENT + 'env = { id = "CartPole-v1", vary = { length = "0.3..1" }, steps = 12 }\n'
FEWSHOT = """kind = "fewshot"
threads = 1
checkpoint_steps = 30
data = { source = "glyphs", rotations = false }
train = { ways = 4, queries = 2, batch = 2 }
eval = { cells = [[4, 1]], episodes = 60, queries = 2, validation = [4, 1], validation_episodes = 20 }
fit = { updates = 60, validate_every = 10, average = 0.5, patience = 30 }
classifier = { encoder = { width = 8, embedding_size = 8, norm = "running" } }
"""
RECALL = """kind = "recall"
checkpoint_steps = 500
sizes = { pairs = 2, keys = 4, values = 2 }
fit = { updates = 240, batch = 8, parameters = 5000, key_size = 8, target = 2.0, learning_rates = [0.01, 0.001] }
sequences = 2000
"""
BENCH = ["bench", "memory", "--tasks", "repeat_first", "--memories", "lstm", "gru", "mingru", "--jobs", "2"]
BENCH += ["--updates", "40", "--batch", "8", "--parameters", "9000"]
KINDS: dict[str, tuple[int, str]] = {
    "an agent in a family of this package": (
        12,
        BANDIT + "train = { total_timesteps = 1920, n_envs = 8 }",
    ),
    "an agent in CartPole-v1": (8, CART + "train = { total_timesteps = 1440, n_envs = 4 }"),
    "an agent in CartPole-v1, two workers": (8, CART + "train = { total_timesteps = 1440, n_envs = 4, workers = 2 }"),
    "an agent in CartPole-v1, rollouts that end inside a trial": (
        6,
        CART + "train = { total_timesteps = 1440, n_envs = 4, n_steps = 8 }",
    ),
    "a few-shot learner": (8, FEWSHOT),
    "a memory that recalls": (4, RECALL),
    "metarl bench, two jobs": (4, ""),
}
INSIDE = "an agent in CartPole-v1, rollouts that end inside a trial"  # what it does after a break is not promised
TASKS = """
from metarl.experiments.rl.experiment import RL2Experiment
from metarl.tasks.family.env_family import EnvFamily
learn, sample, replace, lines = RL2Experiment.learn, EnvFamily.sample_batch, os.replace, open({path!r}, "a")
def learning(self, *given):
    def drawn(family, *given):
        tasks = sample(family, *given)
        print(*(repr(float(length)) for length in tasks["length"]), file=lines, flush=True)
        return tasks
    EnvFamily.sample_batch = drawn
    try: return learn(self, *given)
    finally: EnvFamily.sample_batch = sample
def replacing(source, target):
    replace(source, target)
    if target.parent.name == "checkpoints": print("saved", file=lines, flush=True)
RL2Experiment.learn, os.replace = learning, replacing
"""
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
AT = """
import importlib
module, _, name = {target!r}.rpartition(".")
owner, _, kind = module.rpartition(".")
owner = getattr(importlib.import_module(owner), kind) if kind[0].isupper() else importlib.import_module(module)
real, seen = getattr(owner, name), []
def call(*given, **options):
    seen.append(1)
    if len(seen) == {number}: os.kill(os.getpid(), {signal})
    return real(*given, **options)
setattr(owner, name, call)
"""
STAGES: dict[str, dict[str, tuple[str, int]]] = {
    "an agent in a family of this package": {
        "start": ("metarl.runs.folder.RunFolder.start", 1),
        "rollout": ("metarl.tasks.vector.env.TrialVectorEnv.advance", 100),
        "update": ("metarl.training.ppo.optimizer_step", 50),
        "saving": ("metarl.agents.rl2_checkpoint.write_checkpoint", 2),
        "evaluation": ("metarl.experiments.rl.evaluate.rollout_trials", 3),
        "drawing": ("matplotlib.figure.Figure.savefig", 2),
    },
    "a few-shot learner": {
        "start": ("metarl.runs.folder.RunFolder.start", 1),
        "validation": ("metarl.experiments.fewshot.experiment.prepared", 2),
        "update": ("metarl.training.supervised.optimizer_step", 20),
        "saving": ("metarl.experiments.base.write_checkpoint", 2),
        "evaluation": ("metarl.experiments.fewshot.evaluate.prepared", 1),
        "drawing": ("matplotlib.figure.Figure.savefig", 1),
    },
}


def begun(kind: str, work: Path) -> list[str]:
    """The command that begins a run of a kind, without its folder."""
    if not KINDS[kind][1]:
        return [*BENCH, "--out"]
    preset = work / f"{list(KINDS).index(kind)}.toml"
    preset.write_text(KINDS[kind][1])
    return ["train", str(preset), "--out"]


def whole(kind: str, work: Path) -> dict[str, Any]:
    """The run that is never cut off: its folder, the points inside its saves, and its seconds after the first file."""
    folder = work / f"{list(KINDS).index(kind)}-whole"
    shutil.rmtree(folder, ignore_errors=True)
    started = process(*begun(kind, work), folder, before=IN_SAVES.format(number=0, happen="pass"))
    while not folder.exists():
        time.sleep(0.001)
    since = time.monotonic()
    _, err = started.communicate(timeout=300)
    assert started.returncode == 0, err
    return {"seconds": time.monotonic() - since, "points": int(err.split()[-1])}


def killed(kind: str, number: int, work: Path, known: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    """Kill a run and resume it: what it was doing, and what was wrong."""
    name = f"{list(KINDS).index(kind)}-{number}"
    path, log = work / name, work / f"{name}.tasks"
    shutil.rmtree(path, ignore_errors=True)
    log.unlink(missing_ok=True)
    tasks = TASKS.format(path=str(log)) if kind == INSIDE else ""
    command, inside = begun(kind, work), number % 2 == 0
    if inside:
        points = rng.randint(1, known["points"])
        started = process(*command, path, before=tasks + IN_SAVES.format(number=points, happen=DIE))
    else:
        points = 0
        started = process(*command, path, before=tasks)
        while not path.exists() and started.poll() is None:
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.7 * known["seconds"]))
        started.kill()
    started.wait(300)
    wrong = [f"{len(alive)} processes are left"] if (alive := left(started.pid)) else []
    started.communicate()
    if started.returncode != -signal.SIGKILL:
        return {}  # it ended before
    reference = work / f"{list(KINDS).index(kind)}-whole"
    stage, more = (resumed if KINDS[kind][1] else repeated)(path, command, reference, log if tasks else None)
    return {"stage": stage, "inside": inside, "wrong": wrong + more, "at": points}


def repeated(path: Path, command: list[str], reference: Path, log: Path | None) -> tuple[str, list[str]]:
    """Give the command of a benchmark again."""
    stage = "with results" if (path / "recall.json").exists() else "without results"
    status, _, err = metarl(*command, path)
    wrong = [f"status {status}: {err}"] if status or err else []
    own, other = (sorted(map(str, untimed(one / "recall.json")["results"])) for one in (path, reference))
    return stage, wrong + (["another result"] if own != other else []) + leftovers(path)


def resumed(path: Path, command: list[str], reference: Path, log: Path | None) -> tuple[str, list[str]]:
    """Resume a run, or begin it anew where there is none yet."""
    wrong: list[str] = []
    try:
        folder = RunFolder.open(path)
    except InputError as error:
        stage, said = "before it began", str(error)
        status, _, err = metarl(*command, path)
        wrong += [] if "--out" in said or not any(path.iterdir()) else [f"said {said}"]
    else:
        facts = folder.status
        trained = facts.get("trained") is True
        early = not folder.checkpoints and not trained
        stage = "before the first checkpoint" if early else "evaluation" if trained else "training"
        before = TASKS.format(path=str(log)) if log else ""
        if log and log.exists():
            log.rename(log.with_suffix(".before"))
        if facts["status"] == "finished":
            stage = "drawing"
            status, _, err = metarl("report", path)
        else:
            status, _, err = metarl("train", "--resume", path, before=before)
            said = "starts anew" if early else "can't be saved" if log and err else ""
            wrong += [] if (said in err if said else not err) else [f"said {err!r}"]
    wrong += [f"status {status}: {err}"] if status else []
    folder = RunFolder.open(path)
    wrong += [] if folder.status["status"] == "finished" else [f"status {folder.status}"]
    if log and "can't be saved" in err:
        trained_on = {*log.with_suffix(".before").read_text().rpartition("saved")[0].split()} - {"saved"}
        after = {*log.read_text().split()} - {"saved"}
        wrong += ["a repeated task"] if trained_on & after else [] if trained_on and after else ["no tasks"]
    else:
        wrong += [f"{name} differs" for name in differences(folder, RunFolder(reference))]
    return stage, wrong + leftovers(path)


def leftovers(path: Path) -> list[str]:
    """Temporary files that are still there."""
    return [f"{found.name} is left" for found in path.rglob(".*.tmp")]


def signalled(kind: str, stage: str, number: signal.Signals, work: Path) -> dict[str, Any]:
    """Send a signal to a run in one of its stages, and resume it: what was wrong."""
    path = work / "signalled"
    shutil.rmtree(path, ignore_errors=True)
    target, count = STAGES[kind][stage]
    code = AT.format(target=target, number=count, signal=int(number))
    status, _, err = metarl(*begun(kind, work), path, before=f"signal.signal(signal.SIGHUP, signal.SIG_DFL)\n{code}")
    folder = RunFolder.open(path)
    told, drawing = folder.status, stage == "drawing"
    wrong = [] if status == 128 + number else [f"exit status {status}: {err}"]
    wrong += [] if told["status"] == ("finished" if drawing else "interrupted") else [f"status {told}"]
    wrong += [] if folder.evaluation.exists() == drawing else ["an evaluation" if not drawing else "no evaluation"]
    wrong += [] if folder.checkpoint.exists() == (stage != "start") else ["a model" if stage == "start" else "no model"]
    wrong += ["Traceback"] if "Traceback" in err else []
    again: list[str | Path] = ["report", path] if drawing else ["train", "--resume", path]
    status, _, err = metarl(*again)
    wrong += [f"resumed with {status}: {err}"] if status else []
    reference = RunFolder(work / f"{list(KINDS).index(kind)}-whole")
    wrong += [f"{name} differs" for name in differences(folder, reference)] if not status else []
    return {"wrong": wrong + leftovers(path)}


Once = Callable[[str, Callable[[], dict[str, Any]]], dict[str, Any]]


def kills(once: Once, work: Path, seed: int) -> Iterator[dict[str, Any]]:
    """Kill runs of all kinds; what rows say of each kind."""
    for kind, (number, _) in KINDS.items():
        known = once(f"{kind}: whole", partial(whole, kind, work))
        tries: list[dict[str, Any]] = []
        again = 0
        while len(tries) < number:
            key = f"{kind}: kill {len(tries)}" + (f", again {again}" if again else "")
            made = once(key, partial(killed, kind, len(tries), work, known, random.Random(f"{seed} {key}")))
            tries += [made] if made else []  # else it had ended before
            again = 0 if made else again + 1
        like = "without a repeated task" if kind == INSIDE else "and ended as if never killed"
        yield {
            "setting": f"kill -9 at {sum(n for n, _ in KINDS.values())} instants, half of them inside saves",
            "method": kind,
            "metric": f"runs of {number} that went on {like}, with no process and no file left",
            "ours": float(sum(not one["wrong"] for one in tries)),
            "goal": (float(number), float(number)),
            "references": {stage: float(n) for stage, n in Counter(one["stage"] for one in tries).items()},
        }


def signals(once: Once, work: Path, seed: int) -> Iterator[dict[str, Any]]:
    """Signal runs in all stages; what rows say of each kind."""
    for kind, stages in STAGES.items():
        once(f"{kind}: whole", partial(whole, kind, work))
        cells = [(stage, number) for stage in stages for number in SIGNALS]
        results = [
            once(f"{kind}: {number.name} in {stage}", partial(signalled, kind, stage, number, work))
            for stage, number in cells
        ]
        yield {
            "setting": f"SIGINT, SIGTERM and SIGHUP, each in {', '.join(stages)}",
            "method": kind,
            "metric": f"cells of {len(cells)} where status, exit status and folder agree, and the run goes on",
            "ours": float(sum(not one["wrong"] for one in results)),
            "goal": (float(len(cells)), float(len(cells))),
            "references": {},
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("part", choices=["kills", "signals"])
    parser.add_argument("--seed", type=int, default=0, help="of the instants (default 0)")
    parser.add_argument("--work", type=Path, default=Path("runs/killed"), help="folder of what is done (runs/killed)")
    parser.add_argument("--rows", type=Path, default=ROWS, help=f"file of rows (default {ROWS.relative_to(ROOT)})")
    args = parser.parse_args()
    work = args.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    kept = work / "done.json"
    done: dict[str, Any] = read_json(kept) if kept.exists() else {"commit": commit(), "seed": args.seed}
    began = done["commit"]
    changed = subprocess.run(["git", "diff", "--quiet", began, "--", "metarl", "agents", "envs"], cwd=ROOT, check=False)
    if changed.returncode or done["seed"] != args.seed:
        parser.error(f"what is in {work} was done with other code or another seed; remove it")

    def once(key: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        if key not in done:
            done[key] = make()
            print(key, done[key], flush=True)
            write_json(kept, done)
        return done[key]

    common: dict[str, Any] = {"se": None, "n_tasks": 0, "seeds": (args.seed,), "train_seconds": 0.0, "train_steps": 0}
    common |= {"commit": began, "command": f"python scripts/killed_runs.py {args.part}"}
    made = (kills if args.part == "kills" else signals)(once, work, args.seed)
    rows = [Row(**one, **common) for one in made]
    upsert(args.rows, *rows, alone=True)
    for row in rows:
        print(f"{row.method}: {row.ours:g} {row.metric}, {row.references}")


if __name__ == "__main__":
    main()
