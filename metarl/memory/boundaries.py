"""Streams with boundaries: where memory is cleared, what fits together, and how to run controllers over them fast."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from metarl import tree
from metarl.functional.branches import some
from metarl.memory.contract import Controller, State
from metarl.memory.options import MemoryOptions
from metarl.types import Boundary, CoreInput


def check_batch(state: State, rows: int, given: str) -> None:
    """Refuse a state of another batch than what is given with it.

    Args:
        state: leaves ``[B, ...]``.
        rows: the batch of what is given.
        given: what that is, for the error.

    Raises:
        ValueError: one line with both sizes.
    """
    leaf = next(tree.leaves(state), None)  # acting checks every step, so one of them must do
    if leaf is not None and leaf.shape[0] != rows:
        raise ValueError(
            f"{given} has a batch of {rows}, the state one of {leaf.shape[0]}; "
            f"start from initial_state({rows}), or select the state's rows"
        )


def check_stream(x: CoreInput, state: State, boundary: Tensor) -> None:
    """Refuse inputs, boundaries and a state that do not belong together.

    Args:
        x: ``[..., B, D]``
        state: leaves ``[B, ...]``.
        boundary: ``[..., B]``

    Raises:
        ValueError: one line with the shapes.
    """
    if not x.now.shape[:-1] == x.feedback.shape[:-1] == boundary.shape:
        raise ValueError(
            f"boundary has shape {list(boundary.shape)}, now {list(x.now.shape)} and feedback "
            f"{list(x.feedback.shape)}; all need the same leading axes"
        )
    check_batch(state, boundary.shape[-1], "the input")


def effective_boundaries(boundary: Tensor, options: MemoryOptions) -> tuple[Tensor, Tensor]:
    """``boundary`` ``[..., B]`` by the horizon of the core, and where working memory is cleared, ``[..., B]`` bool."""
    if options.horizon == "episode":
        boundary = torch.where(boundary == Boundary.EPISODE, Boundary.TRIAL, boundary)
    elif options.horizon == "step":
        boundary = torch.full_like(boundary, Boundary.TRIAL)
    cleared = boundary == Boundary.TRIAL
    return boundary, (boundary != Boundary.INSIDE) if options.working_memory == "episode" else cleared


def zero_feedback_where(cleared: Tensor, feedback: Tensor) -> Tensor:
    """Feedback ``[..., D]`` is working memory of one step: zero where that is ``cleared`` ``[...]`` (bool)."""
    return feedback.masked_fill(cleared[..., None], 0.0)


def run_controller(controller: Controller, x: Tensor, state: State, cleared: Tensor) -> tuple[Tensor, State]:
    """Run a controller over a sequence in which it starts again at some steps.

    Args:
        controller: what is run.
        x: ``[T, B, D]``
        state: before the first input.
        cleared: ``[T, B]`` bool: before which inputs a row starts again.

    Returns:
        ``y`` ``[T, B, output_size]`` and the last state.
    """
    if controller.resets_inside:
        return controller.unroll(x, state, cleared=cleared)
    fresh = controller.initial_state(x.shape[1])
    if next(tree.leaves(fresh), None) is None:  # no state, so there is nothing to clear
        return controller.unroll(x, state)
    later = (cleared[1:].any(1).nonzero().flatten() + 1).tolist() if len(x) > 1 else []
    if 4 * len(later) > len(x):  # measured: from here on, splitting all rows where any row is cleared costs more
        return run_packed(controller, x, state, cleared)
    outputs = []
    for start, end in pairwise([0, *later, len(x)]):
        if some(cleared[start]):
            state = tree.where(cleared[start], fresh, state)
        y, state = controller.unroll(x[start:end], state)
        outputs.append(y)
    return (outputs[0] if len(outputs) == 1 else torch.cat(outputs)), state


def run_packed(controller: Controller, x: Tensor, state: State, cleared: Tensor) -> tuple[Tensor, State]:
    """As :func:`run_controller`, with every row split only where it is itself cleared.

    The resulting sequences run side by side, in parts of 2^k steps by the binary digits of their lengths, the longest
    first. Parts of one length make a batch, so nothing is padded and there are at most log2 T + 1 of them.
    """
    steps, batch = cleared.shape
    starts = cleared.t().clone()
    starts[:, 0] = True
    row, first = starts.nonzero(as_tuple=True)  # of each sequence; those of a row follow one another
    place = row * steps + first
    length = place.diff(append=place.new_tensor([batch * steps]))
    continues = (first == 0) & ~cleared[0, row]
    states = tree.where(continues, tree.index(state, row), controller.initial_state(len(row)))
    flat, outputs, places = x.flatten(0, 1), [], []
    for digit in reversed(range(int(length.max()).bit_length())):
        part = (length >> digit & 1).nonzero().flatten()
        if not len(part):
            continue
        start = first[part] + (length[part] >> digit + 1 << digit + 1)  # behind its longer parts
        at = (start + torch.arange(1 << digit, device=x.device)[:, None]) * batch + row[part]
        inputs = flat.index_select(0, at.flatten()).unflatten(0, at.shape)
        y, ended = controller.unroll(inputs, tree.index(states, part))
        states = tree.map_tensors(lambda whole, new, part=part: whole.index_copy(0, part, new), states, ended)
        outputs.append(y.flatten(0, 1))
        places.append(at.flatten())
    order = torch.cat(places).argsort()
    last = torch.cat([row[1:] != row[:-1], row.new_ones(1, dtype=torch.bool)])
    return torch.cat(outputs).index_select(0, order).unflatten(0, (steps, batch)), tree.index(states, last)
