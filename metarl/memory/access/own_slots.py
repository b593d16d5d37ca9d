"""Reads for an action that see the slots of that action alone."""

from __future__ import annotations

import torch
from torch import Tensor

from metarl.memory.contract import Access, Content
from metarl.memory.ops import Query
from metarl.types import Read


class OwnSlots(Access):
    """An access in which a query about an action sees those slots alone that were filed under it.

    A table for each action, as in Neural Episodic Control (Pritzel et al. 2017, section 3.1), in one memory. Keys and
    queries end with a one-hot action, which the access within never sees. What is read for an action is then the same
    under any other name of it, bit for bit but for the order of sums.

    Args:
        access: reads the slots that a query sees.
        actions: width of the one-hot action.
    """

    def __init__(self, access: Access, actions: int) -> None:
        super().__init__()
        self.access, self.actions = access, actions
        self.control_size, self.counts = access.control_size, access.counts
        self.sums, self.differentiates = access.sums, access.differentiates

    def extra_repr(self) -> str:
        """How many actions."""
        return f"actions={self.actions}"

    def start_control(self) -> Tensor:
        """See :meth:`metarl.memory.contract.Part.start_control`."""
        return self.access.start_control()

    def prepare(self, address: Tensor) -> Tensor:
        """See :meth:`metarl.memory.contract.Access.prepare`; the action stays as it is."""
        key, action = self._parts(address)
        return torch.cat([self.access.prepare(key), action], -1)

    def forward(self, query: Query, content: Content) -> Read:
        """See :meth:`metarl.memory.contract.Access.forward`."""
        read: Read = self.access(*self._seen(query, content))
        return read

    def weigh(self, query: Query, content: Content) -> Read:
        """See :meth:`metarl.memory.contract.Access.weigh`."""
        return self.access.weigh(*self._seen(query, content))

    def running(
        self, query: Tensor, slots: Content, chosen: Tensor, filed: tuple[Tensor, Tensor] | None = None
    ) -> Tensor | None:
        """See :meth:`metarl.memory.contract.Access.running`."""
        asked, about = self._parts(query)
        keys, under = self._parts(slots.keys)
        return self.access.running(asked, slots._replace(keys=keys), chosen, (about, under))

    def _seen(self, query: Query, content: Content) -> tuple[Query, Content]:
        """The arguments of the access within."""
        asked, about = self._parts(query.key)
        keys, under = self._parts(content.keys)
        own = about @ under.mT > 0
        mask = own if query.mask is None else own & query.mask
        return query._replace(key=asked, mask=mask), content._replace(keys=keys)

    def _parts(self, x: Tensor) -> tuple[Tensor, ...]:
        """What the access within compares, and the action."""
        return x.split([x.shape[-1] - self.actions, self.actions], -1)
