"""A memory core as a classifier of sequences, and its loss and accuracy."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from metarl.config import InputError
from metarl.memory.contract import MemoryCore
from metarl.types import CoreInput


class SequenceClassifier(nn.Module):
    """A core with a linear head, run from its initial state over whole sequences.

    Args:
        core: a memory core.
        classes: size of the output.

    Raises:
        ValueError: fewer than one class.
    """

    def __init__(self, core: MemoryCore, classes: int) -> None:
        super().__init__()
        if classes < 1:
            raise InputError(key="classes", given=classes, expected="1 or more")
        self.core = core
        self.head = nn.Linear(core.output_size, classes)

    def forward(self, x: CoreInput, boundary: Tensor) -> Tensor:
        """Logits ``[T, B, classes]`` for inputs ``[T, B, D]``; ``boundary`` ``[T, B]`` of :class:`Boundary`."""
        y, _ = self.core.unroll(x, self.core.initial_state(boundary.shape[1]), boundary, last=False)
        return self.head(y)


def query_loss(logits: Tensor, target: Tensor, query_mask: Tensor) -> Tensor:
    """The mean cross entropy in nats at the steps that are queries.

    Args:
        logits: ``[..., C]``
        target: ``[...]`` classes; may be anything where there is no query.
        query_mask: ``[...]`` bool, True at one step at least.
    """
    return F.cross_entropy(logits[query_mask], target[query_mask])


def query_accuracy(logits: Tensor, target: Tensor, query_mask: Tensor) -> Tensor:
    """See :func:`query_loss`: the fraction of queries whose largest logit is that of ``target``."""
    return (logits[query_mask].argmax(-1) == target[query_mask]).float().mean()
