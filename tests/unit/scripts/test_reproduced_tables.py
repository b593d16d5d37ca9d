"""The tables of bandits and MDPs: hand-made rows at toy size, and the rows of agents from toy evaluations."""

import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from results.rows import Row, read
from script_toys import REPRODUCE, evaluation, load

from metarl.agents.baselines import known_mdp_value
from metarl.cli.main import parser
from metarl.config import parse_assignment
from metarl.evaluation.results import AgentEvaluation
from metarl.experiments.presets import load_experiment
from metarl.tasks.family.priors import TabularPrior

ROOT = Path(__file__).resolve().parents[3]
Script = Callable[..., list[Row]]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Script:
    """Runs a script in a checkout of its own; the rows that it leaves."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "results.md").write_text((ROOT / "docs" / "results.md").read_text())
    common = load(REPRODUCE / "common.py", monkeypatch)
    monkeypatch.setattr(common, "ROOT", tmp_path)
    monkeypatch.setattr(common, "trained_at", lambda *runs: f"of {', '.join(run.name for run in runs)}")
    rivals = load(REPRODUCE / "rivals.py", monkeypatch)
    monkeypatch.setattr(rivals, "TUNING_TASKS", 4)

    def run(name: str, *options: str, **replaced: Any) -> list[Row]:
        module: ModuleType = load(REPRODUCE / f"{name}.py", monkeypatch)
        for key, value in replaced.items():
            monkeypatch.setattr(module, key, value)
        monkeypatch.setattr(sys, "argv", [f"{name}.py", "--out", str(tmp_path / "runs"), *options])
        module.main()
        return read(tmp_path / "docs" / "results" / f"{name}.json")

    return run


def test_references_of_bandits_lie_beside_what_was_published(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    module = load(REPRODUCE / "bandits.py", monkeypatch)
    monkeypatch.setattr(module.Setting, "tasks", 50)
    rows = script("bandits", "--references", "--only", "10,5", Setting=module.Setting, TABLE=module.TABLE)
    assert [row.method.removesuffix(", reference") for row in rows] == [
        *("random", "greedy", "epsilon-greedy", "UCB1", "Thompson", "Gittins", "OTS")
    ]
    by_name = {row.method.split(",")[0]: row for row in rows}
    assert {row.where for row in rows} == {"Bernoulli bandit, k=5, n=10, held-out tasks"}
    assert by_name["OTS"].references["published"] == 6.5
    assert by_name["OTS"].references["parameter"] in (2, 3, 5, 7, 10, 15, 20)
    assert "less Gittins on the same tasks" not in by_name["Gittins"].references
    gap = by_name["random"].ours - by_name["Gittins"].ours
    assert by_name["random"].references["less Gittins on the same tasks"] == pytest.approx(gap, abs=1e-3)
    assert by_name["random"].command == "python scripts/reproduce/bandits.py --references --only 10,5"
    assert (by_name["random"].train_steps, by_name["random"].n_tasks) == (0, 50)


def test_a_run_that_was_cut_off_goes_on(script: Script, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    module = load(REPRODUCE / "bandits.py", monkeypatch)
    monkeypatch.setattr(module.Setting, "tasks", 50)
    kept = {"Setting": module.Setting, "TABLE": module.TABLE}
    rivals, played = sys.modules["rivals"], []
    roll = rivals.rollout_trials

    def counted(actor: Any, *given: Any, stop: int = 10_000, **more: Any) -> Any:
        played.append(actor)
        if len(played) > stop:
            raise KeyboardInterrupt
        return roll(actor, *given, **more)

    monkeypatch.setattr(rivals, "rollout_trials", counted)
    first = script("bandits", "--references", "--only", "10,5", **kept)
    in_all = len(played)
    assert script("bandits", "--references", "--only", "10,5", **kept) == first
    assert len(played) == in_all  # nothing was played again
    for cut in (5, in_all - 3):  # in the tuning, and among the test tasks
        shutil.rmtree(tmp_path / "runs")
        played.clear()
        monkeypatch.setattr(rivals, "rollout_trials", partial(counted, stop=cut))
        with pytest.raises(KeyboardInterrupt):
            script("bandits", "--references", "--only", "10,5", **kept)
        monkeypatch.setattr(rivals, "rollout_trials", counted)
        assert script("bandits", "--references", "--only", "10,5", **kept) == first
        assert len(played) == in_all + 1
    monkeypatch.setattr(module.Setting, "tasks", 60)
    with pytest.raises(ValueError, match=r"random\.json holds 50 tasks, expected 60"):
        script("bandits", "--references", "--only", "10,5", **kept)


def test_how_far_a_published_mean_is(monkeypatch: pytest.MonkeyPatch) -> None:
    load(REPRODUCE / "common.py", monkeypatch)
    apart = load(REPRODUCE / "rivals.py", monkeypatch).apart
    # A task's standard deviation of 10 makes an error of .1 for 10,000 tasks, and of .316 for 1,000.
    assert apart((50.0, 0.1), 10_000, 49.0) == pytest.approx(1 / (0.1**2 + 0.1 + 0.01 / 12) ** 0.5)
    assert apart((50.0, 0.1), 10_000, 51.0) < 0


def test_training_options_are_refused_with_references(script: Script, capsys: pytest.CaptureFixture[str]) -> None:
    refuse = {"play_references": lambda *given: pytest.fail("played")}
    for option in ("--seeds=1", "--jobs=3"):
        with pytest.raises(SystemExit):
            script("bandits", "--references", "--only", "10,5", option, **refuse)
        assert "--references trains nothing" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        script("bandits", "--only", "100,7")
    assert "100,7" in capsys.readouterr().err


def trained(results: list[AgentEvaluation], commands: list[list[str]]) -> Callable[..., list[AgentEvaluation]]:
    """Stands in for the training: keeps what it was asked for."""

    def train(preset: str, name: str, seeds: Any, settings: list[str], *rest: Any) -> list[AgentEvaluation]:
        commands.append(settings)
        assert parser().parse_args(["train", preset, *(f"--set={one}" for one in settings)]).preset == preset
        load_experiment(preset, [parse_assignment(text) for text in settings])
        return results[: len(seeds)]

    return train


def test_rows_of_an_agent_in_a_bandit(script: Script) -> None:
    commands: list[list[str]] = []
    results = [evaluation(78.0, {"random": 50.0, "Gittins": 78.5}), evaluation(79.0, {"random": 50.0, "Gittins": 78.5})]
    rows = script("bandits", "--only", "100,5", "--seeds", "3", "4", train=trained(results, commands))
    assert [row.metric for row in rows] == [
        "reward per trial, sampled actions",
        "% of Gittins on the same tasks",
        "reward per trial, sampled actions",
    ]
    assert {"env.arms=5", "env.pulls=100", "eval.trials=10000"} <= set(commands[0])
    assert rows[0].seeds == (3, 4)
    assert {row.commit for row in rows} == {"of bandit-100-5-s3, bandit-100-5-s4"}, "the code that trained the runs"
    assert rows[0].goal == (pytest.approx(79.1 - 1.0), None)
    assert rows[1].ours == pytest.approx(100.0)
    assert rows[1].se == pytest.approx(100 * 0.1 / 2**0.5 / 78.5)
    assert rows[0].references == {"RL² published": 78.7, "SNAIL published": 79.1, "random": 50.0, "Gittins": 78.5}


def test_rows_of_an_agent_in_mdps(script: Script) -> None:
    planners = {"random": 250.0, "greedy": 430.0, "greedy, fixed ties": 420.0, "Bayes bonus": 445.0}
    planners["Bayes bonus, replanned"] = 460.0
    rows = script("mdps", "--only", "25", train=trained([evaluation(455.0, planners)], []))
    by_metric = {row.metric: row for row in rows if "memory off" not in row.method}
    assert by_metric["% above Bayes bonus, replanned, paired"].ours == pytest.approx(-100 * 5 / 460)
    assert by_metric["agent minus greedy, paired: lower end of the 95 % interval"].ours == pytest.approx(25 - 0.196)
    known = known_mdp_value(TabularPrior(states=10, actions=5, horizon=10, episodes=25, noise=1.0))
    assert rows[0].references["known MDP"] == pytest.approx(25 * known, abs=1e-3)
    assert rows[0].references["SNAIL published"] == pytest.approx(447.4)


def test_references_of_mdps_lie_beside_what_was_published(script: Script) -> None:
    rows = script("mdps", "--references", "--only", "10", TASKS=6)
    published = {row.method for row in rows if "published" in row.references}
    assert {name.removesuffix(", reference") for name in published} == {
        *("random", "greedy, no prior", "epsilon-greedy, no prior", "PSRL, prior 0", "OPSRL, prior 0"),
        *("BEB, prior 0", "UCRL2"),
    }
    assert len(rows) == len(published) + 7


@pytest.mark.parametrize(
    ("name", "best", "regret"), [("independent", "Gittins", 1.7482), ("easy", "Bayes-optimal", 0.625)]
)
def test_regret_of_two_arms(script: Script, name: str, best: str, regret: float) -> None:
    rows = script("wang", "--references", "--only", name, REFERENCE_TASKS=200)
    by_name = {row.method.removesuffix(", reference"): row for row in rows}
    for row in rows:
        assert row.references["Bayes-optimal"] == pytest.approx(regret, abs=1e-3)
        assert row.ours > -4 * (row.se or 0)
    assert by_name["random"].ours > by_name["Thompson"].ours > by_name[best].ours - 4 * (by_name[best].se or 0)
    ours = evaluation(63.0, {"random": 50.0, best: 63.5})
    rows = script("wang", "--only", name, train=trained([ours], []))
    agent = {row.metric: row for row in rows if row.method.startswith("preset bandit")}
    assert agent["expected regret per trial"].ours == pytest.approx(regret + 0.5, abs=1e-3)
    assert agent["expected regret / Bayes-optimal"].ours == pytest.approx((regret + 0.5) / regret, abs=1e-2)
    assert agent["expected regret per trial"].references["random"] == pytest.approx(regret + 13.5, abs=1e-2)
    assert agent["expected regret / Bayes-optimal"].goal == (None, 1.2)


def test_rows_of_the_barcode_bandit_tell_what_is_earned_at_each_encounter(script: Script) -> None:
    ours = evaluation(800.0, {"random": 500.0, "ideal memory": 840.0})
    ideal = replace(ours.references["ideal memory"], by_exposure=(4.5, *[9.0] * 9))
    ours = replace(ours, by_exposure=(4.0, *[8.0] * 8, 8.5), references={**ours.references, "ideal memory": ideal})
    rows = script("barcode", "--part", "barcode", "--seeds", "0", "1", train=trained([ours, ours], []))
    by_metric = {(row.method, row.metric): row for row in rows}
    agent = "attention over the trial, asked per action"
    assert by_metric[agent, "mean reward an episode, sampled actions"].ours == pytest.approx(8.0)
    last = by_metric[agent, "mean reward an episode at encounter 10 of a context, sampled actions"]
    assert last.ours == pytest.approx(8.5)
    assert last.references["encounter 1"] == pytest.approx(4.0)
    assert last.references["ideal memory, encounter 2"] == pytest.approx(9.0)
    control = by_metric[
        f"{agent}, trained with all memory emptied at each episode", last.metric.split(" at ")[0] + ", sampled actions"
    ]
    assert control.commit == "of barcode-episode-s0"
