"""What a memory that is asked once for each action needs to know of actions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class ActionColumns:
    """Where the feedback of a step speaks of actions.

    Args:
        sizes: choices of each part of the action; a Discrete has one part.
        starts: where blocks of ``sum(sizes)`` columns begin, one column a choice; the first block is the previous
            action, one-hot part by part.
    """

    sizes: tuple[int, ...]
    starts: tuple[int, ...] = (0,)

    @property
    def count(self) -> int:
        """Choices of all parts."""
        return sum(self.sizes)

    def previous(self, feedback: Tensor) -> Tensor:
        """The previous action ``[..., A]`` of feedback ``[..., D]``."""
        return feedback.narrow(-1, self.starts[0], self.count)

    def of_actions(self, feedback: Tensor) -> Tensor:
        """``[..., A, blocks]``: what feedback ``[..., D]`` says of each choice."""
        return torch.stack([feedback.narrow(-1, start, self.count) for start in self.starts], -1)

    def rest(self, feedback: Tensor) -> Tensor:
        """What feedback ``[..., D]`` says beside, ``[..., D - blocks * A]``."""
        ends = [0, *(start + self.count for start in self.starts)]
        parts = [feedback[..., end:start] for end, start in zip(ends, [*self.starts, feedback.shape[-1]], strict=True)]
        return torch.cat(parts, -1)

    def part(self, action: Tensor, index: int) -> Tensor:
        """``action`` ``[..., A]`` with zeros in all parts but one."""
        if len(self.sizes) == 1:
            return action
        first = sum(self.sizes[:index])
        kept = torch.zeros(self.count, dtype=torch.bool, device=action.device)
        kept[first : first + self.sizes[index]] = True
        return action.masked_fill(~kept, 0.0)


def signs_apart(count: int, width: int, parts: int = 1) -> Tensor:
    """``[count, width]``: vectors of 1 and -1 that are as far apart as can be, as a whole and in each of their parts.

    They are rows of a Hadamard matrix by Sylvester's construction, of size n, the power of two that is no less than
    ``count``. Where the width of parts is a multiple of n, they are at right angles, and so are their parts. Otherwise
    their columns come in random order, each as often as any other or once more, and no two vectors are equal, if there
    are so many different ones of that width.

    Args:
        count: how many vectors.
        width: of each.
        parts: into how many of equal width they are split.
    """
    rows = torch.ones(1, 1)
    while len(rows) < count:
        rows = torch.cat([torch.cat([rows, rows], 1), torch.cat([rows, -rows], 1)])
    n = len(rows)
    columns = torch.arange(width) % n
    if width // parts % n:  # in their order, a few columns would tell few rows apart
        first = torch.randperm(n)
        tell_all = (first & (first - 1) == 0) & (first > 0)  # powers of two, by which alone all rows differ
        drawn = [first[tell_all], first[~tell_all], *(torch.randperm(n) for _ in range(width // n))]
        columns = torch.cat(drawn)[:width][torch.randperm(width)]
    return rows[:count, columns].clone()


class FiledKey(nn.Module):
    """The key of an observation and an action: a linear map of the one, and then the other as it is.

    For :class:`metarl.memory.access.own_slots.OwnSlots`.

    Args:
        observation_size: width of what comes first in an address.
        actions: width of the one-hot action that comes last.
        key_size: width of keys without the action.
    """

    def __init__(self, observation_size: int, actions: int, key_size: int) -> None:
        super().__init__()
        self.observation = nn.Linear(observation_size, key_size)
        self.actions = actions

    def forward(self, address: Tensor) -> Tensor:
        """Addresses ``[..., observation_size + actions]`` to keys ``[..., key_size + actions]``."""
        observation, action = address.split([address.shape[-1] - self.actions, self.actions], -1)
        return torch.cat([self.observation(observation), action], -1)


class ActionKey(nn.Module):
    """The key of an observation and an action: a linear map of the one, with signs that belong to the other.

    Before training keys of one observation and different actions are about at right angles, so that a query finds what
    was filed under its own action: a table for each action, as in Neural Episodic Control (Pritzel et al. 2017, section
    3.1), in one memory.

    Args:
        observation_size: width of what comes first in an address.
        actions: width of the one-hot action that comes last.
        key_size: width of keys.
        heads: into how many parts keys are split, each compared alone.
    """

    def __init__(self, observation_size: int, actions: int, key_size: int, heads: int = 1) -> None:
        super().__init__()
        self.observation = nn.Linear(observation_size, key_size)
        self.action = nn.Parameter(signs_apart(actions, key_size, heads))
        self.actions = actions

    def forward(self, address: Tensor) -> Tensor:
        """Addresses ``[..., observation_size + actions]`` to keys ``[..., key_size]``."""
        observation, action = address.split([address.shape[-1] - self.actions, self.actions], -1)
        return self.observation(observation) * (action @ self.action)
