from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_fewshot_runs import sets, stream, streams
from report_looks import is_readable, looked_at, words

from metarl.report import fewshot_curves, fewshot_sheet
from metarl.report.fewshot_curves import Stream, instances, learning, learning_together
from metarl.report.fewshot_drawings import drawings, stream_drawings
from metarl.report.fewshot_kept import FILE, load
from metarl.report.fewshot_recall import chosen, recall
from metarl.report.fewshot_sheet import is_picture, visible
from metarl.runs.folder import RunError


def kept(tmp_path: Path, arrays: dict[str, Any]) -> Any:
    np.savez_compressed(tmp_path / FILE, **arrays)
    found = load(tmp_path / FILE)
    return found.sets or found.streams


@pytest.mark.parametrize(("ways", "shots"), [(5, 1), (5, 5), (20, 1), (20, 5), (2, 3)])
def test_drawings_mark_right_and_wrong_without_colour(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ways: int, shots: int
) -> None:
    seen = looked_at(monkeypatch, fewshot_sheet)
    path = drawings(kept(tmp_path, sets(ways, shots)), tmp_path / "a.png", "prototypical on Omniglot")
    assert path.read_bytes().startswith(b"\x89PNG")
    (figure,) = seen
    assert is_readable(figure)
    told = words(figure)
    assert f"prototypical on Omniglot: {ways}-way {shots}-shot episodes" in told
    assert any(text.startswith("✗ said ") and ", is " in text for text in told)
    assert any(text.startswith("✓ said ") for text in told)
    assert any(f"4 of {4 * 2 * ways} are wrong" in text for text in told)


def test_mistakes_come_first(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    arrays = sets(n=12)
    arrays["predicted"] = arrays["query_y"].copy()
    arrays["predicted"][11, 7] = (arrays["query_y"][11, 7] + 2) % 5
    seen = looked_at(monkeypatch, fewshot_sheet)
    drawings(kept(tmp_path, arrays), tmp_path / "a.png", "x")
    assert f"✗ said {arrays['predicted'][11, 7]}, is {arrays['query_y'][11, 7]}" in words(seen[0])
    assert any("1 of 120 is wrong" in text for text in words(seen[0]))


@pytest.mark.parametrize(
    ("ways", "shots", "weights"),
    [(5, 1, "support"), (5, 1, "classes"), (5, 5, "support"), (5, 5, "classes"), (20, 5, "support")],
)
def test_recall_shows_weights_and_whose_they_are(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ways: int, shots: int, weights: str
) -> None:
    seen = looked_at(monkeypatch, fewshot_sheet)
    recall(kept(tmp_path, sets(ways, shots, weights=weights)), tmp_path / "a.png", "matching on Omniglot")
    (figure,) = seen
    assert is_readable(figure)
    bars = [patch for patch in figure.axes[0].patches if patch.get_hatch()]
    assert bars, "the weight of other classes is hatched"
    if ways * shots == 100:
        assert any("the 25 of 100 examples recalled most" in text for text in words(figure))


def test_the_most_weight_stands_at_the_class_that_was_said(tmp_path: Path) -> None:
    found = kept(tmp_path, sets(n=6))
    most = found.weights.argmax(2)
    np.testing.assert_array_equal(np.take_along_axis(found.support_y, most, 1), found.predicted)


def test_half_of_what_is_recalled_are_mistakes_of_many_episodes(tmp_path: Path) -> None:
    found = kept(tmp_path, sets(n=6))
    picked = chosen(found, 8)
    assert len(set(picked)) == 8
    assert [bool(found.right[one]) for one in picked] == [False] * 4 + [True] * 4
    assert len({episode for episode, _ in picked[:4]}) == 4
    assert sorted(chosen(found, 1000)) == list(np.ndindex(found.right.shape))


def test_without_weights_nothing_is_recalled(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="have no weights"):
        recall(kept(tmp_path, sets(weights=None)), tmp_path / "a.png", "x")


def test_weights_of_other_slots_are_left_out(tmp_path: Path) -> None:
    arrays = sets()
    arrays["weights"] = np.ones((*arrays["query_y"].shape, 17), np.float16)
    assert kept(tmp_path, arrays).weights is None


@pytest.mark.parametrize(("ways", "labels"), [(5, "one_hot"), (15, "letters")])
def test_streams_are_shown_step_by_step(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ways: int, labels: str
) -> None:
    seen = looked_at(monkeypatch, fewshot_sheet)
    arrays = streams(ways, labels)
    stream_drawings(kept(tmp_path, arrays), tmp_path / "a.png", "mann on Omniglot")
    assert is_readable(seen[0])
    told = words(seen[0])
    said = arrays["stream_predicted"][0, 2]
    assert "✗ " + (str(said[0]) if labels == "one_hot" else "".join("abcde"[d] for d in said)) in told
    assert {"1", "2", "3", "4"} <= told


@pytest.mark.parametrize("kinds", [[(5, "one_hot")], [(5, "one_hot"), (15, "one_hot"), (15, "letters")]])
def test_instances_are_drawn_beside_chance_and_mann(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kinds: list[tuple[int, str]]
) -> None:
    seen = looked_at(monkeypatch, fewshot_curves)
    entries = [
        Stream("mann", stream(*kind, by_instance=[0.3 - i / 10] + [0.9 - i / 10] * 9)) for i, kind in enumerate(kinds)
    ]
    instances(entries, tmp_path / "a.png", "mann on Omniglot")
    (figure,) = seen
    assert is_readable(figure)
    told = " ".join(words(figure))
    assert "MANN, published" in told
    assert "Santoro et al. 2016" in told
    assert ("chance, letters" in told) == (len(kinds) > 1)
    drawn = {tuple(np.round(line.get_ydata(), 6)) for line in figure.axes[0].lines}
    assert (36.4, 82.8, 91.0, 92.6, 94.9, 98.1) in drawn
    assert (20.0, 20.0) in drawn
    assert len(figure.axes[0].collections) == len(kinds)


METRICS = [{"episodes": 10 * i, "time": i, "train/loss": 1 / i, "validation/accuracy": 1 - 1 / i} for i in range(1, 9)]


def test_learning_has_accuracy_over_loss(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen = looked_at(monkeypatch, fewshot_curves)
    learning(METRICS, tmp_path / "a.png")
    learning([{"episodes": 5, "train/loss": 1.0}, {"episodes": 6}], tmp_path / "b.png")
    learning_together([("one", METRICS), ("two", [])], tmp_path / "c.png")
    assert [len(figure.axes) for figure in seen] == [2, 1, 1]
    for figure in seen:
        assert is_readable(figure)
    assert seen[0].axes[0].lines[0].get_ydata()[-1] == pytest.approx(87.5)
    assert "80 training episodes in 8 s" in words(seen[0])
    assert "one" in words(seen[2])
    for wrong in (learning, lambda rows, path: learning_together([("a", rows)], path)):
        with pytest.raises(ValueError, match="train for longer first"):
            wrong([{"env_steps": 3}], tmp_path / "d.png")


def test_learning_says_which_classes_accuracy_was_measured_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen = looked_at(monkeypatch, fewshot_curves)
    seen_classes = [{"episodes": i, "train/accuracy": 1 - 1 / i} for i in range(1, 9)]
    learning(METRICS, tmp_path / "a.png")
    learning(seen_classes, tmp_path / "b.png")
    learning_together([("one", seen_classes)], tmp_path / "c.png")
    learning_together([("one", METRICS), ("two", seen_classes)], tmp_path / "d.png")
    labels = [" ".join(figure.axes[0].get_ylabel().split()) for figure in seen]
    assert labels == [
        "accuracy on validation classes (%)", "accuracy on training classes (%)",
        "accuracy on training classes (%)", "accuracy (%)",
    ]  # fmt: skip
    assert seen[1].axes[0].lines[0].get_ydata()[-1] == pytest.approx(87.5)
    for told in ("one, validation classes", "two, training classes"):
        assert told in words(seen[3])
    for figure in seen:
        assert is_readable(figure)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"predicted": None}, "it lacks 'predicted'"),
        ({"query_y": np.zeros((4, 9), int)}, "disagree"),
        ({"query_x": np.zeros((4, 10, 9, 9), np.uint8)}, "disagree"),
        ({"query_y": np.full((4, 10), 7)}, "none of 5 classes"),
        ({"support_y": np.tile([0, 1, 2, 4, 4], (4, 1))}, "has not all of 5 classes"),
        ({"weights": np.ones((4, 10))}, "its weights have the shape"),
        ({"weights": np.full((4, 10, 5), np.nan)}, "not finite"),
        ({"support_x": None}, "neither episodes nor streams"),
        ({"predicted": np.array([object()])}, "it holds no arrays"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    arrays = {name: part for name, part in (sets() | change).items() if part is not None}
    np.savez_compressed(tmp_path / FILE, **arrays)
    with pytest.raises(RunError, match=rf"{FILE} is damaged \(.*{message}.*metarl fewshot eval"):
        load(tmp_path / FILE)


def test_streams_that_disagree_are_refused(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / FILE, **(streams() | {"stream_y": np.zeros((2, 20, 5), int)}))
    with pytest.raises(RunError, match=r"labels .* and predictions .* disagree"):
        load(tmp_path / FILE)


def test_pictures_of_any_layout_are_shown() -> None:
    assert [is_picture(shape) for shape in ((8, 8), (8, 8, 3), (3, 8, 8), (1, 8, 8), (16,), (8, 8, 8))] == [
        True, True, True, True, False, False,
    ]  # fmt: skip
    channels_first = np.zeros((3, 8, 9), np.uint8)
    channels_first[0] = 255
    shown, grey = visible(channels_first)
    assert (shown.shape, grey, shown[0, 0].tolist()) == ((8, 9, 3), False, [255, 0, 0])
    shown, grey = visible(np.full((8, 8), 0.5, np.float32))
    assert (shown.dtype, int(shown[0, 0]), grey) == (np.uint8, 128, True)
