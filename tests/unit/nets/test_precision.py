"""bfloat16 is computed where the processor has it, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Collection

import pytest
import torch
from torch import Tensor

from metarl.nets import precision
from metarl.nets.adaptable import AdaptableNet
from metarl.nets.images import EncoderOptions, ImageEncoder
from metarl.nets.precision import Precision, has_bfloat16, in_bfloat16


@pytest.mark.parametrize(
    ("features", "there"),
    [
        ((), False),
        (("avx2", "avx512_f", "avx512_bw", "amx_int8"), False),
        (("avx2", "avx512_f", "avx512_bf16"), True),
        (("neon", "fp16_arith"), False),
        (("neon", "bf16"), True),
    ],
)
def test_processors_have_it_by_their_features(features: Collection[str], there: bool) -> None:
    assert has_bfloat16(features) is there


def test_this_torch_tells_what_this_processor_has() -> None:
    known = torch.cpu.get_capabilities()
    assert any(name in known for name in precision.FEATURES), "a name that torch has changed would never be found"
    assert precision.computed_here() is has_bfloat16([name for name in precision.FEATURES if known.get(name)])


def test_a_torch_that_cannot_tell_computes_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    precision.computed_here.cache_clear()
    try:
        assert not in_bfloat16(True, torch.device("cpu"))
    finally:
        precision.computed_here.cache_clear()


def embedded(wanted: Precision) -> Tensor:
    torch.manual_seed(0)
    net = ImageEncoder((28, 28), EncoderOptions(width=8, norm="running", precision=wanted))
    return net(torch.rand(1, 4, 28, 28))


def adapted(wanted: Precision) -> Tensor:
    torch.manual_seed(0)
    net = AdaptableNet((28, 28), 5, width=8, precision=wanted)
    return net(net.params(), torch.rand(1, 4, 28, 28))


@pytest.mark.parametrize("answer", [embedded, adapted])
@pytest.mark.parametrize("there", [True, False])
def test_nets_compute_in_float32_where_the_processor_has_no_bfloat16(
    answer: Callable[[Precision], Tensor], there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "computed_here", lambda: there)
    assert torch.equal(answer("bfloat16"), answer("float32")) is not there
