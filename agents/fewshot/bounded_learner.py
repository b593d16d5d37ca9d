"""A trained few-shot learner whose memory never grows, for streams of classes that don't end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from metarl.agents.fewshot.bounded import LARGEST_LABEL, BoundedMemory
from metarl.agents.fewshot.predictions import QUERIES, Prediction, ranked
from metarl.agents.fewshot.support import Support, listed, read_all
from metarl.config import InputError, build, choice
from metarl.files import writing
from metarl.memory.stores.replacing import Rule
from metarl.training.checkpoint import (
    CheckpointError,
    check_tensors,
    read_checkpoint,
    weights_digest,
    write_checkpoint,
)
from metarl.types import Bytes

if TYPE_CHECKING:
    from metarl.agents.fewshot.trained import TrainedLearner

KIND = "few-shot memory of slots"
Precision = Literal["float32", "float16"]
PRECISIONS = {"float32": torch.float32, "float16": torch.float16}


class BoundedLearner:
    """Classifies images by what is left in a memory of so many bytes.

    Unlike :class:`metarl.agents.fewshot.trained.TrainedLearner`, which makes it, it keeps no images: each is embedded,
    written to a slot, and dropped. The order in which images are shown matters once all slots are taken.

    Args:
        trained: the learner; its weights never change.
        size: bytes of all slots.
        replace: what happens when all are taken, see :class:`metarl.memory.stores.episodic.EpisodicOptions`.
        precision: of what is kept.

    Raises:
        InputError: see :class:`metarl.agents.fewshot.bounded.BoundedMemory`.
    """

    def __init__(
        self, trained: TrainedLearner, size: int, replace: Rule = "nearest", precision: Precision = "float32"
    ) -> None:
        self._trained, self._names = trained, list[str]()
        kept = PRECISIONS[choice(precision, PRECISIONS, "precision")]
        self.memory = BoundedMemory(trained.learner, size, replace, precision=kept)
        self._made = {"size": int(size), "replace": replace, "precision": precision}

    @property
    def classes(self) -> dict[str, int]:
        """All classes that were shown, with the number of slots that each has left."""
        if not self._names:
            return {}
        return dict(zip(self._names, self.memory.held(len(self._names))[0].tolist(), strict=True))

    def remember(self, support: Mapping[str, Any]) -> None:
        """Show images of classes, in order; of a known class or of a new one.

        Args:
            support: one image or several for each class by name, as in :meth:`TrainedLearner.remember`.

        Raises:
            InputError: images that can't be used (all of them are listed), or more classes than the precision can
                count; nothing is changed then.
        """
        new = Support.empty(self._trained.reading.shape).with_images(support, self._trained.reading)
        names = self._names + [name for name in new.names if name not in self._names]
        most = LARGEST_LABEL[self.memory.precision] + 1
        if len(names) > most:
            expected, remedy = f"at most {most} in {self._made['precision']}", "use float32 or fewer classes"
            raise InputError(key="the number of classes", given=len(names), expected=expected, remedy=remedy)
        number = np.array([names.index(name) for name in new.names])
        self.memory.write(self._embedded(new.images)[None], torch.from_numpy(number[new.labels])[None])
        self._names = names

    def predict(self, queries: Any) -> list[Prediction]:
        """Name the classes of images; see :meth:`metarl.agents.fewshot.trained.TrainedLearner.predict`.

        Args:
            queries: one image or several.

        Raises:
            InputError: images that can't be used, or fewer than two classes have been shown.
        """
        if len(self._names) < 2:
            given = f"{len(self._names)} classes"
            raise InputError(key="the memory", given=given, expected="2 or more", remedy="call remember")
        found = listed(queries, "a query")
        if not found:
            raise InputError(key="queries", given="no image", expected="one or more")
        images = read_all([(f"query {number}", item) for number, item in enumerate(found)], self._trained.reading)
        return ranked(self._names, self.memory.logits(self._embedded(images)[None], len(self._names))[0])

    def save_memory(self, path: str | Path) -> Path:
        """Write the slots and the names of the classes to a file; no code is in it, and no weights or images.

        Raises:
            InputError: no file can be written there.
        """
        state = {name: leaf.cpu() for name, leaf in self.memory.state._asdict().items()}
        whose = {"learner": weights_digest(self._trained.learner)}
        meta = {"kind": KIND, "names": self._names} | whose | self._made
        with writing(path, "path") as place:
            return write_checkpoint(place, meta, {"memory": state})

    def load_memory(self, path: str | Path) -> None:
        """Go on with what :meth:`save_memory` wrote, instead of what is remembered now.

        The slots fit the learner that wrote them alone: another one has other embeddings.

        Raises:
            CheckpointError: the file is missing or damaged, of a memory of another size, rule or precision, or of
                another learner; nothing is changed then.
        """
        meta, groups = read_checkpoint(path)
        own, where = {"kind": KIND} | self._made, f"{path} is damaged"
        told = {name: meta.get(name) for name in own}
        if told != own or set(groups) != {"memory"}:
            different = ", ".join(f"{name} {told[name]!r}" for name in own if told[name] != own[name])
            problem = f"{path} holds another memory ({different or 'without slots'})"
            raise CheckpointError(problem, key=str(path), expected=str(own), remedy="call within as for that memory")
        if meta.get("learner") != weights_digest(self._trained.learner):
            whose = "another learner wrote" if "learner" in meta else "an earlier version wrote, not saying for whom"
            expected, remedy = "those of a learner with the same weights", "show the images to this learner again"
            raise CheckpointError(f"{path} has slots that {whose}", key="learner", expected=expected, remedy=remedy)
        state = self.memory.state
        check_tensors(groups["memory"], state._asdict(), where)
        made = type(state)(**{name: leaf.to(state.keys.device) for name, leaf in groups["memory"].items()})
        names = _names(meta.get("names"), where)
        if not self.memory.fits(made, len(names)):
            raise CheckpointError(f"{where}: its slots are of other classes than it names", key="names")
        self._names, self.memory.state = names, made

    def _embedded(self, images: Bytes) -> Tensor:
        """Images ``[N, *shape]`` to ``[N, E]``."""
        return torch.cat([self._one(part) for part in torch.as_tensor(images.copy()).split(QUERIES)])

    def _one(self, images: Tensor) -> Tensor:
        embedded = self._trained.learner.embed(images)
        assert embedded is not None  # the memory refuses learners without embeddings of single images
        return embedded

    def __repr__(self) -> str:
        slots = f"{self.memory.slots} slots, replace={self._made['replace']!r}"
        return f"BoundedLearner({self._trained.learner!r}, {slots}, {len(self._names)} classes shown)"


@dataclass(frozen=True)
class _Names:
    names: tuple[str, ...]


def _names(given: Any, where: str) -> list[str]:
    try:
        names = build(_Names, {"names": given}, where).names
    except InputError as error:
        raise CheckpointError.of(error) from None
    if len(set(names)) != len(names):
        raise CheckpointError(f"{where}: it names a class twice", key="names")
    return list(names)
