from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from report_fewshot_runs import sets, stream, streams
from report_looks import words

from metarl.evaluation.records import EpisodeRecord, StreamRecord
from metarl.report.drawings import drawings, stream_drawings
from metarl.report.instances import Stream, instances
from metarl.report.learning import learning_curve, learning_overlay
from metarl.report.recalled import chosen, recall_sheet
from metarl.report.sheet import is_image, visible


@pytest.mark.parametrize(("ways", "shots"), [(5, 5), (20, 1), (20, 5), (2, 3)])
def test_drawings_mark_correct_and_wrong_without_colour(
    tmp_path: Path, drawn: list[Figure], ways: int, shots: int
) -> None:
    path = drawings(EpisodeRecord(**sets(ways, shots)), tmp_path / "a.png", "prototypical on Omniglot")
    assert path.read_bytes().startswith(b"\x89PNG")
    (figure,) = drawn
    told = words(figure)
    assert f"prototypical on Omniglot: {ways}-way {shots}-shot episodes" in told
    assert any(text.startswith("✗ ") and ", true " in text for text in told)
    assert any(text.startswith("✓ ") for text in told)
    assert any(f"4 of {4 * 2 * ways} are wrong" in text for text in told)


def test_mistakes_come_first(tmp_path: Path, drawn: list[Figure]) -> None:
    arrays = sets(n=12)
    arrays["predicted"] = arrays["query_y"].copy()
    arrays["predicted"][11, 7] = (arrays["query_y"][11, 7] + 2) % 5
    drawings(EpisodeRecord(**arrays), tmp_path / "a.png", "x")
    assert f"✗ {arrays['predicted'][11, 7]}, true {arrays['query_y'][11, 7]}" in words(drawn[0])
    assert any("1 of 120 is wrong" in text for text in words(drawn[0]))


@pytest.mark.parametrize(("ways", "shots", "weights"), [(5, 1, "support"), (5, 5, "classes"), (20, 5, "support")])
def test_recall_shows_weights_and_whose_they_are(
    tmp_path: Path, drawn: list[Figure], ways: int, shots: int, weights: str
) -> None:
    recall_sheet(EpisodeRecord(**sets(ways, shots, weights=weights)), tmp_path / "a.png", "matching on Omniglot")
    (figure,) = drawn
    bars = [patch for patch in figure.axes[0].patches if patch.get_hatch()]
    assert bars, "the weight of other classes is hatched"
    if ways * shots == 100:
        assert any("the 25 of 100 examples recalled most" in text for text in words(figure))


def test_half_of_what_is_recalled_are_mistakes_of_many_episodes() -> None:
    found = EpisodeRecord(**sets(n=6))
    picked = chosen(found, 8)
    assert len(set(picked)) == 8
    assert [bool(found.correct[one]) for one in picked] == [False] * 4 + [True] * 4
    assert len({episode for episode, _ in picked[:4]}) == 4
    assert sorted(chosen(found, 1000)) == list(np.ndindex(found.correct.shape))


def test_without_weights_nothing_is_recalled(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="have no weights"):
        recall_sheet(EpisodeRecord(**sets(weights=None)), tmp_path / "a.png", "x")


@pytest.mark.parametrize(("ways", "labels"), [(5, "one_hot"), (15, "letters")])
def test_streams_are_shown_step_by_step(tmp_path: Path, drawn: list[Figure], ways: int, labels: str) -> None:
    arrays = streams(ways, labels)
    stream_drawings(StreamRecord(*arrays.values()), tmp_path / "a.png", "mann on Omniglot")
    told = words(drawn[0])
    said = arrays["stream_predicted"][0, 2]
    assert "✗ " + (str(said[0]) if labels == "one_hot" else "".join("abcde"[d] for d in said)) in told
    assert {"1", "2", "3", "4"} <= told


@pytest.mark.parametrize("kinds", [[(5, "one_hot")], [(5, "one_hot"), (15, "one_hot"), (15, "letters")]])
def test_instances_are_drawn_beside_chance_and_mann(
    tmp_path: Path, drawn: list[Figure], kinds: list[tuple[int, str]]
) -> None:
    shares = [[0.3 - i / 10] + [0.9 - i / 10] * 9 for i in range(len(kinds))]
    entries = [Stream("mann", stream(*kind, by_instance=share)) for kind, share in zip(kinds, shares, strict=True)]
    instances(entries, tmp_path / "a.png", "mann on Omniglot")
    (figure,) = drawn
    told = " ".join(words(figure))
    assert "MANN, published" in told
    assert ("chance, letters" in told) == (len(kinds) > 1)
    shown = {tuple(np.round(line.get_ydata(), 6)) for line in figure.axes[0].lines}
    assert {(36.4, 82.8, 91.0, 92.6, 94.9, 98.1), (20.0, 20.0)} <= shown
    assert len(figure.axes[0].collections) == len(kinds)


METRICS = [{"episodes": 10 * i, "time": i, "train/loss": 1 / i, "validation/accuracy": 1 - 1 / i} for i in range(1, 9)]


def test_learning_has_accuracy_over_loss(tmp_path: Path, drawn: list[Figure]) -> None:
    learning_curve(METRICS, "fewshot", tmp_path / "a.png")
    learning_curve([{"episodes": 5, "train/loss": 1.0}, {"episodes": 6}], "fewshot", tmp_path / "b.png")
    learning_overlay([("one", [METRICS]), ("two", [[]])], "fewshot", tmp_path / "c.png")
    assert [len(figure.axes) for figure in drawn] == [2, 1, 1]
    assert drawn[0].axes[0].lines[0].get_ydata()[-1] == pytest.approx(87.5)
    assert "80 training episodes in 8 s" in words(drawn[0])
    assert "one" in words(drawn[2])
    with pytest.raises(ValueError, match="train/loss"):
        learning_curve([{"env_steps": 3}], "fewshot", tmp_path / "d.png")
    with pytest.raises(ValueError, match="train/accuracy"):
        learning_overlay([("a", [[{"env_steps": 3}]])], "fewshot", tmp_path / "d.png")


def test_learning_says_which_classes_accuracy_was_measured_on(tmp_path: Path, drawn: list[Figure]) -> None:
    seen_classes = [{"episodes": i, "train/accuracy": 1 - 1 / i} for i in range(1, 9)]
    learning_curve(METRICS, "fewshot", tmp_path / "a.png")
    learning_curve(seen_classes, "fewshot", tmp_path / "b.png")
    learning_overlay([("one", [seen_classes])], "fewshot", tmp_path / "c.png")
    learning_overlay([("one", [METRICS]), ("two", [seen_classes])], "fewshot", tmp_path / "d.png")
    labels = [" ".join(figure.axes[0].get_ylabel().split()) for figure in drawn]
    validation, training = "accuracy on validation classes (%)", "accuracy on training classes (%)"
    assert labels == [validation, training, training, "accuracy (%)"]
    assert drawn[1].axes[0].lines[0].get_ydata()[-1] == pytest.approx(87.5)
    assert {f"one: {validation}", f"two: {training}"} <= words(drawn[3])


def test_images_of_any_layout_are_shown() -> None:
    assert all(is_image(shape) for shape in ((8, 8), (8, 8, 3), (3, 8, 8), (1, 8, 8)))
    assert not any(is_image(shape) for shape in ((16,), (8, 8, 8)))
    channels_first = np.zeros((3, 8, 9), np.uint8)
    channels_first[0] = 255
    shown, grey = visible(channels_first)
    assert (shown.shape, grey, shown[0, 0].tolist()) == ((8, 9, 3), False, [255, 0, 0])
    shown, grey = visible(np.full((8, 8), 0.5, np.float32))
    assert (shown.dtype, int(shown[0, 0]), grey) == (np.uint8, 128, True)
