"""The protocol of MANN: streams of examples whose labels come one step late, with a prediction at every step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metarl import tree
from metarl.agents.fewshot.examples import ExampleLearner
from metarl.agents.fewshot.learner import Protocol
from metarl.config import ConfigError, build, choice
from metarl.data.episodes import LETTERS, Labels, Streams
from metarl.memory.contract import State
from metarl.memory.options import MemoryOptions
from metarl.memory.registry import build_core
from metarl.nets.images import EncoderOptions
from metarl.types import Array, Boundary, CoreInput


class StreamClassifier(ExampleLearner):
    """A memory core that sees one example after another, each with the label of the one before.

    At every step it predicts the label of the present example (Santoro et al. 2016, section 2.1). Each example is an
    episode of one step, and a stream is a trial. A label is one digit, its class, or five letters; it is fed back as
    its one-hot digits, concatenated, and a prediction is correct if all digits are.

    Args:
        observation: shape of one example: a vector ``[D]``, or an image ``[H, W]``, ``[H, W, C]`` or ``[C, H, W]`` of
            bytes or of numbers from 0 to 1.
        ways: most classes in a stream.
        memory: which controller and memory.
        labels: how classes are labelled: one digit or five letters.
        encoder: the net that embeds examples.
        longest: most examples in a stream; what a memory that stores all of them has room for.
        pairs: show each example again one step later, beside its label, so that the core need not bring the two
            together (as in SNAIL, Mishra et al. 2018, section 3.1).

    Raises:
        ValueError: another shape, fewer than two classes, or (:class:`metarl.config.ConfigError`) options that don't
            fit.
    """

    protocol: ClassVar[Protocol] = "streams"

    def __init__(
        self,
        observation: tuple[int, ...],
        ways: int,
        memory: MemoryOptions | Mapping[str, Any],
        *,
        labels: Labels = "one_hot",
        encoder: EncoderOptions | Mapping[str, Any] | None = None,
        longest: int = 128,
        pairs: bool = False,
    ) -> None:
        super().__init__(observation, ways, encoder, longest)
        self.pairs = pairs
        if self.encoder_options.norm == "batch":
            raise ConfigError(
                "encoder.norm = 'batch' for a classifier of streams: a stream has no support to take statistics of; "
                "use 'group' or 'running'"
            )
        self.labels = choice(labels, get_args(Labels), "labels")
        if labels == "letters" and ways > LETTERS**LETTERS:
            raise ValueError(f"ways is {ways}, but there are {LETTERS**LETTERS} labels of letters; ask for fewer")
        self.digits, self.letters = (LETTERS, LETTERS) if labels == "letters" else (1, ways)
        self.memory = memory if isinstance(memory, MemoryOptions) else build(MemoryOptions, memory, "memory")
        inputs = self.encoder.size * (2 if pairs else 1)
        self.core = build_core(self.memory, inputs, self.digits * self.letters, longest)
        self.head = nn.Linear(self.core.output_size, self.digits * self.letters)

    def stream_logits(self, x: Tensor | Array, y: Tensor | Array) -> Tensor:
        """The logits of the label at every step, from the labels of earlier steps.

        Args:
            x: examples ``[B, T, *observation]``.
            y: their labels ``[B, T, L]``; each is seen with the next example, the last one never.

        Returns:
            ``[B, T, L, letters]``, for each of the L digits of a label.

        Raises:
            ValueError: shapes that don't fit, a stream longer than ``longest``, or other labels.
        """
        examples = self._shown(x, "stream_x")
        labels = self._labels(y, tuple(examples.shape[:2]))
        outputs, _ = self.core.unroll(*self._stream(self._embed(examples), labels))
        return self._split(self.head(outputs.transpose(0, 1)))

    def loss(self, streams: Streams) -> Tensor:
        """Cross-entropy of the labels of all steps, a scalar in nats per digit."""
        logits = self.stream_logits(streams.x, streams.y)
        target = torch.as_tensor(streams.y, device=logits.device).long()
        return F.cross_entropy(logits.flatten(0, 2), target.flatten())

    @torch.no_grad()
    def predict_streams(self, x: Tensor | Array, y: Tensor | Array) -> Tensor:
        """The most probable digits ``[B, T, L]`` of the label at every step; arguments as :meth:`stream_logits`."""
        return self.stream_logits(x, y).argmax(-1)

    def forward(self, support_x: Tensor | Array, support_y: Tensor | Array, query_x: Tensor | Array) -> Tensor:
        """The logits ``[B, Q, ways]`` of queries, each shown as the next example after the support.

        Each query goes to its own copy of the state after the support, whose examples are shown one by one. For the
        arguments see :meth:`metarl.agents.fewshot.learner.FewShotLearner.forward`.

        Raises:
            ValueError: as :meth:`stream_logits`, or labels are letters.
        """
        if self.labels == "letters":
            raise ValueError("a learner of labels of letters has no logits of classes; use stream_logits")
        support = self._shown(support_x, "support_x")
        queries = self._queries(query_x, support)
        labels = self._labels(torch.as_tensor(support_y, device=self.device)[..., None], tuple(support.shape[:2]))
        count = queries.shape[1]
        known, new = self._embed(support), self._embed(queries)
        _, state = self.core.unroll(*self._stream(known, labels))
        every = tree.map_tensors(lambda leaf: leaf.repeat_interleave(count, 0), state)
        if self.pairs:
            new = torch.cat([new, known[:, -1:].expand_as(new)], -1)
        x = CoreInput(new.flatten(0, 1), labels[:, -1].repeat_interleave(count, 0))
        begin = torch.full((len(x.now),), int(Boundary.EPISODE), device=queries.device)
        return self.head(self.core(x, every, begin)[0]).unflatten(0, (-1, count))

    @torch.no_grad()
    def consolidate(self, streams: Streams) -> None:
        """Store the examples of a batch for all later streams, if the memory can; call it after learning from them.

        A label should then mean the same class in all streams.
        """
        examples = self._shown(streams.x, "stream_x")
        parts = self._embed(examples), self._labels(streams.y, tuple(examples.shape[:2]))
        x, _, begin = self._stream(*(F.pad(part, (0, 0, 0, 1)) for part in parts))  # completes the last one
        self.core.consolidate(x, begin)

    def _stream(self, examples: Tensor, labels: Tensor) -> tuple[CoreInput, State, Tensor]:
        """The arguments of the core, ``[T, B, ...]``: each example with the label of the one before (or both of it)."""
        if self.pairs:
            examples = torch.cat([examples, F.pad(examples, (0, 0, 1, -1))], -1)
        x = CoreInput(examples.transpose(0, 1), F.pad(labels, (0, 0, 1, -1)).transpose(0, 1))
        begin = torch.full(x.now.shape[:2], int(Boundary.EPISODE), device=examples.device)
        begin[0] = Boundary.TRIAL
        return x, self.core.initial_state(len(examples)), begin

    def _labels(self, y: Tensor | Array, shape: tuple[int, ...]) -> Tensor:
        """Labels ``[B, T, L]`` as they are fed back, one-hot ``[B, T, L * letters]``."""
        digits = self._classes(y, (*shape, self.digits), "stream_y", self.letters)
        return F.one_hot(digits, self.letters).flatten(2).to(self.head.weight)

    def _split(self, logits: Tensor) -> Tensor:
        return logits.unflatten(-1, (self.digits, self.letters))

    def _described(self) -> dict[str, Any]:
        return {
            "observation": self.observation,
            "ways": self.ways,
            "controller": self.memory.controller,
            "store": self.memory.store,
            "access": self.memory.access,
            "labels": self.labels,
            "encoder": self.encoder_options.net if len(self.observation) > 1 else "vectors",
        }


def first_guess(ways: int, labels: int | None = None) -> float:
    """The best possible accuracy on the first examples of classes, whose labels were not shown yet.

    Who knows that a class is new, and which labels have been shown, guesses among the other labels: the mean over
    k < ways of 1 / (labels - k), 45.7 % for five. A higher accuracy means that labels leak.

    Args:
        ways: classes of a stream.
        labels: possible labels; None: as many as classes.
    """
    return sum(1 / ((labels or ways) - known) for known in range(ways)) / ways
