"""The type in which convolutions compute: bfloat16 where it is asked for and the processor has it, else float32."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cache
from typing import Literal

import torch

Precision = Literal["float32", "bfloat16"]
FEATURES = ("avx512_bf16", "amx_bf16", "bf16")
"""What processors call their arithmetic in bfloat16: x86 by two names, ARM by the last."""


def has_bfloat16(features: Collection[str]) -> bool:
    """Whether a processor with these features computes in bfloat16 itself.

    Others emulate it, far slower than they compute in float32; ``scripts/benchmark_fewshot.py`` measures both.

    Args:
        features: what it has, by the names of ``torch.cpu.get_capabilities``.
    """
    return torch.backends.mkldnn.is_available() and any(name in features for name in FEATURES)


@cache
def computed_here() -> bool:
    """:func:`has_bfloat16` of this machine; False with a torch that can't tell."""
    known: Mapping[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    return has_bfloat16([name for name, there in known.items() if there])


def in_bfloat16(wanted: bool, device: torch.device) -> bool:
    """Whether convolutions compute in bfloat16.

    Args:
        wanted: whether they are asked to.
        device: where they run; all but processors are taken to have it.
    """
    return wanted and (device.type != "cpu" or computed_here())
