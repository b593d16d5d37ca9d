"""The tabular MDPs of RL²'s table 2: ``python scripts/reproduce/mdps.py [--jobs 2]``.

A row is named by its number of episodes: ``--only 10 25`` runs these alone, ``--references`` plays the planners and
trains nothing. The rows go to docs/results/mdps.json.
"""

from __future__ import annotations

from argparse import Namespace
from typing import Any, NamedTuple

from common import above, pooled, put, references, returned, runs_of, train, trained_at, write
from results.rows import commit
from rivals import options, play, write_references

from metarl.agents.baselines import known_mdp_value
from metarl.envs.tabular_mdp import TabularMDP

COMMAND = "python scripts/reproduce/mdps.py"
METRIC = "reward per trial, sampled actions"
TASKS = 10_000
BEST = "Bayes bonus, replanned"
RIVALS = ("greedy", "greedy, fixed ties", "Bayes bonus")
PLANNERS = (
    *("random", "PSRL, prior 0", "OPSRL, prior 0", "UCRL2", "BEB, prior 0"),
    *("epsilon-greedy, no prior", "greedy, no prior"),
)
SNAIL_UNIT = 20.76  # what SNAIL calls 1 in an episode: a known MDP's value, discounted, by its rows of RL²'s agents


TAUGHT = (
    *(f"imitation.expert={BEST}", "imitation.until=1.0"),
    *("ppo.gamma_end=0.9", "ppo.gae_lambda=0.95", "ppo.ent_coef=0.0"),
)
"""For trials of 25 episodes and more: after 10 million steps without an expert those of 25 were 3 % below it.

The expert knows how to explore. PPO of a short horizon makes up the agent's mind where it doubts what the expert does.
"""
N_ENVS = 64  # trials at a time in these trainings


class Setting(NamedTuple):
    """A row of the table.

    Args:
        episodes: of a trial.
        steps: of training; None: everything is as in the preset.
        bonus: of the planner that is imitated, the best on validation tasks of that length; None: nobody is imitated.
        seeds: of training.
        goal: the least reward per trial; None: none.
        agents: what RL² and SNAIL published, the latter in units of :data:`SNAIL_UNIT`.
        planners: what RL² published of :data:`PLANNERS`, by the prior that its code gave them.
    """

    episodes: int
    steps: int | None
    bonus: float | None
    seeds: tuple[int, ...]
    goal: float | None
    agents: tuple[float, float]
    planners: tuple[float, ...]

    @property
    def settings(self) -> list[str]:
        """What differs from the preset."""
        if self.steps is None:
            return []
        given = {"env.episodes": self.episodes, "train.total_timesteps": self.steps, "train.n_envs": N_ENVS}
        whom = {"imitation.parameter": self.bonus, "eval.trials": TASKS}
        return [*(f"{key}={value}" for key, value in {**given, **whom}.items()), *TAUGHT]

    @property
    def method(self) -> str:
        """As the row says it."""
        return "preset mdp" if self.steps is None else f"preset mdp with PPO of a short horizon, imitating {BEST}"

    @property
    def name(self) -> str:
        """As ``--only`` takes it."""
        return str(self.episodes)

    @property
    def text(self) -> str:
        """As the row says it."""
        return f"tabular MDP, 10 states, 5 actions, {self.episodes} episodes x 10 steps, held-out tasks"


TABLE = (
    Setting(10, None, None, (0, 1, 2), 161.0, (156.2, 0.766), (100.1, 138.1, 144.1, 146.6, 150.2, 132.8, 134.8)),
    Setting(25, 1_600_000, 1.0, (0,), None, (445.7, 0.862), (250.2, 408.8, 425.2, 424.1, 427.8, 377.3, 368.8)),
    Setting(50, 1_600_000, 1.5, (0,), None, (936.1, 0.908), (499.7, 904.4, 930.7, 918.9, 917.8, 823.3, 769.3)),
    Setting(75, 3_200_000, 1.5, (0,), None, (1428.8, 0.930), (749.9, 1417.1, 1449.2, 1427.6, 1422.6, 1293.9, 1172.9)),
    Setting(100, 3_200_000, 1.5, (0,), None, (1913.7, 0.941), (999.4, 1939.5, 1973.9, 1942.1, 1935.1, 1778.2, 1578.5)),
)
"""In the order in which rows are run."""


def main() -> None:
    """Train the preset for each row, or play the references."""
    about = (__doc__ or "").split("\n")[0]
    args = options(about, [setting.name for setting in TABLE], "runs/mdps")
    for setting in TABLE:
        if setting.name in args.only:
            run = play_references if args.references else train_agents
            run(setting, args)


def play_references(setting: Setting, args: Namespace) -> None:
    """Write the rows of the planners."""
    family = TabularMDP(episodes=setting.episodes)
    played = play(family, BEST, TASKS, args.out / f"references-{setting.episodes}")
    published = dict(zip(PLANNERS, setting.planners, strict=True))
    values = {"setting": setting.text, "metric": "reward per trial", "commit": commit()}
    values["command"] = f"{COMMAND} --references --only {setting.name}"
    write_references("mdps", played, BEST, published, TASKS, values)


def train_agents(setting: Setting, args: Namespace) -> None:
    """Train the preset, evaluate each agent on tasks of its own beside the planners, write the rows."""
    seeds = args.seeds or setting.seeds
    name = "mdp" if setting.steps is None else f"mdp-{setting.episodes}"
    evaluations = train("mdp", name, seeds, setting.settings, args.out, args.jobs)
    snail = round(setting.agents[1] * SNAIL_UNIT * setting.episodes, 1)
    beside = {"RL² published": setting.agents[0], "SNAIL published": snail, **references(evaluations)}
    beside["known MDP"] = round(known_mdp_value(TabularMDP().prior) * setting.episodes, 3)
    common: dict[str, Any] = {"setting": setting.text, "references": beside}
    common["commit"] = trained_at(*runs_of(args.out, name, seeds))
    common["command"] = f"{COMMAND} --only {setting.name}"
    method, metric = setting.method, METRIC
    write("mdps", evaluations, seeds, {**common, "method": method, "metric": metric, "goal": (setting.goal, None)})
    off = {**common, "method": f"{method}, memory off", "metric": metric, "goal": (None, None)}
    write("mdps", evaluations, seeds, off, ablation="off")
    for rival in RIVALS:
        mean, error = above(evaluations, rival)
        metric = f"agent minus {rival}, paired: lower end of the 95 % interval"
        values = {**common, "method": method, "metric": metric, "goal": (0.0, None)}
        put("mdps", evaluations, seeds, values, mean - 1.96 * error, error)
    if not all(BEST in e.references for e in evaluations):  # runs that were evaluated before there was this planner
        return
    base, _ = pooled([returned(e.references[BEST]) for e in evaluations])
    mean, error = (100 * number / base for number in above(evaluations, BEST))
    values = {**common, "method": method, "metric": f"% above {BEST}, paired", "goal": (-1.0, None)}
    put("mdps", evaluations, seeds, values, mean, error)


if __name__ == "__main__":
    main()
