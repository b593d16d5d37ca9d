"""The rows that ``docs/results.md`` begins with: chosen here by their keys, so that no number is copied by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from results.rows import Row, meets
from results.text import shown, shown_goal, table


@dataclass(frozen=True, kw_only=True)
class Headline:
    """One of them: where its row is, and what it says in plain words."""

    says: str
    """What was measured, with its unit."""
    file: str
    """Of the row, without its suffix."""
    setting: str
    """How the row's setting begins."""
    method: str
    metric: str
    """How the row's metric begins."""
    beside: tuple[str, ...] = ()
    """Which of the row's references are shown."""

    def find(self, rows: Sequence[Row]) -> tuple[int, Row] | None:
        """The number and the row of a file, or None where it has no such row."""
        for number, row in enumerate(rows, start=1):
            if row.method == self.method and row.where.startswith(self.setting) and row.metric.startswith(self.metric):
                return number, row
        return None


BANDIT = "Bernoulli bandit, k=10, n=100"
BARCODE = "barcode bandit, 10 arms, 10 contexts x 10 repeats, 10 pulls an episode, held-out"
STEPS = "Bernoulli bandit k=10, n=100, recurrent PPO"

HEADLINES = (
    Headline(
        says="Ten-armed bandit, 100 pulls: reward per trial",
        file="bandits",
        setting=BANDIT,
        method="preset bandit",
        metric="reward per trial",
        beside=("random", "Thompson", "RL² published", "Gittins"),
    ),
    Headline(
        says="The same agent with its memory off",
        file="bandits",
        setting=BANDIT,
        method="preset bandit, memory off",
        metric="reward per trial",
        beside=("random",),
    ),
    Headline(
        says="Barcode bandit, recall of ten contexts: mean reward an episode",
        file="barcode",
        setting=BARCODE,
        method="attention over the trial, asked per action",
        metric="mean reward an episode",
        beside=("random", "within episode", "ideal memory"),
    ),
    Headline(
        says="Tabular MDP, ten episodes of ten steps: reward per trial",
        file="mdps",
        setting="tabular MDP",
        method="preset mdp",
        metric="reward per trial",
        beside=("random", "greedy", "RL² published", "SNAIL published"),
    ),
    Headline(
        says="CartPole with varied physics and reversed actions: share of the reward of an agent that is told the task",
        file="control",
        setting="CartPole, varied physics",
        method="cartpole",
        metric="reward per trial, as a share",
    ),
    Headline(
        says="Cue in an image, six frames of noise later: share of correct choices in the last episode",
        file="control",
        setting="image cue",
        method="cue",
        metric="share of correct choices in the last episode",
        beside=("informed",),
    ),
    Headline(
        says="Omniglot, 20-way 1-shot, unseen upright characters: accuracy %",
        file="omniglot",
        setting="Omniglot 20-way 1-shot, upright",
        method="best",
        metric="accuracy %",
        beside=("raw pixels", "published"),
    ),
    Headline(
        says="Omniglot, stream of five new classes (MANN): accuracy % at the second example of a class",
        file="omniglot",
        setting="Omniglot stream, 5 classes, one-hot labels, upright",
        method="mann",
        metric="accuracy % of instance 2",
        beside=("published",),
    ),
    Headline(
        says="Lake's 20 published runs, 20-way 1-shot within an alphabet: error %",
        file="lake",
        setting="Omniglot, one alphabet, 20 ways, 1 shot by one drawer, queries by another, each answered alone; "
        "the 20 published runs",
        method="preset lake, trained on the 30 background alphabets",
        metric="error %",
        beside=("people", "BPL"),
    ),
    Headline(
        says="The same on random trials, which are harder: other characters, all drawers",
        file="lake",
        setting="Omniglot, one alphabet, 20 ways, 1 shot by one drawer, queries by another, each answered alone; "
        "any alphabet, characters and drawers",
        method="preset lake, trained on the 30 background alphabets",
        metric="error %",
    ),
    Headline(
        says="Continual learning: % of held-out images of 600 new characters, each shown once, by two slots a class",
        file="continual",
        setting="Omniglot, stream of 600 unseen classes",
        method="memory, nearest, full bytes",
        metric="accuracy %",
        beside=("OML", "ANML", "5-NN on ANML's gated features"),
    ),
    Headline(
        says="Digits from a net that knows Omniglot alone, 10-way 5-shot: accuracy %",
        file="domain",
        setting="scikit-learn's digits, crisp, 10-way 5-shot",
        method="memory written anew, norm of the support",
        metric="accuracy %",
    ),
    Headline(
        says="Diagnosis of ten diseases never met, from five patients a class: AUROC in % above logistic regression's",
        file="medical",
        setting="10 diseases never met in training, 5 patients a class",
        method="preset diagnosis",
        metric="AUROC % above logistic regression, same episodes, mean",
        beside=("metarl", "logistic regression", "nearest neighbours"),
    ),
    Headline(
        says="Training steps a second, times those of sb3-contrib's RecurrentPPO in a DummyVecEnv",
        file="throughput",
        setting=STEPS,
        method="RL2PPO, LSTM, 256 environments / sb3-contrib RecurrentPPO, its default net, "
        "64 environments in a DummyVecEnv",
        metric="ratio of training steps/s",
    ),
    Headline(
        says="The same, where both have a vectorised environment and one LSTM",
        file="throughput",
        setting=STEPS,
        method="RL2PPO, LSTM, 256 environments / sb3-contrib RecurrentPPO, one shared LSTM, "
        "256 environments in a VecEnv of their own",
        metric="ratio of training steps/s",
    ),
    Headline(
        says="The same, beside TorchRL's scan backend",
        file="throughput",
        setting=STEPS,
        method="RL2PPO, LSTM, 256 environments / TorchRL recurrent PPO, LSTM by its scan backend, 256 environments",
        metric="ratio of training steps/s",
    ),
    Headline(
        says="The same, beside a recurrent PPO in JAX",
        file="throughput",
        setting=STEPS,
        method="RL2PPO, GRU, 256 environments / JAX recurrent PPO, GRU, 256 environments",
        metric="ratio of training steps/s",
    ),
    Headline(
        says="Seconds to a mean return of 80 on the ten-armed bandit: the JAX peer's, times ours",
        file="throughput",
        setting=BANDIT.replace(",", "", 1),
        method="JAX recurrent PPO, GRU / preset bandit",
        metric="ratio of seconds",
    ),
    Headline(
        says="An agent exported to ONNX beside the agent itself: largest difference of an answer",
        file="export",
        setting="as the preset says",
        method="preset bandit",
        metric="largest difference",
    ),
    Headline(
        says="Environment ids of five packages that pass the check and train for 1,000 steps: %",
        file="any_env",
        setting="ids of all five packages",
        method="check_env, and 1,000 steps of the preset general",
        metric="% of the ids",
    ),
)


def markdown(tables: Mapping[str, Sequence[Row]]) -> str:
    """A table of those whose rows were measured; empty where none was."""
    cells = []
    for headline in HEADLINES:
        found = headline.find(tables.get(headline.file, ()))
        if found is None:
            continue
        number, row = found
        named = [name for name in headline.beside if name in row.references]
        beside = ", ".join(f"{name} {shown(row.references[name])}" for name in named)
        ours = shown(row.ours) if meets(row) else f"**{shown(row.ours)}**"
        where = f"[{headline.file}, row {number}](results/{headline.file}.md)"
        cells.append((headline.says, ours, beside or "–", shown_goal(row), where))
    return "\n".join(table(("what", "ours", "beside", "goal", "row"), cells)) + "\n" if cells else ""
