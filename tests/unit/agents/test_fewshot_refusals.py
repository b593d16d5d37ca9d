"""What makes no few-shot learner, and which episodes and streams a learner refuses."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from fewshot_toys import BATCH, LEARNERS, MEMORY, NET, SIDE, SUPPORT, WAYS, classifier, episodes
from torch import Tensor

from metarl.agents.fewshot.bounded import BoundedMemory
from metarl.agents.fewshot.cases import CaseMemory
from metarl.agents.fewshot.gradient import gradient_learner
from metarl.agents.fewshot.learner import FewShotLearner
from metarl.agents.fewshot.streams import StreamClassifier
from metarl.agents.fewshot.trained import TrainedLearner
from metarl.config import InputError
from metarl.data.episodes import Episodes, Streams
from metarl.data.pictures import Reading
from metarl.fewshot import FewShotClassifier


def make(kind: type[FewShotClassifier] | type[StreamClassifier], settings: dict[str, Any]) -> FewShotLearner:
    defaults = {"observation": (5,), "ways": WAYS, "memory": MEMORY, "encoder": NET, "longest": 8}
    return kind(**defaults | settings)


@pytest.mark.parametrize(
    ("kind", "settings", "key"),
    [
        (FewShotClassifier, {"ways": 1}, "ways"),
        (FewShotClassifier, {"readout": "vote"}, "readout"),
        (FewShotClassifier, {"observation": ()}, "observation"),
        (FewShotClassifier, {"observation": (3, 0)}, "observation"),
        (FewShotClassifier, {"observation": (2, 3, 4, 5)}, "observation"),
        (FewShotClassifier, {"context": "half"}, "context"),
        (FewShotClassifier, {"memory": {"store": "none", "access": "none"}}, "memory.store"),
        (FewShotClassifier, {"memory": {"store": "episodc"}}, "memory.store"),
        (FewShotClassifier, {"memory": {"store": "delta", "access": "attention"}}, None),
        (FewShotClassifier, {"memory": {"store_options": {"holds": "state"}}}, "memory.store_options.holds"),
        (
            FewShotClassifier,
            {"memory": {"store": "key_value", "store_options": {"learned_only": True}}},
            "memory.store_options.learned_only",
        ),
        (FewShotClassifier, {"memory": {"per_action": True}}, "memory.per_action"),
        (FewShotClassifier, {"memory": {"controller": "lstm"}}, "memory.controller"),
        (FewShotClassifier, {"memory": {"key_size": 32}, "readout": "votes"}, "memory.key_size"),
        (FewShotClassifier, {"memory": {"store": "ntm", "access": "native"}, "readout": "votes"}, "memory.access"),
        (FewShotClassifier, {"memory": {"access": "meta_gradient"}, "readout": "votes"}, "memory.access"),
        (FewShotClassifier, {"memory": {"store": "key_value"}, "readout": "votes"}, "memory.store_options.learned"),
        (FewShotClassifier, {"rotate_support": True, "encoder": {"norm": "batch"}}, "encoder.norm"),
        (FewShotClassifier, {"transductive": True}, "encoder.norm"),
        (FewShotClassifier, {"encoder": {"net": "resnet"}}, "net"),
        (StreamClassifier, {"labels": "letter"}, "labels"),
        (StreamClassifier, {"labels": "letters", "ways": 3126}, "ways"),
        (StreamClassifier, {"encoder": {"norm": "batch"}}, "encoder.norm"),
    ],
)
def test_what_does_not_make_a_learner_is_refused(kind: Any, settings: dict[str, Any], key: str | None) -> None:
    with pytest.raises(InputError) as caught:
        make(kind, settings)
    assert caught.value.key == key


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"algorithm": "mamel"}, "algorithm"),
        ({"steps": 0}, "steps"),
        ({"eval_steps": -1}, "eval_steps"),
        ({"inner_lr": 0.0}, "inner_lr"),
        ({"width": 0}, "width"),
        ({"precision": "float16"}, "precision"),
        ({"step": 1}, "step"),
        ({"algorithm": "reptile", "learned_lr": True}, "learned_lr"),
        ({"algorithm": "maml", "batch": 3}, "batch"),
        ({"ways": 1}, "ways"),
    ],
)
def test_options_of_gradient_descent_that_do_not_fit_are_refused(options: dict[str, Any], key: str) -> None:
    given = {"ways": WAYS} | options
    with pytest.raises(InputError) as caught:
        gradient_learner((SIDE, SIDE), given.pop("ways"), given)
    assert caught.value.key == key


FLOATS = torch.rand(BATCH, SUPPORT, SIDE, SIDE)
NAMES = ("support_x", "support_y", "query_x", "query_y")
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
    "queries of another shape": (2, torch.zeros(BATCH, WAYS)),
    "no query": (2, torch.zeros(BATCH, 0, SIDE, SIDE)),
    "another batch of queries": (2, torch.zeros(1, WAYS, SIDE, SIDE)),
    "queries up to 255": (2, 255 * FLOATS),
    "an answer too large": (3, torch.full((BATCH, WAYS), WAYS)),
    "too few answers": (3, torch.zeros(BATCH, 1, dtype=torch.long)),
}


@pytest.mark.parametrize("name", ["classifier", "stream", "maml-each", "reptile-each"])
@pytest.mark.parametrize(("part", "given"), REFUSED.values(), ids=REFUSED)
def test_episodes_that_do_not_fit_are_refused(name: str, part: int, given: Tensor) -> None:
    learner, parts = LEARNERS[name](), list[Any](episodes())
    parts[part] = given
    if part < 3:
        with pytest.raises(InputError) as caught:
            learner(*parts[:3])
        assert caught.value.key == ("stream_y" if (name, part) == ("stream", 1) else NAMES[part])
        assert caught.value.expected
    if learner.protocol == "episodes":
        with pytest.raises(InputError) as caught:
            learner.loss(Episodes(*parts))
        assert caught.value.key == NAMES[part]


def test_embedded_episodes_that_do_not_fit_are_refused() -> None:
    learner, given = classifier(), episodes()
    support, queries = (torch.rand(BATCH, n, 8) for n in (SUPPORT, WAYS))
    assert learner.classify(support, given.support_y, queries.numpy()).shape == (BATCH, WAYS, WAYS)
    for bad in ((support, queries[:1]), (support[..., :7], queries), (support, queries[..., :7])):
        with pytest.raises(InputError):
            learner.classify(bad[0], given.support_y, bad[1])


@pytest.mark.parametrize("name", ["maml-each", "fomaml-prototypes", "anil-each", "reptile-each"])
def test_a_support_without_a_class_is_refused(name: str) -> None:
    learner, given = LEARNERS[name](), episodes()
    lacking = np.array([[0, 1, 2, 0, 1, 2], [0, 2, 2, 0, 2, 2]])
    for call in (learner.adapted, lambda x, y: learner.loss(given._replace(support_y=y))):
        with pytest.raises(InputError, match=r"episode 1 .* class 1") as caught:
            call(given.support_x, lacking)
        assert caught.value.key == "support_y"


def zeros(*shape: int) -> Tensor:
    return torch.zeros(shape, dtype=torch.long)


@pytest.mark.parametrize(
    ("labels", "x", "y", "key"),
    [
        ("one_hot", (BATCH, SUPPORT, SIDE + 1), zeros(BATCH, SUPPORT, 1), "stream_x"),
        ("one_hot", (BATCH, 9, SIDE), zeros(BATCH, 9, 1), "stream_x"),
        ("one_hot", (BATCH, SUPPORT, SIDE), zeros(BATCH, SUPPORT), "stream_y"),
        ("one_hot", (BATCH, SUPPORT, SIDE), zeros(BATCH, SUPPORT, 5), "stream_y"),
        ("one_hot", (BATCH, SUPPORT, SIDE), zeros(BATCH, SUPPORT, 1) + WAYS, "stream_y"),
        ("letters", (BATCH, SUPPORT, SIDE), zeros(BATCH, SUPPORT, 5) + 5, "stream_y"),
    ],
)
def test_streams_that_do_not_fit_are_refused(labels: str, x: tuple[int, ...], y: Tensor, key: str) -> None:
    learner = make(StreamClassifier, {"observation": (SIDE,), "labels": labels})
    with pytest.raises(InputError) as caught:
        learner.loss(Streams(torch.zeros(x).numpy(), y.numpy()))
    assert caught.value.key == key


def test_a_support_longer_than_the_longest_and_queries_of_letters_are_refused() -> None:
    x, queries = torch.zeros(BATCH, 9, 5), torch.zeros(BATCH, 1, 5)
    for kind, settings, key in (
        (FewShotClassifier, {}, "support_x"),
        (StreamClassifier, {}, "support_x"),
        (StreamClassifier, {"labels": "letters", "longest": 9}, "labels"),
    ):
        with pytest.raises(InputError) as caught:
            make(kind, settings)(x, zeros(BATCH, 9), queries)
        assert caught.value.key == key


@pytest.mark.parametrize(
    "tool",
    [
        lambda learner: TrainedLearner(learner, Reading(SIDE)),
        lambda learner: CaseMemory(learner, 4),
        lambda learner: BoundedMemory(learner, 10**4),
    ],
)
def test_tools_refuse_a_learner_that_is_in_training(tool: Callable[[FewShotClassifier], object]) -> None:
    learner = classifier(readout="votes", memory={"access_options": {"kernel": "euclidean", "empty_slot": False}})
    tool(learner.eval())
    with pytest.raises(InputError, match="in training mode"):
        tool(learner.train())
