"""Every few-shot preset at toy size: it trains, is tested, comes back from its run folder, and keeps the rules."""

from typing import Any

import numpy as np
import pytest
import torch
from experiment_toys import WAYS, same, toy_preset, weights

from metarl.evaluation.records import read_episodes
from metarl.evaluation.results import FewShotEvaluation
from metarl.experiments.fewshot.build import make_learner, make_source
from metarl.experiments.presets import preset_kind, presets
from metarl.experiments.run import Run, open_run, run
from metarl.report.tables import evaluation_table

FEWSHOT = [name for name in presets() if preset_kind(name) == "fewshot"]


@pytest.fixture(scope="module", params=FEWSHOT)
def preset(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run(toy_preset(request.param), tmp_path_factory.mktemp("run") / request.param, quiet=True)


def test_a_preset_trains_and_is_tested(preset: Run) -> None:
    made: Any = preset.experiment
    rows = preset.folder.metrics()
    assert [row["episodes"] for row in rows] == [made.train.batch, 2 * made.train.batch]
    for row in rows:
        assert np.isfinite(row["train/loss"])
        assert 0 <= row["train/accuracy" if made.data.trainval else "validation/accuracy"] <= 1
    evaluation = preset.evaluation
    assert isinstance(evaluation, FewShotEvaluation)
    assert [(cell.ways, cell.shots) for cell in evaluation.cells] == list(made.eval.cells)
    assert [stream.ways for stream in evaluation.streams] == list(made.eval.streams)
    assert "drawn glyphs" in evaluation_table(evaluation)
    kept = read_episodes(preset.folder)
    assert (kept.episodes is not None, kept.streams is not None) == (bool(made.eval.cells), bool(made.eval.streams))


def test_a_preset_comes_back_from_its_run_folder_and_a_test_changes_nothing(preset: Run) -> None:
    back = open_run(preset.folder.path)
    assert back.experiment == preset.experiment
    assert not back.model.training
    assert same(weights(preset), weights(back)), "the evaluation has changed nothing"
    assert back.evaluate(quiet=True) == preset.evaluation


def test_a_preset_answers_queries_alone(preset: Run) -> None:
    made: Any = preset.experiment
    if not made.eval.cells:
        pytest.skip("a learner of streams whose labels are letters is asked no queries")
    table = "gradient" if made.gradient else "stream.encoder" if made.stream else "classifier.encoder"
    exact = make_learner(toy_preset(made.name, f"{table}.precision=float32"), seed=0).eval()
    exact.load_state_dict(preset.model.state_dict())
    source = make_source(made.data, "test", rotations=False)
    support_x, support_y, query_x, _ = source.sample(np.random.default_rng(0), 3, WAYS, 1, 2)
    with torch.no_grad():
        together = exact(support_x, support_y, query_x)
        alone = [exact(support_x, support_y, query_x[:, i : i + 1]) for i in range(query_x.shape[1])]
    close = torch.allclose(torch.cat(alone, 1), together, rtol=1e-3, atol=1e-3)
    assert close is not made.transductive
