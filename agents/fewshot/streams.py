"""MANN's protocol: streams of examples whose labels come one step late, a prediction at every step."""

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
from metarl.memory.memory import Memory
from metarl.memory.options import MemoryOptions
from metarl.memory.registry import build_core
from metarl.nets.images import EncoderOptions
from metarl.types import Array, Boundary, CoreInput


class StreamClassifier(ExampleLearner):
    """A core, as agents have it, sees example after example, the label of each one step late (Santoro et al. 2016).

    At every step it says what the present example is. Each example is an episode of one step, and a stream a trial. A
    label is one digit, its class, or five letters; it is fed back as its digits one-hot, one behind the other, and a
    prediction is right when all its digits are.

    Args:
        observation: shape of one example: a vector ``[D]``, or an image ``[H, W]``, ``[H, W, C]`` or ``[C, H, W]`` of
            bytes or of numbers from 0 to 1.
        ways: most classes in a stream.
        memory: which controller and memory.
        labels: how classes are named.
        encoder: the net that embeds examples.
        longest: examples of the longest stream; what a memory with room for all of them holds.
        pairs: show the example before once more, beside its label; so example and label are one thing to remember, as
            in SNAIL (Mishra et al. 2018, section 3.1), and need not be brought together by the core.

    Raises:
        ValueError: a shape that is neither, fewer than two classes, or (:class:`metarl.config.ConfigError`) options
            that don't fit.
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
                "encoder.norm = 'batch' for a classifier of streams: a stream has no support whose statistics could "
                "be taken; use 'group' or 'running'"
            )
        self.labels = choice(labels, get_args(Labels), "labels")
        if labels == "letters" and ways > LETTERS**LETTERS:
            raise ValueError(f"ways is {ways}, but there are {LETTERS**LETTERS} labels of letters; ask for fewer")
        self.digits, self.letters = (LETTERS, LETTERS) if labels == "letters" else (1, ways)
        options = memory if isinstance(memory, MemoryOptions) else build(MemoryOptions, memory, "memory")
        inputs = self.encoder.size * (2 if pairs else 1)
        self.core = build_core(options, inputs, self.digits * self.letters, longest)
        self.head = nn.Linear(self.core.output_size, self.digits * self.letters)

    @property
    def memory(self) -> Memory | None:
        """The memory inside; None for a controller alone."""
        inside: Memory | None = getattr(self.core, "memory", None)
        return inside

    def stream_logits(self, x: Tensor | Array, y: Tensor | Array) -> Tensor:
        """The logits ``[B, T, L, letters]`` of the L digits of each step's label, from the labels of steps before it.

        Args:
            x: examples ``[B, T, *observation]``.
            y: their labels ``[B, T, L]``; each is seen with the next example, the last one never.

        Raises:
            ValueError: shapes that don't fit, a stream longer than ``longest``, or labels that are none.
        """
        examples = self._shown(x, "stream_x")
        labels = self._labels(y, tuple(examples.shape[:2]))
        outputs, _ = self.core.unroll(*self._stream(self.encoder(examples).float(), labels))
        return self._split(self.head(outputs.transpose(0, 1)))

    def loss(self, streams: Streams) -> Tensor:
        """Cross-entropy of the labels of all steps, in nats per digit."""
        logits = self.stream_logits(streams.x, streams.y)
        target = torch.as_tensor(streams.y, device=logits.device).long()
        return F.cross_entropy(logits.flatten(0, 2), target.flatten())

    @torch.no_grad()
    def predict_streams(self, x: Tensor | Array, y: Tensor | Array) -> Tensor:
        """The most probable digits ``[B, T, L]`` of the label at every step; see :meth:`stream_logits`."""
        return self.stream_logits(x, y).argmax(-1)

    def forward(self, support_x: Tensor | Array, support_y: Tensor | Array, query_x: Tensor | Array) -> Tensor:
        """The logits ``[B, Q, ways]`` of queries, each put as the next example to a copy of the state behind a support.

        Args:
            support_x: examples ``[B, S, *observation]``, shown one after another.
            support_y: their labels ``[B, S]`` from 0 to ``ways - 1``.
            query_x: ``[B, Q, *observation]``

        Raises:
            ValueError: as :meth:`stream_logits`, or labels are letters.
        """
        if self.labels == "letters":
            raise ValueError("a learner of labels of letters has no logits of classes; ask stream_logits")
        support = self._shown(support_x, "support_x")
        queries = self._queries(query_x, support)
        labels = self._labels(torch.as_tensor(support_y)[..., None], tuple(support.shape[:2]))
        asked = queries.shape[1]
        known, new = self.encoder(support).float(), self.encoder(queries).float()
        _, state = self.core.unroll(*self._stream(known, labels))
        every = tree.map_tensors(lambda leaf: leaf.repeat_interleave(asked, 0), state)
        if self.pairs:
            new = torch.cat([new, known[:, -1:].expand_as(new)], -1)
        x = CoreInput(new.flatten(0, 1), labels[:, -1].repeat_interleave(asked, 0))
        begin = torch.full((len(x.now),), int(Boundary.EPISODE), device=queries.device)
        return self.head(self.core(x, every, begin)[0]).unflatten(0, (-1, asked))

    @torch.no_grad()
    def consolidate(self, streams: Streams) -> None:
        """Keep the examples of a batch for life, if the memory is one that does; to be called after learning from it.

        Every later stream begins with what was kept, so a label should mean the same class in all of them.
        """
        examples = self._shown(streams.x, "stream_x")
        parts = self.encoder(examples).float(), self._labels(streams.y, tuple(examples.shape[:2]))
        x, _, begin = self._stream(*(F.pad(part, (0, 0, 0, 1)) for part in parts))  # completes the last one
        self.core.consolidate(x, begin)

    def _stream(self, examples: Tensor, labels: Tensor) -> tuple[CoreInput, State, Tensor]:
        """What the core is run on, ``[T, B, ...]``: each example beside the label of the one before, or both of it."""
        if self.pairs:
            examples = torch.cat([examples, F.pad(examples, (0, 0, 1, -1))], -1)
        x = CoreInput(examples.transpose(0, 1), F.pad(labels, (0, 0, 1, -1)).transpose(0, 1))
        begin = torch.full(x.now.shape[:2], int(Boundary.EPISODE), device=examples.device)
        begin[0] = Boundary.TRIAL
        return x, self.core.initial_state(len(examples)), begin

    def _labels(self, y: Tensor | Array, shape: tuple[int, ...]) -> Tensor:
        """Labels ``[B, T, L]`` as what is fed back, ``[B, T, L * letters]``."""
        digits = self._whole(y, (*shape, self.digits), "stream_y", self.letters)
        return F.one_hot(digits, self.letters).flatten(2).to(self.head.weight)

    def _split(self, logits: Tensor) -> Tensor:
        return logits.unflatten(-1, (self.digits, self.letters))


def first_guess(ways: int, labels: int | None = None) -> float:
    """The best accuracy on first examples of ``ways`` classes that can be had without having seen their labels.

    Who knows a new class when it comes, and which of all ``labels`` (None: as many as classes) have been seen, guesses
    among the others: the mean over k < ways of 1 / (labels - k), 45.7 % for five. More means that labels leak.
    """
    return sum(1 / ((labels or ways) - known) for known in range(ways)) / ways
