"""Votes of slots and of class means, contexts and norms, against the equations of the networks they make."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from metarl.agents.fewshot.readers import NEVER, votes
from metarl.data.episodes import Episodes
from metarl.data.sources import Clusters
from metarl.fewshot import FewShotClassifier

WAYS, SHOTS, QUERIES, BATCH, SIZE, WIDTH = 4, 2, 3, 3, 5, 8
COSINE = {"kernel": "cosine", "temperature": 0.1, "empty_slot": False}
EUCLIDEAN = {"kernel": "euclidean", "temperature": 1 / (2 * WIDTH**0.5), "empty_slot": False}
GRAPH = {"store": "episodic", "access": "graph", "access_options": {"empty_slot": False}}


def make(access_options: dict[str, Any] | None = None, **settings: Any) -> FewShotClassifier:
    memory = {"access_options": COSINE if access_options is None else access_options}
    defaults = {"memory": memory, "readout": "votes", "encoder": {"embedding_size": WIDTH, "width": 8}, "longest": 40}
    return FewShotClassifier(**{"observation": (SIZE,), "ways": WAYS} | defaults | settings)


def episode(ways: int = WAYS, shape: tuple[int, ...] = (SIZE,)) -> tuple[Tensor, Tensor, Tensor]:
    labels = torch.stack([torch.randperm(ways * SHOTS) % ways for _ in range(BATCH)])
    return torch.rand(BATCH, ways * SHOTS, *shape), labels, torch.rand(BATCH, QUERIES, *shape)


def test_votes_are_those_of_a_matching_network() -> None:
    """Vinyals et al. 2016, eq. 1: y = sum_i a(x, x_i) y_i, a softmax of cosines."""
    classifier = make()
    x, y, queries = episode()
    support, asked = (F.normalize(classifier.encoder(part), dim=-1) for part in (x, queries))
    weights = (asked @ support.mT / 0.1).softmax(-1)
    expected = weights @ F.one_hot(y, WAYS).float()
    torch.testing.assert_close(classifier(x, y, queries).exp(), expected, rtol=1e-4, atol=1e-5)
    logits, shown = classifier.recall(x, y, queries)
    torch.testing.assert_close(shown, weights, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(logits, classifier(x, y, queries))


def test_votes_of_means_are_those_of_a_prototypical_network() -> None:
    """Snell et al. 2017, eq. 1-2: a softmax of minus the squared distances to the means of the classes."""
    classifier = make(EUCLIDEAN, readout="mean_votes")
    x, y, queries = episode()
    support, asked = classifier.encoder(x), classifier.encoder(queries)
    means = torch.stack(
        [torch.stack([s[c == w].mean(0) for w in range(WAYS)]) for s, c in zip(support, y, strict=True)]
    )
    distances = (asked[:, :, None] - means[:, None]).square().sum(-1)
    torch.testing.assert_close(classifier(x, y, queries), (-distances).log_softmax(-1), rtol=1e-4, atol=1e-4)
    assert classifier.recall(x, y, queries)[1].shape == (BATCH, QUERIES, WAYS)


@pytest.mark.parametrize(
    "memory", [{"store": "lrua"}, {"store": "lifelong"}, {"store": "episodic", "store_options": {"capacity": 3}}]
)
def test_votes_of_means_are_of_classes_whatever_slots_a_store_has(memory: dict[str, Any]) -> None:
    classifier = make(memory=memory | {"access": "attention", "access_options": EUCLIDEAN}, readout="mean_votes")
    x, y, queries = episode()
    logits = classifier(x, y, queries)
    assert logits.shape == (BATCH, QUERIES, WAYS)
    assert (logits.exp().sum(-1) <= 1 + 1e-4).all()


@pytest.mark.parametrize("readout", ["votes", "mean_votes"])
def test_with_fewer_ways_the_other_classes_are_never_predicted(readout: str) -> None:
    x, y, queries = episode(ways=2)
    torch.manual_seed(1)
    narrow = make(ways=2, readout=readout)
    torch.manual_seed(1)
    wide = make(ways=20, readout=readout)
    logits = wide(x, y, queries)
    torch.testing.assert_close(logits[..., :2], narrow(x, y, queries))
    assert (logits[..., 2:] == NEVER).all()


def test_a_class_with_a_tiny_weight_still_has_a_gradient() -> None:
    logs = torch.tensor([[[0.0, -300.0]]], requires_grad=True)
    labels = torch.eye(2)[None]
    result = votes(logs, labels)
    torch.testing.assert_close(result, logs)
    result[0, 0, 1].backward()
    torch.testing.assert_close(logs.grad, torch.tensor([[[0.0, 1.0]]]))


def test_votes_stay_finite_where_no_slot_is_seen_or_labelled() -> None:
    logs = torch.tensor([[[-torch.inf, -torch.inf], [0.0, -torch.inf]]], requires_grad=True)
    labels = torch.tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])
    result = votes(logs, labels)
    result.logsumexp(-1).sum().backward()
    assert result.isfinite().all()
    assert (result[..., 2] == NEVER).all()
    assert logs.grad.isfinite().all()


@pytest.mark.parametrize(
    "settings", [{}, {"readout": "mean_votes"}, {"memory": GRAPH}, {"context": "slots"}, {"context": "full"}]
)
def test_queries_are_classified_independently_and_in_any_order(settings: dict[str, Any]) -> None:
    classifier = make(**settings)
    x, y, queries = episode()
    together = classifier(x, y, queries)
    for q in range(QUERIES):
        torch.testing.assert_close(classifier(x, y, queries[:, q : q + 1])[:, 0], together[:, q], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(classifier(x, y, queries.flip(1)), together.flip(1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("settings", [{}, {"readout": "mean_votes"}, {"memory": GRAPH}, {"context": "slots"}])
def test_the_order_of_the_support_does_not_matter(settings: dict[str, Any]) -> None:
    classifier = make(**settings)
    x, y, queries = episode()
    order = torch.randperm(x.shape[1])
    torch.testing.assert_close(
        classifier(x[:, order], y[:, order], queries), classifier(x, y, queries), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("context", ["slots", "full"])
def test_contexts_are_learned(context: str) -> None:
    classifier = make(context=context)
    x, y, queries = episode()
    classifier(x, y, queries).square().mean().backward()
    for name, parameter in classifier.context.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


def test_full_context_embeds_in_view_of_the_support() -> None:
    classifier = make(context="full")
    x, _, queries = episode()
    support, asked = classifier.encoder(x), classifier.encoder(queries)
    changed = support.clone()
    changed[:, 0] += 1
    first, second = classifier.context(support, asked), classifier.context(changed, asked)
    assert not torch.allclose(first[1], second[1]), "the embedding of a query depends on the support"
    assert not torch.allclose(first[0][:, -1], second[0][:, -1]), "as do those of the other examples"


def test_the_norm_takes_its_statistics_from_the_support_unless_transductive() -> None:
    x, y, queries = episode(shape=(9, 8))
    encoder = {"norm": "batch", "embedding_size": WIDTH, "width": 8}
    alone = make(observation=(9, 8), encoder=encoder)
    together = make(observation=(9, 8), encoder=encoder, transductive=True)
    together.load_state_dict(alone.state_dict())
    for classifier in (alone, together):
        whole = classifier(x, y, queries)
        parts = torch.cat([classifier(x, y, queries[:, q : q + 1]) for q in range(QUERIES)], 1)
        assert torch.allclose(whole, parts, rtol=1e-4, atol=1e-5) is not classifier.transductive


def test_only_votes_have_weights_to_show() -> None:
    with pytest.raises(ValueError, match="readout is 'linear'"):
        make(readout="linear").recall(*episode())


@pytest.mark.parametrize("shots", [1, 2])
def test_with_rotate_support_every_example_is_support_once(shots: int) -> None:
    source, rng, each = Clusters(SIZE, noise=0.4), np.random.default_rng(0), 5
    classifier = make(EUCLIDEAN, readout="mean_votes", rotate_support=True, longest=WAYS * shots)
    episodes = source.sample(rng, 3, WAYS, shots, each - shots)
    x = np.concatenate([episodes.support_x, episodes.query_x], 1)
    y = np.concatenate([episodes.support_y, episodes.query_y], 1)
    order = y.argsort(1, kind="stable")
    x = np.take_along_axis(x, order[..., None], 1).reshape(3, WAYS, each, SIZE)
    losses = []
    for turn in range(each // shots):
        taken = range(turn * shots, (turn + 1) * shots)
        support = x[:, :, taken].reshape(3, -1, SIZE)
        queries = np.delete(x, taken, 2).reshape(3, -1, SIZE)
        support_y, query_y = (np.repeat(np.arange(WAYS), n)[None].repeat(3, 0) for n in (shots, each - shots))
        alone = Episodes(support, support_y, queries, query_y)
        classifier.rotate_support = False
        losses.append(classifier.loss(alone).item())
    classifier.rotate_support = True
    assert classifier.loss(episodes).item() == pytest.approx(np.mean(losses), rel=1e-5)
    assert max(losses) - min(losses) > 1e-3


def test_rotate_support_needs_as_many_examples_of_each_class() -> None:
    classifier = make(rotate_support=True)
    y = np.arange(WAYS)[None]
    uneven = Episodes(np.zeros((1, WAYS, SIZE), np.float32), y, np.zeros((1, WAYS, SIZE), np.float32), 0 * y)
    with pytest.raises(ValueError, match="rotate_support"):
        classifier.loss(uneven)


def test_weights_of_one_example_a_class_are_in_the_order_of_the_support() -> None:
    x, queries, y = torch.randn(2, WAYS, SIZE), torch.randn(2, QUERIES, SIZE), torch.stack([torch.randperm(WAYS)] * 2)
    means, examples = make(EUCLIDEAN, readout="mean_votes"), make(EUCLIDEAN, readout="votes")
    examples.load_state_dict(means.state_dict())
    found, expected = means.weights(x, y, queries), examples.weights(x, y, queries)
    torch.testing.assert_close(found, expected)
    assert make(readout="linear").weights(x, y, queries) is None


def test_the_weight_of_a_mean_is_shared_by_the_examples_of_its_class_whatever_other_episodes_show() -> None:
    means = make(EUCLIDEAN, readout="mean_votes")
    x, queries = torch.randn(2, 3, SIZE), torch.randn(2, QUERIES, SIZE)
    y = torch.tensor([[0, 1, 2], [1, 1, 2]])
    both, alone = means.weights(x, y, queries), means.weights(x[1:], y[1:], queries[1:])
    assert both is not None
    assert alone is not None
    torch.testing.assert_close(both[1:], alone)
    torch.testing.assert_close(alone.sum(2), torch.ones(1, QUERIES))
    torch.testing.assert_close(alone[..., 0], alone[..., 1])
