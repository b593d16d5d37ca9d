"""Matrix products: how fast this machine makes them, how many operations a computation needs, and what it keeps."""

from __future__ import annotations

import time
import warnings
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

SIZES = (256, 512, 1024)
"""Sides of the square matrices that are multiplied; more of them are small in training than large."""

TRIES = 20


def product_rates(device: torch.device, sizes: Sequence[int] = SIZES, seconds: float = 0.02) -> dict[int, float]:
    """The rate of float32 products of square matrices, with as many threads as torch has now.

    Args:
        device: that computes.
        sizes: sides of the matrices.
        seconds: that each of :data:`TRIES` measurements takes at least.

    Returns:
        Floating-point operations a second (2 n^3 a product), by size: the best of the measurements, as on a machine
        that does something else besides all others are too low for a limit.
    """
    rates = {}
    for size in sizes:
        product = partial(torch.mm, *(torch.ones(size, size, device=device) for _ in range(2)))
        rates[size] = 2 * size**3 * _calls_per_second(product, device, seconds)
    return rates


def _calls_per_second(call: Callable[[], object], device: torch.device, seconds: float) -> float:
    def run(times: int) -> float:
        _wait(device)
        began = time.perf_counter()
        for _ in range(times):
            call()
        _wait(device)
        return time.perf_counter() - began

    times = 1
    while run(times) < seconds:  # this warms up, too
        times *= 2
    return times / min(run(times) for _ in range(TRIES))


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextmanager
def counting() -> Iterator[FlopCounterMode]:
    """Count the floating-point operations of matrix products and convolutions.

    Fused kernels would be counted as nothing, so recurrent nets and attention are made of their products meanwhile:
    the same operations, but slower.
    """
    with warnings.catch_warnings():
        # torch tells that oneDNN's other precision needs another processor, though none is asked for
        warnings.filterwarnings("ignore", "TF32 acceleration")
        plain = torch.backends.mkldnn.flags(enabled=False), torch.backends.cudnn.flags(enabled=False)
        with plain[0], plain[1], sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            yield counter


class LiveBytes(TorchDispatchMode):
    """Follows how many bytes the tensors take that are made within, views counted once.

    :attr:`now` is what those still in use take, :attr:`peak` the most since :meth:`restart`. What kernels take for
    themselves is not seen.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = self.before = 0
        self._known: weakref.WeakSet[torch.UntypedStorage] = weakref.WeakSet()

    def restart(self) -> None:
        """Count from what is in use now."""
        self.before = self.peak = self.now

    @property
    def added(self) -> int:
        """The most bytes in use since :meth:`restart`, beyond those at that time."""
        return self.peak - self.before

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for leaf in tree_leaves((args, kwargs)):
            if isinstance(leaf, Tensor):
                self._known.add(leaf.untyped_storage())  # it was made outside, or is known already
        made = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(made):
            if isinstance(leaf, Tensor) and leaf.untyped_storage() not in self._known:
                self._follow(leaf.untyped_storage())
        return made

    def _follow(self, storage: torch.UntypedStorage) -> None:
        size = storage.nbytes()
        self._known.add(storage)
        weakref.finalize(storage, self._free, size)
        self.now += size
        self.peak = max(self.peak, self.now)

    def _free(self, size: int) -> None:
        self.now -= size
