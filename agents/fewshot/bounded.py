"""A memory of labelled embeddings that never grows: a store of so many bytes, written example by example."""

from __future__ import annotations

from typing import get_args

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from metarl import tree
from metarl.agents.fewshot.classifier import FewShotClassifier
from metarl.agents.fewshot.learner import FewShotLearner, check_evaluating
from metarl.agents.fewshot.readers import NEVER, VotingReader
from metarl.config import InputError, choice
from metarl.limits import check_bytes
from metarl.memory.ops import Content, Query
from metarl.memory.options import MemoryOptions
from metarl.memory.precision import cast_like
from metarl.memory.registry import build_memory
from metarl.memory.stores.episodic import EpisodicState
from metarl.memory.stores.replacing import Rule

AT_ONCE = 500  # queries that are read at once
LARGEST_LABEL = {torch.float32: 2**24, torch.float16: 2**11}
"""Labels are kept in the precision of the keys, which tells apart whole numbers up to these."""


class BoundedMemory:
    """What a classifier remembers of a stream: slots that vote for their labels, at most so many.

    Where the learner was trained to compare with class means (readout ``mean_votes``), the slots of a class are read as
    their mean, in which each counts as often as the items that it stands for.

    A slot has an embedding as its key and the number of a class as its value. What happens when all are taken is an
    option of the store, see :class:`metarl.memory.stores.episodic.EpisodicOptions`. Nothing else is kept of the
    examples, and a class that has no slot left is never an answer.

    Args:
        learner: the classifier, in evaluation mode; its access reads the slots.
        size: bytes of a row's slots.
        replace: what happens when the store is full.
        precision: of what is kept: float32, or float16 for twice as many slots, each of which stands for at most 2,048
            items: with more its mean moves on as if it had been of so many.
        rows: memories side by side, each for a stream of its own.

    Raises:
        InputError: a learner whose slots don't vote under the embeddings of single examples, no room for a slot, or
            another precision, or more bytes than there are.
    """

    def __init__(
        self,
        learner: FewShotLearner,
        size: int,
        replace: Rule = "nearest",
        *,
        precision: torch.dtype = torch.float32,
        rows: int = 1,
    ) -> None:
        if not (isinstance(learner, FewShotClassifier) and _votes_alone(learner)):
            expected = "one whose episodic slots vote under embeddings of single images"
            remedy = "train the preset continual, prototypical or matching"
            raise InputError(key="learner", given=type(learner).__name__, expected=expected, remedy=remedy)
        if precision not in LARGEST_LABEL:
            raise InputError(key="precision", given=precision, expected="torch.float32 or torch.float16")
        choice(replace, get_args(Rule), "replace")
        if not isinstance(size, (int, np.integer)):
            raise InputError(key="size", given=size, expected="a whole number of bytes, such as 1_000_000")
        more = {"nearest": 2, "least_used": 1}.get(replace, 0)  # count and cost, or usage, of a slot
        self.slot_bytes = (learner.encoder.size + 1 + more) * precision.itemsize
        self.slots, self.precision = int(size) // self.slot_bytes, precision
        if self.slots < 1:
            raise InputError(key="size", given=size, expected=f"{self.slot_bytes} bytes or more, the size of a slot")
        check_evaluating(learner)
        check_bytes(rows * int(size), key="size", given=size, remedy="give fewer bytes")
        known, kept = learner.reader.memory.access, {"capacity": self.slots, "replace": replace}
        options = MemoryOptions(
            access=learner.memory.access, access_options=learner.memory.access_options, store_options=kept
        )
        assert isinstance(learner.reader, VotingReader)  # as its slots vote
        self._reader = learner.reader
        self._memory = build_memory(options, learner.encoder.size, 1, None, project=False).to(learner.device)
        if known is not None and self._memory.access is not None:
            self._memory.access.load_state_dict(known.state_dict())
        like = torch.empty(0, dtype=precision, device=learner.device)
        self.state: EpisodicState = cast_like(like, self._memory.initial_state(rows))

    @property
    def nbytes(self) -> int:
        """Bytes of a row's slots, used or not."""
        slots = (leaf for leaf in self.state if leaf.is_floating_point())
        return sum(leaf.numel() * leaf.element_size() for leaf in slots) // len(self.state.writes)

    @torch.no_grad()
    def write(self, embedded: Tensor, labels: Tensor) -> None:
        """Remember examples, one after another.

        With ``replace="least_used"`` an example is read before it is written, so that slots like it count as used.

        Args:
            embedded: ``[B, S, E]``, as :meth:`FewShotLearner.embed` makes them.
            labels: ``[B, S]`` numbers of their classes.

        Raises:
            InputError: a label that the precision can't hold.
        """
        most = LARGEST_LABEL[self.precision]
        if labels.numel() and not 0 <= int(labels.min()) <= int(labels.max()) <= most:
            given, expected = int(labels.max()), f"0 to {most} in {self.precision}"
            raise InputError(key="labels", given=given, expected=expected, remedy="number fewer classes")
        values = labels.to(embedded.device, self.precision)[..., None]
        for key, value in zip(embedded.unbind(1), values.unbind(1), strict=True):
            if self._memory.store.notes_reads:
                noted = self._memory.read(self._read_state(), key[:, None])[1]
                self.state = self.state._replace(usage=noted.usage.to(self.precision))
            self.state = self._memory.write(self.state, key.to(self.precision), value, donate=True)

    @torch.no_grad()
    def logits(self, queries: Tensor, classes: int) -> Tensor:
        """The log of the share of the votes of each class, at least :data:`metarl.agents.fewshot.readers.NEVER`.

        Args:
            queries: embeddings ``[B, Q, E]``.
            classes: those with the numbers from 0 to before this.

        Returns:
            ``[B, Q, classes]``
        """
        state = self._read_state()
        return torch.cat([self._votes(state, part, classes) for part in queries.split(AT_ONCE, 1)], 1)

    def held(self, classes: int) -> Tensor:
        """How many slots each class has, ``[B, classes]``."""
        content = self._memory.store.content(self.state)
        each = F.one_hot(content.values[..., 0].long().clamp(0, classes - 1), classes)
        return (each * content.valid[..., None]).sum(1)

    def fits(self, state: EpisodicState, classes: int) -> bool:
        """Whether all slots of a state are of classes with the numbers from 0 to before ``classes``."""
        content = self._memory.store.content(state)
        labels = content.values[..., 0][content.valid]
        return bool(((labels >= 0) & (labels < classes) & (labels == labels.round())).all())

    def _read_state(self) -> EpisodicState:
        """The state in float32, in which it is read."""
        return tree.map_tensors(lambda leaf: leaf.float() if leaf.is_floating_point() else leaf, self.state)

    def _votes(self, state: EpisodicState, queries: Tensor, classes: int) -> Tensor:
        if self._reader.averaged:
            return self._compared(state, queries, classes)
        read, slots = self._memory.recall(state, queries)
        assert read.log_weights is not None
        weights = read.log_weights
        best = weights.amax(2, keepdim=True).clamp_min(NEVER)
        labels = slots.values[:, None, :, 0].long().expand_as(weights)
        share = weights.new_zeros(*weights.shape[:2], classes).scatter_add(2, labels, (weights - best).exp())
        return (share.log() + best).clamp_min(NEVER)

    def _compared(self, state: EpisodicState, queries: Tensor, classes: int) -> Tensor:
        """The log weights of class means, which the access reads as slots."""
        slots, access = self._memory.store.content(state), self._memory.access
        assert access is not None
        number = slots.valid.to(queries.dtype) if slots.counts is None else slots.counts * slots.valid
        own = F.one_hot(slots.values[..., 0].long().clamp(0, classes - 1), classes) * number[..., None]
        total = own.sum(1)
        means = own.mT @ slots.keys / total.clamp_min(1)[..., None]
        means, queries = self._reader.compared(means, queries, total)
        read = access.weigh(Query(access.prepare(queries)), Content(means, means.new_zeros(*total.shape, 1), total > 0))
        assert read.log_weights is not None
        return read.log_weights.clamp_min(NEVER)


def _votes_alone(learner: FewShotClassifier) -> bool:
    """Whether its slots vote under embeddings that depend on one example each."""
    single = learner.context_kind == "none" and learner.encoder_options.norm != "batch"
    return single and learner.memory.store == "episodic" and isinstance(learner.reader, VotingReader)
