"""The few-shot classifier: what goes in, what comes out, and what it may know when."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from metarl.data.sources import Clusters
from metarl.fewshot import FewShotClassifier
from metarl.memory.options import MemoryOptions

BATCH, SUPPORT, QUERIES, WAYS, SIZE = 3, 6, 4, 3, 5
BUFFER = {"key_size": 8, "value_size": 8}


def make(memory: MemoryOptions | dict[str, Any] = BUFFER, **settings: Any) -> FewShotClassifier:
    encoder = {"embedding_size": 8, "width": 8}
    return FewShotClassifier(
        **{"observation": (SIZE,), "ways": WAYS, "encoder": encoder, "longest": 8} | settings, memory=memory
    )


def episode() -> tuple[Tensor, Tensor, Tensor]:
    labels = torch.randint(0, WAYS, (BATCH, SUPPORT))
    return torch.randn(BATCH, SUPPORT, SIZE), labels, torch.randn(BATCH, QUERIES, SIZE)


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


def test_a_memory_of_a_trial_keeps_nothing() -> None:
    classifier = make()
    before = {name: part.clone() for name, part in classifier.state_dict().items()}
    classifier.consolidate(Clusters(SIZE).sample(np.random.default_rng(0), BATCH, WAYS, 2, 1))
    for name, part in classifier.state_dict().items():
        assert torch.equal(part, before[name]), name
