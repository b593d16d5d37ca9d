"""Running controllers over streams with boundaries: where memory is cleared, and how to begin afresh fast."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from metarl import tree
from metarl.memory.contract import Controller, State
from metarl.memory.options import MemoryOptions
from metarl.types import Boundary


def boundaries(begin: Tensor, options: MemoryOptions) -> tuple[Tensor, Tensor]:
    """``begin`` as the core takes it, and where working memory is cleared (bool), both shaped like ``begin``."""
    if options.horizon == "episode":
        begin = torch.where(begin == Boundary.EPISODE, Boundary.TRIAL, begin)
    elif options.horizon == "step":
        begin = torch.full_like(begin, Boundary.TRIAL)
    cleared = begin == Boundary.TRIAL
    return begin, (begin != Boundary.INSIDE) if options.working_memory == "episode" else cleared


def blank(feedback: Tensor, cleared: Tensor) -> Tensor:
    """Feedback is working memory of one step: where that is cleared, it is zero."""
    return feedback.masked_fill(cleared[..., None], 0.0)


def run_cleared(controller: Controller, x: Tensor, state: State, cleared: Tensor) -> tuple[Tensor, State]:
    """Run a controller over ``x`` ``[T, B, D]``, beginning afresh in the rows ``cleared`` ``[T, B]`` says."""
    if controller.resets_inside:
        return controller.unroll(x, state, cleared=cleared)
    fresh = controller.initial_state(x.shape[1])
    if next(tree.leaves(fresh), None) is None:  # no state, so there is nothing to clear
        return controller.unroll(x, state)
    later = (cleared[1:].any(1).nonzero().flatten() + 1).tolist() if len(x) > 1 else []
    if 4 * len(later) > len(x):  # measured: from here on, cutting all rows at every row's beginnings costs more
        return run_apart(controller, x, state, cleared)
    outputs = []
    for start, end in pairwise([0, *later, len(x)]):
        if cleared[start].any():
            state = tree.where(cleared[start], fresh, state)
        y, state = controller.unroll(x[start:end], state)
        outputs.append(y)
    return (outputs[0] if len(outputs) == 1 else torch.cat(outputs)), state


def run_apart(controller: Controller, x: Tensor, state: State, cleared: Tensor) -> tuple[Tensor, State]:
    """As :func:`run_cleared`, with every row cut at its own beginnings alone.

    The sequences between beginnings run side by side, in parts of 2^k steps by the binary digits of their lengths, the
    longest first. Parts of one length make a batch, so nothing is padded and there are at most log2 T + 1 of them.
    """
    steps, batch = cleared.shape
    begins = cleared.t().clone()
    begins[:, 0] = True
    row, first = begins.nonzero(as_tuple=True)  # of each sequence; those of a row follow one another
    place = row * steps + first
    length = place.diff(append=place.new_tensor([batch * steps]))
    goes_on = (first == 0) & ~cleared[0, row]
    states = tree.where(goes_on, tree.index(state, row), controller.initial_state(len(row)))
    flat, outputs, places = x.flatten(0, 1), [], []
    for digit in reversed(range(int(length.max()).bit_length())):
        part = (length >> digit & 1).nonzero().flatten()
        if not len(part):
            continue
        begin = first[part] + (length[part] >> digit + 1 << digit + 1)  # behind its longer parts
        at = (begin + torch.arange(1 << digit, device=x.device)[:, None]) * batch + row[part]
        inputs = flat.index_select(0, at.flatten()).unflatten(0, at.shape)
        y, ended = controller.unroll(inputs, tree.index(states, part))
        states = tree.map_tensors(lambda whole, new, part=part: whole.index_copy(0, part, new), states, ended)
        outputs.append(y.flatten(0, 1))
        places.append(at.flatten())
    order = torch.cat(places).argsort()
    last = torch.cat([row[1:] != row[:-1], row.new_ones(1, dtype=torch.bool)])
    return torch.cat(outputs).index_select(0, order).unflatten(0, (steps, batch)), tree.index(states, last)
