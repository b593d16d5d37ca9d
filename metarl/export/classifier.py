"""A few-shot learner as one function in a file: labelled images and queries to logits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from metarl.agents.fewshot.gradient import GradientLearner
from metarl.agents.fewshot.learner import FewShotLearner, alone
from metarl.agents.fewshot.streams import StreamClassifier
from metarl.config import InputError
from metarl.data.pictures import Reading
from metarl.export import classify_runner
from metarl.export.step import Slot, graph_of
from metarl.export.write import CLOSE, Exported, Format, check_packages, runnable, write_beside, write_graph
from metarl.files import new_folder, replacing
from metarl.nets.images import ImageEncoder

FILES: dict[Format, str] = {"onnx": "classifier.onnx", "torch": "classifier.pt2"}
MANIFEST, RUNNER = "classifier.json", "run_classifier.py"
LEAST = 2  # labelled images: one of each of two classes
EXAMPLE = 7  # labelled images of the episode that is recorded; others may have other numbers
MOST_QUERIES = 4096  # of one call
ROUNDING = 10  # times that a file may be further from exact arithmetic than the learner is
CHECKED = 6  # episodes in which what was written must answer as the learner does


class ClassifierStep(nn.Module):
    """One episode: support images ``[S, ...]``, their labels ``[S]`` and queries ``[Q, ...]`` to logits ``[Q, ways]``.

    Args:
        learner: in evaluation mode, with room for the classes and images that are to be shown.
        shape: of an image.
        ways: the most classes that can be shown.
        supports: the number of labelled images of the episode that is recorded.
        queries: its number of queries.
    """

    state: tuple[Slot, ...] = ()
    answer_names = ("logits",)

    def __init__(
        self, learner: FewShotLearner, shape: tuple[int, ...], ways: int, supports: int, queries: int = 3
    ) -> None:
        super().__init__()
        self.learner, self.ways = learner, ways
        self.inputs = (
            Slot("support", (supports, *shape), torch.uint8),
            Slot("labels", (supports,), torch.int64),
            Slot("queries", (queries, *shape), torch.uint8),
        )

    def forward(self, support: Tensor, labels: Tensor, queries: Tensor) -> Tensor:
        """Logits of queries.

        Args:
            support: labelled images ``[S, ...]``.
            labels: their classes ``[S]``.
            queries: ``[Q, ...]``

        Returns:
            ``[Q, ways]``
        """
        queries = torch.cat([queries, queries[:1]])  # so that there are several, and one alone needs no other path
        return self.learner(support[None], labels[None], queries[None])[0, :-1, : self.ways]


def export_classifier(
    learner: FewShotLearner,
    reading: Reading,
    out: str | Path,
    format: Format = "onnx",
    *,
    ways: int | None = None,
    supports: int | None = None,
) -> Exported:
    """Write a few-shot learner as a file for other programs, and check it against the learner.

    A file takes any number of queries, each answered alone, and any number of labelled images up to the most that the
    learner has room for. Learners of streams see images one after another; their files take a fixed number of labelled
    images, and one query a call.

    Args:
        learner: trained.
        reading: how the run reads images, for the manifest.
        out: a folder, made where it is missing; files of an earlier export in it are replaced.
        format: ``onnx`` for onnxruntime, or ``torch`` for ``torch.export.load``.
        ways: the most classes that can be shown; None: as in training.
        supports: the most labelled images that can be shown, of learners of streams their number; None: as in training.

    Raises:
        InputError: packages are missing, or the learner can't be written as a graph; one line that says why.
    """
    check_packages(format)
    ways, supports = _sizes(learner, ways, supports)
    stream, device = _stream(learner), learner.device
    fixed = stream or supports == LEAST
    ready = learner.resized(ways, supports)
    training = ready.training
    try:
        ready.cpu().eval()
        with alone(ready), whole_precision(ready):
            supports_drawn = supports if fixed else max(LEAST, min(supports - 1, EXAMPLE))
            step = ClassifierStep(ready, reading.shape, ways, supports_drawn, 1 if stream else 3)
            inputs = _drawn(step, 0, ways, 0)
            free = {} if stream else {"queries": {0: torch.export.Dim("queries", min=1, max=MOST_QUERIES)}}
            if not fixed:
                several = torch.export.Dim("supports", min=LEAST, max=supports)
                free |= {"support": {0: several}, "labels": {0: several}}
            program = graph_of(step, inputs, {slot.name: free.get(slot.name) for slot in step.inputs})
            with new_folder(out) as folder, replacing(folder / FILES[format]) as temporary:
                write_graph(program, step, temporary, format)
                worst, own = difference(step, temporary, format, ways, None if fixed else supports)
                most = max(CLOSE, ROUNDING * own)
                if not worst <= most:
                    problem = f"what was written differs from the learner by {worst:.1e} in {CHECKED} episodes"
                    raise InputError(problem, key="export", expected=f"at most {most:.0e}")
    finally:
        ready.to(device).train(training)
    about = _manifest(ready, reading, ways, (supports if fixed else LEAST, supports), 1 if stream else MOST_QUERIES)
    beside = write_beside(folder / MANIFEST, about, classify_runner, folder / RUNNER, format)
    return Exported([folder / FILES[format], *beside], worst)


def difference(step: ClassifierStep, path: Path, format: Format, ways: int, most: int | None) -> tuple[float, float]:
    """By how much the logits of a file differ from those of a learner, at most, in parts of a logit above one.

    Both are compared with the learner in double precision. Logits of distances are differences of much larger numbers,
    so that single precision, in other orders of summation, may round them by far more than one part in ten million.

    Args:
        step: the learner's.
        path: of the file.
        format: of the file.
        ways: the most classes.
        most: labelled images; None: their number is that of the step.

    Returns:
        The difference of the file, and that of the learner itself in single precision.
    """
    run, exact = runnable(path, step, format), deepcopy(step).double()
    worst = own = 0.0
    for number in range(CHECKED):
        given = _drawn(step, number, ways, number, most)
        with torch.no_grad():
            expected, single = exact(*given), step(*given)
        (found,) = run(given) if format == "onnx" else (run(given),)
        worst, own = max(worst, _furthest(found, expected)), max(own, _furthest(single, expected))
    return worst, own


def _furthest(logits: Tensor, exact: Tensor) -> float:
    """By how much logits ``[Q, ways]`` are off at most, in parts of an exact one above one."""
    return float(((logits.double() - exact).abs() / exact.abs().clamp_min(1)).max())


@contextmanager
def whole_precision(learner: FewShotLearner) -> Iterator[None]:
    """Within, convolutions are in the precision of their weights: runtimes on CPUs know none of bfloat16."""
    encoders = [part for part in learner.modules() if isinstance(part, ImageEncoder)]
    before = [part.reduced for part in encoders]
    for part in encoders:
        part.reduced = False
    try:
        yield
    finally:
        for part, was in zip(encoders, before, strict=True):
            part.reduced = was


def _sizes(learner: FewShotLearner, ways: int | None, supports: int | None) -> tuple[int, int]:
    """The most classes and labelled images of a file.

    Raises:
        InputError: a learner that can't be exported, or one that must be told a number.
    """
    if isinstance(learner, GradientLearner):
        problem = f"a {type(learner).__name__} learns by gradient descent when it is asked, which no file can do yet"
        remedy = "use it from Python, or export a learner with a memory, such as prototypical or matching"
        raise InputError(problem, key="export", remedy=remedy)
    if getattr(learner, "labels", "one_hot") != "one_hot":
        problem = "this learner calls classes by strings of letters, which stand for no class outside a stream"
        raise InputError(problem, key="export", expected="labels of one digit", remedy="train with one-hot labels")
    if _stream(learner) and supports is None:
        problem = "this learner sees labelled images one after another, so a file is for a fixed number of them"
        raise InputError(problem, key="--supports", remedy="give that number: --supports N")
    parts: Any = getattr(learner, "members", [learner])
    ways = parts[0].ways if ways is None else ways
    supports = parts[0].longest if supports is None else supports
    if ways < 2 or supports < ways:
        problem = f"{supports} labelled images of {ways} classes"
        raise InputError(problem, key="--supports", expected="2 classes or more, with an image of each at least")
    return ways, supports


def _stream(learner: FewShotLearner) -> bool:
    return isinstance(learner, StreamClassifier)


def _drawn(step: ClassifierStep, number: int, ways: int, seed: int, most: int | None = None) -> list[Tensor]:
    """An episode of random strokes, with other numbers of images and queries each time, where they are free."""
    generator = torch.Generator().manual_seed(seed)
    shapes = [list(slot.shape) for slot in step.inputs]
    if most is not None:
        shapes[0][0] = shapes[1][0] = (LEAST, most, LEAST + 1, min(most, ways), min(most, 2 * ways))[number % 5]
        shapes[2][0] = 1 + number
    inked = [torch.rand(shape, generator=generator) < 0.2 for shape in (shapes[0], shapes[2])]
    support, queries = (255 * one.to(torch.uint8) for one in inked)
    return [support, torch.arange(len(support)) % min(ways, len(support)), queries]


def _manifest(
    learner: FewShotLearner, reading: Reading, ways: int, supports: tuple[int, int], queries: int
) -> Mapping[str, Any]:
    """What somebody who runs the file must know, as plain data."""
    ink = "ink is 255 and paper 0" if reading.drawing else f"as they are; transparent parts {reading.background}"
    images = {"shape": list(reading.shape), "dtype": "uint8", "meaning": ink}
    return {
        "format": 1,
        "metarl": version("metarl-memory"),
        "learner": type(learner).__name__,
        "images": images,
        "ways": ways,
        "supports": list(supports),
        "queries": [1, queries],
        "inputs": {"support": "[supports, *images]", "labels": "[supports] int64", "queries": "[queries, *images]"},
        "outputs": {"logits": "[queries, ways]; those of classes that were not shown have no meaning"},
    }
