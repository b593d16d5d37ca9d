"""Two ways to classify queries from a memory that holds the support: learned maps, or votes of its slots."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from metarl.config import ConfigError, one_of
from metarl.functional.branches import in_graph
from metarl.memory.memory import Memory
from metarl.memory.options import MemoryOptions
from metarl.memory.registry import STORES, build_memory
from metarl.nets.plda import Plda

STEPS_ALONE = (
    *("controller", "controller_options", "address", "gate", "reinstate", "emit", "read_every", "working_memory"),
    *("horizon", "per_action", "action_size", "action_identity"),
)
"""Options of a memory that do something where it runs over steps, and not where it holds a set."""
PROJECTED_ALONE = ("key_size", "value_size", "shared_key")
"""Options that do something where learned maps make keys and values."""
NEVER = -1e4  # the logit of a label that was not among those of the support


class Reader(nn.Module, ABC):
    """Writes a support and reads queries; embeddings are ``[B, S, E]``, one-hot labels ``[B, S, ways]``.

    Args:
        memory: what it writes to.
    """

    def __init__(self, memory: Memory) -> None:
        super().__init__()
        self.memory = memory

    @abstractmethod
    def forward(self, support: Tensor, labels: Tensor, queries: Tensor) -> Tensor:
        """The logits of the queries; no query sees another.

        Args:
            support: ``[B, S, E]``
            labels: one-hot ``[B, S, ways]``.
            queries: ``[B, Q, E]``

        Returns:
            ``[B, Q, ways]``
        """

    def weights(self, support: Tensor, labels: Tensor, queries: Tensor) -> Tensor | None:
        """How much each example counts for each query.

        Args:
            support: ``[B, S, E]``
            labels: one-hot ``[B, S, ways]``.
            queries: ``[B, Q, E]``

        Returns:
            ``[B, Q, S]``; None where slots are not the examples, or reads no weighted sums of them.
        """
        memory, values = self.memory, self._values(labels)
        if memory.access is None or not memory.access.sums:
            return None
        read, slots = memory.recall(memory.write_all(support, values), queries)
        made = memory.value(values) if memory.value is not None else values
        written = memory.store.transform_value(made)
        if read.log_weights is None or slots.values.shape != written.shape or not torch.allclose(slots.values, written):
            return None
        return read.log_weights.exp()

    def consolidate(self, support: Tensor, labels: Tensor) -> None:
        """Store a support ``[B, S, E]`` and its labels ``[B, S, ways]`` for all later episodes, if the memory can."""
        every = torch.ones(support.shape[1::-1], dtype=torch.bool, device=support.device)
        self.memory.consolidate(support.transpose(0, 1), self._values(labels).transpose(0, 1), every)

    def _values(self, labels: Tensor) -> Tensor:
        """What is written for labels ``[B, S, ways]``."""
        return labels


class SetReader(Reader):
    """Writes labels under the embeddings of their examples, then reads all queries in parallel.

    Keys, values and queries go through learned maps; another one maps reads to logits.

    Args:
        options: of the memory.
        embedding_size: width of the embeddings.
        ways: number of classes.
        longest: most examples in a support.

    Raises:
        ConfigError: a memory that can't store a set.
    """

    def __init__(self, options: MemoryOptions, embedding_size: int, ways: int, longest: int) -> None:
        super().__init__(_memory(options, embedding_size, ways, longest, project=True))
        self.head = nn.Linear(self.memory.read_size, ways)

    def forward(self, support: Tensor, labels: Tensor, queries: Tensor) -> Tensor:
        """See :meth:`Reader.forward`."""
        state = self.memory.write_all(support, self._values(labels))
        return self.head(self.memory.read(state, queries)[0])

    def _values(self, labels: Tensor) -> Tensor:
        return labels * labels.shape[-1] ** 0.5


class VotingReader(Reader):
    """Slots vote for their labels with the weights that a query gives them: p(y | q) = sum_i w_i(q) y_i.

    With attention over slots this is a matching network (Vinyals et al. 2016, eq. 1); with one averaged key for each
    class and the Euclidean kernel it is a prototypical network (Snell et al. 2017, eq. 1-2). Keys and queries are the
    embeddings themselves, and values the labels. The weight of the empty slot counts for no class.

    Args:
        options: of the memory.
        embedding_size: width of the embeddings.
        ways: number of classes.
        longest: most examples in a support.
        averaged: write the mean of each class's embeddings instead of every example's.
        plda: with ``averaged``, outside training embeddings are compared by :class:`metarl.nets.plda.Plda`.

    Raises:
        ConfigError: a memory that can't store a set, or whose reads are not weighted sums of labels.
    """

    def __init__(
        self,
        options: MemoryOptions,
        embedding_size: int,
        ways: int,
        longest: int,
        *,
        averaged: bool = False,
        plda: bool = False,
    ) -> None:
        super().__init__(_memory(options, embedding_size, ways, ways if averaged else longest, project=False))
        self.averaged, self.plda = averaged, Plda(embedding_size) if plda else None
        access = self.memory.access
        if access is None or not access.sums:
            expected = "attention or graph with readout = 'votes', whose reads are weighted sums of labels"
            remedy = "or use readout = 'linear'"
            raise ConfigError(key="memory.access", given=options.access, expected=expected, remedy=remedy)
        learned = self.memory.store.learned()
        if learned is not None and len(learned[0]):
            expected = "0 with readout = 'votes', as learned slots have no labels to vote for"
            remedy = "or use readout = 'linear'"
            raise ConfigError(
                key="memory.store_options.learned", given=len(learned[0]), expected=expected, remedy=remedy
            )

    def forward(self, support: Tensor, labels: Tensor, queries: Tensor) -> Tensor:
        """See :meth:`Reader.forward`; the logits are log probabilities, :data:`NEVER` for labels that no slot has."""
        return self.recall(support, labels, queries)[0]

    def weights(self, support: Tensor, labels: Tensor, queries: Tensor) -> Tensor | None:
        """See :meth:`Reader.weights`; the weight of a mean is shared equally by the examples of its class."""
        if not self.averaged:
            return super().weights(support, labels, queries)
        return self(support, labels, queries).exp() @ (labels / labels.sum(1, keepdim=True).clamp_min(1)).mT

    def recall(self, support: Tensor, labels: Tensor, queries: Tensor) -> tuple[Tensor, Tensor]:
        """The logits of queries, and the log weights that they came from.

        Args:
            support: ``[B, S, E]``
            labels: one-hot ``[B, S, ways]``.
            queries: ``[B, Q, E]``

        Returns:
            Logits ``[B, Q, ways]`` and log weights ``[B, Q, N]`` of the slots, in the order of their writes.
        """
        rows = None
        if self.averaged:
            count = labels.sum(1)
            support, rows = labels.mT @ support / count.clamp_min(1)[..., None], count > 0
            support, queries = self.compared(support, queries, count)
            labels = torch.eye(labels.shape[-1], dtype=labels.dtype, device=labels.device).expand(len(labels), -1, -1)
        memory = self.memory
        state = memory.write_all(support, labels, rows)
        read, slots = memory.recall(state, queries)
        assert read.log_weights is not None
        if self.averaged and not in_graph() and torch.equal(slots.values, labels):  # slot k holds class k
            return read.log_weights.clamp_min(NEVER), read.log_weights
        return votes(read.log_weights, slots.values), read.log_weights

    def compared(self, means: Tensor, queries: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        """Class means and queries as they are compared, which outside training may be by another metric.

        Args:
            means: of each class ``[B, N, E]``.
            queries: ``[B, Q, E]``
            counts: examples of each class ``[B, N]``.
        """
        if self.plda is None or self.training:
            return means, queries
        return self.plda(means, queries, counts)


def votes(log_weights: Tensor, labels: Tensor) -> Tensor:
    """Log sum_n w_n y_n, at least :data:`NEVER` (Vinyals et al. 2016, eq. 1).

    Sums in the log domain keep the gradient of a class, however small its weight.

    Args:
        log_weights: ``[B, Q, N]``
        labels: one-hot ``[B, N, ways]``.

    Returns:
        ``[B, Q, ways]``
    """
    each = log_weights.clamp_min(NEVER)[..., None] + labels.clamp_min(0).log()[:, None]
    none = (labels <= 0).all(1)[:, None]
    return torch.logsumexp(each.masked_fill(none[:, :, None], 0.0), 2).masked_fill(none, NEVER)


def _memory(options: MemoryOptions, embedding_size: int, ways: int, longest: int, *, project: bool) -> Memory:
    if options.store not in STORES:
        remedy = "a StreamClassifier can also do with a controller alone"
        raise ConfigError(key="memory.store", given=options.store, expected=one_of(list(STORES)), remedy=remedy)
    if options.store_options.get("holds") == "state":
        expected = "'transition' to classify sets, which use no controller"
        remedy = "leave it out, or use a StreamClassifier"
        raise ConfigError(key="memory.store_options.holds", given="state", expected=expected, remedy=remedy)
    default = MemoryOptions()
    for name in (*STEPS_ALONE, *(() if project else PROJECTED_ALONE)):
        if (given := getattr(options, name)) != (plain := getattr(default, name)):
            how = "readout = 'linear'" if name in PROJECTED_ALONE else "a StreamClassifier, which takes steps"
            raise ConfigError(key=f"memory.{name}", given=given, expected=f"{plain!r}, or {how}")
    memory = build_memory(options, embedding_size, ways, longest, project=project)
    if not memory.store.writable:
        expected = "false to classify sets, or nothing of the support is kept"
        raise ConfigError(key="memory.store_options.learned_only", given=True, expected=expected)
    return memory
