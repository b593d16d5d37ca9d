"""How much memory is free and was taken, one error for what doesn't fit into it, and keeping what was freed."""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache
from pathlib import Path

from metarl.config import InputError

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3  # of malloc.h
KEPT = {M_MMAP_THRESHOLD: 256 << 20, M_TRIM_THRESHOLD: 512 << 20, M_TOP_PAD: 16 << 20}  # bytes


@cache
def keep_freed_memory() -> bool:
    """Let this process keep the memory of tensors that are freed, for the next ones, once and for all.

    glibc gives large blocks back to the system at once and gets them again, page by page, for the next tensor of the
    same size, which took up to a quarter of a training on a CPU. At most half a GiB at the end of the heap is kept.

    Returns:
        whether it is so; otherwise nothing is changed: another C library, or a user who told it what to do.
    """
    if any(name.startswith(("MALLOC_", "GLIBC_TUNABLES")) for name in os.environ):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    return mallopt is not None and all(mallopt(option, size) == 1 for option, size in KEPT.items())


def free_bytes() -> int | None:
    """The memory that this process may still take; None where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        import resource  # there is none on Windows
    except (OSError, ImportError):
        return None
    free = next((1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")), None)
    most = resource.getrlimit(resource.RLIMIT_AS)[0]
    left = None if most == resource.RLIM_INFINITY else max(0, most - pages * resource.getpagesize())
    return min((one for one in (free, left) if one is not None), default=None)


def peak_bytes() -> int | None:
    """The most memory that this process has held so far (resident, without its children); None where none tells."""
    try:  # not of getrusage, which on Linux begins with what the process held that started this one
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        pass
    try:
        import resource  # there is none on Windows
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def check_bytes(needed: int, *, key: str, given: object, remedy: str, free: int | None = None) -> None:
    """Refuse what memory cannot hold.

    Args:
        needed: bytes, by estimate.
        key: what takes them.
        given: what makes it so large.
        remedy: what to do.
        free: bytes there are; None: those of this process.

    Raises:
        InputError: there are fewer bytes than needed.
    """
    free = free_bytes() if free is None else free
    if free is not None and needed > free:
        given = f"{given}, about {needed / 1e9:,.1f} GB"
        raise InputError(key=key, given=given, expected=f"what fits into the {free / 1e9:,.1f} GB free", remedy=remedy)


def check_count(count: int, each: int, *, key: str, remedy: str = "give fewer") -> None:
    """Refuse more of something than memory can hold at once.

    Args:
        count: how many.
        each: bytes that one takes at least.
        key: the option that says how many.
        remedy: what to do.

    Raises:
        InputError: there are fewer bytes than needed.
    """
    check_bytes(count * each, key=key, given=f"{count:,}", remedy=remedy)
