"""The results of an evaluation, one dataclass a kind: the file ``evaluation.json`` of a run folder.

Every number of an evaluation is written by :func:`write_evaluation` and read by :func:`read_evaluation`; the field
``kind`` says which class it is. Shares are between 0 and 1, intervals are 95 % intervals ``(low, high)``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, MinLen

from metarl.config import InputError, build, choice, to_plain
from metarl.data.episodes import Labels
from metarl.evaluation.recall import RecallResult
from metarl.files import read_json, write_json
from metarl.runs.folder import RunError, RunFolder
from metarl.types import Count, Number, Positive, Share, Size

Interval = tuple[Number, Number]
Shares = tuple[Share, Share]
Means = tuple[Number, ...]


@dataclass(frozen=True, kw_only=True)
class Trained:
    """The training before an evaluation; None where it isn't known.

    Args:
        train_steps: environment steps of an agent, episodes of a few-shot learner, sequences of the recall benchmark.
        kept_step: after how many of them the model that was evaluated did best on validation tasks; None: it is the
            last one.
    """

    train_seconds: Positive | None = None
    train_steps: Count | None = None
    train_seed: Annotated[int, Ge(0)] | None = None
    kept_step: Count | None = None


@dataclass(frozen=True, kw_only=True)
class ActorResult:
    """What an actor reached on the tasks of an evaluation.

    Args:
        return_mean: mean over tasks of the total reward of a trial.
        return_se: its standard error over tasks.
        by_episode: mean return of each inner episode that all trials finished.
        by_episode_se: its standard error over tasks.
        episode_mean: mean over tasks of the mean return of a finished episode; None where trials differ in how many
            they finish, or finish none, so that episodes can't be compared.
        episode_se: its standard error over tasks.
        episode_interval: its interval.
        cut: the share of trials whose steps were over inside an episode, which is left out of means by episode.
        steps_to_adapt: the first step, from 1, at which the mean reward reaches 90 % of its final rate; None where
            trials differ in length, the first step reaches it, or the final rate is not positive.
        by_exposure: mean return of an episode by how often its context had been met; None where no context is met
            again, or where contexts look different each time.
        infos: what environments told, by name: the mean of each inner episode that all trials finished, the first
            alone where some finished none; None where no trial told it. ``success`` is the share in which it was true
            at any step, others are means of the last number told.
        infos_se: their standard errors over tasks.
    """

    return_mean: Number
    return_se: Positive
    return_interval: Interval
    by_episode: Means
    by_episode_se: tuple[Positive, ...]
    episode_mean: Number | None = None
    episode_se: Positive | None = None
    episode_interval: Interval | None = None
    cut: Share = 0.0
    steps_to_adapt: Size | None = None
    by_exposure: Means | None = None
    infos: dict[str, tuple[Number | None, ...]] = field(default_factory=dict)
    infos_se: dict[str, tuple[Positive | None, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.by_episode) != len(self.by_episode_se):
            raise ValueError(f"{len(self.by_episode)} episodes have {len(self.by_episode_se)} errors, expected as many")


@dataclass(frozen=True)
class Difference:
    """The mean difference of two actors over the same tasks."""

    mean: Number
    interval: Interval


@dataclass(frozen=True, kw_only=True)
class ReferenceResult(ActorResult):
    """What a reference reached on the same tasks as the agent.

    Args:
        agent_minus: the agent's return minus the reference's, paired by task.
    """

    agent_minus: Difference


@dataclass(frozen=True, kw_only=True)
class AgentEvaluation(Trained, ActorResult):
    """An agent on held-out tasks: its own result, sampling actions, beside its ablations and the references.

    Args:
        env: the id of the environment.
        split: the split that the tasks are from.
        in_distribution: whether no tasks were held out, so that those of training were played.
        trials: one a task.
        seed: of the tasks.
        steps_per_trial: the most where trials end by themselves.
        greedy: the agent taking the most probable action.
        tuned: parameters of references that did best on validation tasks.
        ceilings: values that are known of the family.
        ablations: the agent with part of its memory disabled, by the name of the ablation.
    """

    kind: Literal["rl2"] = "rl2"
    env: str
    env_options: dict[str, Any] = field(default_factory=dict)
    split: str
    in_distribution: bool = False
    trials: Size
    seed: Annotated[int, Ge(0)]
    steps_per_trial: Size
    greedy: ActorResult | None = None
    references: dict[str, ReferenceResult] = field(default_factory=dict)
    tuned: dict[str, Number] = field(default_factory=dict)
    ceilings: dict[str, Number] = field(default_factory=dict)
    ablations: dict[str, ActorResult] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class CellResult:
    """The accuracy on episodes of some ways and shots.

    Args:
        queries: of each class.
        se: standard error over episodes.
    """

    ways: Size
    shots: Size
    queries: Size
    episodes: Size
    accuracy: Share
    se: Positive
    interval: Shares


@dataclass(frozen=True, kw_only=True)
class StreamResult:
    """The accuracy along streams, by instance: the position of an example among those of its class, from 1.

    Args:
        episodes: streams.
    """

    ways: Size
    labels: Labels
    episodes: Size
    by_instance: Annotated[tuple[Share, ...], MinLen(1)]
    by_instance_interval: tuple[Shares, ...]

    def __post_init__(self) -> None:
        if len(self.by_instance) != len(self.by_instance_interval):
            given = f"{len(self.by_instance)} instances have {len(self.by_instance_interval)} intervals"
            raise ValueError(f"{given}, expected as many")


@dataclass(frozen=True, kw_only=True)
class FewShotEvaluation(Trained):
    """A few-shot learner on held-out classes.

    Args:
        data: what the examples are.
        real: whether they are anything but drawings made by the program.
        transductive: whether queries are answered together.
        rotations: whether the rotations of a class are classes of their own.
        trainval: whether validation classes were trained on as well.
        within_alphabet: whether all classes of an episode are of one alphabet.
        distinct_drawers: whether support and queries are by different drawers.
        seed: of the episodes.
        first_order: whether gradients of gradients are left out; None where there are none.

    Raises:
        ValueError: nothing was measured.
    """

    kind: Literal["fewshot"] = "fewshot"
    learner: str
    preset: str
    data: str
    real: bool
    split: str
    transductive: bool
    norm: str
    rotations: bool
    trainval: bool = False
    within_alphabet: bool = False
    distinct_drawers: bool = False
    seed: Annotated[int, Ge(0)]
    parameters: Count
    first_order: bool | None = None
    cells: tuple[CellResult, ...] = ()
    streams: tuple[StreamResult, ...] = ()

    def __post_init__(self) -> None:
        if not (self.cells or self.streams):
            raise ValueError("it has neither cells nor streams, expected one or more")


@dataclass(frozen=True, kw_only=True)
class RecallEvaluation(Trained):
    """Memories on recall tasks."""

    kind: Literal["recall"] = "recall"
    results: Annotated[tuple[RecallResult, ...], MinLen(1)]


Evaluation = AgentEvaluation | FewShotEvaluation | RecallEvaluation
KINDS: Mapping[str, type[Evaluation]] = {
    "rl2": AgentEvaluation,
    "fewshot": FewShotEvaluation,
    "recall": RecallEvaluation,
}
"""The class of each ``kind``."""


def read_evaluation(source: RunFolder | str | Path) -> Evaluation | None:
    """The evaluation of a run, or in a file; None where there is none yet.

    Raises:
        RunError: the file is damaged or holds no evaluation.
    """
    path = source.evaluation if isinstance(source, RunFolder) else Path(source)
    if not path.is_file():
        return None
    try:
        data = read_json(path)
        return build(KINDS[choice(data.get("kind"), KINDS, "evaluation: kind")], data, "evaluation")
    except InputError as error:
        remedy = f"remove it and run `metarl eval {path.parent}`"
        raise RunError(f"{path} is damaged ({error})", key=str(path), remedy=remedy) from None


def write_evaluation(target: RunFolder | str | Path, evaluation: Evaluation) -> None:
    """Write an evaluation into a run folder, or to a file, whole or not at all.

    Raises:
        ValueError: a number is not finite.
    """
    path = target.evaluation if isinstance(target, RunFolder) else Path(target)
    write_json(path, to_plain(evaluation))
