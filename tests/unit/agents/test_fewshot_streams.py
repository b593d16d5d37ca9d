"""Streams of examples with late labels: what a step may know, the best guess, and kinds of labels."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from metarl.agents.fewshot.streams import StreamClassifier, first_guess
from metarl.data.episodes import Streams, class_positions
from metarl.data.pool import Pool
from metarl.data.sources import Clusters, FewShotSource
from metarl.memory.options import MemoryOptions
from metarl.training.supervised import SupervisedOptions, fit

BATCH, STEPS, QUERIES, WAYS, SIZE = 3, 6, 4, 3, 5
BUFFER = {"key_size": 8, "value_size": 8, "gate": False}
MANN = BUFFER | {"store": "lrua", "access": "native", "controller": "lstm", "controller_options": {"hidden_size": 8}}
MEMORIES: dict[str, dict[str, Any]] = {
    "mann": MANN,
    "mann emitting": MANN | {"emit": "controller"},
    "ntm": MANN | {"store": "ntm"},
    "dnc": MANN | {"store": "dnc"},
    "episodic": BUFFER,
    "gru": {"controller": "gru", "store": "none", "access": "none"},
    "window": {"controller": "window", "store": "none", "access": "none"},
}
EVERY_MEMORY = pytest.mark.parametrize("memory", MEMORIES.values(), ids=MEMORIES)
EITHER_WAY = pytest.mark.parametrize("pairs", [False, True], ids=["single", "pairs"])
EVERY_LABELS = pytest.mark.parametrize("labels", ["one_hot", "letters"])


def make(memory: MemoryOptions | dict[str, Any] = MANN, **settings: Any) -> StreamClassifier:
    defaults = {"observation": (SIZE,), "ways": WAYS, "encoder": {"embedding_size": 8, "width": 8}, "longest": 8}
    return StreamClassifier(**defaults | settings, memory=memory)


def stream(learner: StreamClassifier) -> tuple[Tensor, Tensor]:
    y = torch.randint(0, learner.letters, (BATCH, STEPS, learner.digits))
    return torch.randn(BATCH, STEPS, SIZE), y


@EITHER_WAY
@EVERY_LABELS
@EVERY_MEMORY
def test_a_label_is_known_from_the_next_step_on(memory: dict[str, Any], labels: str, pairs: bool) -> None:
    learner = make(memory, labels=labels, pairs=pairs)
    x, y = stream(learner)
    logits = learner.stream_logits(x, y)
    assert logits.shape == (BATCH, STEPS, learner.digits, learner.letters)
    for t in range(STEPS):
        other = y.clone()
        other[:, t] = (other[:, t] + 1) % learner.letters
        changed = learner.stream_logits(x, other)
        assert torch.equal(changed[:, : t + 1], logits[:, : t + 1])
        if t + 1 < STEPS:
            assert not torch.isclose(changed[:, t + 1], logits[:, t + 1]).flatten(1).all(-1).any()


@EITHER_WAY
@EVERY_MEMORY
def test_an_example_is_known_from_its_own_step_on(memory: dict[str, Any], pairs: bool) -> None:
    learner = make(memory, pairs=pairs)
    x, y = stream(learner)
    logits = learner.stream_logits(x, y)
    x[:, 2] += 1
    changed = learner.stream_logits(x, y)
    torch.testing.assert_close(changed[:, :2], logits[:, :2])
    assert not torch.isclose(changed[:, 2], logits[:, 2]).flatten(1).all(-1).any()


@EITHER_WAY
@EVERY_MEMORY
def test_a_query_is_the_next_example_whatever_its_label(memory: dict[str, Any], pairs: bool) -> None:
    learner = make(memory, pairs=pairs)
    (x, y), queries = stream(learner), torch.randn(BATCH, QUERIES, SIZE)
    logits = learner(x, y[..., 0], queries)
    assert logits.shape == (BATCH, QUERIES, WAYS)
    for q in range(QUERIES):
        noise = torch.randint(0, WAYS, (BATCH, 1, 1))
        longer = learner.stream_logits(torch.cat([x, queries[:, q : q + 1]], 1), torch.cat([y, noise], 1))
        torch.testing.assert_close(logits[:, q], longer[:, -1, 0])


@EITHER_WAY
def test_in_pairs_the_example_before_is_shown_once_more(pairs: bool) -> None:
    learner = make({**MEMORIES["window"], "controller_options": {"window": 1}}, pairs=pairs)  # sees one step
    x, y = stream(learner)
    logits = learner.stream_logits(x, y)
    x[:, 2] += 1
    same = [torch.equal(a, b) for a, b in zip(learner.stream_logits(x, y).unbind(1), logits.unbind(1), strict=True)]
    assert same == [step not in ((2, 3) if pairs else (2,)) for step in range(STEPS)]


def test_what_is_learned_from_is_what_is_predicted() -> None:
    learner = make(labels="letters")
    x, y = stream(learner)
    log_p = learner.stream_logits(x, y).log_softmax(-1)
    torch.testing.assert_close(learner.loss(Streams(x.numpy(), y.numpy())), -log_p.gather(-1, y[..., None]).mean())
    predicted = learner.predict_streams(x.numpy(), y.numpy())
    assert predicted.shape == (BATCH, STEPS, 5)
    assert torch.equal(predicted, log_p.argmax(-1))


def test_the_best_guess_of_five_classes() -> None:
    """Among the labels that were not shown before."""
    assert first_guess(5) == pytest.approx((1 / 5 + 1 / 4 + 1 / 3 + 1 / 2 + 1) / 5)
    assert first_guess(3, 7) == pytest.approx((1 / 7 + 1 / 6 + 1 / 5) / 3)


def by_instance(learner: StreamClassifier, streams: Streams) -> list[float]:
    correct, instance = (
        (learner.predict_streams(streams.x, streams.y).numpy() == streams.y).all(-1),
        class_positions(streams.y),
    )
    return [float(correct[instance == k].mean()) for k in range(1, int(instance.max()) + 1)]


def trained(learner: StreamClassifier, source: FewShotSource, ways: int, updates: int, labels: Any = "one_hot") -> None:
    rng = np.random.default_rng(0)
    options = SupervisedOptions(updates=updates, learning_rate=1e-2)
    batches = (source.sample_streams(rng, 32, ways, 4, labels) for _ in range(updates))
    fit(learner, StreamClassifier.loss, batches, options)
    learner.eval()


def test_a_trained_learner_guesses_new_examples_and_knows_old_ones() -> None:
    """Five fixed images with shuffled labels: only a leak can beat elimination on new ones."""
    fixed = Pool(np.eye(5)[:, None].repeat(4, 1))
    memory = MANN | {"store_options": {"slots": 24}, "controller_options": {"hidden_size": 32}}
    learner = make(memory, observation=(5,), ways=5, longest=20)
    trained(learner, fixed, 5, 150)
    first, second, *_ = by_instance(learner, fixed.sample_streams(np.random.default_rng(1), 1000, 5, 4))
    assert 0.3 < first <= first_guess(5) + 0.03
    assert second > 0.9


def test_labels_of_letters_are_recalled() -> None:
    learner = make({"key_size": 16, "value_size": 32, "gate": False}, labels="letters", observation=(8,), longest=12)
    clusters = Clusters(8, noise=0.1)
    trained(learner, clusters, 3, 150, "letters")
    first, second, *_ = by_instance(learner, clusters.sample_streams(np.random.default_rng(1), 500, 3, 4, "letters"))
    assert first <= 0.01
    assert second > 0.7
