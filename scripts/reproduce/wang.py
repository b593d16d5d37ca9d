"""The two-armed bandits of Wang et al. 2016, 100 pulls: ``python scripts/reproduce/wang.py [--jobs 2]``.

Arms are independent, or depend on each other (uniform, easy, medium, hard), which are also the names of the rows:
``--only easy hard`` runs these alone, ``--references`` plays the hand-made strategies and trains nothing. The rows go
to docs/results/wang.json. Agents are of the preset bandit with twice as many heads and units (``bandits.FINE``).

Expected regret is what the best arm pays on average, known beforehand, less what is earned. It is the exact regret of
the Bayes-optimal player plus the difference to it on the same tasks, which is far more certain than a difference of two
means.
"""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from bandits import FINE, FINER
from common import Measured, above, put, runs_of, save, train, trained_at
from results.rows import Row, commit
from rivals import options, play

from metarl.agents.baselines import ceilings
from metarl.envs.bernoulli_bandit import BernoulliBandit

COMMAND = "python scripts/reproduce/wang.py"
METRIC = "expected regret per trial"
TABLE = {"independent": "none", "uniform": "uniform", "easy": "easy", "medium": "medium", "hard": "hard"}
SEEDS = (0,)
STEPS = 2_560_000
TASKS = 10_000
REFERENCE_TASKS = 100_000
MOST = 1.2  # of the Bayes-optimal regret


def main() -> None:
    """Train the bandit preset for each row, or play the references."""
    about = (__doc__ or "").split("\n")[0]
    args = options(about, list(TABLE), "runs/wang")
    for name in TABLE:
        if name in args.only:
            run = play_references if args.references else train_agents
            run(name, args)


def optimal(name: str) -> tuple[BernoulliBandit, str, float]:
    """The family of a row, the reference that plays as well as can be, and its expected regret, exactly.

    Of two independent arms the finite-horizon Gittins strategy is no provable optimum, but its simulated return is the
    exact value of the optimum, within the error of 100,000 tasks.
    """
    family = BernoulliBandit(arms=2, pulls=100, dependence=TABLE[name])
    known = ceilings(family.prior)
    return (
        family,
        "Gittins" if name == "independent" else "Bayes-optimal",
        known["best arm known"] - known["Bayes-optimal"],
    )


def about_row(name: str, version: str, more: str = "") -> dict[str, Any]:
    """The fields of a row that say what was measured."""
    arms = "independent" if name == "independent" else f"dependent ({name})"
    setting = f"two-armed Bernoulli bandit, {arms} arms, n=100, held-out tasks"
    return {"setting": setting, "commit": version, "command": f"{COMMAND} {more}--only {name}"}


def play_references(name: str, args: Namespace) -> None:
    """Write the rows of the hand-made strategies."""
    family, best, regret = optimal(name)
    exact = ceilings(family.prior)["Bayes-optimal"]
    rows = []
    for actor, one in play(family, best, REFERENCE_TASKS, args.out / f"references-{name}").items():
        beside = {"Bayes-optimal": round(regret, 4), "reward": round(one.value[0], 3)}
        paid, error = (one.value[0] - exact, one.value[1]) if actor == best else one.minus
        row = Row(
            method=f"{actor}, reference",
            metric=METRIC,
            ours=regret - paid,
            se=error,
            n_tasks=REFERENCE_TASKS,
            seeds=(0,),
            goal=(None, None),
            references=beside if one.parameter is None else {**beside, "parameter": one.parameter},
            train_seconds=0,
            train_steps=0,
            **about_row(name, commit(), "--references "),
        )
        rows.append(row)
    save("wang", *rows)


def train_agents(name: str, args: Namespace) -> None:
    """Train the preset, evaluate each agent on tasks of its own, write the rows."""
    _, best, regret = optimal(name)
    seeds = args.seeds or SEEDS
    settings = {"arms": 2, "pulls": 100, "dependence": TABLE[name]}
    given = [f"env.{key}={value}" for key, value in settings.items()]
    given += [*FINE, f"train.total_timesteps={STEPS}", f"eval.trials={TASKS}"]
    evaluations = train("bandit", f"bandit-{name}", seeds, given, args.out, args.jobs)
    ours = regret_of(evaluations, best, regret)
    beside = {"Bayes-optimal": round(regret, 4)}
    for actor in evaluations[0].references:
        if actor != best:
            beside[actor] = round(ours[0] + above(evaluations, actor)[0], 3)
    version = trained_at(*runs_of(args.out, f"bandit-{name}", seeds))
    common = {**about_row(name, version), "method": f"preset bandit, {FINER}"}
    values = {**common, "metric": METRIC, "references": beside, "goal": (None, None)}
    put("wang", evaluations, seeds, values, *ours)
    share = {**common, "metric": "expected regret / Bayes-optimal", "references": {}, "goal": (None, MOST)}
    put("wang", evaluations, seeds, share, ours[0] / regret, ours[1] / regret)


def regret_of(evaluations: list[Any], best: str, regret: float) -> Measured:
    """The agents' expected regret and its standard error, by the paired differences to the best player."""
    gain, error = above(evaluations, best)
    return regret - gain, error


if __name__ == "__main__":
    main()
