"""Agents that are validated in training: nothing else changes, the best is kept, and a cut-off run knows it."""

import signal
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from experiment_toys import ran, same, toy, weights
from gymnasium.spaces import Discrete

import metarl
from metarl.agents.baselines import Random
from metarl.config import ConfigError
from metarl.evaluation.play import TrialBatch, rollout_trials
from metarl.experiments.rl import validation
from metarl.experiments.rl.experiment import RL2Experiment
from metarl.experiments.run import Run
from metarl.files import digest, read_manifest
from metarl.report.tables import evaluation_table
from metarl.training.actor import PolicyActor
from metarl.training.checkpoint import CheckpointError, read_checkpoint, write_checkpoint

pytestmark = pytest.mark.usefixtures("undrawn")

ROLLOUT = 24  # steps of the toy agent's
OFTEN = [f"train.validate_every={ROLLOUT}", "eval.validation_trials=6"]
BEST = [*OFTEN, "train.keep=best", "checkpoint_seconds=0"]


def rows(done: Run, validated: bool) -> list[dict[str, Any]]:
    """The rows of metrics that are of validations, or those that are not; without times."""
    kept = [row for row in done.folder.metrics() if ("validation/return" in row) == validated]
    return [{k: v for k, v in row.items() if not k.startswith("time")} for row in kept]


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> Callable[[Sequence[float]], list[dict[str, torch.Tensor]]]:
    """Let validations find these returns; the weights that were validated are noted."""

    def say(returns: Sequence[float]) -> list[dict[str, torch.Tensor]]:
        left, seen = iter(returns), list[dict[str, torch.Tensor]]()

        def played(actor: Any, make_env: Any, trials: int, **_: Any) -> TrialBatch:
            seen.append({name: value.clone() for name, value in actor.actor.policy.state_dict().items()})
            ones = np.ones((trials, 1))
            return TrialBatch(next(left) * ones, ones.astype(bool), ones.astype(int), ones[:, 0].astype(int))

        monkeypatch.setattr(validation, "rollout_trials", played)
        return seen

    return say


def test_training_is_the_same_with_and_without_validation(tmp_path: Path) -> None:
    plain, validated = ran(tmp_path / "plain", toy("agent")), ran(tmp_path / "validated", toy("agent", *OFTEN))
    assert same(weights(plain), weights(validated))
    assert rows(plain, validated=False) == rows(validated, validated=False)
    assert [row["env_steps"] for row in rows(validated, validated=True)] == [24, 48, 72, 96]
    assert rows(plain, validated=True) == []
    assert plain.evaluation is not None
    assert validated.evaluation is not None
    assert plain.evaluation.kept_step is validated.evaluation.kept_step is None


def test_validation_tasks_alone_are_played_and_they_are_not_those_of_eval(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    seeds: list[int] = []
    make_env, learn = RL2Experiment.make_env, RL2Experiment.learn

    def noted(experiment: Any, split: Any, rows: int, workers: int = 0) -> Any:
        made.append(split)
        env = make_env(experiment, split, rows, workers)
        reset = env.reset

        def seeded(**options: Any) -> Any:
            if split == "validation":
                seeds.append(options["seed"])
            return reset(**options)

        monkeypatch.setattr(env, "reset", seeded)
        return env

    def learning(*given: Any) -> int:
        made.clear()
        steps = learn(*given)
        assert set(made) == {"validation"}
        return steps

    monkeypatch.setattr(RL2Experiment, "make_env", noted)
    monkeypatch.setattr(RL2Experiment, "learn", learning)
    ran(tmp_path / "run", toy("agent", *BEST))
    assert len(seeds) == 4
    assert len(set(seeds)) == 1, "always the same tasks"
    kept = set(seeds)
    seeds.clear()
    rollout_trials(Random(Discrete(3)), partial(toy("agent").make_env, "validation"), 6, seed=0)
    assert len(seeds) == 1
    assert not kept & set(seeds)


def test_the_best_on_validation_tasks_is_kept_and_evaluated(tmp_path: Path, scored: Any) -> None:
    seen = scored([1.0, 3.0, 3.0, 2.0])
    done = ran(tmp_path / "run", toy("agent", *BEST))
    assert len(seen) == 4
    assert same(weights(done), seen[1])
    assert not same(weights(done), seen[3])
    assert (done.steps, done.folder.status["kept_step"]) == (96, 48)
    opened = metarl.open_run(done.folder.path, device="cpu")
    assert same(weights(opened), seen[1])
    assert opened.model.num_timesteps == 48
    manifest = read_manifest(done.folder.path)
    assert manifest is not None
    assert manifest["checkpoint.zip"] == [digest(done.folder.checkpoint)]
    for evaluation in (done.evaluation, opened.evaluation, opened.evaluate(n=4, quiet=True)):
        assert evaluation is not None
        assert (evaluation.kept_step, evaluation.train_steps) == (48, 96)
        table = " ".join(evaluation_table(evaluation).split())
        assert "after 48 of 96 steps" in table


def test_the_last_is_kept_unless_the_best_is_asked_for(tmp_path: Path, scored: Any) -> None:
    seen = scored([1.0, 3.0, 3.0, 2.0])
    done = ran(tmp_path / "run", toy("agent", *OFTEN))
    assert same(weights(done), seen[3])
    assert "kept_step" not in done.folder.status


def test_the_best_is_looked_for_every_twentieth_of_training(tmp_path: Path) -> None:
    settings = ["train.keep=best", "eval.validation_trials=6", "train.total_timesteps=960", "train.n_steps=6"]
    done = ran(tmp_path / "run", toy("agent", *settings))
    assert [row["env_steps"] for row in rows(done, validated=True)] == list(range(48, 961, 48))


def test_a_longer_rollout_is_validated_once(tmp_path: Path) -> None:
    done = ran(tmp_path / "run", toy("agent", "train.validate_every=7", "eval.validation_trials=2"))
    assert [row["env_steps"] for row in rows(done, validated=True)] == [24, 48, 72, 96]
    done = ran(tmp_path / "rare", toy("agent", "train.validate_every=60", "eval.validation_trials=2"))
    assert [row["env_steps"] for row in rows(done, validated=True)] == [72, 96]


class Within:
    """Counts what a policy does in validations, and lets something happen there."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: int, happen: Callable[[], object]) -> None:
        self.acts = 0
        act = PolicyActor.act

        def counted(actor: PolicyActor, *given: Any) -> Any:
            self.acts += 1
            if self.acts == at:
                happen()
            return act(actor, *given)

        monkeypatch.setattr(PolicyActor, "act", counted)


@pytest.mark.parametrize("at", [9, 21], ids=["in training", "after it"])
def test_a_signal_ends_a_validation_and_nothing_is_lost(
    at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = ran(tmp_path / "whole", toy("agent", *BEST))
    with monkeypatch.context() as patch:
        within = Within(patch, at, lambda: signal.raise_signal(signal.SIGINT))
        done = ran(tmp_path / "run", toy("agent", *BEST))
    assert within.acts == at, "it ends within a step"
    assert done.signal == signal.SIGINT
    assert done.folder.status["status"] == "interrupted"
    assert done.folder.status["kept_step"] <= at // 6 * ROLLOUT
    resumed = metarl.resume(done.folder.path, quiet=True)
    assert same(weights(resumed), weights(whole))
    for validated in (False, True):
        assert rows(resumed, validated) == rows(whole, validated)
    assert resumed.folder.status["kept_step"] == whole.folder.status["kept_step"]


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Validations meet an environment that fails."""

    def failed(*_: Any, **__: Any) -> TrialBatch:
        raise validation.VoidTrial("the environment of row 1 failed at step 2")

    monkeypatch.setattr(validation, "rollout_trials", failed)
    return


@pytest.mark.usefixtures("failing")
def test_an_environment_that_fails_in_a_validation_does_not_end_training(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="row 1 failed"):
        done = ran(tmp_path / "run", toy("agent", *BEST))
    assert done.folder.status["status"] == "finished"
    assert "kept_step" not in done.folder.status
    assert rows(done, validated=True) == []


def test_a_damaged_best_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        Within(patch, 9, lambda: signal.raise_signal(signal.SIGINT))
        done = ran(tmp_path / "run", toy("agent", *BEST))
    newest = done.folder.checkpoints[-1]
    meta, groups = read_checkpoint(newest)
    for changed, told in (
        ({**groups, "best": {name: value * torch.nan for name, value in groups["best"].items()}}, meta),
        (groups, {**meta, "session": {**meta["session"], "validation": {"step": "24"}}}),
    ):
        write_checkpoint(newest, told, changed)
        with pytest.raises(CheckpointError):
            metarl.resume(done.folder.path, quiet=True)


@pytest.mark.parametrize("settings", [["train.keep=first"], ["train.validate_every=0"], ["eval.validation_trials=0"]])
def test_bad_options_are_refused(settings: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        toy("agent", *settings)
    assert caught.value.key == settings[0].partition("=")[0]


def test_memory_has_room_for_validation_trials_that_are_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    rooms: list[int] = []

    def played(actor: Any, *_: Any, **__: Any) -> Any:
        rooms.append(actor.actor.policy.core.memory.store.capacity)
        raise validation._Ended

    monkeypatch.setattr(validation, "rollout_trials", played)
    agent = toy("agent").build(0, torch.device("cpu"))
    longer = partial(toy("agent", "env.pulls=9").make_env, "validation")
    options = {"every": 24, "trials": 6, "rows": 6, "seed": 0, "keep": False, "saved": None}
    validation.AgentValidator(agent, longer, stopped=lambda: False, **options).validate()
    assert rooms == [9]
    assert agent.policy.core.memory.store.capacity == 6
