"""A memory core as a classifier of sequences, and what its answers are worth."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from metarl.memory.contract import MemoryCore
from metarl.types import CoreInput


class SequenceClassifier(nn.Module):
    """A core with a linear head, run from its initial state over whole sequences."""

    def __init__(self, core: MemoryCore, classes: int) -> None:
        super().__init__()
        if classes < 1:
            raise ValueError(f"a classifier of {classes} classes was asked for, expected 1 or more")
        self.core = core
        self.head = nn.Linear(core.output_size, classes)

    def forward(self, x: CoreInput, begin: Tensor) -> Tensor:
        """Logits ``[T, B, classes]`` for inputs ``[T, B, D]``; ``begin`` ``[T, B]`` of :class:`Boundary`."""
        y, _ = self.core.unroll(x, self.core.initial_state(begin.shape[1]), begin)
        return self.head(y)


def asked_loss(logits: Tensor, target: Tensor, asked: Tensor) -> Tensor:
    """The mean cross entropy in nats of ``logits`` ``[..., C]`` at the steps ``asked`` ``[...]`` (bool, one at least).

    ``target`` ``[...]`` may be anything elsewhere.
    """
    return F.cross_entropy(logits[asked], target[asked])


def asked_accuracy(logits: Tensor, target: Tensor, asked: Tensor) -> Tensor:
    """The fraction of the steps ``asked`` at which the largest logit is that of ``target``; shapes as for the loss."""
    return (logits[asked].argmax(-1) == target[asked]).float().mean()
