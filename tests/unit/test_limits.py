"""What is kept of the memory that was freed."""

import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource
import numpy as np
from metarl.limits import keep_freed_memory
if {keep}:
    assert keep_freed_memory()
np.ones(4_000_000)  # 32 MB, given back at once
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    np.ones(4_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(keep: bool, **env: str) -> int:
    """Pages that a new process got from the system for arrays of a size that it has had before."""
    program = [sys.executable, "-c", FAULTS.format(keep=keep)]
    return int(subprocess.run(program, check=True, capture_output=True, text=True, env=env).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_freed_memory_serves_the_next_of_its_size() -> None:
    """Without it each of them is got anew, page by page."""
    assert faults(keep=True) < 100 < faults(keep=False)


def test_what_the_user_told_the_c_library_stays() -> None:
    """No matter which of its options it was."""
    program = "from metarl.limits import keep_freed_memory; assert not keep_freed_memory()"
    env = {"MALLOC_TRIM_THRESHOLD_": "100000"}
    subprocess.run([sys.executable, "-c", program], check=True, env=env)
