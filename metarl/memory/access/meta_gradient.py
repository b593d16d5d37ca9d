"""Meta-gradient: a small map is fitted to the slots that the query finds, and then evaluated at the query."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

import torch
from annotated_types import Ge, Gt
from torch import Tensor, nn

from metarl.functional import kernels
from metarl.functional.addressing import keep_top, log_weights
from metarl.functional.branches import in_graph
from metarl.functional.chunks import by_queries
from metarl.functional.inner_loop import Params, adapt
from metarl.functional.kernels import Kernel
from metarl.memory.contract import Access, Content
from metarl.memory.ops import Query, visible
from metarl.types import Read


@dataclass(frozen=True)
class MetaGradientOptions:
    """Options of the meta-gradient access.

    Args:
        steps: gradient steps at every read.
        neighbours: fit to the k best slots, and those that tie with the last of them.
        width: the map sees keys through a learned projection to this width; the cost of a read grows with it.
        hidden_size: hidden units of the map; None: it is linear.
        second_order: differentiate through the steps.
        kernel: how a key answers a query.
        temperature: divides the logits: small is sharp.
        empty_slot: one more slot of logit 0 that holds nothing: the map moves less, the less the query finds.
    """

    steps: Annotated[int, Ge(1)] = 1
    neighbours: Annotated[int, Ge(1)] = 8
    width: Annotated[int, Ge(1)] = 16
    hidden_size: Annotated[int, Ge(1)] | None = None
    second_order: bool = False
    kernel: Kernel = "cosine"
    temperature: Annotated[float, Gt(0)] = 0.1
    empty_slot: bool = True


class MetaGradient(Access):
    """Memory-based parameter adaptation (MbPA, Sprechmann et al. 2018, its local adaptation at reading).

    The weights w of attention choose the neighbours of the query. From learned parameters phi, every query for itself
    makes a few gradient steps on sum_k w_k |f_phi(k_k) - v_k|^2 / 2 and reads f_phi'(q). f is linear or has one hidden
    layer; its inputs are of unit length. Step sizes are learned, one per parameter tensor, between 0 and 1; they start
    at 1/2, with which one step of the linear map fits a single neighbour. A query that sees nothing reads zeros;
    one that sees slots but finds nothing reads what phi alone says.

    With ``second_order`` gradients reach queries, keys and values through the steps. In first order the steps are
    constants: exact gradients reach phi, the step sizes and the query as the map's input, and nothing would teach what
    is written or found. Its stand-in is the gradient of attention to the same neighbours, sum_k w_k v_k, which is what
    fitting a constant reads.

    Slots that tie with the last neighbour all count, so where all keys are equal a read costs as much as N neighbours.
    """

    sums: bool = False
    differentiates: bool = True

    def __init__(self, key_size: int, value_size: int, options: MetaGradientOptions) -> None:
        super().__init__()
        self.options = options
        self.project = nn.Linear(key_size, options.width, bias=False)
        shapes = {"weight": (options.width, value_size), "bias": (value_size,)}
        if options.hidden_size is not None:
            shapes |= {"weight": (options.hidden_size, value_size), "hidden_bias": (options.hidden_size,)}
            shapes |= {"hidden_weight": (options.width, options.hidden_size)}
        self.phi = nn.ParameterDict({name: nn.Parameter(torch.zeros(shape)) for name, shape in shapes.items()})
        if "hidden_weight" in self.phi:
            nn.init.normal_(self.phi["hidden_weight"])  # of unit inputs it makes numbers of size one
        self.raw_lr = nn.ParameterDict({name: nn.Parameter(torch.zeros(())) for name in shapes})

    def prepare(self, address: Tensor) -> Tensor:
        """See :meth:`metarl.memory.contract.Access.prepare`."""
        return kernels.prepare(self.options.kernel, address)

    def forward(self, query: Query, content: Content) -> Read:
        """See :meth:`metarl.memory.contract.Access.forward`."""
        o = self.options
        seen = visible(query, content)
        scores = kernels.logits(o.kernel, query.key, content.keys, o.temperature)
        scores = keep_top(scores.masked_fill(~seen, -torch.inf), o.neighbours)
        logs = log_weights(scores, ~torch.isneginf(scores), o.empty_slot)
        if content.keys.shape[1] == 0:
            return Read(query.key.new_zeros(*query.key.shape[:2], content.values.shape[-1]), logs)
        weights = logs.exp()
        points, inputs = self._features(query.key), self._features(content.keys)
        most = weights.shape[-1] if in_graph() else int((weights > 0).sum(-1).max()) if weights.numel() else 0
        batch, _, width = inputs.shape
        each = batch * content.values.shape[-1] * max(most, width, o.hidden_size or 0)
        own = (*self.phi.values(), *(raw.sigmoid() for raw in self.raw_lr.values()))
        value = by_queries(self._part(most), (points, weights), (inputs, content.values, *own), each)
        if not o.second_order:
            attended = weights @ content.values
            value = value + (attended - attended.detach())
        return Read(value.masked_fill(~seen.any(-1, keepdim=True), 0.0), logs)

    def _features(self, address: Tensor) -> Tensor:
        """What the map sees of keys and queries ``[..., K]``: ``[..., width]``, of unit length."""
        return kernels.unit(self.project(address))

    def _part(self, most: int) -> Callable[..., Tensor]:
        """The read of some of the queries, each of which has at most ``most`` neighbours."""
        o, names = self.options, list(self.phi)

        def part(points: Tensor, weights: Tensor, inputs: Tensor, values: Tensor, *own: Tensor) -> Tensor:
            near, place = weights.topk(most, -1)
            rows = place + torch.arange(len(inputs), device=place.device)[:, None, None] * inputs.shape[1]
            beyond = (near == 0)[..., None]  # what a query does not see fills its neighbours up
            x, v = (
                s.flatten(0, 1).index_select(0, rows.flatten()).unflatten(0, rows.shape).masked_fill(beyond, 0.0)
                for s in (inputs, values)
            )
            phi = {name: p.expand(*points.shape[:2], *p.shape) for name, p in zip(names, own, strict=False)}
            lr = dict(zip(names, own[len(names) :], strict=True))
            fitted = adapt(_map, phi, (x, v), near, steps=o.steps, lr=lr, second_order=o.second_order)
            return _map(fitted, points[..., None, :]).squeeze(-2)

        return part


def _map(phi: Params, x: Tensor) -> Tensor:
    """f_phi of ``[..., n, width]``, with the parameters of every query."""
    if "hidden_weight" in phi:
        hidden = torch.tanh(x @ phi["hidden_weight"] + phi["hidden_bias"][..., None, :])
        x = hidden / hidden.shape[-1] ** 0.5  # at most unit length, so that a step of the upper layer can't diverge
    return x @ phi["weight"] + phi["bias"][..., None, :]
