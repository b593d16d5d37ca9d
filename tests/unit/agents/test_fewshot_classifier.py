"""The few-shot classifier: what goes in, what comes out, and what it may know when."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from metarl.config import InputError
from metarl.data.sources import Clusters
from metarl.fewshot import FewShotClassifier
from metarl.memory.options import MemoryOptions
from metarl.memory.stores.lifelong import Lifelong

BATCH, SUPPORT, QUERIES, WAYS, SIZE = 3, 6, 4, 3, 5
BUFFER = {"key_size": 8, "value_size": 8}


@pytest.fixture(autouse=True)
def _weights_from_a_seed() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def make(memory: MemoryOptions | dict[str, Any] = BUFFER, **settings: Any) -> FewShotClassifier:
    encoder = {"embedding_size": 8, "width": 8}
    return FewShotClassifier(
        **{"observation": (SIZE,), "ways": WAYS, "encoder": encoder, "longest": 8} | settings, memory=memory
    )


def episode() -> tuple[Tensor, Tensor, Tensor]:
    labels = torch.randint(0, WAYS, (BATCH, SUPPORT))
    return torch.randn(BATCH, SUPPORT, SIZE), labels, torch.randn(BATCH, QUERIES, SIZE)


@pytest.mark.parametrize(
    ("settings", "key"),
    [
        ({"ways": 1}, "ways"),
        ({"readout": "vote"}, "readout"),
        ({"observation": ()}, "observation"),
        ({"observation": (3, 0)}, "observation"),
        ({"observation": (2, 3, 4, 5)}, "observation"),
        ({"context": "half"}, "context"),
        ({"memory": {"store": "none", "access": "none"}}, "memory.store"),
        ({"memory": {"store": "episodc"}}, "memory.store"),
        ({"memory": {"store_options": {"holds": "state"}}}, "memory.store_options.holds"),
        (
            {"memory": {"store": "key_value", "store_options": {"learned_only": True}}},
            "memory.store_options.learned_only",
        ),
        ({"memory": {"store": "ntm", "access": "native"}, "readout": "votes"}, "memory.access"),
        ({"memory": {"access": "meta_gradient"}, "readout": "votes"}, "memory.access"),
        ({"memory": {"store": "key_value"}, "readout": "votes"}, "memory.store_options.learned"),
        ({"rotate_support": True, "encoder": {"norm": "batch"}}, "encoder.norm"),
        ({"transductive": True}, "encoder.norm"),
        ({"encoder": {"net": "resnet"}}, "net"),
    ],
)
def test_what_does_not_make_a_classifier_is_refused(settings: dict[str, Any], key: str) -> None:
    with pytest.raises(InputError) as caught:
        make(**settings)
    assert caught.value.key == key
    assert "\n" not in str(caught.value)


def test_an_access_that_cannot_read_the_store_is_refused() -> None:
    with pytest.raises(ValueError, match=r"'attention'.*'delta'"):
        make({"store": "delta", "access": "attention"})


def test_a_support_longer_than_the_longest_is_refused() -> None:
    x, y, queries = episode()
    with pytest.raises(InputError, match="longest=9"):
        make()(x.repeat(1, 2, 1)[:, :9], y.repeat(1, 2)[:, :9], queries)


@pytest.mark.parametrize(
    "memory",
    [
        BUFFER,
        BUFFER | {"store_options": {"capacity": 4}},
        BUFFER | {"store": "key_value", "store_options": {"learned": 3}},
        BUFFER | {"access": "graph"},
    ],
    ids=["buffer", "ring", "learned slots", "graph"],
)
def test_a_support_written_at_once_is_that_written_one_by_one(memory: dict[str, Any]) -> None:
    classifier = make(memory)
    inside = classifier.reader.memory
    x, y, queries = episode()
    state = inside.initial_state(BATCH)
    items = WAYS**0.5 * F.one_hot(y, WAYS).float()
    for i in range(SUPPORT):
        state = inside.write(state, classifier.encoder(x[:, i]), items[:, i])
    expected = classifier.reader.head(inside.read(state, classifier.encoder(queries))[0])
    torch.testing.assert_close(classifier(x, y, queries), expected)


@pytest.mark.parametrize("shape", [(9, 8), (9, 8, 3), (3, 9, 8)], ids=["grey", "channels last", "channels first"])
def test_bytes_are_numbers_from_0_to_1(shape: tuple[int, ...]) -> None:
    classifier = make(observation=shape)
    support, queries = (torch.randint(0, 256, (2, n, *shape), dtype=torch.uint8) for n in (3, 2))
    labels = torch.tensor([[0, 1, 2], [2, 1, 0]])
    logits = classifier(support, labels, queries)
    assert logits.shape == (2, 2, WAYS)
    torch.testing.assert_close(classifier(support / 255, labels, queries / 255), logits)
    torch.testing.assert_close(classifier(support.numpy(), labels.numpy(), queries.numpy()), logits)


def test_a_prediction_is_the_largest_logit() -> None:
    classifier = make()
    episodes = Clusters(SIZE).sample(np.random.default_rng(0), BATCH, WAYS, 2, 3)
    support, labels, queries, answers = episodes
    logits = classifier(support, labels, queries)
    predicted = classifier.predict(support, labels, queries)
    assert torch.equal(predicted, logits.argmax(-1))
    assert classifier.accuracy(episodes) == pytest.approx((predicted.numpy() == answers).mean())
    log_prob = logits.log_softmax(-1).gather(-1, torch.as_tensor(answers)[..., None])
    torch.testing.assert_close(classifier.loss(episodes), -log_prob.mean())


def test_logits_depend_on_the_labels() -> None:
    classifier = make()
    x, y, queries = episode()
    assert not torch.allclose(classifier(x, y, queries), classifier(x, (y + 1) % WAYS, queries))


def test_a_lifelong_memory_keeps_supports() -> None:
    classifier = make(BUFFER | {"store": "lifelong", "store_options": {"slots": 64, "hit": 1.0}})
    store = classifier.reader.memory.store
    assert isinstance(store, Lifelong)
    episodes = Clusters(SIZE).sample(np.random.default_rng(0), BATCH, WAYS, 2, 1)
    other = Clusters(SIZE).sample(np.random.default_rng(1), BATCH, WAYS, 2, 1)[:3]
    before = classifier(*other)
    assert (store.age < 0).all(), "a forward pass keeps nothing"
    classifier.consolidate(episodes)
    assert int((store.age >= 0).sum()) == BATCH * WAYS * 2
    assert not torch.allclose(classifier(*other), before)


def test_a_memory_of_a_trial_keeps_nothing() -> None:
    classifier = make()
    before = {name: part.clone() for name, part in classifier.state_dict().items()}
    classifier.consolidate(Clusters(SIZE).sample(np.random.default_rng(0), BATCH, WAYS, 2, 1))
    for name, part in classifier.state_dict().items():
        assert torch.equal(part, before[name]), name
