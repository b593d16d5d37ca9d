"""Labelled images that a trained learner remembers: read with checks, and added to."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from metarl.config import InputError, one_of
from metarl.data.decode import by_threads
from metarl.data.pictures import ImagesError, Reading, checked, pictures
from metarl.data.problems import Problem, summary
from metarl.files import readable
from metarl.types import Bytes, Ints


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

    def with_images(self, given: Mapping[str, Any], reading: Reading, key: str = "support") -> Support:
        """The same with more images, of these classes or of new ones.

        Args:
            given: one image or several for each class; see :func:`metarl.data.pictures.pictures`.
            reading: how they are read.
            key: what an error calls ``given``.

        Raises:
            InputError: no class or no image of one, the same image in two classes, or images that cannot be read, are
                empty or have hardly any contrast; all of these are told at once.
        """
        if not isinstance(given, Mapping) or not given:
            expected = "class names with the images of each, such as {'cat': ['cat1.png', 'cat2.png']}"
            raise InputError(key=key, given=given, expected=expected)
        names, labels, sources = list(self.names), self.labels.tolist(), list(self.sources)
        items: list[tuple[str, Any]] = []
        for name, some in given.items():
            if not isinstance(name, str) or not name or readable(name) != name:
                raise InputError(key="the name of a class", given=name, expected="text in UTF-8 that is not empty")
            found = listed(some, f"an image of the class {name!r}")
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
            expected = one_of(self.names) if self.names else "none, as nothing is remembered"
            raise InputError(key="the name of a class", given=name, expected=expected)
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


def source_of(picture: Any) -> str | None:
    """The path of an image as it was given; None where it is none."""
    return readable(os.fspath(picture)) if isinstance(picture, (str, Path)) else None


def listed(given: Any, name: str) -> list[Any]:
    """One image or several as a list, see :func:`metarl.data.pictures.pictures`; tensors and lists become arrays.

    Args:
        given: the images.
        name: what an error calls one of them.

    Raises:
        ImagesError: some can't become arrays, or are no images.
    """
    several = isinstance(given, (list, tuple))
    return pictures([_array(item, name) for item in given] if several else _array(given, name))


def _array(item: Any, name: str) -> Any:
    """A tensor or a list of numbers as an array, anything else as it is."""
    if not isinstance(item, (Tensor, list, tuple)):
        return item
    try:
        return np.asarray(item)
    except (TypeError, ValueError, RuntimeError) as error:
        what = f"a tensor of {item.dtype} on {item.device}" if isinstance(item, Tensor) else f"no array ({error})"
        expected = "numbers of a type that NumPy has, in the memory of the CPU"
        remedy = "give tensor.float().cpu()" if isinstance(item, Tensor) else None
        raise ImagesError(f"{name} is {what}", key=name, expected=expected, remedy=remedy) from None


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
    images = np.zeros((len(items), *reading.shape), np.uint8)
    found: dict[int, ImagesError] = {}

    def read(number: int) -> None:
        name, item = items[number]
        source = source_of(item)
        try:
            image = reading.read(item, name) if source is None else reading.read_file(Path(item), source)
            images[number] = checked(image, source or name)
        except ImagesError as error:
            found[number] = error

    files = [number for number, (_, item) in enumerate(items) if isinstance(item, (str, Path))]
    by_threads(read, files)
    for number in sorted(set(range(len(items))).difference(files)):
        read(number)
    problems = [error for _, error in sorted(found.items())]
    if len(problems) == 1:
        raise problems[0]
    if problems:
        told = summary([Problem(one.kind, str(one.key), one.without_remedy) for one in problems], "images")
        remedies = dict.fromkeys(one.remedy for one in problems if one.remedy)
        problem = f"{len(problems)} images can't be used: {told}"
        raise ImagesError(problem, key=str(problems[0].key), remedy="; ".join(remedies))
    return images
