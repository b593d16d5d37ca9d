"""The Bernoulli bandits of RL²'s table 1 and SNAIL's (1000, 50): ``python scripts/reproduce/bandits.py [--jobs 2]``.

A row is named PULLS,ARMS: ``--only 100,10 500,50`` runs these alone, ``--references`` plays the hand-made strategies
and trains nothing. The rows go to docs/results/bandits.json.
"""

from __future__ import annotations

from argparse import Namespace
from typing import Any, NamedTuple

from common import percent_of, put, references, runs_of, train, trained_at, write
from results.rows import commit
from rivals import options, play, write_references

from metarl.envs.bernoulli_bandit import BernoulliBandit

METRIC = "reward per trial, sampled actions"
COMMAND = "python scripts/reproduce/bandits.py"
VARIANTS = {
    "asked once a step": ["memory.per_action=false"],
    "summed up in fast weights": [
        "memory.store=delta",
        "memory.access=native",
        'memory.store_options={ rule = "sum", heads = 6 }',
    ],
}
STRATEGIES = ("random", "Gittins", "Thompson", "OTS", "UCB1", "epsilon-greedy", "greedy")


class Setting(NamedTuple):
    """A row of the table.

    Args:
        pulls: of a trial.
        arms: of a bandit.
        steps: of training; None: everything is as in the preset.
        seeds: of training.
        goal: the least share of what Gittins reaches on the same tasks.
        agents: what RL² and SNAIL published.
        strategies: what RL² published of :data:`STRATEGIES`; "Gittins" is the best of several approximations there.
        more: further settings.
        above: whether the agents have to be passed by two of their standard errors, not only to be within them.
    """

    pulls: int
    arms: int
    steps: int | None
    seeds: tuple[int, ...]
    goal: float
    agents: tuple[float, float]
    strategies: tuple[float, ...]
    above: bool = False
    more: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """As ``--only`` takes it."""
        return f"{self.pulls},{self.arms}"

    @property
    def text(self) -> str:
        """As the row says it."""
        return f"Bernoulli bandit, k={self.arms}, n={self.pulls}, held-out tasks"

    @property
    def tasks(self) -> int:
        """Test tasks: short trials differ much from each other, and cost little."""
        return 100_000 if self.pulls == 10 else 10_000

    @property
    def method(self) -> str:
        """As the row says how it differs from the preset."""
        return ", ".join(["preset bandit", *(name for part, name in NAMES.items() if set(part) <= set(self.more))])

    @property
    def settings(self) -> list[str]:
        """What differs from the preset."""
        if self.steps is None:
            return []
        given = {"env.arms": self.arms, "env.pulls": self.pulls, "train.total_timesteps": self.steps}
        return [*(f"{key}={value}" for key, value in {**given, "eval.trials": self.tasks}.items()), *self.more]

    @property
    def least(self) -> float:
        """The better of the published agents, less two standard errors of its 1,000 tasks, or with them above it."""
        error = PUBLISHED_ERRORS[self.pulls]
        return round(max(self.agents) + (2 if self.above else -2) * error, 2)


HEADS = ("memory.controller_options={hidden_size=64}", "memory.value_size=24", "memory.access_options.heads=12")
"""Where arms are few, what counts is to tell them apart finely. On validation tasks of two independent arms the regret
fell from 1.24 to 1.14 times the least by this, and by more steps, larger batches or a discount of 1 it didn't."""
FINE = (*HEADS, "ppo.n_minibatches=4")
FINER = "12 heads, 64 units"
TAUGHT = (
    *("imitation.expert=Gittins", "imitation.until=1.0", "imitation.weight=10.0"),
    *("ppo.gamma=0.99", "ppo.gamma_end=1.0", "ppo.reward_scale=0.03", "ppo.ent_coef=0.01"),
)
"""For long trials: in 3.2 million steps of 500 pulls of 50 arms the preset came to a mean return of 445 (Gittins 464)
and stayed there, and a taught agent whose teacher leaves at 60 % falls back to it."""
NAMES = {HEADS: FINER, TAUGHT: "imitating Gittins"}
SHORT = ("train.n_envs=1024",)  # so that a minibatch of short trials has as many steps as one of long ones
LONG = (*HEADS, *TAUGHT, "train.n_envs=32")
PUBLISHED_ERRORS = {10: 0.07, 100: 0.5, 500: 2.3, 1000: 2.8}
TABLE = (
    Setting(100, 10, None, (0, 1, 2), 0.992, (83.5, 83.5), (49.9, 82.8, 76.7, 81.4, 82.4, 77.4, 77.1)),
    Setting(100, 5, 2_560_000, (0,), 0.99, (78.7, 79.1), (49.9, 78.3, 74.7, 77.9, 78.0, 75.4, 74.8), more=FINE),
    Setting(100, 50, 2_560_000, (0,), 0.99, (84.9, 85.1), (49.8, 85.2, 64.5, 67.7, 84.3, 78.3, 78.0)),
    Setting(10, 5, 1_280_000, (0,), 0.99, (6.7, 6.6), (5.0, 6.6, 5.7, 6.5, 6.7, 6.6, 6.6), more=SHORT),
    Setting(10, 10, 1_280_000, (0,), 0.99, (6.7, 6.7), (5.0, 6.6, 5.5, 6.2, 6.7, 6.6, 6.6), more=SHORT),
    Setting(10, 50, 1_280_000, (0,), 0.99, (6.8, 6.7), (5.1, 6.5, 5.2, 5.5, 6.6, 6.5, 6.5), more=SHORT),
    Setting(500, 5, 640_000, (0,), 0.99, (401.6, 408.1), (249.8, 405.8, 402.0, 406.7, 405.8, 388.2, 380.6), more=LONG),
    Setting(500, 10, 640_000, (0,), 0.99, (432.5, 432.4), (249.0, 437.8, 429.5, 438.9, 437.1, 408.0, 395.0), more=LONG),
    Setting(
        *(500, 50, 640_000, (0,), 0.99, (438.9, 442.6)),
        strategies=(249.6, 463.7, 427.2, 437.6, 457.6, 413.6, 402.8),
        above=True,
        more=(*TAUGHT, "train.n_envs=32"),
    ),
    Setting(
        *(1000, 50, 640_000, (0,), 0.99, (847.4, 889.8), (499.8, 944.1)),
        above=True,
        more=(*TAUGHT, "train.n_envs=16"),
    ),
)
"""In the order in which rows are run; the steps of all but the first are not tuned."""


def main() -> None:
    """Train the demo's preset for each row, or play the references."""
    about = (__doc__ or "").split("\n")[0]
    args = options(about, [setting.name for setting in TABLE], "runs/bandits")
    for setting in TABLE:
        if setting.name in args.only:
            run = play_references if args.references else train_agents
            run(setting, args)


def play_references(setting: Setting, args: Namespace) -> None:
    """Write the rows of the hand-made strategies."""
    family = BernoulliBandit(arms=setting.arms, pulls=setting.pulls)
    played = play(family, "Gittins", setting.tasks, args.out / f"references-{setting.pulls}-{setting.arms}")
    published = dict(zip(STRATEGIES, setting.strategies, strict=False))
    values = {"setting": setting.text, "metric": "reward per trial", "commit": commit()}
    values["command"] = f"{COMMAND} --references --only {setting.name}"
    write_references("bandits", played, "Gittins", published, setting.tasks, values)


def train_agents(setting: Setting, args: Namespace) -> None:
    """Train agents and variants of the first, evaluate each on tasks of its own, write the rows."""
    seeds = args.seeds or setting.seeds
    name = "bandit" if setting.steps is None else f"bandit-{setting.pulls}-{setting.arms}"
    evaluations = train("bandit", name, seeds, setting.settings, args.out, args.jobs)
    common: dict[str, Any] = {"setting": setting.text, "metric": METRIC}
    common["commit"] = trained_at(*runs_of(args.out, name, seeds))
    common["command"] = f"{COMMAND} --only {setting.name}"
    known = references(evaluations)
    common["references"] = dict(zip(("RL² published", "SNAIL published"), setting.agents, strict=True)) | known
    method = setting.method
    write("bandits", evaluations, seeds, {**common, "method": method, "goal": (setting.least, None)})
    share = {**common, "method": method, "metric": "% of Gittins on the same tasks", "goal": (100 * setting.goal, None)}
    put("bandits", evaluations, seeds, share, *percent_of("Gittins", evaluations))
    off = {**common, "method": f"{method}, memory off", "goal": (None, round(1.02 * known["random"], 2))}
    write("bandits", evaluations, seeds, off, ablation="off")
    for variant, settings in VARIANTS.items() if setting.steps is None else ():
        name = variant.replace(" ", "-")
        others = train("bandit", name, seeds[:1], settings, args.out, args.jobs)
        values = {**common, "method": f"{method}, {variant}", "goal": (None, None)}
        values["commit"] = trained_at(*runs_of(args.out, name, seeds[:1]))
        write("bandits", others, seeds[:1], {**values, "references": references(others)})


if __name__ == "__main__":
    main()
