"""Agents as experiments: which tasks they meet, what they are compared with, and what is refused."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from experiment_toys import PULLS, ran, toy

import metarl
from metarl.config import ConfigError
from metarl.envs import distribution
from metarl.evaluation.results import AgentEvaluation
from metarl.experiments.presets import load_experiment
from metarl.experiments.rl.evaluate import ceilings
from metarl.experiments.run import Run
from metarl.memory.registry import runnable
from metarl.tasks.vector.env import TrialVectorEnv
from metarl.types import Array

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return ran(tmp_path_factory.mktemp("run") / "a", toy("agent"))


def evaluated(done: Run, **options: Any) -> AgentEvaluation:
    evaluation = done.evaluate(quiet=True, **options)
    assert isinstance(evaluation, AgentEvaluation)
    return evaluation


@pytest.mark.parametrize("memory", [memory for _, memory in runnable()], ids=[name for name, _ in runnable()])
def test_every_listed_memory_trains_is_evaluated_and_recorded(memory: Any) -> None:
    tiny = replace(memory, controller_options={"hidden_size": 8}, key_size=8)
    made = replace(toy("agent", "eval.trials=3"), memory=tiny)
    agent = made.build(0, torch.device("cpu")).learn(4 * PULLS)
    evaluation = made.evaluate(agent, quiet=True)
    assert 0 <= evaluation.return_mean <= PULLS
    assert set(evaluation.ablations) == {"off"}
    assert made.record(agent, 0)["rewards"].shape[-1] == PULLS


@pytest.fixture
def tasks(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Array]]:
    """The tasks that every reset drew, by split."""
    drawn: dict[str, list[Array]] = {}
    reset = TrialVectorEnv.reset

    def recorded(env: TrialVectorEnv, **options: Any) -> Any:
        obs, info = reset(env, **options)
        drawn.setdefault(env.split, []).append(info["task"]["rates"].copy())
        return obs, info

    monkeypatch.setattr(TrialVectorEnv, "reset", recorded)
    return drawn


def test_all_actors_meet_the_same_held_out_tasks(done: Run, tasks: dict[str, list[Array]]) -> None:
    result = evaluated(done, seed=5)
    assert set(tasks) == {"validation", "test"}
    tuned, played = tasks["validation"], tasks["test"]
    actors = 2 + len(result.references) + len(result.ablations)
    assert len(played) == 2 * actors  # 12 trials in batches of 8 and 4
    assert all(np.array_equal(one, played[i % 2]) for i, one in enumerate(played))
    assert all(np.array_equal(one, tuned[0]) for one in tuned)
    assert not set(np.concatenate(tuned).ravel()) & set(np.concatenate(played).ravel())


def test_training_tasks_are_neither_test_nor_validation_tasks(tmp_path: Path, tasks: dict[str, list[Array]]) -> None:
    ran(tmp_path / "run", toy("agent"))
    rates = {split: set(np.concatenate(drawn).ravel()) for split, drawn in tasks.items()}
    assert set(rates) == {"train", "validation", "test"}
    assert not rates["train"] & (rates["validation"] | rates["test"])


def test_an_evaluation_is_paired_and_leaves_the_agent_as_it_was(done: Run) -> None:
    before = {name: part.clone() for name, part in done.model.policy.state_dict().items()}
    first = evaluated(done, seed=1)
    assert evaluated(done, seed=1) == first
    assert evaluated(done, seed=2).references != first.references
    assert all(torch.equal(part, before[name]) for name, part in done.model.policy.state_dict().items())
    for entry in first.references.values():
        low, high = entry.agent_minus.interval
        assert low <= entry.agent_minus.mean <= high
        assert entry.agent_minus.mean == pytest.approx(first.return_mean - entry.return_mean)


def test_an_agent_is_evaluated_on_a_family_or_an_id(done: Run) -> None:
    family = distribution("metarl/BernoulliBandit-v0", arms=3, pulls=PULLS)
    options: dict[str, Any] = {"trials": 12, "tuning_trials": 5, "rows": 8, "quiet": True}
    told = metarl.evaluate(done.model, family, **options)
    kept = evaluated(done)
    assert told.env_options["arms"] == 3
    untrained: dict[str, Any] = {"train_seconds": None, "train_steps": None, "train_seed": None}
    assert replace(kept, env=told.env, env_options=told.env_options, **untrained) == told
    with pytest.raises(ValueError, match="the agent observes"):
        metarl.evaluate(done.model, "metarl/BernoulliBandit-v0", **options)
    with pytest.raises(ValueError, match="at least 1"):
        metarl.evaluate(done.model, family, **{**options, "trials": 0})


def test_an_informed_agent_has_no_references(tmp_path: Path) -> None:
    result: Any = ran(tmp_path / "run", toy("agent", "env.reveal=true")).evaluation
    assert (result.references, result.tuned) == ({}, {})
    assert set(result.ablations) == {"off"}


def test_contexts_that_look_different_each_time_are_recognised_and_not_counted() -> None:
    family = distribution("metarl/BarcodeBandit-v0", arms=3, contexts=2, repeats=3, pulls=2, bits=6, flips=1)
    agent = metarl.RL2PPO("MemoryPolicy", family, memory={"key_size": 8, "value_size": 8}, n_envs=2)
    result: Any = metarl.evaluate(agent, family, trials=4, tuning_trials=2, rows=4, quiet=True)
    assert list(result.references) == ["random", "within episode", "ideal memory"]
    every = [result, result.greedy, *result.references.values(), *result.ablations.values()]
    assert all(one.by_exposure is None and len(one.by_episode) == 6 for one in every)


def test_ceilings_are_claimed_only_where_they_hold() -> None:
    experiment: Any = load_experiment("barcode")
    family = experiment.make_distribution("test")
    known = ceilings(family)
    assert known["ideal memory"] == pytest.approx(8.44, abs=0.005)
    assert known["within episode"] == pytest.approx(4.436, abs=0.0005)
    assert (known["random"], known["oracle"]) == (pytest.approx(1.8), pytest.approx(9.0))
    assert ceilings(replace(family, each_arm_best_once=True)) == {}  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("env", "key"),
    [
        ({"arms": 3}, "env.id"),
        ({"id": "metarl/BernoulliBandit-v0", "split": "test"}, "env.split"),
        ({"id": "metarl/BernoulliBandit-v1"}, "env.id"),
        ({"id": "metarl/BernoulliBandit-v0", "arms": True}, "arms"),
    ],
)
def test_environments_that_do_not_fit_are_refused(env: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError) as error:
        replace(toy("agent"), env=env).check()
    assert error.value.key == key


def test_another_part_of_the_memory_does_not_get_the_options_of_the_one_that_it_replaces() -> None:
    kept: Any = load_experiment("bandit", {"memory.store": "episodic", "memory.access": "attention"})
    plain: Any = load_experiment("bandit")
    assert kept.memory == plain.memory
    given = {"memory.store": "delta", "memory.access": "native", "memory.store_options": {"heads": 2}}
    other: Any = load_experiment("bandit", given)
    assert other.memory.store_options == {"heads": 2}
    assert other.memory.access_options == {}
    assert other.memory.controller_options == kept.memory.controller_options


def test_an_expert_is_a_setting_and_absent_at_test(tmp_path: Path, done: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run may imitate an informed run, and a validation in between imitates nobody; that run is gone at test."""
    informed = ran(tmp_path / "informed", toy("agent", "env.reveal=true")).folder.path
    helped = [f"imitation.expert={informed}", "train.validate_every=48"]
    run = ran(tmp_path / "helped", toy("agent", *helped))
    logged = [row for row in run.folder.metrics() if "train/imitation_loss" in row]
    assert logged
    shutil.rmtree(informed)
    monkeypatch.setattr(TrialVectorEnv, "tell_tasks", None)
    again = metarl.open_run(run.folder.path)
    assert again.experiment.imitation.expert == str(informed)  # type: ignore[attr-defined]  # an agent's
    assert evaluated(again) == run.evaluation
    assert evaluated(again).references.keys() == evaluated(done).references.keys()


def test_an_expert_that_a_family_has_not_is_refused_before_training() -> None:
    with pytest.raises(ConfigError) as caught:
        toy("agent", "imitation.expert=PSRL").check()
    assert caught.value.key == "imitation.expert"
