"""Few-shot classification through a memory: the support is written, the queries are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metarl.agents.fewshot.readers import Reader, SetReader, StreamReader
from metarl.config import build, choice
from metarl.data.fewshot import Episodes
from metarl.memory.memory import Memory
from metarl.memory.options import MemoryOptions
from metarl.nets.images import ImageEncoder
from metarl.types import Array

Mode = Literal["set", "stream"]
HIDDEN = 128
"""Hidden units of the encoder of vectors."""


class FewShotClassifier(nn.Module):
    """Tells which of a few classes a query belongs to, from a few labelled examples of each.

    Everything it knows of an episode has gone through the memory, which is any that an agent can have. Examples may be
    tensors or arrays, float32 or bytes.

    - ``set``: the support's labels are written under the embeddings of its examples, and the queries read side by side.
    - ``stream``: a core, with its controller, sees example after example, the label of each one step late (the protocol
      of Santoro et al. 2016). Queries are put without labels, each to a copy of the state behind the support.

    Args:
        observation: shape of one example: a vector ``[D]``, or an image ``[H, W]``, ``[H, W, C]`` or ``[C, H, W]`` of
            bytes or of numbers from 0 to 1.
        ways: classes in an episode.
        memory: which memory; of its options ``set`` uses those of store, access and key.
        mode: how the support goes through the memory.
        longest: examples of the longest support or stream; what a memory with room for all of them holds.
        embedding_size: width of the encoder's output.
        width: channels of the encoder's convolutions.

    Raises:
        ValueError: a shape that is neither, fewer than two classes, or (:class:`metarl.config.ConfigError`) options of
            a memory that don't fit.
    """

    def __init__(
        self,
        observation: tuple[int, ...],
        ways: int,
        memory: MemoryOptions | Mapping[str, Any],
        *,
        mode: Mode = "set",
        longest: int = 128,
        embedding_size: int = 64,
        width: int = 32,
    ) -> None:
        super().__init__()
        if ways < 2:
            raise ValueError(f"ways is {ways}, expected 2 or more classes to tell apart")
        self.observation, self.ways, self.longest = tuple(observation), ways, longest
        choice(mode, get_args(Mode), "mode")
        self.mode = mode
        options = memory if isinstance(memory, MemoryOptions) else build(MemoryOptions, memory, "memory")
        self.encoder = _encoder(self.observation, embedding_size, width)
        reader = SetReader if mode == "set" else StreamReader
        self.reader: Reader = reader(options, embedding_size, ways, longest)
        self.head = nn.Linear(self.reader.output_size, ways)

    @property
    def memory(self) -> Memory | None:
        """The memory inside; None for a controller alone."""
        return self.reader.memory

    def forward(self, support_x: Tensor | Array, support_y: Tensor | Array, query_x: Tensor | Array) -> Tensor:
        """The logits ``[B, Q, ways]`` of the queries, each of which is answered alone.

        Args:
            support_x: examples ``[B, S, *observation]``.
            support_y: their labels ``[B, S]`` from 0 to ``ways - 1``.
            query_x: ``[B, Q, *observation]``

        Raises:
            ValueError: shapes that don't fit, a support longer than ``longest``, labels that are no such numbers.
        """
        support, labels = self._labelled(support_x, support_y, "support")
        queries = self._embedded(query_x, "query_x")
        if len(queries) != len(support):
            raise ValueError(f"support_x has {len(support)} episodes, but query_x {len(queries)}; expected as many")
        return self.head(self.reader(support, labels, queries))

    def loss(self, episodes: Episodes) -> Tensor:
        """Cross-entropy of the queries' labels, in nats; what :func:`metarl.training.supervised.fit` minimises."""
        logits = self(episodes.support_x, episodes.support_y, episodes.query_x)
        target = self._classes(episodes.query_y, tuple(logits.shape[:2]), "query_y")
        return F.cross_entropy(logits.flatten(0, 1), target.flatten())

    @torch.no_grad()
    def predict(self, support_x: Tensor | Array, support_y: Tensor | Array, query_x: Tensor | Array) -> Tensor:
        """The most probable class of each query, ``[B, Q]``; see :meth:`forward`."""
        return self(support_x, support_y, query_x).argmax(-1)

    @torch.no_grad()
    def accuracy(self, episodes: Episodes) -> float:
        """The share of queries that are classified rightly."""
        right = self.predict(episodes.support_x, episodes.support_y, episodes.query_x).cpu()
        return float((right == torch.as_tensor(episodes.query_y).cpu()).double().mean())

    def stream_logits(self, x: Tensor | Array, y: Tensor | Array) -> Tensor:
        """The logits ``[B, T, ways]`` at every step of a stream, each from this example and what came before it.

        Args:
            x: examples ``[B, T, *observation]``.
            y: their labels ``[B, T]``; each is seen with the next example, the last one never.

        Raises:
            ValueError: as :meth:`forward`, or the mode is not ``stream``.
        """
        if not isinstance(self.reader, StreamReader):
            raise ValueError("a classifier of mode='set' sees no stream; make it with mode='stream'")
        return self.head(self.reader.stream(*self._labelled(x, y, "stream")))

    @torch.no_grad()
    def consolidate(self, episodes: Episodes) -> None:
        """Keep the supports of a batch for life, if the memory is one that does; to be called after learning from it.

        Every later episode begins with what was kept, so a label should mean the same class in all of them.
        """
        self.reader.consolidate(*self._labelled(episodes.support_x, episodes.support_y, "support"))

    def _labelled(self, x: Tensor | Array, y: Tensor | Array, name: str) -> tuple[Tensor, Tensor]:
        """Embeddings ``[B, S, E]`` and one-hot labels ``[B, S, ways]``."""
        embedded = self._embedded(x, f"{name}_x")
        length = embedded.shape[1]
        if length > self.longest:
            raise ValueError(
                f"the {name} has {length} examples, but this classifier was made for {self.longest} at most; "
                f"make it with longest={length}"
            )
        classes = self._classes(y, (len(embedded), length), f"{name}_y")
        return embedded, self.ways**0.5 * F.one_hot(classes, self.ways).to(embedded)

    def _embedded(self, x: Tensor | Array, name: str) -> Tensor:
        x = torch.as_tensor(x, device=self.head.weight.device)
        if tuple(x.shape[2:]) != self.observation or 0 in x.shape:
            expected = ", ".join(str(n) for n in ("B", "S", *self.observation))
            raise ValueError(f"{name} has shape {list(x.shape)}, expected [{expected}] with B and S at least 1")
        return self.encoder(x if x.dtype == torch.uint8 else x.to(self.head.weight))

    def _classes(self, y: Tensor | Array, shape: tuple[int, ...], name: str) -> Tensor:
        y = torch.as_tensor(y, device=self.head.weight.device)
        if tuple(y.shape) != shape or y.is_floating_point():
            raise ValueError(f"{name} is {y.dtype} of shape {list(y.shape)}, expected whole numbers {list(shape)}")
        if y.min() < 0 or y.max() >= self.ways:
            raise ValueError(
                f"{name} has labels from {int(y.min())} to {int(y.max())}, but this classifier tells {self.ways} "
                f"classes apart; expected 0 to {self.ways - 1}"
            )
        return y.long()


class VectorEncoder(nn.Module):
    """Vectors to normalised embeddings, by one hidden layer."""

    def __init__(self, inputs: int, size: int) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(inputs, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, size), nn.LayerNorm(size))

    def forward(self, x: Tensor) -> Tensor:
        """``[..., inputs]`` to ``[..., size]``."""
        return self.net(x.to(next(self.parameters())))


def _encoder(shape: tuple[int, ...], size: int, width: int) -> nn.Module:
    if not shape or min(shape) < 1 or len(shape) > 3:
        raise ValueError(
            f"observation is {shape}, expected the shape of one example: (D,), (H, W), (H, W, C) or (C, H, W)"
        )
    return VectorEncoder(shape[0], size) if len(shape) == 1 else ImageEncoder(shape, size, width)
