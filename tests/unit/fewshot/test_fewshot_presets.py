"""Every few-shot preset at toy size: it trains, is tested, comes back from its run folder, and keeps the rules."""

from __future__ import annotations

import json
from typing import NamedTuple

import numpy as np
import pytest
import torch
from fewshot_toys import WAYS, toy_preset
from metarl.experiments.fewshot.train import check, load, train
from metarl.report.fewshot_kept import load as load_kept
from metarl.report.fewshot_kept import path_of

from metarl.agents.fewshot.learner import FewShotLearner
from metarl.experiments.fewshot.build import make_learner, make_source
from metarl.experiments.fewshot.evaluate import evaluate, save_episodes, save_evaluation
from metarl.experiments.fewshot.options import FewShotExperiment, configure, presets
from metarl.experiments.rl.experiment import presets as rl_presets
from metarl.report.fewshot import fewshot_table, read_fewshot
from metarl.runs.folder import RunFolder


class Trained(NamedTuple):
    """A preset's run."""

    experiment: FewShotExperiment
    run: RunFolder
    learner: FewShotLearner


@pytest.fixture(scope="module", params=sorted(presets()))
def preset(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    experiment = check(toy_preset(request.param))
    run = RunFolder.create_at(tmp_path_factory.mktemp("run") / request.param)
    return Trained(experiment, run, train(experiment, run, seed=0, quiet=True).learner)


@pytest.mark.parametrize("name", sorted(presets()))
def test_a_preset_is_as_large_as_it_says(name: str) -> None:
    made = configure(name)
    assert made.about
    assert made.name == name
    assert made.eval.episodes >= 1000, "what is published is measured on as many"
    assert name not in rl_presets(), "a name says which track it is of"


def test_a_preset_trains_and_is_tested(preset: Trained) -> None:
    made, run, learner = preset
    rows = run.metrics()
    assert [row["episodes"] for row in rows] == [made.train.batch, 2 * made.train.batch]
    for row in rows:
        assert np.isfinite(row["train/loss"])
        assert 0 <= row["train/accuracy" if made.data.trainval else "validation/accuracy"] <= 1
        assert row["time"] > 0
    before = {name: value.clone() for name, value in learner.state_dict().items()}
    evaluation = evaluate(learner, made, quiet=True)
    assert [(cell["ways"], cell["shots"]) for cell in evaluation["cells"]] == list(made.eval.cells)
    assert [stream["ways"] for stream in evaluation["streams"]] == list(made.eval.streams)
    for name, value in learner.state_dict().items():
        assert torch.equal(value, before[name]), f"trap 28: a test has changed {name}"
    save_evaluation(run, evaluation | {"train_seconds": 1.0, "train_episodes": 4, "train_seed": 0})
    save_episodes(run, learner, made, 0)
    told = read_fewshot(run)
    assert told is not None
    assert "drawn glyphs" in fewshot_table(told)
    kept = load_kept(path_of(run))
    assert (kept.sets is not None, kept.streams is not None) == (bool(made.eval.cells), bool(made.eval.streams))


def test_a_preset_comes_back_from_its_run_folder(preset: Trained) -> None:
    made, run, learner = preset
    loaded, again, seed = load(run)
    assert (loaded, seed) == (made, 0)
    assert again.training is False
    assert json.loads((run.path / "config.json").read_text())["name"] == made.name
    for name, value in learner.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    assert evaluate(again, loaded, quiet=True) == evaluate(learner, made, quiet=True)


def test_trap_27_a_preset_answers_queries_alone(preset: Trained) -> None:
    made, _, learner = preset
    if not made.eval.cells:
        pytest.skip("a learner of streams whose labels are letters is asked no queries")
    table = "gradient" if made.gradient else "stream.encoder" if made.stream else "classifier.encoder"
    exact = make_learner(toy_preset(made.name, f"{table}.precision=float32"), (made.data.size,) * 2, seed=0).eval()
    exact.load_state_dict(learner.state_dict())
    source = make_source(made.data, "test", rotations=False)
    support_x, support_y, query_x, _ = source.sample(np.random.default_rng(0), 3, WAYS, 1, 2)
    with torch.no_grad():
        together = exact(support_x, support_y, query_x)
        alone = [exact(support_x, support_y, query_x[:, i : i + 1]) for i in range(query_x.shape[1])]
    close = torch.allclose(torch.cat(alone, 1), together, rtol=1e-3, atol=1e-3)
    assert close is not made.transductive
