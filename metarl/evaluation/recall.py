"""What one cell of the recall benchmark is, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from annotated_types import Ge, Gt

from metarl.data.recall import RECALL_TASKS
from metarl.data.sequences import RecallTask
from metarl.types import Count, Positive, Share, Size


@dataclass(frozen=True)
class RecallSettings:
    """What all memories are given alike.

    Args:
        updates: most updates in all; left out: as many as there is time for.
        seconds: longest training in all.
        batch: fresh sequences in each update.
        parameters: of the whole model, within 10 %.
        key_size: width of keys and of values.
        learning_rates: Adam's step sizes, each tried anew with an equal part of the budget, over which it falls to a
            tenth; what did best on validation sequences is tested.
        target: training ends early at this accuracy on validation sequences, without further step sizes; None: never.

    Raises:
        ValueError: the budget has no end, or no learning rate has a part of it.
    """

    updates: Annotated[int, Ge(1)] | None = 3000
    seconds: Annotated[float, Gt(0)] | None = None
    batch: Annotated[int, Ge(1)] = 64
    parameters: Annotated[int, Ge(1)] = 40_000
    key_size: Annotated[int, Ge(1)] = 32
    learning_rates: tuple[Annotated[float, Gt(0)], ...] = (3e-3, 1e-2)
    target: float | None = 0.999

    def __post_init__(self) -> None:
        if self.updates is None and self.seconds is None:
            raise ValueError("the benchmark's budget has no end: give updates, seconds or both")
        if not self.learning_rates:
            raise ValueError("the benchmark has no learning rate to train with; give one or more")
        if self.updates is not None and self.updates < len(self.learning_rates):
            raise ValueError(
                f"{self.updates} updates can't be split among {len(self.learning_rates)} learning rates; give more"
            )


@dataclass(frozen=True)
class RecallCell:
    """One memory on one task.

    Args:
        task: the name of a task.
        memory: the name of a candidate.
        sizes: all fields of the task; those left out are filled in with its defaults.

    Raises:
        ValueError: there is no such task, or its sizes are out of range.
    """

    task: str
    memory: str
    seed: Annotated[int, Ge(0)] = 0
    settings: RecallSettings = field(default_factory=RecallSettings)
    sizes: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sizes", dict(vars(self.make_task())))  # so that equal cells compare equal

    def make_task(self) -> RecallTask:
        """The task itself."""
        if self.task not in RECALL_TASKS:
            raise ValueError(f"there is no recall task {self.task!r}; it can be {', '.join(RECALL_TASKS)}")
        return RECALL_TASKS[self.task](**self.sizes)


@dataclass(frozen=True)
class RecallResult:
    """What was measured in a cell.

    Args:
        accuracy: the share of correct answers on the test sequences.
        se: its standard error over sequences.
        sequences: test sequences.
        chance: the best accuracy without a memory.
        validation: accuracy on validation sequences when its training ended.
        hidden_size: units of the controller, chosen to reach that number of parameters.
        learning_rate: the one that did best on validation sequences.
        updates: updates in all, with every learning rate that was tried.
        seconds: of training with every learning rate that was tried, validation included.
    """

    cell: RecallCell
    accuracy: Share
    se: Positive
    sequences: Size
    chance: Share
    validation: Share
    parameters: Count
    hidden_size: Size
    learning_rate: Positive
    updates: Count
    seconds: Positive
