"""A core that asks its memory once for each action, and scores every action by what was read for it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from metarl.memory.actions import ActionColumns
from metarl.memory.contract import Controller
from metarl.memory.core import Asked, StoreCore
from metarl.memory.memory import Memory
from metarl.memory.ops import groups
from metarl.memory.options import MemoryOptions
from metarl.types import Boundary, CoreInput

FEW = 5  # queries count as repeated where each is asked this often or more, which pays


class ActionCore(StoreCore):
    """What is written at t has its key from (o_{t-1}, a_{t-1}) and its value from (feedback_t, o_t); queries come from
    (o_t, a), one for each action a.

    One net, shared by all actions, makes features of what was read for an action. Their mean over the actions that are
    allowed goes to the controller, and features and the controller's output together give the action's score. Output
    is what the controller puts out, and after it one score for each action.

    Args:
        controller: runs over the observation, the feedback and the mean of the features.
        memory: of addresses that end with a one-hot action.
        now_size: width of ``CoreInput.now``.
        feedback_size: width of ``CoreInput.feedback``.
        options: of the core.
        actions: where feedback speaks of actions.
    """

    def __init__(
        self,
        controller: Controller,
        memory: Memory,
        now_size: int,
        feedback_size: int,
        options: MemoryOptions,
        actions: ActionColumns,
    ) -> None:
        super().__init__(controller, memory, now_size, feedback_size, options)
        self.actions, self.writes, self.queries = actions, len(actions.sizes), actions.count
        self.scores = actions.count
        self.output_size = controller.output_size + actions.count
        width, named = options.action_size, actions.count if options.action_identity else 0
        self.own = nn.Linear(memory.read_size + len(actions.starts) + named, width)
        self.common = nn.Linear(feedback_size - len(actions.starts) * actions.count, width, bias=False)
        self.features = nn.Sequential(nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        self.join, self.outer = nn.Linear(width, width), nn.Linear(controller.output_size, width, bias=False)
        self.score = nn.Parameter(torch.zeros(actions.count if options.action_identity else 1, width))
        self.bias = nn.Parameter(torch.zeros(actions.count if options.action_identity else 1))

    def _key(self, before: Tensor, feedback: Tensor, output: Tensor | None = None, part: int = 0) -> Tensor:
        action = self.actions.part(self.actions.previous(feedback), part)
        return torch.cat([self._address(before, self.actions.rest(feedback), output), action], -1)

    def _content(
        self, before: Tensor, feedback: Tensor, now: Tensor, boundary: Tensor, output: Tensor | None = None
    ) -> Tensor:
        parts = [self.actions.rest(feedback), *([] if output is None else [output]), now]
        if self.memory.leads:  # an observation after the end of an episode is not where the transition led
            parts.append((boundary == Boundary.INSIDE).to(now.dtype)[..., None])
        return torch.cat(parts, -1)

    def _query(self, now: Tensor, feedback: Tensor, output: Tensor | None = None) -> Tensor:
        address = self._address(now, self.actions.rest(feedback), output)[..., None, :]
        each = torch.eye(self.queries, dtype=now.dtype, device=now.device).expand(*now.shape[:-1], -1, -1)
        return torch.cat([address.expand(*each.shape[:-1], -1), each], -1)

    def _asked(self, now: Tensor, feedback: Tensor) -> Asked:
        plain = self.options.address == "observation" and self.options.read_every == 1 and self.writes == 1
        if plain and self.memory.store.repeats:
            first, chosen = groups(now)
            rows = torch.arange(now.shape[1], device=now.device)
            seen = now[first, rows]
            if FEW * len(first) <= len(now) and torch.equal(seen[chosen, rows], now):
                return Asked(self._query(seen, feedback), chosen)
        return Asked(self._query(now, feedback), None)

    def _features(self, x: CoreInput, reads: Tensor | None) -> tuple[Tensor, Tensor]:
        own = torch.cat([self._gated(x.now, reads), self.actions.of_actions(x.feedback)], -1)
        if self.options.action_identity:
            each = torch.eye(self.queries, dtype=own.dtype, device=own.device)
            own = torch.cat([own, each.expand(*own.shape[:-1], -1)], -1)
        rest = self.actions.rest(x.feedback)
        made = self.features(self.own(own) + self.common(rest)[..., None, :])
        if x.allowed is None:
            pooled = made.mean(-2)
        else:
            allowed = (x.allowed != 0).to(made.dtype)[..., None]
            pooled = (made * allowed).sum(-2) / allowed.sum(-2).clamp_min(1.0)
        known = x.feedback if self.options.action_identity else rest
        return torch.cat([x.now, known, pooled], -1), made

    def _outputs(self, y: Tensor, made: Tensor | None) -> Tensor:
        assert made is not None
        joined = torch.relu(self.join(made) + self.outer(y)[..., None, :])
        scored = joined @ self.score[0] if len(self.score) == 1 else (joined * self.score).sum(-1)
        return torch.cat([y, scored + self.bias], -1)
