"""What every few-shot learner takes: arrays, devices, float types and modes of PyTorch; and what it keeps."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import pytest
import torch
from fewshot_toys import (
    BATCH,
    LEARNERS,
    NET,
    SIDE,
    SUPPORT,
    WAYS,
    classifier,
    episodes,
    every_learner,
    gradient,
    stream,
)
from torch import Tensor

from metarl.agents.fewshot.learner import FewShotLearner
from metarl.agents.fewshot.streams import StreamClassifier
from metarl.data.episodes import Streams
from metarl.data.sources import Clusters
from metarl.fewshot import FewShotClassifier
from metarl.memory.options import MemoryOptions


def outputs(learner: FewShotLearner) -> list[Tensor]:
    """Everything that a learner computes of episodes, and its gradient."""
    given = episodes()
    learner.zero_grad()
    found = [learner(*given[:3]), learner.predict(*given[:3]), learner.correct(given)]
    if isinstance(learner, StreamClassifier):
        stream = Streams(given.support_x, given.support_y[..., None])
        loss = learner.loss(stream)
        found.append(learner.predict_streams(*stream))
    else:
        loss = learner.loss(given)
        found += [part for part in (learner.weights(*given[:3]), learner.embed(given.query_x[0])) if part is not None]
    if loss.requires_grad:
        loss.backward()
    return [*found, loss, *(p.grad for p in learner.parameters() if p.grad is not None)]


def on_cpu(make: Callable[[int], Any]) -> Callable[[int], Any]:
    def made(n: int) -> Any:
        with torch.device("cpu"):
            return make(n)

    return made


WITH_WEIGHTS = [name for name in LEARNERS if name != "pixels"]


@pytest.mark.parametrize("make", [LEARNERS[name] for name in WITH_WEIGHTS], ids=WITH_WEIGHTS)
def test_nothing_is_made_on_another_device_than_the_learners(make: Callable[[], FewShotLearner]) -> None:
    """With another default device, whatever does not follow the learner's own fails or lies there."""
    learner = make()
    expected = outputs(learner)
    for module in learner.modules():
        if hasattr(module, "initial_state"):  # memories make states anywhere and move them
            module.initial_state = on_cpu(module.initial_state)
    with torch.device("meta"):
        found = outputs(learner)
    for some, same in zip(found, expected, strict=True):
        assert some.device.type == "cpu"
        torch.testing.assert_close(some, same)


@every_learner
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_a_learner_on_a_gpu_takes_arrays(make: Callable[[], FewShotLearner]) -> None:
    learner = make()
    expected = [learner(*episodes()[:3])]
    found = outputs(learner.to("cuda"))
    if learner.device is not None:
        assert all(part.device.type == "cuda" for part in found)
    torch.testing.assert_close(found[0].cpu(), expected[0], atol=1e-3, rtol=1e-3)


MODES: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
}


@every_learner
@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
def test_predictions_in_the_modes_of_pytorch(
    make: Callable[[], FewShotLearner], mode: Callable[[], AbstractContextManager[Any]]
) -> None:
    learner, given = make(), episodes()
    expected = learner(*given[:3])
    with mode():
        found = learner(*given[:3])
    assert found.isfinite().all()
    if mode is not MODES["autocast"]:  # whose rounding grows in an adaptation
        torch.testing.assert_close(found, expected)


@every_learner
@pytest.mark.parametrize(("dtype", "rounding"), [(torch.float64, 1e-4), (torch.bfloat16, 0.3)])
def test_learners_of_another_float_type(
    make: Callable[[], FewShotLearner], dtype: torch.dtype, rounding: float
) -> None:
    learner, given = make(), episodes()
    expected = learner(*given[:3])
    learner.to(dtype)
    found = learner(*given[:3])
    assert found.dtype == next((p.dtype for p in learner.parameters()), torch.float32), "pixels have no parameters"
    torch.testing.assert_close(found.to(expected), expected, atol=rounding, rtol=rounding / 3)


@pytest.mark.parametrize("make", [classifier, stream, gradient])
@pytest.mark.parametrize("shape", [(9, 8), (SIDE, SIDE, 3), (3, SIDE, SIDE)], ids=["grey", "channels last", "first"])
def test_bytes_are_numbers_from_0_to_1(make: Callable[[Any], FewShotLearner], shape: tuple[int, ...]) -> None:
    learner, (support, labels, queries, _) = make(shape), episodes(shape)
    logits = learner(support, labels, queries)
    assert logits.shape == (*queries.shape[:2], WAYS)
    scaled = (torch.as_tensor(x) / 255 for x in (support, queries))
    torch.testing.assert_close(learner(next(scaled), torch.as_tensor(labels), next(scaled)), logits)


@every_learner
def test_a_learner_says_what_it_is(make: Callable[[], FewShotLearner]) -> None:
    learner = make()
    said = repr(learner)
    assert said.startswith(f"{type(learner).__name__}(")
    assert f"parameters={sum(p.numel() for p in learner.parameters())})" in said
    assert "\n" not in said


@pytest.mark.parametrize("make", [classifier, stream])
def test_the_memory_of_a_learner_is_its_options(make: Callable[[], Any]) -> None:
    learner = make()
    assert isinstance(learner.memory, MemoryOptions)
    assert learner.memory.key_size == 4
    assert f"store={learner.memory.store!r}" in repr(learner)


STORE = {"store": "lifelong", "store_options": {"slots": 64, "hit": 1.0}}
LIFELONG = {"key_size": 8, "value_size": 8, **STORE}


@pytest.mark.parametrize("kind", [FewShotClassifier, StreamClassifier])
def test_a_lifelong_memory_keeps_what_it_is_told_to(kind: Any) -> None:
    memory = LIFELONG | ({"gate": False} if kind is StreamClassifier else {})
    learner = kind((5,), WAYS, memory, longest=SUPPORT, encoder=NET)
    shown, other = (Clusters(5).sample(np.random.default_rng(seed), BATCH, WAYS, 2, 1) for seed in (0, 1))
    store = (learner.core if kind is StreamClassifier else learner.reader).memory.store
    before = learner(*other[:3])
    assert (store.age < 0).all(), "a forward pass keeps nothing"
    streams = Streams(shown.support_x, shown.support_y[..., None])
    learner.consolidate(streams if kind is StreamClassifier else shown)
    assert int((store.age >= 0).sum()) == BATCH * SUPPORT
    assert not torch.allclose(learner(*other[:3]), before)


def test_rows_of_bytes_mean_the_same_beside_any_numbers() -> None:
    learner = classifier((4,))
    rows = np.array([[[200, 10, 3, 5], [0, 90, 70, 2]]], np.uint8)
    labels = np.array([[0, 1]])
    expected = learner(rows, labels, rows)
    for support, queries in ((rows.astype(np.float32), rows), (rows, rows.astype(np.float32))):
        torch.testing.assert_close(learner(support, labels, queries), expected)
