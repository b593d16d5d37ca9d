"""What every few-shot learner takes: arrays, devices, float types and modes of PyTorch; and what it refuses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from metarl.agents.fewshot.ensemble import Ensemble
from metarl.agents.fewshot.gradient import gradient_learner
from metarl.agents.fewshot.learner import FewShotLearner
from metarl.agents.fewshot.streams import StreamClassifier
from metarl.data.episodes import Episodes, Streams
from metarl.fewshot import FewShotClassifier
from metarl.memory.options import MemoryOptions

WAYS, SIDE, BATCH, SUPPORT, QUERIES = 3, 8, 2, 6, 4
NET = {"width": 4, "embedding_size": 8}
MEMORY = {"key_size": 4, "value_size": 4}
CORE = {**MEMORY, "controller": "lstm", "controller_options": {"hidden_size": 4}}


def classifier(**options: Any) -> FewShotClassifier:
    return FewShotClassifier((SIDE, SIDE), WAYS, MEMORY, longest=SUPPORT, encoder=NET, **options)


LEARNERS: dict[str, Callable[[], FewShotLearner]] = {
    "classifier": classifier,
    "means": lambda: classifier(readout="mean_votes", rotate_support=True),
    "full context": lambda: classifier(context="full"),
    "slots": lambda: classifier(context="slots", readout="votes"),
    "pixels": lambda: FewShotClassifier(
        (SIDE, SIDE), WAYS, MEMORY, readout="votes", encoder={"net": "flat", "embedding_size": 0}
    ),
    "ensemble": lambda: Ensemble([classifier(), classifier()]),
    "stream": lambda: StreamClassifier((SIDE, SIDE), WAYS, CORE, longest=SUPPORT, encoder=NET, pairs=True),
    **{
        name: lambda name=name: gradient_learner(  # type: ignore[misc]  # its own default binds the name
            (SIDE, SIDE), WAYS, {"algorithm": name.split("-")[0], "width": 4, "head": name.split("-")[1]}
        )
        for name in ("maml-each", "maml-one", "fomaml-prototypes", "anil-each", "reptile-each")
    },
}
every_learner = pytest.mark.parametrize("make", LEARNERS.values(), ids=LEARNERS)
NAMES = ("support_x", "support_y", "query_x", "query_y")


@pytest.fixture(autouse=True)
def _weights_from_a_seed() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def episodes() -> Episodes:
    rng = np.random.default_rng(0)
    labels = np.tile(np.arange(WAYS), (BATCH, 1))
    x, queries = (rng.integers(0, 256, (BATCH, n, SIDE, SIDE), dtype=np.uint8) for n in (SUPPORT, WAYS))
    return Episodes(x, np.tile(labels, 2), queries, labels)


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
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_learners_of_another_float_type(make: Callable[[], FewShotLearner], dtype: torch.dtype) -> None:
    learner, given = make(), episodes()
    expected = learner(*given[:3])
    learner.to(dtype)
    torch.testing.assert_close(learner(*given[:3]).to(expected), expected, atol=0.3, rtol=0.1)


FLOATS = torch.rand(BATCH, SUPPORT, SIDE, SIDE)
REFUSED: dict[str, tuple[int, Any]] = {
    "another shape": (0, torch.zeros(BATCH, SUPPORT, SIDE, SIDE + 1)),
    "no batch": (0, torch.zeros(SUPPORT, SIDE, SIDE)),
    "no example": (0, torch.zeros(BATCH, 0, SIDE, SIDE)),
    "numbers up to 255": (0, 255 * FLOATS),
    "integers that are not bytes": (0, (255 * FLOATS).long()),
    "not a number": (0, FLOATS.masked_fill(FLOATS > 0.9, torch.nan)),
    "infinity": (0, FLOATS.masked_fill(FLOATS > 0.9, torch.inf)),
    "labels that are floats": (1, torch.zeros(BATCH, SUPPORT)),
    "one-hot labels": (1, torch.zeros(BATCH, SUPPORT, WAYS, dtype=torch.long)),
    "too few labels": (1, torch.zeros(BATCH, SUPPORT - 1, dtype=torch.long)),
    "a label too large": (1, torch.full((BATCH, SUPPORT), WAYS)),
    "a negative label": (1, torch.full((BATCH, SUPPORT), -1)),
    "queries of another shape": (2, torch.zeros(BATCH, QUERIES)),
    "no query": (2, torch.zeros(BATCH, 0, SIDE, SIDE)),
    "another batch of queries": (2, torch.zeros(1, QUERIES, SIDE, SIDE)),
    "queries up to 255": (2, 255 * FLOATS),
    "an answer too large": (3, torch.full((BATCH, WAYS), WAYS)),
    "too few answers": (3, torch.zeros(BATCH, 1, dtype=torch.long)),
}


@pytest.mark.parametrize("make", [LEARNERS[name] for name in ("classifier", "stream", "maml-each", "reptile-each")])
@pytest.mark.parametrize(("part", "given"), REFUSED.values(), ids=REFUSED)
def test_episodes_that_do_not_fit_are_refused(make: Callable[[], FewShotLearner], part: int, given: Tensor) -> None:
    learner, parts = make(), list[Any](episodes())
    parts[part] = given
    if part < 3:
        with pytest.raises(ValueError, match=NAMES[part].removesuffix("_y") if part != 1 else "_y") as caught:
            learner(*parts[:3])
        assert "\n" not in str(caught.value)
        assert "expected" in str(caught.value)
    if learner.protocol == "episodes":
        with pytest.raises(ValueError, match=NAMES[part]):
            learner.loss(Episodes(*parts))


def test_embedded_episodes_that_do_not_fit_are_refused() -> None:
    learner, given = classifier(), episodes()
    support, queries = (torch.rand(BATCH, n, 8) for n in (SUPPORT, QUERIES))
    assert learner.classify(support, given.support_y, queries.numpy()).shape == (BATCH, QUERIES, WAYS)
    for bad in ((support, queries[:1]), (support[..., :7], queries), (support, queries[..., :7])):
        with pytest.raises(ValueError, match="expected"):
            learner.classify(bad[0], given.support_y, bad[1])


@every_learner
def test_a_learner_says_what_it_is(make: Callable[[], FewShotLearner]) -> None:
    learner = make()
    count = sum(p.numel() for p in learner.parameters())
    said = repr(learner)
    assert said.startswith(f"{type(learner).__name__}(")
    assert f"parameters={count})" in said
    assert "\n" not in said


def test_the_memory_of_a_learner_is_its_options() -> None:
    stream = LEARNERS["stream"]()
    assert isinstance(stream, StreamClassifier)
    for learner in (classifier(), stream):
        assert isinstance(learner.memory, MemoryOptions)
        assert learner.memory.key_size == 4
        assert f"store={learner.memory.store!r}" in repr(learner)
