"""What tables and images say of a few-shot evaluation: names of data, classes and learner, and published figures."""

from __future__ import annotations

from metarl.evaluation.results import CellResult, FewShotEvaluation, Interval, StreamResult
from metarl.report.published import UNPUBLISHED, Published, of_learner, of_stream

LABELS = {"one_hot": "one-hot labels", "letters": "labels of five letters"}
CHANCE = {"one_hot": lambda ways: 1 / ways, "letters": lambda ways: 5.0**-5}
"""How often a label is correct that was drawn blindly from all that there can be."""
GLYPHS = "drawn glyphs"  # how the name of the generator's drawings begins
STANDARD = "Omniglot (standard split)"  # what published figures can be set beside
NOTHING = "–"
INSTANCES = (1, 2, 3, 4, 5, 10)  # those that papers report; tables have a column for each
Shares = dict[str, tuple[str, float | None]]  # by name: our share with its interval, and the published one


def data_name(evaluation: FewShotEvaluation) -> str:
    """What the examples were; drawn glyphs are never taken for Omniglot, whose standard split need not be named."""
    if evaluation.data.startswith(GLYPHS):
        return f"{GLYPHS}, not Omniglot"
    return "Omniglot" if evaluation.data == STANDARD else evaluation.data


def comparable(evaluation: FewShotEvaluation) -> bool:
    """Whether episodes are those of the papers."""
    return evaluation.data == STANDARD and not (evaluation.within_alphabet or evaluation.distinct_drawers)


def known_cells(evaluation: FewShotEvaluation) -> Published:
    """What was published of this learner under this protocol; without accuracies where nothing was."""
    names = (evaluation.preset, evaluation.learner) if comparable(evaluation) else ()
    return of_learner(*names, transductive=evaluation.transductive) or UNPUBLISHED


def known_stream(evaluation: FewShotEvaluation, stream: StreamResult) -> Published:
    """What was published of this learner on such streams; without accuracies where nothing was."""
    names = (evaluation.preset, evaluation.learner) if comparable(evaluation) else ()
    return of_stream(*names, labels=stream.labels, ways=stream.ways) or UNPUBLISHED


def classes_name(evaluation: FewShotEvaluation) -> str:
    """What counted as a class, and how episodes were put together."""
    parts = ["rotations as classes" if evaluation.rotations else "upright"]
    parts += ["one alphabet an episode"] * evaluation.within_alphabet
    parts += ["support and queries by different drawers"] * evaluation.distinct_drawers
    return ", ".join(parts)


def flags(evaluation: FewShotEvaluation) -> str:
    """What a reader has to know to compare the learner with others."""
    parts = ["transductive" if evaluation.transductive else "not transductive", f"{evaluation.norm} norm"]
    if evaluation.first_order is not None:
        parts.append("first order" if evaluation.first_order else "second order")
    parts += ["trained on train and validation classes"] * evaluation.trainval
    return ", ".join(parts)


def cell_name(cell: CellResult) -> str:
    """Such as ``5-way 1-shot``."""
    return f"{cell.ways}-way {cell.shots}-shot"


def stream_name(stream: StreamResult) -> str:
    """Such as ``streams of 5 classes, one-hot labels``."""
    return f"streams of {stream.ways} classes, {LABELS[stream.labels]}"


def headline(evaluation: FewShotEvaluation) -> str:
    """Preset, data and split."""
    data = STANDARD if evaluation.data == STANDARD else data_name(evaluation)
    return f"{evaluation.preset} on {data}, {evaluation.split} classes"


def in_percent(mean: float, interval: Interval) -> str:
    """``98.95 ± 0.12``: a share with half the width of its 95 % interval, in per cent."""
    return f"{100 * mean:.2f} ± {50 * (interval[1] - interval[0]):.2f}"


def shown(value: float | None) -> str:
    """A published figure: ``96.0``, or ``97.65`` where it was published with two digits."""
    if value is None:
        return NOTHING
    return f"{value:.1f}" if round(value, 1) == value else f"{value:g}"


def by_cell(evaluation: FewShotEvaluation) -> Shares:
    """Accuracy by ways and shots, such as ``5-way 1-shot``."""
    theirs = known_cells(evaluation).accuracy
    cells = evaluation.cells
    return {cell_name(c): (in_percent(c.accuracy, c.interval), theirs.get((c.ways, c.shots))) for c in cells}


def by_instance(evaluation: FewShotEvaluation, stream: StreamResult) -> Shares:
    """Accuracy along streams, by the number of the instance."""
    theirs = known_stream(evaluation, stream).accuracy
    pairs = enumerate(zip(stream.by_instance, stream.by_instance_interval, strict=True), start=1)
    return {str(n): (in_percent(*pair), theirs.get(n)) for n, pair in pairs}


def training_time(evaluation: FewShotEvaluation) -> str:
    """How long training took; a dash where it isn't known."""
    seconds = evaluation.train_seconds
    if seconds is None:
        return NOTHING
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.1f} min"
