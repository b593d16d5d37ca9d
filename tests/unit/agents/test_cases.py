"""A memory of patients: what it takes, what it says, and which patients it read."""

import numpy as np
import pytest
import torch

from metarl.agents.fewshot.cases import CaseMemory
from metarl.config import ConfigError, InputError
from metarl.fewshot import FewShotClassifier, StreamClassifier

MEMORY = {
    "store": "episodic",
    "access": "attention",
    "access_options": {"kernel": "dot", "learned_temperature": True, "empty_slot": False},
}
ENCODER = {"net": "table", "width": 16, "embedding_size": 4}
WIDTH = 6


@pytest.fixture
def learner() -> FewShotClassifier:
    torch.manual_seed(0)
    return FewShotClassifier((WIDTH,), 2, MEMORY, readout="votes", encoder=ENCODER, longest=8).eval()


@pytest.fixture
def memory(learner: FewShotClassifier) -> CaseMemory:
    return CaseMemory(learner, WIDTH)


def patients(ill: bool, n: int, columns: int = 3) -> np.ndarray:
    rng = np.random.default_rng(int(ill))
    return rng.standard_normal((n, columns)) + 4 * ill


def test_patients_are_diagnosed_by_those_remembered(memory: CaseMemory) -> None:
    memory.remember({"ill": patients(True, 5), "well": patients(False, 3)})
    assert memory.classes == {"ill": 5, "well": 3}
    asked = np.array([[4.0, 4.2, np.nan], [0.0, -0.2, 0.3]])
    answers = memory.predict(asked)
    assert [one.name for one in answers] == ["ill", "well"]
    for one in answers:
        assert sum(one.probabilities.values()) == pytest.approx(1)
        assert one.probability == max(one.probabilities.values())
    (alone,) = memory.predict(asked[1])
    assert alone.probabilities == pytest.approx(answers[1].probabilities, abs=1e-6)


def test_what_was_read_adds_up_to_the_answer(memory: CaseMemory) -> None:
    memory.remember({"ill": patients(True, 5), "well": patients(False, 3)})
    asked = patients(True, 6)[5]
    read = memory.recalled(asked)
    assert [one.weight for one in read] == sorted((one.weight for one in read), reverse=True)
    assert sorted((one.name, one.example) for one in read) == [("ill", i) for i in range(5)] + [
        ("well", i) for i in range(3)
    ]
    votes = sum(one.weight for one in read if one.name == "ill")
    assert votes == pytest.approx(memory.predict(asked)[0].probabilities["ill"], abs=1e-4)


def test_more_patients_and_more_classes_than_in_training_find_room(memory: CaseMemory) -> None:
    memory.remember({"a": patients(True, 9), "b": patients(False, 9)})
    memory.remember({"c": patients(False, 2) - 4, "a": patients(True, 1)[0]})
    assert memory.classes == {"a": 10, "b": 9, "c": 2}
    assert set(memory.predict(patients(True, 1))[0].probabilities) == {"a", "b", "c"}
    assert "3 classes" in repr(memory)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, "class names"),
        ([1, 2], "class names"),
        ({"ill": "words"}, "numbers"),
        ({"ill": np.zeros((2, 0))}, "finite numbers"),
        ({"ill": [np.inf, 1.0]}, "infinite"),
        ({"ill": np.zeros((2, 3)), "well": np.zeros((2, 4))}, "4 columns"),
        ({"ill": np.zeros((2, WIDTH + 1))}, "at most 6"),
    ],
)
def test_wrong_patients_are_refused_and_change_nothing(memory: CaseMemory, given: object, told: str) -> None:
    memory.remember({"old": np.zeros(3)}) if told == "4 columns" else None
    before = memory.classes
    with pytest.raises(InputError, match=told):
        memory.remember(given)  # type: ignore[arg-type]  # that is the point
    assert memory.classes == before


def test_wrong_questions_are_refused(memory: CaseMemory, learner: FewShotClassifier) -> None:
    memory.remember({"ill": patients(True, 2)})
    with pytest.raises(InputError, match="2 or more"):
        memory.predict(np.zeros(3))
    memory.remember({"well": patients(False, 2)})
    with pytest.raises(InputError, match="2 columns"):
        memory.predict(np.zeros(2))
    with pytest.raises(InputError, match="2 patients"):
        memory.recalled(np.zeros((2, 3)))
    means = FewShotClassifier((WIDTH,), 2, MEMORY, readout="linear", encoder=ENCODER, longest=8).eval()
    other = CaseMemory(means, WIDTH)
    other.remember({"ill": patients(True, 2), "well": patients(False, 2)})
    with pytest.raises(InputError, match="no weights of single patients"):
        other.recalled(np.zeros(3))


def test_learners_that_a_table_does_not_fit_are_refused(learner: FewShotClassifier) -> None:
    for options, key in (({"rotate_support": True}, "rotate_support"), ({"transductive": True}, "encoder.norm")):
        with pytest.raises(ConfigError) as refused:
            FewShotClassifier((WIDTH,), 2, MEMORY, encoder=ENCODER, **options)  # type: ignore[arg-type]  # of bools
        assert refused.value.key == key
    with pytest.raises(ConfigError, match="stream"):
        StreamClassifier((WIDTH,), 2, MEMORY, encoder=ENCODER)
    with pytest.raises(ConfigError, match="another net for images"):
        FewShotClassifier((8, 8), 2, MEMORY, encoder=ENCODER)
    assert learner.embed(np.zeros((2, WIDTH), np.float32)) is None
    vectors = FewShotClassifier((WIDTH,), 2, MEMORY)
    unknown = np.full((1, 2, WIDTH), np.nan, np.float32)
    with pytest.raises(InputError, match="not finite"):
        vectors(unknown, np.array([[0, 1]]), unknown)
