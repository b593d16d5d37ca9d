"""Few-shot classification through a memory: the support is written, the queries are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from metarl.agents.fewshot.context import Context, make_context
from metarl.agents.fewshot.examples import ExampleLearner
from metarl.agents.fewshot.readers import Reader, SetReader, VotingReader
from metarl.config import ConfigError, build, choice
from metarl.data.episodes import Episodes
from metarl.memory.memory import Memory
from metarl.memory.options import MemoryOptions
from metarl.nets.images import EncoderOptions
from metarl.types import Array

Readout = Literal["linear", "votes", "mean_votes"]


class FewShotClassifier(ExampleLearner):
    """Tells which of a few classes a query belongs to, from a few labelled examples of each.

    Everything it knows of an episode has gone through the memory, which is any that an agent can have: the support's
    labels are written under the embeddings of its examples, and the queries read side by side. Examples may be tensors
    or arrays, float32 or bytes. Streams are for :class:`metarl.agents.fewshot.streams.StreamClassifier`.

    Args:
        observation: shape of one example: a vector ``[D]``, or an image ``[H, W]``, ``[H, W, C]`` or ``[C, H, W]`` of
            bytes or of numbers from 0 to 1.
        ways: most classes in an episode.
        memory: which memory; of its options those of store, access and key are used.
        readout: how logits come about: ``linear`` by learned maps of keys, values and what is read; ``votes`` by the
            weights that the slots have, whose keys are embeddings and whose values are labels; ``mean_votes`` the same
            with one slot for each class, under the mean of its embeddings.
        context: what embeddings take in first: the whole support (``full``), or what learned slots return for them
            (``slots``).
        encoder: the net that embeds examples.
        longest: examples of the longest support; what a memory with room for all of them holds.
        transductive: the encoder's norm takes its statistics from the queries as well.
        turns: learn more of an episode: after its support has been the support, so many of its queries take their turn,
            and so on, the others being queries; examples are embedded but once.

    Raises:
        ValueError: a shape that is neither, fewer than two classes, or (:class:`metarl.config.ConfigError`) options
            that don't fit.
    """

    def __init__(
        self,
        observation: tuple[int, ...],
        ways: int,
        memory: MemoryOptions | Mapping[str, Any],
        *,
        readout: Readout = "linear",
        context: Context = "none",
        encoder: EncoderOptions | Mapping[str, Any] | None = None,
        longest: int = 128,
        transductive: bool = False,
        turns: bool = False,
    ) -> None:
        super().__init__(observation, ways, encoder, longest)
        choice(readout, get_args(Readout), "readout")
        choice(context, get_args(Context), "context")
        self.transductive, self.turns = transductive, turns
        options = memory if isinstance(memory, MemoryOptions) else build(MemoryOptions, memory, "memory")
        if transductive and self.encoder_options.norm != "batch":
            raise ConfigError(
                f"transductive = true with encoder.norm = {self.encoder_options.norm!r}: no query would see another; "
                "set encoder.norm = 'batch', or leave it out"
            )
        if turns and self.encoder_options.norm == "batch":
            raise ConfigError(
                "turns = true with encoder.norm = 'batch': embeddings would depend on which examples are the support; "
                "use 'running' or 'group', or leave it out"
            )
        self.context = make_context(context, self.encoder.size, longest)
        width = self.context.size
        self.reader: Reader
        if readout == "linear":
            self.reader = SetReader(options, width, ways, longest)
        else:
            self.reader = VotingReader(options, width, ways, longest, averaged=readout == "mean_votes")

    @property
    def memory(self) -> Memory:
        """The memory inside."""
        return self.reader.memory

    def forward(self, support_x: Tensor | Array, support_y: Tensor | Array, query_x: Tensor | Array) -> Tensor:
        """The logits ``[B, Q, ways]`` of the queries.

        Args:
            support_x: examples ``[B, S, *observation]``.
            support_y: their labels ``[B, S]`` from 0 to ``ways - 1``.
            query_x: ``[B, Q, *observation]``

        Raises:
            ValueError: shapes that don't fit, a support longer than ``longest``, labels that are no such numbers.
        """
        return self._read(*self._encoded(support_x, support_y, query_x))

    def recall(
        self, support_x: Tensor | Array, support_y: Tensor | Array, query_x: Tensor | Array
    ) -> tuple[Tensor, Tensor]:
        """The logits ``[B, Q, ways]`` and what they came from: the weights ``[B, Q, N]`` of the slots.

        Slots stand in the order of the support, or with ``mean_votes`` in that of the classes.

        Raises:
            ValueError: as :meth:`forward`, or the readout is not by votes.
        """
        if not isinstance(self.reader, VotingReader):
            raise ValueError("only a classifier with readout='votes' or 'mean_votes' shows weights over its support")
        logits, weights = self.reader.recall(*self._embedded(support_x, support_y, query_x))
        return logits, weights.exp()

    @torch.no_grad()
    def weights(self, support_x: Tensor | Array, support_y: Tensor | Array, query_x: Tensor | Array) -> Tensor | None:
        """See :meth:`metarl.agents.fewshot.learner.FewShotLearner.weights`."""
        if not isinstance(self.reader, VotingReader):
            return None
        weights = self.recall(support_x, support_y, query_x)[1]
        classes = torch.as_tensor(support_y, device=weights.device).long()
        if self.reader.averaged and classes.shape[1] == weights.shape[2]:  # an example is the mean of its class
            return weights.gather(2, classes[:, None].expand_as(weights))
        return weights

    @torch.no_grad()
    def embed(self, x: Tensor | Array) -> Tensor | None:
        """See :meth:`metarl.agents.fewshot.learner.FewShotLearner.embed`; None with the norm of episodes."""
        if self.encoder_options.norm == "batch":
            return None
        return self.encoder(self._examples(torch.as_tensor(x)[None], "x"))[0].float()

    def classify(self, support: Tensor | Array, support_y: Tensor | Array, queries: Tensor | Array) -> Tensor:
        """See :meth:`metarl.agents.fewshot.learner.FewShotLearner.classify`."""
        support, queries = torch.as_tensor(support), torch.as_tensor(queries)
        self._short_enough(support, "support")
        classes = self._whole(support_y, tuple(support.shape[:2]), "support_y", self.ways)
        return self._read(support, classes, queries)

    def loss(self, episodes: Episodes) -> Tensor:
        """Cross-entropy of the queries' labels, in nats; what :func:`metarl.training.supervised.fit` minimises.

        Raises:
            ValueError: as :meth:`forward`, or with ``turns`` classes with more examples than others.
        """
        support, classes, queries = self._encoded(episodes.support_x, episodes.support_y, episodes.query_x)
        target = self._whole(episodes.query_y, tuple(queries.shape[:2]), "query_y", self.ways)
        if not self.turns:
            return F.cross_entropy(self._read(support, classes, queries).flatten(0, 1), target.flatten())
        x, y = torch.cat([support, queries], 1), torch.cat([classes, target], 1)
        ways, batch = len(classes[0].unique()), torch.arange(len(x), device=x.device)[:, None]
        order = y.argsort(dim=1, stable=True)  # the support stands first in its class
        if x.shape[1] % ways or not (y[batch, order].unflatten(1, (ways, -1)).diff(dim=2) == 0).all():
            raise ValueError("turns need as many examples of each class of an episode; leave turns out")
        x, y = (part[batch, order].unflatten(1, (ways, -1)) for part in (x, y))
        each, shots = x.shape[2], support.shape[1] // ways
        losses = []
        for first in range(0, each - each % shots, shots):
            support, queries = x.roll(-first, 2).tensor_split([shots], 2)
            logits = self._read(support.flatten(1, 2), y[:, :, :shots].flatten(1), queries.flatten(1, 2))
            losses.append(F.cross_entropy(logits.flatten(0, 1), y[:, :, shots:].flatten()))
        return torch.stack(losses).mean()

    @torch.no_grad()
    def accuracy(self, episodes: Episodes) -> float:
        """The share of queries that are classified rightly."""
        return float(self.right(episodes).double().mean())

    @torch.no_grad()
    def consolidate(self, episodes: Episodes) -> None:
        """Keep the supports of a batch for life, if the memory is one that does; to be called after learning from it.

        Every later episode begins with what was kept, so a label should mean the same class in all of them.
        """
        support, labels, _ = self._embedded(episodes.support_x, episodes.support_y, episodes.query_x)
        self.reader.consolidate(support, labels)

    def _embedded(
        self, support_x: Tensor | Array, support_y: Tensor | Array, query_x: Tensor | Array
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What the reader is given: the support ``[B, S, E]``, its labels one-hot ``[B, S, ways]``, and the queries."""
        support, classes, queries = self._encoded(support_x, support_y, query_x)
        support, queries = self.context(support, queries)
        return support, F.one_hot(classes, self.ways).to(support), queries

    def _read(self, support: Tensor, classes: Tensor, queries: Tensor) -> Tensor:
        """The logits of embedded queries."""
        support, queries = self.context(support, queries)
        return self.reader(support, F.one_hot(classes, self.ways).to(support), queries)

    def _encoded(
        self, support_x: Tensor | Array, support_y: Tensor | Array, query_x: Tensor | Array
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Embeddings of the support ``[B, S, E]``, its classes ``[B, S]``, and embeddings of the queries."""
        support = self._shown(support_x, "support_x")
        queries = self._queries(query_x, support)
        classes = self._whole(support_y, tuple(support.shape[:2]), "support_y", self.ways)
        count = support.shape[1]
        if support.dtype != queries.dtype:
            support, queries = (x.float() / 255 if x.dtype == torch.uint8 else x for x in (support, queries))
        x = self.encoder(torch.cat([support, queries], 1), None if self.transductive else count).float()
        support, queries = x.tensor_split([count], 1)
        return support, classes, queries
