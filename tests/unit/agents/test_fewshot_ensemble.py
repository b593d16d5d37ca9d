"""Ensembles: members learn independently and classify together."""

from typing import Any

import numpy as np
import pytest
import torch

from metarl.agents.fewshot.ensemble import Ensemble
from metarl.agents.fewshot.streams import StreamClassifier
from metarl.config import InputError
from metarl.data.episodes import Episodes
from metarl.data.pool import Glyphs
from metarl.fewshot import FewShotClassifier
from metarl.memory.options import MemoryOptions

WAYS = 3
EUCLIDEAN = {"kernel": "euclidean", "empty_slot": False}


def member(seed: int, readout: Any = "mean_votes", **encoder: Any) -> FewShotClassifier:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        memory = {"access_options": EUCLIDEAN} if readout != "linear" else {"key_size": 8, "value_size": 8}
        net = {"width": 8, "embedding_size": 8} | encoder
        return FewShotClassifier((28, 28), WAYS, memory, readout=readout, encoder=net, longest=8)


def episodes(n: int = 4, shots: int = 2) -> Episodes:
    return Glyphs("train").sample(np.random.default_rng(0), n, WAYS, shots, 2)


@pytest.mark.parametrize("readout", ["mean_votes", "votes", "linear"])
def test_its_logits_are_the_mean_of_the_log_probabilities(readout: str) -> None:
    one, other, asked = member(0, readout), member(1, readout), episodes()[:3]
    both = Ensemble([one, other])(*asked)
    torch.testing.assert_close(both, (one(*asked).log_softmax(-1) + other(*asked).log_softmax(-1)) / 2)
    assert not torch.allclose(one(*asked), other(*asked))


def test_each_member_learns_as_if_it_were_alone() -> None:
    given = episodes()
    alone, inside = [member(0), member(1)], [member(0), member(1)]
    Ensemble(inside).loss(given).backward()
    for one, same in zip(alone, inside, strict=True):
        one.loss(given).backward()
        for p, q in zip(one.parameters(), same.parameters(), strict=True):
            torch.testing.assert_close(q.grad, p.grad / 2)


def test_weights_are_the_mean_over_the_members_if_all_have_them() -> None:
    one, other, asked = member(0, "votes"), member(1, "votes"), episodes()[:3]
    weights = [learner.weights(*asked) for learner in (one, other)]
    torch.testing.assert_close(Ensemble([one, other]).weights(*asked), (weights[0] + weights[1]) / 2)
    assert Ensemble([one, member(1, "linear")]).weights(*asked) is None


@pytest.mark.parametrize("readout", ["mean_votes", "votes", "linear"])
@pytest.mark.parametrize("count", [1, 2])
def test_what_is_embedded_first_is_classified_alike(readout: str, count: int) -> None:
    members = [member(i, readout, norm="running") for i in range(count)]
    learner = (members[0] if count == 1 else Ensemble(members)).eval()
    support, labels, queries, _ = episodes()
    known, asked = (learner.embed(x.reshape(-1, 28, 28)) for x in (support, queries))
    found = learner.classify(known.unflatten(0, support.shape[:2]), labels, asked.unflatten(0, queries.shape[:2]))
    torch.testing.assert_close(found, learner(support, labels, queries))


def test_a_support_of_embeddings_is_no_longer_than_others() -> None:
    support, labels, queries, _ = episodes(shots=3)
    asked = torch.zeros(*queries.shape[:2], 8)
    with pytest.raises(ValueError, match="support has 9 examples"):
        member(0).classify(torch.zeros(*support.shape[:2], 8), labels, asked)


def test_embeddings_by_the_norm_of_an_episode_are_none() -> None:
    assert member(0, norm="batch").embed(episodes().query_x[0]) is None
    assert Ensemble([member(0), member(1, norm="batch")]).embed(episodes().query_x[0]) is None


def test_learners_without_embeddings_and_ensembles_of_too_few_are_refused() -> None:
    stream = StreamClassifier((28, 28), WAYS, MemoryOptions(controller="lstm", store="none", access="none"))
    assert stream.embed(episodes().query_x[0]) is None
    with pytest.raises(TypeError, match="no embeddings"):
        stream.classify(*episodes()[:3])
    for members in ([member(0), stream], [member(0)]):
        with pytest.raises(InputError) as caught:
            Ensemble(members)
        assert caught.value.key == "members"
