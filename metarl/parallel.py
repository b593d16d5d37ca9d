"""One training in several processes that ``torchrun`` starts; in a single process everything here changes nothing.

Each process (rank) computes its share of a batch. What is summed over the batch is summed over the processes:
gradients, as one flat bucket for each step of the optimiser, and the moments that data are normalised by. All
processes must make the same calls in the same order, so whatever decides about a call is agreed on first.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from metarl.config import InputError

T = TypeVar("T")


class Launched(NamedTuple):
    """What ``torchrun`` said of this process.

    Args:
        rank: its number among all of them.
        local_rank: its number on its machine.
        processes: how many there are.
        restarts: how often all were started again so far.
        max_restarts: how often they are at most, after one has died.
    """

    rank: int
    local_rank: int
    processes: int
    restarts: int
    max_restarts: int


class Moments(NamedTuple):
    """How many vectors there are in all processes, and their mean and variance (divided by their number)."""

    number: int
    mean: Tensor
    var: Tensor


def launched() -> Launched | None:
    """What ``torchrun`` said; None where it didn't start this process."""
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        return None
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "TORCHELASTIC_RESTART_COUNT", "TORCHELASTIC_MAX_RESTARTS")
    return Launched(*(int(os.environ[name]) for name in names))


def size() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """The number of this process among them; 0 is the first, which alone validates, evaluates and writes."""
    return dist.get_rank() if size() > 1 else 0


@contextmanager
def joined() -> Iterator[None]:
    """Within, the processes that ``torchrun`` started train together, until :func:`leave`.

    They talk by gloo, and between GPUs by NCCL. Each takes the GPU of its number on its machine.
    """
    found = launched()
    if found is None or found.processes == 1 or size() > 1:
        yield
        return
    gpus = torch.cuda.is_available() and dist.is_nccl_available()
    if gpus and found.local_rank < torch.cuda.device_count():
        torch.cuda.set_device(found.local_rank)
    store, number, count = next(iter(dist.rendezvous("env://")))
    fresh = dist.PrefixStore(f"metarl/{found.restarts}", store)  # the addresses of those that died are in the store too
    dist.init_process_group("cpu:gloo,cuda:nccl" if gpus else "gloo", store=fresh, rank=number, world_size=count)
    yield  # after an error the process ends, and closes what it holds
    leave()


def leave() -> None:
    """From here on, this process is alone."""
    if size() > 1:
        dist.destroy_process_group()


def any_of(flag: bool) -> bool:
    """Whether ``flag`` is true in any process."""
    if size() == 1:
        return flag
    flags = torch.tensor(int(flag))
    dist.all_reduce(flags, dist.ReduceOp.MAX)
    return bool(flags)


def from_first(make: Callable[[], T]) -> T:
    """What ``make`` returns in the first process, which alone calls it."""
    if size() == 1:
        return make()
    box: list[Any] = [make() if rank() == 0 else None]
    dist.broadcast_object_list(box)
    made: T = box[0]
    return made


def gathered(part: T) -> list[T] | None:
    """The parts of all processes, in order, in the first one; None in the others."""
    if size() == 1:
        return [part]
    parts: list[Any] | None = [None] * size() if rank() == 0 else None
    dist.gather_object(part, parts)
    return parts


def check_same(what: str, given: object) -> None:
    """Refuse to train where the processes were given different things.

    Args:
        what: they were given, for the error.
        given: to this process.

    Raises:
        InputError: another process was given something else than the first.
    """
    first = from_first(lambda: given)
    if any_of(given != first):
        raise InputError(key=f"{what} of process {rank()}", given=given, expected=f"{first!r}, as of the first process")


def check_model(model: nn.Module) -> None:
    """Refuse a model whose statistics of a batch would be those of one process's share.

    Raises:
        InputError: there are several processes, and a layer of ``model`` takes statistics over the batch.
    """
    for name, layer in model.named_modules() if size() > 1 else ():
        if isinstance(layer, _NormBase) and layer.track_running_stats:
            raise InputError(
                f"{name} is a {type(layer).__name__}, whose statistics of the batch would be those of one process",
                key=name,
                remedy='train in one process, or use another norm (few-shot: norm = "group" or "batch")',
            )


def copy_first(model: nn.Module) -> None:
    """Give ``model`` the parameters and buffers that it has in the first process."""
    if size() > 1:
        with torch.no_grad():
            for tensor in (*model.parameters(), *model.buffers()):
                dist.broadcast(tensor, 0)


def moments(x: Tensor) -> Moments:
    """Number, mean and variance over the first axis and over all processes, in float64 (Chan et al. 1979).

    Args:
        x: ``[n, ...]``; ``n`` may differ between processes.
    """
    count = len(x)
    flat = x.detach().double()
    if size() == 1:
        return Moments(count, *reversed(torch.var_mean(flat, 0, correction=0)))
    var, mean = torch.var_mean(flat, 0, correction=0) if count else (flat.new_zeros(x.shape[1:]),) * 2
    own = torch.cat([flat.new_tensor([count]), mean.reshape(-1), var.reshape(-1)])
    everyone = [torch.empty_like(own) for _ in range(size())]
    dist.all_gather(everyone, own)
    counts, means, variances = torch.stack(everyone).split([1, mean.numel(), mean.numel()], 1)
    share = counts / counts.sum().clamp(min=1)
    whole = (share * means).sum(0)
    spread = (share * (variances + (means - whole).square())).sum(0)
    return Moments(int(counts.sum()), whole.view_as(mean), spread.view_as(mean))


def mean_std(x: Tensor) -> tuple[int, Tensor, Tensor]:
    """Number, mean and standard deviation (divided by the number less one) of ``x`` ``[n]`` over all processes."""
    if size() == 1:
        return len(x), x.mean(), x.std() if len(x) > 1 else x.new_ones(())
    count, mean, var = moments(x)
    return count, mean.to(x), (var * (count / max(count - 1, 1))).sqrt().to(x)


def mean(number: float, weight: float) -> float:
    """The mean of a number of each process.

    Args:
        number: of this process.
        weight: how much it counts.
    """
    if size() == 1:
        return number
    sums = torch.tensor([number * weight, weight], dtype=torch.float64)
    dist.all_reduce(sums)
    return float(sums[0] / sums[1])


def average_gradients(parameters: Sequence[Tensor], loss: Tensor, weight: float) -> Tensor:
    """Replace gradients by their mean over all processes, sent as one flat bucket.

    Args:
        parameters: with the gradients of this process; one that no process has a gradient of stays without.
        loss: of this process, ``[]``.
        weight: how much this process counts: what its loss is a mean over.

    Returns:
        The mean loss, ``[]``.
    """
    if size() == 1:
        return loss
    grads = [p.grad for p in parameters]
    has = loss.new_tensor([grad is not None for grad in grads])
    parts = [
        p.new_zeros(p.numel()) if grad is None else grad.flatten() for p, grad in zip(parameters, grads, strict=True)
    ]
    bucket = torch.cat([*parts, loss.reshape(1), loss.new_ones(1)]) * weight
    bucket = torch.cat([bucket, has])
    dist.all_reduce(bucket)
    *parts, rest = bucket.split([*(p.numel() for p in parameters), len(has) + 2])
    for p, part, used in zip(parameters, parts, rest[2:].tolist(), strict=True):
        p.grad = (part / rest[1]).view_as(p).to(p) if used else None
    return rest[0] / rest[1]
