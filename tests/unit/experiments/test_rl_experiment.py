import json
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from metarl.config import ConfigError, parse_assignment
from metarl.experiments.rl.evaluate import ceilings, evaluate, save_evaluation
from metarl.experiments.rl.experiment import (
    Experiment,
    check,
    configure,
    load_agent,
    load_experiment,
    presets,
    train,
)
from metarl.memory.registry import runnable
from metarl.runs.folder import RunError, RunFolder
from metarl.runs.session import stop_signals
from metarl.tasks.vector.env import TrialVectorEnv
from metarl.types import Array

NET = ["memory.key_size=8", "memory.value_size=8", "memory.controller_options.hidden_size=8", "train.threads=1"]
SMALL = [*NET, "train.n_envs=4", "eval.trials=12", "eval.tuning_trials=5", "eval.rows=8"]
PULLS = 6
BANDIT = [*SMALL, "env.arms=3", f"env.pulls={PULLS}", "train.total_timesteps=96"]


def experiment(preset: str = "bandit", *assignments: str) -> Experiment:
    return configure(preset, [parse_assignment(text) for text in (*BANDIT, *assignments)])


def trained(path: Path, seed: int, *assignments: str) -> RunFolder:
    run = RunFolder.create_at(path)
    train(experiment("bandit", *assignments), run, seed=seed, quiet=True)
    return run


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("METARL_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return trained(tmp_path_factory.mktemp("run") / "a", seed=0)


def weights(run: RunFolder) -> dict[str, torch.Tensor]:
    return load_agent(run, load_experiment(run)[0]).policy.state_dict()


def evaluated(run: RunFolder, **options: Any) -> dict[str, Any]:
    made, _ = load_experiment(run)
    return evaluate(load_agent(run, made), made, quiet=True, **options)


def test_the_same_seed_gives_the_same_agent_and_evaluation(folder: RunFolder, tmp_path: Path) -> None:
    again = trained(tmp_path / "again", seed=0)
    first, second = weights(folder), weights(again)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert evaluated(folder) == evaluated(again)
    clocks = ("time",)
    rows = [
        [{k: v for k, v in row.items() if not k.startswith(clocks)} for row in run.metrics()] for run in (folder, again)
    ]
    assert rows[0] == rows[1]


def test_another_seed_gives_another_agent(folder: RunFolder, tmp_path: Path) -> None:
    first, other = weights(folder), weights(trained(tmp_path / "other", seed=1))
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_no_global_generator_is_touched(tmp_path: Path) -> None:
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index] # noqa: NPY002
    evaluated(trained(tmp_path / "run", seed=0), trials=2)
    after = torch.random.get_rng_state(), np.random.get_state()[1]  # type: ignore[index] # noqa: NPY002
    assert torch.equal(before[0], after[0])
    assert np.array_equal(before[1], after[1])


def test_an_experiment_comes_back_from_its_run_folder(folder: RunFolder) -> None:
    assert load_experiment(folder) == (experiment(), 0)
    assert folder.config["env"] == {"id": "metarl/BernoulliBandit-v0", "arms": 3, "pulls": PULLS}


@pytest.mark.parametrize("preset", sorted(presets()))
def test_every_preset_can_be_built(preset: str) -> None:
    made = configure(preset)
    assert made.about
    assert made.eval.trials >= 100


def test_a_preset_may_be_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(presets()["bandit"].read_bytes())
    assert configure(str(path)) == configure("bandit")


@pytest.mark.parametrize(("name", "memory"), list(runnable()))
def test_every_listed_memory_trains_and_evaluates(tmp_path: Path, name: str, memory: Any) -> None:
    tiny = replace(memory, controller_options={"hidden_size": 8}, key_size=8)
    made = check(replace(experiment(), memory=tiny))
    made = replace(made, train=replace(made.train, total_timesteps=4 * PULLS))
    run = RunFolder.create_at(tmp_path / "run")
    agent = train(made, run, seed=0, quiet=True).agent
    result = evaluate(agent, made, trials=3, quiet=True)
    assert 0 <= result["return_mean"] <= PULLS
    assert set(result["ablations"]) == {"off"}
    assert load_experiment(run)[0] == made


class Tasks:
    """The tasks that every reset drew, by split."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.drawn: list[tuple[str, Array]] = []
        reset = TrialVectorEnv.reset

        def recorded(env: TrialVectorEnv, **options: Any) -> Any:
            obs, info = reset(env, **options)
            self.drawn.append((env.split, info["task"]["rates"].copy()))
            return obs, info

        monkeypatch.setattr(TrialVectorEnv, "reset", recorded)

    def of(self, split: str) -> list[Array]:
        return [rates for name, rates in self.drawn if name == split]


def test_all_actors_meet_the_same_held_out_tasks(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = Tasks(monkeypatch)
    result = evaluated(folder, seed=5)
    assert {split for split, _ in tasks.drawn} == {"validation", "test"}
    actors = 2 + len(result["references"]) + len(result["ablations"])
    played = tasks.of("test")
    assert len(played) == 2 * actors  # 12 trials in batches of 8 and 4
    assert all(np.array_equal(one, played[i % 2]) for i, one in enumerate(played))
    tuned = tasks.of("validation")
    assert all(np.array_equal(one, tuned[0]) for one in tuned)
    assert not set(np.concatenate(tuned).ravel()) & set(np.concatenate(played).ravel())


def test_training_tasks_are_neither_test_nor_validation_tasks(
    folder: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = Tasks(monkeypatch)
    evaluated(trained(tmp_path / "run", seed=0), trials=4, seed=0)
    rates = {split: set(np.concatenate(tasks.of(split)).ravel()) for split in ("train", "validation", "test")}
    assert all(rates.values())
    assert not rates["train"] & (rates["validation"] | rates["test"])


def test_evaluation_depends_on_its_seed_alone(folder: RunFolder) -> None:
    made, _ = load_experiment(folder)
    agent = load_agent(folder, made)
    before = {name: part.clone() for name, part in agent.policy.state_dict().items()}
    first = evaluate(agent, made, seed=1, quiet=True)
    assert evaluate(agent, made, seed=1, quiet=True) == first
    assert evaluate(agent, made, seed=2, quiet=True)["references"] != first["references"]
    assert all(torch.equal(part, before[name]) for name, part in agent.policy.state_dict().items())
    json.dumps(first, allow_nan=False)


def test_differences_are_paired(folder: RunFolder) -> None:
    result = evaluated(folder)
    for entry in result["references"].values():
        low, high = entry["agent_minus"]["interval"]
        assert low <= entry["agent_minus"]["mean"] <= high
        assert entry["agent_minus"]["mean"] == pytest.approx(result["return_mean"] - entry["return_mean"])


@pytest.mark.parametrize(
    ("options", "message"), [({"split": "train"}, "training tasks"), ({"trials": 0}, "at least 1")]
)
def test_evaluation_refuses(folder: RunFolder, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluated(folder, **options)


def test_an_informed_agent_has_no_references(tmp_path: Path) -> None:
    result = evaluated(trained(tmp_path / "run", 0, "env.reveal=true"))
    assert (result["references"], result["tuned"]) == ({}, {})
    assert set(result["ablations"]) == {"off"}


def test_ceilings_are_claimed_only_where_they_hold() -> None:
    family = configure("barcode").make_distribution("test")
    known = ceilings(family)
    assert known["ideal memory"] == pytest.approx(8.44, abs=0.005)
    assert known["within episode"] == pytest.approx(4.436, abs=0.0005)
    assert (known["random"], known["oracle"]) == (pytest.approx(1.8), pytest.approx(9.0))
    assert ceilings(replace(family, each_arm_best_once=True)) == {}  # type: ignore[call-arg]


def test_an_evaluation_is_kept_in_its_run(tmp_path: Path) -> None:
    run = RunFolder.create_at(tmp_path / "run")
    save_evaluation(run, {"split": "test", "return_mean": 1.5})
    assert json.loads(run.evaluation.read_text()) == {"split": "test", "return_mean": 1.5}


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ({"arms": 3}, "env.id is missing; metarl list envs"),
        ({"id": "metarl/BernoulliBandit-v0", "split": "test"}, "env.split is not a setting"),
        ({"id": "metarl/BernoulliBandit-v1"}, "did you mean 'metarl/BernoulliBandit-v0'"),
        ({"id": "metarl/BernoulliBandit-v0", "arms": True}, "arms must be an integer"),
    ],
)
def test_environments_that_are_none_are_refused(env: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check(replace(experiment(), env=env))


def test_an_agent_of_another_environment_is_refused(folder: RunFolder) -> None:
    with pytest.raises(RunError, match=r"is damaged: its checkpoint sees .*Discrete\(3\)"):
        load_agent(folder, experiment("bandit", "env.arms=4"))


def after_steps(monkeypatch: pytest.MonkeyPatch, count: int, happen: Any) -> None:
    step, made = TrialVectorEnv.step, []

    def counted(env: TrialVectorEnv, actions: Array) -> Any:
        made.append(1)
        if len(made) == count:
            happen()
        return step(env, actions)

    monkeypatch.setattr(TrialVectorEnv, "step", counted)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_training_at_the_next_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    handlers = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    after_steps(monkeypatch, PULLS + 2, lambda: signal.raise_signal(number))
    run = RunFolder.create_at(tmp_path / "run")
    result = train(experiment(), run, seed=0, quiet=True)
    assert (result.signal, result.steps) == (number, 4 * (PULLS + 2))
    assert run.status["status"] == "interrupted"
    assert [row["env_steps"] for row in run.metrics()] == [4 * PULLS]
    assert load_agent(run, experiment()).num_timesteps == result.steps
    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)] == handlers


def test_stop_signals_notes_each_and_puts_the_handlers_back() -> None:
    handlers = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)]
    stops: list[None] = []
    with stop_signals(lambda: stops.append(None)) as noted:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
    assert len(stops) == 2
    assert noted == [signal.SIGINT, signal.SIGTERM]
    assert [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)] == handlers


def test_an_error_in_training_leaves_the_status_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> None:
        raise RuntimeError("the simulator is gone")

    after_steps(monkeypatch, 2, broken)
    run = RunFolder.create_at(tmp_path / "run")
    with pytest.raises(RuntimeError, match="the simulator is gone"):
        train(experiment(), run, seed=0, quiet=True)
    assert run.status["status"] == "failed"
    assert (run.path / "metrics.jsonl").read_text() == ""
    assert not run.checkpoint.exists()
