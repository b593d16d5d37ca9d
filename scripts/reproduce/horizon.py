"""Rows of docs/results/horizon.json: agents in longer trials than they were trained in.

Each preset is trained as it is, or run folders are taken (``--runs``), and plays trials that are 1, 2 and 10 times as
long, the bandit also 100 times: ``python scripts/reproduce/horizon.py [--jobs 2]``. Beside each score stand the bytes
of state that a trial has filled at its end and the time of one step. What was played already is not played again.
Longer trials are of fewer tasks, so that each length plays as many steps.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from common import pooled, put, references, returned, runs_of, train, trained_at

from metarl.agents.rl2_room import policy_for
from metarl.config import to_plain
from metarl.evaluation.cost import cost
from metarl.evaluation.results import AgentEvaluation, read_evaluation
from metarl.experiments.run import open_run
from metarl.files import write_json

COMMAND = "python scripts/reproduce/horizon.py"
QUICK = ("train.total_timesteps=1000", "train.n_envs=10", "eval.trials=20", "eval.tuning_trials=10")
ROWS = 100  # trials side by side of which state and time are measured
PLAYED = 500_000  # steps at most of all trials of a length
TUNED = 2_000_000  # steps at most for each candidate of what a reference is tuned by
FACTORS = (1, 2, 10, 100)
AT_ONCE = 10**6  # steps of all trials side by side: memories of long trials are large


class Game(NamedTuple):
    """What is played longer.

    Args:
        preset: that trains.
        setting: of the row, before its lengths.
        option: of the family that makes trials longer.
        best: the reference to compare with, or the next one where there is none of that name.
        unit: what a score counts.
        per_trial: whether the score is that of a trial; else of an episode.
        factors: how many times as long the trials are.
    """

    preset: str
    setting: str
    option: str
    best: tuple[str, ...]
    unit: str
    per_trial: bool
    factors: tuple[int, ...]


GAMES = {
    "metarl/BernoulliBandit-v0": Game(
        "bandit", "Bernoulli bandit", "pulls", ("Gittins", "UCB1"), "reward per trial", True, FACTORS
    ),
    "metarl/BarcodeBandit-v0": Game(
        "barcode", "barcode bandit", "repeats", ("ideal memory",), "mean reward an episode", False, (1, 2, 10)
    ),
    "metarl/TabularMDP-v0": Game(
        "mdp", "tabular MDP", "episodes", ("Bayes bonus",), "reward per trial", True, (1, 2, 10)
    ),
}


class Played(NamedTuple):
    """What a run reached in trials of one length, and what it cost."""

    evaluation: Any
    cost: dict[str, float]


def main() -> None:
    """Train or take runs, play, write the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, nargs="+", help="run folders to take; those of a preset are its seeds")
    parser.add_argument("--only", nargs="+", choices=[game.preset for game in GAMES.values()], help="these presets")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of the trainings")
    parser.add_argument("--factors", type=int, nargs="+", choices=FACTORS, help="of the trial's length, these alone")
    parser.add_argument("--jobs", type=int, default=2, help="trainings at a time, one thread each")
    parser.add_argument("--quick", action="store_true", help="toy trainings and few tasks; rows say so")
    parser.add_argument("--out", type=Path, default=Path("runs/horizon"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    args.out.mkdir(parents=True, exist_ok=True)
    for preset, folders in folders_of(args).items():
        game = next(game for game in GAMES.values() if game.preset == preset)
        for factor in [f for f in game.factors if args.factors is None or f in args.factors]:
            played = [play(folder, game, factor, args.out, args.quick) for folder in folders]
            write(game, factor, played, trained_at(*folders), args.quick)


def folders_of(args: argparse.Namespace) -> dict[str, list[Path]]:
    """The run folders of each preset: those given, or new ones."""
    found: dict[str, list[Path]] = {}
    for folder in args.runs or ():
        id = json.loads((folder / "config.json").read_text(encoding="utf-8"))["env"]["id"]
        if id not in GAMES:
            raise SystemExit(f"{folder} plays {id}, expected one of {', '.join(GAMES)}")
        found.setdefault(GAMES[id].preset, []).append(folder)
    if not args.runs:
        for preset in args.only or [game.preset for game in GAMES.values()]:
            name = f"{preset}-quick" if args.quick else preset
            train(preset, name, args.seeds, QUICK if args.quick else (), args.out, args.jobs)
            found[preset] = runs_of(args.out, name, args.seeds)
    return {preset: folders for preset, folders in found.items() if preset in (args.only or found)}


def play(folder: Path, game: Game, factor: int, out: Path, quick: bool) -> Played:
    """What the run in a folder reaches in trials ``factor`` times as long; what was played already is read."""
    run: Any = open_run(folder, device="cpu")
    length = getattr(run.experiment.make_distribution("test"), game.option)
    settings: list[Any] = [(("env", game.option), length * factor)]
    longer: Any = open_run(folder, settings, device="cpu")
    steps = longer.experiment.make_distribution("test").trial_steps
    most, rows = run.experiment.eval, min(run.experiment.eval.rows, max(1, AT_ONCE // steps))
    trials = min(most.trials, 10 if quick else most.trials if factor == 1 else max(1, PLAYED // steps))
    path = out / f"{folder.resolve().parent.name}-{folder.name}-{game.option}={length * factor}-{trials}.json"
    evaluation, costs = read_evaluation(path), path.with_suffix(".cost.json")
    if not isinstance(evaluation, AgentEvaluation) or evaluation.train_seconds != run.seconds:  # of another training
        costs.unlink(missing_ok=True)
        tuning = min(most.tuning_trials, max(1, TUNED // steps))
        settings += [(("eval", "rows"), rows), (("eval", "tuning_trials"), tuning)]
        longer = open_run(folder, settings, device="cpu")
        evaluation = run.evaluation if factor == 1 and run.evaluation else longer.evaluate(n=trials)
        write_json(path, to_plain(evaluation))
    if not costs.is_file():
        rows = min(ROWS, rows)
        make_env = partial(longer.experiment.make_env, "test")
        found = cost(policy_for(longer.model, steps, rows), make_env, rows)
        write_json(costs, {**found._asdict(), "rows": rows})
    return Played(evaluation, json.loads(costs.read_text(encoding="utf-8")))


def write(game: Game, factor: int, played: Sequence[Played], version: str, quick: bool) -> None:
    """The row of trials of one length, the mean over runs."""
    evaluations, costs = [one.evaluation for one in played], [one.cost for one in played]
    options = evaluations[0].env_options
    length, per = options[game.option], 1.0 if game.per_trial else float(len(evaluations[0].by_episode))
    told = references(evaluations, per)
    ours = pooled([returned(one) for one in evaluations], per)
    if best := next((name for name in game.best if name in told), None):
        told[f"% of {best}"] = round(100 * ours[0] / told[best], 2)
    told["bytes of state in use"] = round(sum(one["state_bytes"] for one in costs) / len(costs))
    told["bytes that it has room for"] = costs[0]["room_bytes"]
    told[f"ms a step of {costs[0]['rows']:.0f} trials"] = round(
        1e3 * sum(one["step_seconds"] for one in costs) / len(costs), 3
    )
    shown = ", ".join(f"{name}={value}" for name, value in options.items() if isinstance(value, int | float))
    about: dict[str, Any] = {"setting": f"{game.setting}, {shown}, held-out tasks"}
    about["metric"] = f"{game.unit}, sampled actions"
    method = f"preset {game.preset}, trained with {game.option}={length // factor}"
    about |= {"method": method, "goal": (None, None), "references": told, "commit": version}
    about |= {"command": f"{COMMAND} --quick", "flags": "toy"} if quick else {"command": COMMAND}
    seeds = tuple(dict.fromkeys(one.train_seed for one in evaluations))
    put("horizon", evaluations, seeds, about, *ours)


if __name__ == "__main__":
    main()
