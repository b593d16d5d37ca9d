"""Exported few-shot learners beside the learners themselves."""

import json
import re
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from metarl.agents.fewshot.classifier import FewShotClassifier, Readout
from metarl.agents.fewshot.gradient import gradient_learner
from metarl.agents.fewshot.learner import FewShotLearner
from metarl.agents.fewshot.streams import StreamClassifier
from metarl.cli.main import main
from metarl.config import InputError
from metarl.data.pictures import Reading
from metarl.export import classifier, classify_runner
from metarl.export.classifier import CLOSE, ClassifierStep, export_classifier
from metarl.runs.folder import RunFolder

SIDE, WAYS, LONGEST = 8, 3, 9
READING = Reading(SIDE, drawing=True)
ENCODER = {"width": 8, "embedding_size": 8}
MEMORY = {"key_size": 8, "value_size": 8}
EUCLIDEAN = {"access_options": {"kernel": "euclidean", "empty_slot": False}}
MANN = {
    **{"store": "lrua", "access": "native", "controller": "lstm", "store_options": {"slots": 8}},
    **{"controller_options": {"hidden_size": 8}, "gate": False},
}


def learner(kind: str) -> FewShotLearner:
    """One of random weights, so that what it reads counts."""
    shape = (SIDE, SIDE)
    more: dict[str, Any] = {"encoder": ENCODER, "longest": LONGEST}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if kind == "stream":
            return StreamClassifier(shape, WAYS, {**MEMORY, **MANN}, **more).eval()
        if kind == "linear":
            return FewShotClassifier(shape, WAYS, MEMORY, **more).eval()
        means = kind == "prototypical"
        votes: Readout = "mean_votes" if means else "votes"
        made = FewShotClassifier(shape, WAYS, EUCLIDEAN, readout=votes, plda=means, **more).eval()
        if means:
            embedded = made.embed(drawn(40, 5))
            assert embedded is not None
            made.fit_metric(embedded, torch.arange(40) % 8)
        return made


def drawn(count: int, seed: int) -> Any:
    return np.random.default_rng(seed).integers(0, 2, (count, SIDE, SIDE)).astype(np.uint8) * 255


def shares(one: FewShotLearner, support: Any, labels: Any, queries: Any) -> Any:
    """The probabilities that a learner itself gives to the classes that it was shown."""
    with torch.no_grad():
        logits = one(support[None], np.asarray(labels)[None], queries[None])[0]
    return logits[:, : int(max(labels)) + 1].softmax(1).numpy()


def needs_onnx() -> None:
    for name in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(name, reason="pip install 'metarl-memory[export]'")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prototypical network in ONNX."""
    needs_onnx()
    out = tmp_path_factory.mktemp("prototypical")
    made = export_classifier(learner("prototypical"), READING, out)
    assert [path.name for path in made.files] == ["classifier.onnx", "classifier.json", "run_classifier.py"]
    assert made.worst <= 1e-5
    return out


def test_the_runner_answers_as_the_learner_with_any_numbers_of_images(folder: Path) -> None:
    run = runpy.run_path(str(folder / "run_classifier.py"))["Classifier"](folder)
    one = learner("prototypical")
    for supports, queries, classes in ((2, 1, 2), (5, 4, 3), (LONGEST, 17, 3)):
        support, labels, asked = drawn(supports, 1), np.arange(supports) % classes, drawn(queries, 2)
        found = run.predict(support, labels, asked)
        np.testing.assert_allclose(found, shares(one, support, labels, asked), atol=1e-5)
        np.testing.assert_allclose(found[:1], run.predict(support, labels, asked[:1]), atol=1e-5)  # each alone


@pytest.mark.parametrize(
    ("support", "labels", "queries", "told"),
    [
        (drawn(LONGEST + 1, 0), np.arange(LONGEST + 1) % WAYS, drawn(1, 0), str(LONGEST)),
        (drawn(4, 0), [0, 1, 2, 3], drawn(1, 0), "labels"),
        (drawn(3, 0), [0, 2, 2], drawn(1, 0), "labels"),
        (drawn(3, 0), [0, 1], drawn(1, 0), "labels"),
        (drawn(3, 0) / 255, [0, 1, 2], drawn(1, 0), "uint8"),
        (drawn(3, 0), [0, 1, 2], drawn(1, 0)[0], "uint8"),
    ],
)
def test_the_runner_refuses_what_the_learner_would(
    folder: Path, support: Any, labels: Any, queries: Any, told: str
) -> None:
    with pytest.raises(ValueError, match=told):
        classify_runner.Classifier(folder).predict(support, labels, queries)


def test_the_manifest_tells_what_is_shown_and_how_many(folder: Path) -> None:
    about = json.loads((folder / "classifier.json").read_text())
    assert about["images"] == {"shape": [SIDE, SIDE], "dtype": "uint8", "meaning": "ink is 255 and paper 0"}
    assert (about["ways"], about["supports"], about["queries"][0]) == (WAYS, [2, LONGEST], 1)


@pytest.mark.parametrize("kind", ["linear", "matching"])
def test_a_file_of_torch_export_answers_alike(kind: str, tmp_path: Path) -> None:
    one = learner(kind)
    path = export_classifier(one, READING, tmp_path, "torch").files[0]
    program = torch.export.load(path).module()
    for supports, queries in ((4, 1), (8, 5)):
        support, labels, asked = drawn(supports, 1), np.arange(supports) % WAYS, drawn(queries, 2)
        found = program(*map(torch.as_tensor, (support, labels, asked))).softmax(1).detach().numpy()
        np.testing.assert_allclose(found, shares(one, support, labels, asked), atol=1e-5)


def test_more_classes_than_in_training_fit_where_a_memory_votes(tmp_path: Path) -> None:
    export_classifier(learner("matching"), READING, tmp_path, "torch", ways=5, supports=12)
    about = json.loads((tmp_path / "classifier.json").read_text())
    assert (about["ways"], about["supports"]) == (5, [2, 12])
    with pytest.raises(InputError) as caught:
        export_classifier(learner("linear"), READING, tmp_path / "other", "torch", ways=5)
    assert caught.value.key == "ways"
    assert not (tmp_path / "other").exists()


def test_a_learner_of_streams_needs_a_number_of_images_and_keeps_to_it(tmp_path: Path) -> None:
    one = learner("stream")
    with pytest.raises(InputError) as caught:
        export_classifier(one, READING, tmp_path / "out", "torch")
    assert caught.value.key == "--supports"
    path = export_classifier(one, READING, tmp_path / "out", "torch", supports=4).files[0]
    assert json.loads((tmp_path / "out" / "classifier.json").read_text())["supports"] == [4, 4]
    support, labels, asked = drawn(4, 1), np.array([0, 1, 2, 0]), drawn(2, 2)
    program = torch.export.load(path).module()
    for number, expected in enumerate(shares(one, support, labels, asked)):
        found = program(*map(torch.as_tensor, (support, labels, asked[number : number + 1])))
        np.testing.assert_allclose(found.softmax(1).detach().numpy()[0], expected, atol=1e-5)


def test_what_single_precision_rounds_is_no_difference(tmp_path: Path) -> None:
    """Of embeddings far from zero, squared distances are small differences of large numbers."""
    needs_onnx()
    one = learner("matching")
    one.encoder.tail[-1].bias.data.add_(100.0)
    assert export_classifier(one, READING, tmp_path).worst > CLOSE


def test_learners_that_no_file_can_hold_are_refused_with_the_reason(tmp_path: Path) -> None:
    letters = StreamClassifier((SIDE, SIDE), WAYS, {**MEMORY, **MANN}, labels="letters", encoder=ENCODER)
    for one, told in ((gradient_learner((SIDE, SIDE), WAYS), "gradient descent"), (letters, "letters")):
        with pytest.raises(InputError, match=told):
            export_classifier(one, READING, tmp_path / "out", "torch")
    assert not (tmp_path / "out").exists()


def test_a_file_that_differs_from_the_learner_is_not_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    one, difference = learner("matching"), classifier.difference

    def of_another(step: Any, *given: Any) -> tuple[float, float]:
        step.learner.encoder.tail[-1].weight.data.mul_(1.1)
        return difference(step, *given)

    monkeypatch.setattr(classifier, "difference", of_another)
    for folder in (tmp_path, tmp_path / "new"):
        with pytest.raises(InputError, match="differs"):
            export_classifier(one, READING, folder, "torch")
    assert not list(tmp_path.iterdir())


def test_the_command_writes_a_few_shot_run_with_the_room_that_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = RunFolder.create_at(tmp_path / "run")
    folder.start({"kind": "fewshot", "seed": 0}, [])
    experiment = SimpleNamespace(data=SimpleNamespace(reading=READING))
    opened = SimpleNamespace(experiment=experiment, model=learner("matching"), folder=folder)
    monkeypatch.setattr("metarl.experiments.run.open_run", lambda path, **options: opened)
    assert main(["export", str(folder.path), "--format", "torch", "--ways", "4", "--supports", "10"]) == 0
    about = json.loads((folder.path / "export" / "classifier.json").read_text())
    assert (about["ways"], about["supports"]) == (4, [2, 10])
    assert "classifier.pt2" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["export", str(folder.path), "--batch", "3"])
    assert "--batch" in capsys.readouterr().err


def code_of_the_page() -> list[str]:
    page = (Path(__file__).parents[3] / "docs" / "deploy.md").read_text(encoding="utf-8").split("## Few-shot")[1]
    return re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def test_the_page_shows_the_runner_which_fits_on_a_screen() -> None:
    text = Path(classify_runner.__file__).read_text(encoding="utf-8")
    assert text == code_of_the_page()[0]
    assert len(text.splitlines()) <= 50


def test_the_page_asks_the_runner_as_it_wants_to_be_asked(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    names: dict[str, Any] = {}
    exec(code_of_the_page()[1], names)
    monkeypatch.delitem(sys.modules, "run_classifier")
    assert names["probabilities"].shape == (1, 2)
    assert names["probabilities"].sum() == pytest.approx(1)


def test_a_file_of_fewer_classes_gives_logits_of_so_many() -> None:
    step = ClassifierStep(learner("prototypical"), (SIDE, SIDE), 2, 2)
    support, labels, queries = (torch.zeros(slot.shape, dtype=slot.dtype) for slot in step.inputs)
    labels[1] = 1
    assert step(support, labels, queries).shape == (3, 2)
