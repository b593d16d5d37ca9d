"""The file of what a trained learner remembers: labelled images, how they were read, and its calibration."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from metarl.agents.fewshot.open_set import OpenSet
from metarl.agents.fewshot.support import Support
from metarl.config import InputError, build, to_plain
from metarl.data.pictures import ImagesError, Reading
from metarl.files import writing
from metarl.training.checkpoint import CheckpointError, check_tensors, read_checkpoint, write_checkpoint
from metarl.types import Bytes

KIND = "few-shot memory"


class Memory(NamedTuple):
    """What is in a file.

    Args:
        support: the labelled images.
        open_set: what the learner was calibrated to by hand; None where it wasn't.
        learner: the :func:`metarl.training.checkpoint.weights_digest` of the one that was; None where it wasn't.
    """

    support: Support
    open_set: OpenSet | None
    learner: str | None


def save(path: str | Path, memory: Memory, reading: Reading) -> Path:
    """Write a memory to a file, without pickle; see :func:`metarl.training.checkpoint.write_checkpoint`.

    Args:
        path: of the file.
        memory: what is remembered.
        reading: how its images were read.

    Raises:
        InputError: no file can be written there.
    """
    support, judge = memory.support, memory.open_set
    tensors = {"images": torch.from_numpy(support.images.copy()), "labels": torch.from_numpy(support.labels.copy())}
    meta = {"kind": KIND, "names": list(support.names), "sources": list(support.sources), "reading": to_plain(reading)}
    if judge is not None:
        meta |= {"open_set": to_plain(judge), "learner": memory.learner}
    with writing(path, "path") as place:
        return write_checkpoint(place, meta, {"support": tensors})


def load(path: str | Path, reading: Reading) -> Memory:
    """What :func:`save` wrote.

    Args:
        path: of the file.
        reading: how the learner reads images.

    Raises:
        CheckpointError: the file is missing or damaged, of another kind, or has images of another shape or that were
            read otherwise.
    """
    meta, groups = read_checkpoint(path)
    if meta.get("kind") != KIND or set(groups) != {"support"}:
        remedy = "use one that save_memory wrote, of a learner that was not made by within"
        raise CheckpointError(f"{path} holds no memory of a few-shot learner", key=str(path), remedy=remedy)
    where = f"{path} is damaged"
    try:
        told = build(_Told, meta, where)
    except InputError as error:
        raise CheckpointError.of(error) from None
    tensors, count, shape = groups["support"], len(told.sources), reading.shape
    images = tensors.get("images")
    if images is not None and images.dim() > 1 and images.shape[1:] != torch.Size(shape):
        given, wanted = list(images.shape[1:]), str(list(shape))
        remedy = "remember the images themselves with this learner"
        problem = f"{path} has images of size {given}"
        raise CheckpointError(problem, key="images", given=given, expected=wanted, remedy=remedy)
    expected = {
        "images": torch.empty((count, *shape), dtype=torch.uint8),
        "labels": torch.empty(count, dtype=torch.int64),
    }
    check_tensors(tensors, expected, where)
    labels = tensors["labels"].numpy()
    if sorted(set(labels.tolist())) != list(range(len(told.names))) or len(set(told.names)) != len(told.names):
        raise CheckpointError(f"{where}: its labels are not those of its classes", key="labels")
    support = Support(told.names, tensors["images"].numpy(), labels, told.sources)
    _check_read_alike(str(path), support.images, told.reading, reading)
    return Memory(support, told.open_set, told.learner)


@dataclass(frozen=True)
class _Told:
    kind: str
    names: tuple[str, ...]
    sources: tuple[str | None, ...] = field(default_factory=tuple)
    reading: Reading | None = None  # which earlier versions did not write
    open_set: OpenSet | None = None
    learner: str | None = None


def _check_read_alike(path: str, images: Bytes, was: Reading | None, now: Reading) -> None:
    """Refuse images ``[S, *shape]`` that were read otherwise than the learner reads them, or nobody knows how."""
    remedy = "remember the images themselves with this learner, and save them again"
    if was is None:
        if len(images) and _as_drawings(images, now) != now.drawing:
            problem = f"{path} is of an earlier version and doesn't say how its images were read"
            raise CheckpointError(problem, key=path, expected=f"images that were surely {_told(now)}", remedy=remedy)
    elif was.drawing != now.drawing or (was.background != now.background and not now.drawing):
        problem, given = f"{path} has images that were {_told(was)}", _told(was)
        expected = f"{_told(now)}, as the learner takes them"
        raise CheckpointError(problem, key=path, given=given, expected=expected, remedy=remedy)


def _as_drawings(images: Bytes, reading: Reading) -> bool:
    """Whether all images ``[S, *shape]`` are ink on dark paper, so that reading them as drawings changes nothing."""
    drawings = replace(reading, drawing=True)
    try:
        return all(np.array_equal(drawings.read(image), image) for image in images)
    except ImagesError:  # the border is neither light nor dark
        return False


def _told(reading: Reading) -> str:
    how = "drawings (ink is 255)" if reading.drawing else f"pictures as they are (on {reading.background})"
    return f"read as {how}"
