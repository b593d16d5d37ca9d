"""Every few-shot preset of images at toy size: it trains, is tested, comes back from its folder, keeps the rules."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from experiment_toys import WAYS, for_images, same, toy_preset, weights
from PIL import Image

import metarl
from metarl.agents.fewshot.trained import TrainedLearner
from metarl.config import InputError
from metarl.evaluation.records import read_episodes
from metarl.evaluation.results import FewShotEvaluation
from metarl.experiments.fewshot.build import make_learner, make_source
from metarl.experiments.run import Run, open_run, run
from metarl.presets.names import presets
from metarl.report.tables import evaluation_table

pytestmark = pytest.mark.usefixtures("undrawn")

FEWSHOT = [name for name in presets() if for_images(name)]


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


VOTING = {
    "prototypical",
    "best",
    "lake",
    "domain",
    "continual",
    "matching",
    "matching-fce",
    "key-value",
    "graph",
    "lifelong",
}
GRADIENT = {"maml", "fomaml", "anil", "reptile"}
FROM_IMAGES = (VOTING - {"lifelong"}) | {"episodic"}
"""The presets whose answers come from single images, and so can tell which."""


PAGE = Path(__file__).resolve().parents[3] / "docs" / "use-a-trained-learner.md"


def test_the_five_lines_of_the_page_are_all_that_a_preset_needs(
    preset: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (code,) = re.findall(r"^```python\n(import metarl\n.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert len(code.splitlines()) <= 5
    if preset.experiment.name == "mann-letters":
        pytest.skip("its labels are letters, and it is refused")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "prototypical").symlink_to(preset.folder.path)
    drawn = make_source(preset.experiment.data, "test", rotations=False).examples  # type: ignore[attr-defined]  # few-shot
    for number, name in enumerate(("alpha1", "alpha2", "beta1", "new")):
        Image.fromarray(255 - drawn[number // 2, number]).save(f"{name}.png")
    names: dict[str, Any] = {}
    exec(code, names)
    assert names["answer"].name in ("alpha", "beta")


def test_a_preset_is_a_tool(preset: Run) -> None:
    name = preset.experiment.name
    if name == "mann-letters":
        with pytest.raises(InputError) as refused:
            metarl.load(preset.folder.path)
        assert refused.value.key == "train.labels"
        return
    learner = metarl.load(preset.folder.path)
    assert isinstance(learner, TrainedLearner)
    drawn = make_source(preset.experiment.data, "test", rotations=False).examples  # type: ignore[attr-defined]  # few-shot
    learner.remember({"a": drawn[0, :1], "b": drawn[1, :2]})
    learner.remember({"c": drawn[2, 0]})
    answers = learner.predict(list(drawn[:3, 5]))
    for answer in answers:
        assert set(answer.probabilities) == {"a", "b", "c"}
        assert sum(answer.probabilities.values()) == pytest.approx(1, abs=1e-5)
        assert (answer.name, answer.probability) == max(answer.probabilities.items(), key=lambda item: item[1])
        assert (answer.known is None) is (answer.unknown is None) is preset.experiment.data.trainval  # type: ignore[attr-defined]  # few-shot
    (alone,) = learner.predict(drawn[1, 5])
    assert alone.probabilities == pytest.approx(answers[1].probabilities, abs=0.05), "in bfloat16"
    learner.remember({"d": drawn[3, 0]})
    if name in VOTING | GRADIENT:
        learner.remember({"e": drawn[4, 0]})
        assert set(learner.predict(drawn[4, 5])[0].probabilities) == set("abcde")
    else:
        with pytest.raises(InputError) as refused:
            learner.remember({"e": drawn[4, 0]})
        assert refused.value.key == "ways"
    if name in FROM_IMAGES:
        recalled = learner.recalled(drawn[1, 5])
        assert len(recalled) == sum(learner.classes.values())
        assert [one.weight for one in recalled] == sorted((one.weight for one in recalled), reverse=True)
        assert sum(one.weight for one in recalled) <= 1 + 1e-4
    else:
        with pytest.raises(InputError, match="no weights of single images"):
            learner.recalled(drawn[1, 5])
