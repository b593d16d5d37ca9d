"""Labelled images that a trained learner remembers: read with checks, added to, saved and loaded."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from metarl.config import InputError, build, one_of
from metarl.data.pictures import ImagesError, Reading, checked, pictures
from metarl.data.problems import Problem, summary
from metarl.training.checkpoint import CheckpointError, check_tensors, read_checkpoint, write_checkpoint
from metarl.types import Array, Bytes, Ints

KIND = "few-shot memory"


@dataclass(frozen=True)
class Support:
    """Labelled images in the order in which they were remembered.

    Args:
        names: of the classes.
        images: ``[S, *shape]`` uint8.
        labels: ``[S]`` the index of each image's class in ``names``.
        sources: the path of each image, as it was given; None where it was none.
    """

    names: tuple[str, ...]
    images: Bytes
    labels: Ints
    sources: tuple[str | None, ...]

    @classmethod
    def empty(cls, shape: Sequence[int]) -> Support:
        """Nothing yet, for images of this shape."""
        return cls((), np.zeros((0, *shape), np.uint8), np.zeros(0, np.int64), ())

    def with_images(self, given: Mapping[str, Any], reading: Reading) -> Support:
        """The same with more images, of these classes or of new ones.

        Args:
            given: one image or several for each class; see :func:`metarl.data.pictures.pictures`.
            reading: how they are read.

        Raises:
            InputError: no class or no image of one, the same image in two classes, or images that cannot be read, are
                empty or have hardly any contrast; all of these are told at once.
        """
        if not isinstance(given, Mapping) or not given:
            expected = "class names with the images of each, such as {'cat': ['cat1.png', 'cat2.png']}"
            raise InputError(key="support", given=given, expected=expected)
        names, labels, sources = list(self.names), self.labels.tolist(), list(self.sources)
        items: list[tuple[str, Any]] = []
        for name, some in given.items():
            if not isinstance(name, str) or not name:
                raise InputError(key="the name of a class", given=name, expected="a text that is not empty")
            found = pictures(some)
            if not found:
                raise InputError(f"the class {name!r} has no images", key=name, expected="one or more")
            names += [name] if name not in names else []
            labels += [names.index(name)] * len(found)
            items += [(f"image {number} of the class {name!r}", item) for number, item in enumerate(found)]
        images = np.concatenate([self.images, read_all(items, reading)])
        sources += [source_of(item) for _, item in items]
        made = Support(tuple(names), images, np.array(labels, np.int64), tuple(sources))
        made._check_differ(len(self.images))
        return made

    def without(self, name: str) -> Support:
        """The same without a class.

        Raises:
            InputError: it is not remembered.
        """
        if name not in self.names:
            raise InputError(key="the name of a class", given=name, expected=one_of(self.names))
        number = self.names.index(name)
        kept = np.flatnonzero(self.labels != number)
        labels = self.labels[kept]
        sources = tuple(self.sources[i] for i in kept)
        names = tuple(other for other in self.names if other != name)
        return Support(names, self.images[kept], labels - (labels > number), sources)

    def place(self, number: int) -> tuple[str, int]:
        """The class of an image, and its position among the images of that class."""
        label = self.labels[number]
        return self.names[label], int((self.labels[:number] == label).sum())

    def save(self, path: str | Path) -> Path:
        """Write it to a file, without pickle; see :func:`metarl.training.checkpoint.write_checkpoint`."""
        tensors = {"images": torch.from_numpy(self.images.copy()), "labels": torch.from_numpy(self.labels.copy())}
        meta = {"kind": KIND, "names": list(self.names), "sources": list(self.sources)}
        return write_checkpoint(path, meta, {"support": tensors})

    @classmethod
    def load(cls, path: str | Path, shape: Sequence[int]) -> Support:
        """What :meth:`save` wrote.

        Args:
            path: of the file.
            shape: of the images that the learner takes.

        Raises:
            CheckpointError: the file is missing or damaged, of another kind, or has images of another shape.
        """
        meta, groups = read_checkpoint(path)
        if meta.get("kind") != KIND or set(groups) != {"support"}:
            remedy = "use one that save_memory wrote"
            raise CheckpointError(f"{path} holds no memory of a few-shot learner", key=str(path), remedy=remedy)
        where = f"{path} is damaged"
        try:
            told = build(_Told, meta, where)
        except InputError as error:
            raise CheckpointError.of(error) from None
        tensors, count = groups["support"], len(told.sources)
        images = tensors.get("images")
        if images is not None and images.dim() > 1 and images.shape[1:] != torch.Size(shape):
            problem, given = f"{path} has images of another size", list(images.shape[1:])
            raise CheckpointError(problem, key="images", given=given, expected=f"{list(shape)}, as the learner takes")
        expected = {
            "images": torch.empty((count, *shape), dtype=torch.uint8),
            "labels": torch.empty(count, dtype=torch.int64),
        }
        check_tensors(tensors, expected, where)
        labels = tensors["labels"].numpy()
        if sorted(set(labels.tolist())) != list(range(len(told.names))) or len(set(told.names)) != len(told.names):
            raise CheckpointError(f"{where}: its labels are not those of its classes", key="labels")
        return cls(told.names, tensors["images"].numpy(), labels, told.sources)

    def _check_differ(self, before: int) -> None:
        """Refuse an image that is in two classes, and warn of new ones, from ``before`` on, that a class has twice."""
        first: dict[bytes, int] = {}
        for number, image in enumerate(self.images):
            other = first.setdefault(image.tobytes(), number)
            if other == number:
                continue
            (name, place), (known, at) = self.place(number), self.place(other)
            these = f"image {place} of the class {name!r} and image {at} of {known!r}"
            if name != known:
                raise ImagesError(f"{these} are the same", key=name, expected="an image in one class alone")
            if number >= before:
                warnings.warn(f"{these} are the same when read; it counts twice", stacklevel=4)


@dataclass(frozen=True)
class _Told:
    kind: str
    names: tuple[str, ...]
    sources: tuple[str | None, ...] = field(default_factory=tuple)


def source_of(picture: Any) -> str | None:
    """The path of an image as it was given; None where it is none."""
    return os.fspath(picture) if isinstance(picture, (str, Path)) else None


def read_all(items: Sequence[tuple[str, Any]], reading: Reading) -> Bytes:
    """Read images, and tell all that cannot be used at once; see :func:`metarl.data.problems.summary`.

    Args:
        items: a name for errors, and what is read; files are called by their paths.
        reading: how they are read.

    Returns:
        ``[N, *shape]``

    Raises:
        ImagesError: some cannot be read, are empty or have hardly any contrast.
    """
    found: list[Array] = []
    problems: list[ImagesError] = []
    for name, item in items:
        name = source_of(item) or name
        try:
            image = checked(reading.read(item, name), name)
        except ImagesError as error:
            problems.append(error)
        else:
            found.append(image)
    if len(problems) == 1:
        raise problems[0]
    if problems:
        told = summary([Problem(one.kind, str(one.key), one.without_remedy) for one in problems], "images")
        remedies = dict.fromkeys(one.remedy for one in problems if one.remedy)
        problem = f"{len(problems)} images can't be used: {told}"
        raise ImagesError(problem, key=str(problems[0].key), remedy="; ".join(remedies))
    return np.stack(found) if found else np.zeros((0, *reading.shape), np.uint8)
