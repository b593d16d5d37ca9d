"""A trained few-shot learner as a tool: it remembers labelled images and names the classes of new ones."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from metarl.agents.fewshot import kept
from metarl.agents.fewshot.bounded_learner import BoundedLearner, Precision
from metarl.agents.fewshot.learner import FewShotLearner, alone, check_evaluating
from metarl.agents.fewshot.open_set import Answer, OpenSet, answer, calibrated
from metarl.agents.fewshot.predictions import QUERIES, Prediction, ranked
from metarl.agents.fewshot.readers import NEVER
from metarl.agents.fewshot.support import Support, listed, read_all
from metarl.config import InputError
from metarl.data.pictures import Reading
from metarl.data.pool import Pool
from metarl.memory.stores.replacing import Rule
from metarl.seeding import numpy_rng
from metarl.training.checkpoint import weights_digest
from metarl.types import Bytes


class Recalled(NamedTuple):
    """A remembered image, and how much it counts in the answer to a query.

    Args:
        name: of its class.
        example: its position among the images of its class, from 0.
        source: its path, if it was read from a file.
        weight: its share of the answer, from 0 to 1.
    """

    name: str
    example: int
    source: str | None
    weight: float


class TrainedLearner:
    """Classifies images by those that it was shown, with what it learned in training.

    Its weights never change: what it knows about a class are the images that :meth:`remember` was given. Each query is
    answered alone. The same images under the same names give the same answers but for rounding, in whatever calls and
    in whatever order they were remembered.

    Args:
        learner: in evaluation mode.
        reading: how images are read; of the shape that the learner takes.

    Raises:
        InputError: a learner that names classes in another way than by one number each, or in training mode.
    """

    def __init__(self, learner: FewShotLearner, reading: Reading) -> None:
        if getattr(learner, "labels", "one_hot") != "one_hot":
            problem = "this learner calls classes by strings of letters, which stand for no class outside a stream"
            raise InputError(problem, key="train.labels", expected="one_hot", remedy="train with one-hot labels")
        check_evaluating(learner)
        self.learner, self.reading = learner, reading
        self.open_set = learner.open_set
        self._keep(learner, Support.empty(reading.shape), None)

    @property
    def classes(self) -> dict[str, int]:
        """The remembered classes, with the number of images of each."""
        counts = np.bincount(self._support.labels, minlength=len(self._support.names))
        return dict(zip(self._support.names, counts.tolist(), strict=True))

    def remember(self, support: Mapping[str, Any]) -> None:
        """Remember images of classes, beside what is remembered already; a known class gets more images.

        Args:
            support: one image or several for each class by name: paths of files, images of Pillow's or arrays; see
                :meth:`metarl.data.pictures.Reading.read`. Classes may have different numbers of images.

        Raises:
            InputError: images that can't be used (all of them are listed), an image in two classes, or more classes or
                images than this learner can remember; nothing is changed then.
        """
        before = len(self._support.images)
        known = self._support.with_images(support, self.reading)
        learner = self.learner.resized(len(known.names), len(known.images))
        new = self._encoded(known.images[before:])
        self._keep(learner, known, new if self._stored is None else torch.cat([self._stored, new]))

    def calibrate(self, images: Mapping[str, Any], *, seed: int = 0) -> OpenSet:
        """Learn to tell queries of no remembered class, from classes that the learner was not trained on.

        A run does this after training with its validation classes; use this call where these differ from yours, or were
        trained on. The weights of the learner stay as they are, and so does its memory.

        Args:
            images: at least three classes with two images each, as in :meth:`remember`. Classes with fewer are left
                out, and those with fewer than six images are left out of the episodes of five shots, unless these are
                more than half of all.
            seed: of the episodes.

        Returns:
            What was learned, with its AUROC on episodes that were left out; it is kept in :attr:`open_set`, and
            :meth:`save_memory` writes it.

        Raises:
            InputError: images that can't be used, or too few.
        """
        given = Support.empty(self.reading.shape).with_images(images, self.reading, "images")
        if trained := sorted(set(given.names) & set(self.learner.met.get("train", ()))):
            problem = f"{len(trained)} classes are called as some that it was trained on, such as {trained[0]!r}"
            cause = "where they are the same, a calibration is surer than it should be"
            warnings.warn(f"{problem}: {cause}; calibrate by other classes", stacklevel=2)
        by_class = given.images[given.labels.argsort(kind="stable")]
        pool = Pool(by_class, counts=np.bincount(given.labels), names=given.names)
        self.open_set = calibrated(self.learner, pool, numpy_rng(seed, "evaluation"))
        return self.open_set

    def forget(self, name: str) -> None:
        """Forget a class.

        Raises:
            InputError: it is not remembered.
        """
        left = self._support.without(name)
        stays = self._support.labels != self._support.names.index(name)
        assert self._stored is not None
        learner = self.learner.resized(len(left.names), len(left.images))
        self._keep(learner, left, self._stored[torch.as_tensor(stays, device=self._stored.device)])

    def within(self, size: int, *, replace: Rule = "nearest", precision: Precision = "float32") -> BoundedLearner:
        """A learner with the same weights and an empty memory of ``size`` bytes, for streams that don't end.

        Args:
            size: bytes of all slots.
            replace: what happens when all are taken, see :class:`metarl.memory.stores.episodic.EpisodicOptions`.
            precision: of what is kept; ``float16`` has room for twice as many slots as ``float32``.

        Raises:
            InputError: a learner whose slots don't vote under the embeddings of single images, or no room for a slot.
        """
        return BoundedLearner(self, size, replace, precision)

    @torch.no_grad()
    def predict(self, queries: Any) -> list[Prediction]:
        """The class of each query.

        Args:
            queries: one image or several; as in :meth:`remember`.

        Raises:
            InputError: images that can't be used (all are listed), fewer than two classes are remembered, or the memory
                had no room for a class.
        """
        asked = self._read(queries)
        parts = [self._answer(asked[at : at + QUERIES]) for at in range(0, len(asked), QUERIES)]
        logits = torch.cat([part.logits for part in parts])
        judge = self.open_set
        known = None if judge is None else judge.known(np.concatenate([part.scores for part in parts])).tolist()
        made = ranked(self._support.names, logits)
        if judge is not None and known is not None:
            made = [one._replace(known=p, unknown=p < judge.threshold) for one, p in zip(made, known, strict=True)]
        return made

    @torch.no_grad()
    def recalled(self, query: Any) -> list[Recalled]:
        """Which remembered images the answer to a query comes from, the most important first.

        With class means (readout ``mean_votes``), a class's images share its weight equally.

        Args:
            query: one image.

        Raises:
            InputError: as :meth:`predict`, more than one query, or a learner that doesn't weigh single images.
        """
        asked = self._read(query)
        if len(asked) != 1:
            raise InputError(key="query", given=f"{len(asked)} images", expected="one")
        weights = None
        if self._embeds:
            known, labels = self._known()
            weights = self._ready.support_weights(known[None], labels[None], self._encoded(asked)[None])
        if weights is None:
            problem = f"a {type(self.learner).__name__} as it was trained gives no weights of single images"
            expected = "a memory whose slots are images and vote (presets prototypical, matching, key-value, ...)"
            raise InputError(problem, key="recalled", expected=expected)
        share = np.empty(len(self._order))
        share[self._order] = weights[0, 0].double().cpu().numpy()
        ranked = np.argsort(-share, kind="stable")
        sources = self._support.sources
        return [Recalled(*self._support.place(i), sources[i], float(share[i])) for i in ranked.tolist()]

    def save_memory(self, path: str | Path) -> Path:
        """Write the remembered images, their classes and what :meth:`calibrate` found to a file.

        No code is in it, and no weights of the learner.

        Raises:
            InputError: no file can be written there.
        """
        judge = None if self.open_set == self.learner.open_set else self.open_set
        whose = None if judge is None else weights_digest(self.learner)
        return kept.save(path, kept.Memory(self._support, judge, whose), self.reading)

    def load_memory(self, path: str | Path) -> None:
        """Remember what :meth:`save_memory` wrote instead of what is remembered now.

        A calibration in it is taken too. One of a learner with other weights is left out, with a warning; without one,
        the learner stays as it is calibrated.

        Raises:
            CheckpointError: the file is missing or damaged, or its images are of another size or were read otherwise
                than this learner reads them (as drawings or as they are); nothing is changed then.
            InputError: it is more than this learner can remember.
        """
        known, judge, whose = kept.load(path, self.reading)
        learner = self.learner.resized(len(known.names), len(known.images))
        self._keep(learner, known, self._encoded(known.images) if len(known.images) else None)
        if judge is not None and whose == weights_digest(self.learner):
            self.open_set = judge
        elif judge is not None:
            problem = f"{path} was calibrated with another learner, so its calibration is left out"
            warnings.warn(f"{problem}; call calibrate to do it for this one", stacklevel=2)

    def __repr__(self) -> str:
        return f"TrainedLearner({self.learner!r}, {len(self._support.names)} classes remembered)"

    def _keep(self, learner: FewShotLearner, support: Support, stored: Tensor | None) -> None:
        """Remember ``support``, with its images as the learner takes them; ``learner`` has room for it."""
        self._ready, self._support, self._stored = learner, support, stored
        # Learners that see images one after another are shown the same order, whichever call had an image. In training
        # classes come in turns, which they would miss.
        names, labels, images = support.names, support.labels.tolist(), support.images
        place = {name: number for number, name in enumerate(sorted(names))}
        self._number = np.array([place[name] for name in names], np.int64)
        alike = sorted(range(len(images)), key=lambda i: (names[labels[i]], images[i].tobytes()))
        self._order = np.array(alike, np.int64)[numpy_rng(0, "data").permutation(len(images))]

    def _read(self, queries: Any) -> Bytes:
        if len(self._support.names) < 2:
            given = f"{len(self._support.names)} remembered classes"
            remedy = "call remember, or give --support more classes"
            raise InputError(key="the memory", given=given, expected="2 or more", remedy=remedy)
        found = listed(queries, "a query")
        if not found:
            raise InputError(key="queries", given="no image", expected="one or more")
        return read_all([(f"query {number}", item) for number, item in enumerate(found)], self.reading)

    @torch.no_grad()
    def _encoded(self, images: Bytes) -> Tensor:
        """Images ``[N, *shape]`` as :meth:`_answer` takes them: embedded, if the learner embeds them one by one."""
        parts: Sequence[Tensor] = torch.as_tensor(images.copy(), device=self.learner.device).split(QUERIES)
        each = [self.learner.embed(part) for part in parts]
        whole = [part for part in each if part is not None]
        self._embeds = len(whole) == len(each)
        return torch.cat(whole if self._embeds else list(parts))

    def _known(self) -> tuple[Tensor, Tensor]:
        """What is remembered ``[S, ...]`` as the learner takes it, and its labels ``[S]`` by sorted names."""
        assert self._stored is not None
        known = self._stored[torch.as_tensor(self._order, device=self._stored.device)]
        return known, torch.as_tensor(self._number[self._support.labels[self._order]])

    def _answer(self, asked: Bytes) -> Answer:
        """The answer to queries ``[Q, *shape]``."""
        known, labels = self._known()
        queries, ways = self._encoded(asked), len(self._support.names)
        with alone(self._ready):
            made = answer(self._ready, known, labels, queries, ways, self._embeds)
        made = made._replace(logits=made.logits[:, torch.as_tensor(self._number, device=made.logits.device)])
        lost = (made.logits <= NEVER).all(0).nonzero().flatten().tolist()
        if lost:
            names = ", ".join(repr(self._support.names[number]) for number in lost)
            problem = f"this learner's memory had no room for {names}"
            remedy = "remember fewer images, or train a learner whose store has more slots"
            raise InputError(problem, key="the memory", given=self.classes, remedy=remedy)
        return made
