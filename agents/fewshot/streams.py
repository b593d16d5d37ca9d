"""The protocol of MANN: streams of examples whose labels come one step later, with a prediction at every step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metarl import tree
from metarl.agents.fewshot.examples import ExampleLearner
from metarl.agents.fewshot.learner import Examples, Protocol
from metarl.config import ConfigError, InputError, build, choice
from metarl.data.episodes import LETTERS, Labels, Streams
from metarl.functional.branches import in_graph
from metarl.memory.contract import State
from metarl.memory.options import MemoryOptions
from metarl.memory.registry import build_core
from metarl.nets.images import EncoderOptions
from metarl.types import Boundary, CoreInput


class StreamClassifier(ExampleLearner):
    """A memory core that sees one example after another, each with the label of the one before.

    At every step it predicts the label of the current example (Santoro et al. 2016, section 2.1). Each example is an
    episode of one step, and a stream is a trial. A label is one digit (the class) or five letters. It is fed back as
    concatenated one-hot digits, and a prediction is correct if all its digits are.

    Args:
        observation: shape of one example: a vector ``[D]``, or an image ``[H, W]``, ``[H, W, C]`` or ``[C, H, W]`` of
            bytes or of numbers from 0 to 1.
        ways: most classes in a stream.
        memory: options of the controller and the memory.
        labels: how classes are labelled: ``one_hot`` (one digit) or ``letters`` (five letters).
        encoder: the net that embeds examples.
        longest: most examples in a stream; the size of a memory that stores all of them.
        pairs: show each example again one step later, together with its label, so that the core does not have to
            combine the two (as in SNAIL, Mishra et al. 2018, section 3.1).

    Raises:
        ConfigError: options that don't fit.
        InputError: another shape, fewer than two classes, or more than there are labels.
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
            expected = "'group' or 'running', as a stream has no support to take statistics of"
            raise ConfigError(key="encoder.norm", given="batch", expected=expected)
        if self.of_tables:
            expected = "another net, as a stream has no support to tell what columns mean"
            raise ConfigError(key="encoder.net", given="table", expected=expected)
        choice(labels, get_args(Labels), "labels")
        self.labels: Labels = labels
        if labels == "letters" and ways > LETTERS**LETTERS:
            expected = f"at most {LETTERS**LETTERS}, the number of labels of letters"
            raise InputError(key="ways", given=ways, expected=expected)
        self.digits, self.letters = (LETTERS, LETTERS) if labels == "letters" else (1, ways)
        self.memory = memory if isinstance(memory, MemoryOptions) else build(MemoryOptions, memory, "memory")
        inputs = self.encoder.size * (2 if pairs else 1)
        self.core = build_core(self.memory, inputs, self.digits * self.letters, longest)
        self.head = nn.Linear(self.core.output_size, self.digits * self.letters)

    def stream_logits(self, x: Examples, y: Examples) -> Tensor:
        """The logits of the label at every step, from the labels of earlier steps.

        Args:
            x: examples ``[B, T, *observation]``.
            y: their labels ``[B, T, L]``; each is shown with the next example, so that the last one is never shown.

        Returns:
            ``[B, T, L, letters]``, for each of the L digits of a label.

        Raises:
            InputError: shapes that don't fit, a stream longer than ``longest``, or other labels.
        """
        examples = self._shown(x, "stream_x")
        labels = self._labels(y, tuple(examples.shape[:2]))
        outputs, _ = self.core.unroll(*self._stream(self._embed(examples), labels))
        return self.head(outputs.transpose(0, 1)).unflatten(-1, (self.digits, self.letters))

    def loss(self, streams: Streams) -> Tensor:
        """See :meth:`metarl.agents.fewshot.learner.FewShotLearner.loss`; a scalar in nats per digit, over all steps."""
        logits = self.stream_logits(streams.x, streams.y)
        target = torch.as_tensor(streams.y, device=logits.device).long()
        return F.cross_entropy(logits.flatten(0, 2), target.flatten())

    @torch.no_grad()
    def predict_streams(self, x: Examples, y: Examples) -> Tensor:
        """See :meth:`metarl.agents.fewshot.learner.FewShotLearner.predict_streams`."""
        return self.stream_logits(x, y).argmax(-1)

    def forward(self, support_x: Examples, support_y: Examples, query_x: Examples) -> Tensor:
        """See :meth:`metarl.agents.fewshot.learner.FewShotLearner.forward`.

        The examples of the support are shown one by one, then each query to its own copy of the state.

        Raises:
            InputError: as :meth:`stream_logits`, or the labels are letters.
        """
        if self.labels == "letters":
            remedy = "use stream_logits"
            raise InputError(key="labels", given=self.labels, expected="'one_hot' for logits of classes", remedy=remedy)
        support = self._shown(support_x, "support_x")
        queries = self._queries(query_x, support)
        labels = self._labels(torch.as_tensor(support_y, device=self.device)[..., None], tuple(support.shape[:2]))
        count = queries.shape[1]
        known, new = self._embed(support), self._embed(queries)
        state = self._remembered(*self._stream(known, labels))
        every = tree.map_tensors(lambda leaf: leaf.repeat_interleave(count, 0), state)
        if self.pairs:
            new = torch.cat([new, known[:, -1:].expand_as(new)], -1)
        x = CoreInput(new.flatten(0, 1), labels[:, -1].repeat_interleave(count, 0))
        boundary = torch.full((x.now.shape[0],), int(Boundary.EPISODE), device=queries.device)
        return self.head(self.core(x, every, boundary)[0]).unflatten(0, (-1, count))

    @torch.no_grad()
    def consolidate(self, streams: Streams) -> None:
        """Store the examples of a batch for all later streams, if the memory can; call it after learning from them.

        A label should then mean the same class in all streams.
        """
        examples = self._shown(streams.x, "stream_x")
        parts = self._embed(examples), self._labels(streams.y, tuple(examples.shape[:2]))
        x, _, boundary = self._stream(*(F.pad(part, (0, 0, 0, 1)) for part in parts))  # completes the last one
        self.core.consolidate(x, boundary)

    def _sized(self, ways: int, longest: int) -> Self:
        return type(self)(
            self.observation,
            ways,
            self.memory,
            labels=self.labels,
            encoder=self.encoder_options,
            longest=longest,
            pairs=self.pairs,
        )

    def _stream(self, examples: Tensor, labels: Tensor) -> tuple[CoreInput, State, Tensor]:
        """The arguments of the core, ``[T, B, ...]``: each example with the label (or all) of the previous one."""
        if self.pairs:
            examples = torch.cat([examples, F.pad(examples, (0, 0, 1, -1))], -1)
        x = CoreInput(examples.transpose(0, 1), F.pad(labels, (0, 0, 1, -1)).transpose(0, 1))
        boundary = torch.full(x.now.shape[:2], int(Boundary.EPISODE), device=examples.device)
        boundary[0] = Boundary.TRIAL
        return x, self.core.initial_state(len(examples)), boundary

    def _remembered(self, x: CoreInput, state: State, boundary: Tensor) -> State:
        """The state after a stream."""
        if not in_graph():
            return self.core.unroll(x, state, boundary)[1]
        for now, before, at in zip(x.now, x.feedback, boundary, strict=True):  # a graph has the steps one by one
            state = self.core(CoreInput(now, before), state, at)[1]
        return state

    def _labels(self, y: Examples, shape: tuple[int, ...]) -> Tensor:
        """Labels ``[B, T, L]`` as they are fed back, one-hot ``[B, T, L * letters]``."""
        digits = self._classes(y, (*shape, self.digits), "stream_y", self.letters)
        return F.one_hot(digits, self.letters).flatten(2).to(self.head.weight)

    def _described(self) -> dict[str, Any]:
        parts = {name: getattr(self.memory, name) for name in ("controller", "store", "access")}
        return super()._described() | parts | {"labels": self.labels}


def first_guess(ways: int, labels: int | None = None) -> float:
    """The best possible accuracy on the first example of each class, whose label has not been shown yet.

    A learner that knows that a class is new, and which labels have been shown, guesses among the others: the mean over
    k < ways of 1 / (labels - k), 45.7 % for five. A higher accuracy means that labels leak.

    Args:
        ways: classes of a stream.
        labels: possible labels; None: as many as classes.
    """
    return sum(1 / ((labels or ways) - known) for known in range(ways)) / ways
