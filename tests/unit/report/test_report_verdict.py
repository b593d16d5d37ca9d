"""The sentence on top of a page, the state of a run, methods over seeds, and what a replay is given."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from report_fewshot_runs import evaluation as fewshot
from report_fewshot_runs import mann
from report_runs import bandit, barcode, fields, made
from report_trials import lower, trial

from metarl.evaluation.results import AgentEvaluation, Evaluation
from metarl.report.agent import best_reference
from metarl.report.build import build_report
from metarl.report.compare import families, gather, members_of
from metarl.report.methods import methods, parts, profiles
from metarl.report.reads import memory_reads
from metarl.report.replay import replayed
from metarl.report.verdict import state, verdict

NONE: dict[str, Any] = {"memory": {"store": "none"}}


@pytest.mark.parametrize(
    ("evaluation", "told"),
    [
        (bandit(), "86 % of the way from random to Gittins; with its memory off 0 %"),
        (bandit(references={}), "Reward 80.00 ± 0.20 per trial; with its memory off 50.00 ± 0.20"),
        (fewshot(), "99.00 ± 0.10 % of answers right in 5-way 1-shot episodes; chance is 20 %, published 98.8 %"),
        (mann(), "35.0 % right when a class is first shown, 98.1 % at instance 10; chance is 20 %"),
    ],
    ids=["references", "no references", "cells", "streams"],
)
def test_one_sentence_says_what_came_out(evaluation: Evaluation, told: str) -> None:
    assert verdict(evaluation).endswith(told)


ASKED = {"kind": "rl2", "train": {"total_timesteps": 1000}}
FIT = {"kind": "fewshot", "fit": {"updates": 300, "seconds": 540.0}}


@pytest.mark.parametrize(
    ("config", "status", "whole", "told"),
    [
        (ASKED, {"status": "finished", "train_steps": 1024}, True, ["1,024 environment steps"]),
        (ASKED, {"status": "finished", "train_steps": 400}, False, ["cut short", "400 of 1,000"]),
        (ASKED, {"status": "interrupted", "train_steps": 400}, False, ["Interrupted", "400 of 1,000"]),
        (ASKED, {"status": "failed", "reason": "no memory"}, False, ["Failed", "no memory"]),
        (ASKED, {"status": "running"}, False, ["Not finished"]),
        (FIT, {"status": "finished", "train_steps": 242, "ended": "seconds"}, False, ["fit.seconds", "300", "242"]),
        (FIT, {"status": "finished", "train_steps": 300, "ended": "updates"}, True, ["300 training episodes"]),
    ],
)
def test_a_run_that_was_cut_off_says_so(config: Any, status: Any, whole: bool, told: list[str]) -> None:
    text, good = state(config, status)
    assert good is whole
    assert all(part in text for part in told)


def rated(seed: int, share: float, base: AgentEvaluation | None = None) -> AgentEvaluation:
    """A bandit's evaluation at a share of the way from 50 to 85."""
    return replace(base or bandit(), **fields([0.5 + 0.35 * share] * 100), seed=seed)


def test_methods_are_compared_over_seeds_by_what_was_really_trained(tmp_path: Path) -> None:
    runs = [made(tmp_path / f"a{seed}", seed, rated(seed, 0.8 + seed / 100)) for seed in range(3)]
    runs += [made(tmp_path / f"b{seed}", seed, rated(seed, 0.1), **NONE) for seed in range(4)]
    runs[-1].set_status("interrupted", train_steps=400)
    (settings,) = [gather(group) for group in families(members_of(runs))]
    assert [len(setting.members) for setting in settings] == [3, 3, 1], (
        "a run that was cut off is no seed of the others"
    )
    assert settings[-1].label == "total_timesteps=400 of 1,000, store=none"
    over = methods([settings])
    assert over is not None
    assert over.unit == "way from random to the best reference (%)"
    np.testing.assert_allclose(over.scores["total_timesteps=1000, store=episodic"], [[80, 81, 82]])
    assert over.left_out == ["total_timesteps=400 of 1,000, store=none"]
    told = "".join(parts(over, profiles(over, tmp_path / "p.svg")))
    assert "<td>100 %</td>" in told, "the probability of improvement"
    assert "store=episodic: 1 at" in told, "the alternative text"


def test_families_share_a_page_where_their_scores_have_a_scale(tmp_path: Path) -> None:
    runs = []
    for seed in range(3):
        runs += [made(tmp_path / f"a{seed}", seed, rated(seed, 0.8), learned=False, played=False)]
        env = {"id": "metarl/BarcodeBandit-v0"}
        runs += [made(tmp_path / f"b{seed}", seed, barcode(), env=env, learned=False, played=False)]
    gathered = [gather(group) for group in families(members_of(runs))]
    over = methods(gathered)
    assert over is not None
    assert over.tasks == ["metarl/BernoulliBandit-v0", "metarl/BarcodeBandit-v0"]
    assert [len(scores) for scores in over.scores["agent"]] == [3, 3]
    runs[0].set_status("interrupted", train_steps=400)
    page = build_report(runs[:2], tmp_path / "all.html").page.read_text()
    assert "2 runs of 2 families" in page
    assert "a0 (seed 0): Interrupted after 400 of 1,000 environment steps" in page
    assert {path.name for path in tmp_path.glob("*.svg")} == {"all-1-adaptation.svg", "all-2-adaptation.svg"}


def test_a_heat_map_of_equal_keys_shows_what_each_slot_holds(tmp_path: Path, drawn: list[Figure]) -> None:
    ends = np.ones((1, 12), bool)
    part = trial(12, actions=np.arange(12)[None] % 3, rewards=(np.arange(12)[None] % 2).astype(float), ends=ends)
    memory_reads(part, tmp_path / "m.png")
    actions, rewards = drawn[0].axes[0].child_axes
    assert (actions.get_xlabel(), rewards.get_xlabel()) == ("action", "reward")
    assert len({patch.get_facecolor() for patch in actions.patches}) == 3
    assert [patch.get_height() for patch in actions.patches] == [1] * 11, "of slots that hold neighbouring steps"
    lost, won = rewards.patches[:2]
    assert won.get_alpha() or won.get_facecolor()[3] > lost.get_facecolor()[3]
    memory_reads(replace(part, weights=lower(12)[:, :5]), tmp_path / "n.png")
    assert not drawn[1].axes[0].child_axes, "what slots hold isn't known once some were replaced"


def test_a_replay_has_what_fits() -> None:
    one = replayed([trial()], {})
    assert one is not None
    (shown,) = one["trials"]
    assert one["arms"] == 0, "episodes of several steps are no bandit"
    assert (shown["held"], len(shown["weights"][3]), sum(shown["weights"][3])) == ("step", 3, 750)
    assert shown["returns"][0] == pytest.approx(sum(shown["rewards"][:4]), abs=1e-3)
    shots = {"obs": np.zeros((400, 16, 16, 3), np.uint8)}
    long = replace(trial(12), observations=shots, actions=np.zeros(400), rewards=np.zeros(400), ends=np.ones(400, bool))
    cut = replayed([replace(long, weights=None)], {}, 50_000)
    assert cut is not None
    assert len(json.dumps(cut, separators=(",", ":"))) <= 50_000
    assert len(cut["trials"][0]["rewards"]) < cut["trials"][0]["of"] == 400
    assert replayed([replace(long, weights=None)], {}, 500) is None
    assert replayed([], {}) is None


def test_shares_are_of_the_best_player_that_there_is() -> None:
    plain = bandit(20)
    assert best_reference(plain) == "Gittins"
    optimal = replace(plain.references["Gittins"], return_mean=plain.references["Gittins"].return_mean + 1)
    assert best_reference(replace(plain, references={**plain.references, "Bayes-optimal": optimal})) == "Bayes-optimal"
