"""What classifiers of sets and of streams promise with every store and every access that can read it."""

import numpy as np
import pytest
import torch
from torch import Tensor

from metarl.agents.fewshot.streams import StreamClassifier
from metarl.data.episodes import Episodes
from metarl.data.pool import Glyphs
from metarl.data.sources import Clusters, FewShotSource
from metarl.fewshot import FewShotClassifier
from metarl.memory.registry import matrix
from metarl.training.supervised import SupervisedOptions, fit

pytestmark = pytest.mark.usefixtures("weights_from_a_seed")

CELLS = [(store, access) for store, access, reason in matrix() if reason is None]
EVERY_CELL = pytest.mark.parametrize(("store", "access"), CELLS, ids=["+".join(cell) for cell in CELLS])
COVERING = [cell for i, cell in enumerate(CELLS) if cell[0] == "episodic" or cell[0] not in dict(CELLS[:i])]
"""Every store and every access; each pair of them learns in test_memory_recall.py."""
EVERY_KIND = pytest.mark.parametrize("kind", [FewShotClassifier, StreamClassifier], ids=["sets", "streams"])
Kind = type[FewShotClassifier] | type[StreamClassifier]
BATCH, SUPPORT, QUERIES, WAYS, SIZE = 4, 4, 3, 3, 5


def make(store: str, access: str, kind: Kind = FewShotClassifier) -> FewShotClassifier | StreamClassifier:
    """A small one; without the gate, so that what is read shows in the output of an untrained core."""
    memory = {"store": store, "access": access, "key_size": 8, "value_size": 8}
    memory |= {"gate": False} if kind is StreamClassifier else {}
    return kind((SIZE,), WAYS, memory, longest=SUPPORT, encoder={"embedding_size": 8})


def episode() -> tuple[Tensor, Tensor, Tensor]:
    labels = torch.randint(0, WAYS, (BATCH, SUPPORT))
    return torch.randn(BATCH, SUPPORT, SIZE), labels, torch.randn(BATCH, QUERIES, SIZE)


@EVERY_CELL
@EVERY_KIND
def test_episodes_and_queries_do_not_see_each_other(store: str, access: str, kind: Kind) -> None:
    classifier, (x, y, queries) = make(store, access, kind), episode()
    logits = classifier(x, y, queries)
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(classifier(x[order], y[order], queries[order]), logits[order])
    torch.testing.assert_close(classifier(x, y, queries[:, 1:2]), logits[:, 1:2])
    others = queries.clone()
    others[:, 0] += 1
    changed = classifier(x, y, others)
    torch.testing.assert_close(changed[:, 1:], logits[:, 1:])
    assert not torch.isclose(changed[:, 0], logits[:, 0]).all(-1).any()
    x[0], y[0], queries[0] = x[0] + 1, (y[0] + 1) % WAYS, queries[0] - 1
    changed = classifier(x, y, queries)
    torch.testing.assert_close(changed[1:], logits[1:])
    assert not torch.isclose(changed[0], logits[0]).all(-1).any()


@EVERY_CELL
@EVERY_KIND
def test_gradients_reach_the_encoder_and_are_finite(store: str, access: str, kind: Kind) -> None:
    classifier, (x, y, queries) = make(store, access, kind), episode()
    classifier(x, y, queries).square().sum().backward()
    for name, parameter in classifier.named_parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all(), name
    for name, parameter in classifier.encoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@EVERY_CELL
def test_without_reads_all_queries_have_the_same_logits(store: str, access: str) -> None:
    classifier, parts = make(store, access), episode()
    classifier.reader.memory.reads_disabled = True
    logits = classifier(*parts)
    torch.testing.assert_close(logits, logits[:1, :1].expand_as(logits))


def learned(classifier: FewShotClassifier, source: FewShotSource, fresh: FewShotSource, updates: int) -> float:
    """The accuracy on fresh episodes after a training of 4 ways and 1 shot, which a first 85 % ends early."""
    data, held = np.random.default_rng(0), np.random.default_rng(1)
    validation = fresh.sample(held, 64, 4, 1, 2)
    batches = (source.sample(data, 32, 4, 1, 2) for _ in range(updates))
    fit(
        classifier,
        lambda model, batch: model.loss(batch),
        batches,
        SupervisedOptions(updates=updates, learning_rate=3e-3, target=0.85, validate_every=20),
        validate=lambda model: model.accuracy(validation),
    )
    return classifier.accuracy(_test(fresh))


def _test(fresh: FewShotSource) -> Episodes:
    return fresh.sample(np.random.default_rng(2), 128, 4, 1, 2)


@pytest.mark.parametrize(("store", "access"), COVERING)
def test_every_memory_learns_to_classify_clusters(store: str, access: str) -> None:
    memory = {"store": store, "access": access, "key_size": 16, "value_size": 16}
    classifier = FewShotClassifier((8,), 4, memory, longest=4, encoder={"embedding_size": 32})
    clusters = Clusters(size=8, noise=0.3)
    assert learned(classifier, clusters, clusters, 120) >= 0.6
    classifier.reader.memory.reads_disabled = True
    assert classifier.accuracy(_test(clusters)) <= 0.35, "without memory there is only chance"


def test_attention_learns_to_classify_glyphs_of_classes_never_met() -> None:
    memory = {"store": "episodic", "access": "attention", "key_size": 32, "value_size": 16}
    classifier = FewShotClassifier((28, 28), 4, memory, longest=4, encoder={"embedding_size": 32, "width": 16})
    assert learned(classifier, Glyphs("train", 60, 10), Glyphs("validation", 30, 10), 80) >= 0.6
