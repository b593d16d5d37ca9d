"""Supervised training: its budget, its schedule, its record, and what it does with numbers that are not finite."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from metarl.config import ConfigError, InputError
from metarl.data.recall import RepeatFirst
from metarl.data.sequences import Sequences
from metarl.memory.options import MemoryOptions
from metarl.memory.registry import build_core
from metarl.nets.sequence import SequenceClassifier, query_accuracy, query_loss
from metarl.training.supervised import SupervisedOptions, Trained, Validation, fit
from metarl.types import CoreInput, NonFiniteError


class Mean(nn.Module):
    """One number, whose loss is its squared distance from the batch."""

    def __init__(self, start: float = 0.0) -> None:
        super().__init__()
        self.number = nn.Parameter(torch.tensor(start))


def loss_fn(model: Mean, batch: float) -> Tensor:
    return (model.number - batch).square()


def train(options: SupervisedOptions, model: Mean | None = None, **more: Any) -> Trained:
    return fit(model or Mean(), loss_fn, more.pop("batches", iter(lambda: 1.0, None)), options, **more)


def ticking(step: float) -> Callable[[], float]:
    times = count()
    return lambda: step * next(times)


@pytest.fixture(autouse=True)
def _weights_from_a_seed() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def test_training_ends_after_its_updates_seconds_or_batches() -> None:
    batches = iter([1.0] * 100)
    done = train(SupervisedOptions(updates=7), batches=batches)
    assert done.updates == 7
    assert len(list(batches)) == 93, "no batch was drawn in vain"
    assert done.curve == ()
    timed = train(SupervisedOptions(seconds=10), clock=ticking(1.0))
    assert (timed.updates, timed.ended) == (5, "seconds")  # two looks at the clock an update
    short = train(SupervisedOptions(seconds=10, updates=3), clock=ticking(1.0))
    assert (short.updates, short.ended) == (3, "updates")

    assert train(SupervisedOptions(updates=7), batches=[1.0, 1.0]).updates == 2
    nothing = train(SupervisedOptions(updates=7), batches=[], validate=lambda model: 1.0)
    assert nothing.updates == 0
    assert np.isnan(nothing.loss)
    assert nothing.curve == ()


def test_training_ends_when_the_target_is_reached() -> None:
    model, told = Mean(), list[Validation]()
    options = SupervisedOptions(updates=1000, learning_rate=0.1, validate_every=3, target=0.5)
    done = fit(
        model, loss_fn, iter(lambda: 1.0, None), options, validate=lambda m: float(m.number), progress=told.append
    )
    assert done.updates == 6  # steps of 0.1: 0.3 after three, 0.6 after six
    assert [v.updates for v in done.curve] == [3, 6]
    assert list(done.curve) == told
    assert done.curve[0].accuracy < 0.5 <= done.curve[1].accuracy


def test_the_last_validation_comes_after_the_last_update_and_once() -> None:
    def updates(number: int) -> list[int]:
        curve = train(SupervisedOptions(updates=number, validate_every=4), validate=lambda model: 0.0).curve
        return [v.updates for v in curve]

    assert updates(10) == [4, 8, 10]
    assert updates(8) == [4, 8]


def test_losses_are_those_since_the_last_validation() -> None:
    options = SupervisedOptions(updates=5, learning_rate=0, validate_every=2)
    done = train(options, batches=[1.0, 3.0, 2.0, 0.0, 5.0], validate=lambda model: 0.0)
    assert [v.loss for v in done.curve] == [5.0, 2.0, 25.0]
    assert done.loss == 25.0


def test_validation_is_in_evaluation_mode_and_without_gradients() -> None:
    model, modes = Mean(), []
    model.eval()

    def validate(m: Mean) -> float:
        modes.append((m.training, torch.is_grad_enabled()))
        return 0.0

    def loss(m: Mean, batch: float) -> Tensor:
        assert m.training
        return loss_fn(m, batch)

    fit(model, loss, iter(lambda: 1.0, None), SupervisedOptions(updates=3, validate_every=1), validate=validate)
    assert modes == [(False, False)] * 3
    assert model.training


def test_step_sizes() -> None:
    options = SupervisedOptions(updates=10, learning_rate=1.0, learning_rate_end=0.2, warmup=4)
    assert [options.learning_rate_at(i, i / 10) for i in (0, 1, 3, 5)] == pytest.approx([0.25, 0.46, 0.76, 0.6])
    assert options.learning_rate_at(20, 1.5) == pytest.approx(0.2)
    plain = SupervisedOptions(updates=10, learning_rate=1.0)
    assert plain.learning_rate_at(0, 0.0) == plain.learning_rate_at(9, 0.9) == 1.0


def test_step_sizes_are_those_of_the_schedule() -> None:
    """Adam moves by its step size where the gradient does not change."""
    model, places = Mean(), list[float]()

    def loss(m: Mean, batch: float) -> Tensor:
        places.append(float(m.number.detach()))
        return -m.number

    fit(model, loss, [0.0] * 4, SupervisedOptions(updates=4, learning_rate=1.0, learning_rate_end=0.0, warmup=2))
    assert np.diff([*places, float(model.number.detach())]) == pytest.approx([0.5, 0.75, 0.5, 0.25], rel=1e-4)


def test_a_cosine_is_that_of_its_source() -> None:
    """Loshchilov & Hutter 2017, eq. 5: end + (start - end) (1 + cos(pi progress)) / 2."""
    warm = SupervisedOptions(updates=8, learning_rate=1.0, learning_rate_end=0.0, schedule="cosine", warmup=4)
    assert warm.learning_rate_at(1, 1 / 8) == pytest.approx(0.5 * (1 + np.cos(np.pi / 8)) / 2)
    assert SupervisedOptions(updates=8, schedule="cosine").learning_rate_at(5, 5 / 8) == 1e-3, "no end, no fall"


def validated(options: SupervisedOptions, accuracies: list[float]) -> tuple[Mean, Trained, list[float]]:
    """A training by steps of 1, whose validations say so; what the model was at each."""
    model, told, seen = Mean(), iter(accuracies), list[float]()

    def validate(m: Mean) -> float:
        seen.append(float(m.number))
        return next(told)

    return model, fit(model, lambda m, batch: -m.number, iter(lambda: 0.0, None), options, validate=validate), seen


def test_patience_ends_training_and_restores_the_best() -> None:
    options = SupervisedOptions(updates=100, learning_rate=1.0, validate_every=2, patience=2)
    model, done, seen = validated(options, [0.1, 0.7, 0.7, 0.6])
    assert (done.updates, len(done.curve)) == (8, 4)
    assert seen == pytest.approx([2, 4, 6, 8], rel=1e-4)
    assert float(model.number.detach()) == seen[1], "the first of the best two: as good is not better"


@pytest.mark.parametrize(
    ("kept", "best"),
    [({"patience": 9}, 1), ({}, 2), ({"keep": "best"}, 1), ({"keep": "last", "patience": 9}, 1)],
    ids=["the best with patience", "the last without", "the best if asked for", "patience means the best"],
)
def test_which_parameters_are_kept_at_the_end_of_the_budget(kept: dict[str, Any], best: int) -> None:
    options = SupervisedOptions(updates=3, learning_rate=1.0, validate_every=1, **kept)
    model, done, seen = validated(options, [0.1, 0.8, 0.3])
    assert done.updates == 3
    assert done.kept == (best + 1 if kept else None)
    assert float(model.number.detach()) == seen[best]


def test_a_better_accuracy_starts_patience_anew() -> None:
    options = SupervisedOptions(updates=100, learning_rate=1.0, validate_every=1, patience=2)
    _, done, _ = validated(options, [0.5, 0.4, 0.6, 0.5, 0.6])
    assert done.updates == 5


class Counting(Mean):
    """A number that remembers, in a buffer, how often its loss was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.tensor(0.0))
        self.seen: Tensor


def counting_loss(model: Counting, batch: float) -> Tensor:
    model.seen += 1
    return -model.number


def test_the_moving_average_is_what_is_validated_and_kept() -> None:
    model, seen = Counting(), list[tuple[float, float]]()

    def validate(m: Counting) -> float:
        seen.append((float(m.number), float(m.seen)))
        return 0.0

    options = SupervisedOptions(updates=4, learning_rate=1.0, validate_every=1, average=0.5)
    fit(model, counting_loss, iter(lambda: 0.0, None), options, validate=validate)
    expected = [1.0]
    for place in (2.0, 3.0, 4.0):  # where the model itself goes, and how often it was asked
        expected.append(0.5 * expected[-1] + 0.5 * place)
    assert [number for number, _ in seen] == pytest.approx(expected, rel=1e-4)
    assert [count for _, count in seen] == pytest.approx(expected)
    assert (float(model.number.detach()), float(model.seen)) == seen[-1]


def test_the_best_moving_average_is_restored() -> None:
    options = SupervisedOptions(updates=4, learning_rate=1.0, validate_every=1, average=0.5, patience=9)
    model, _, seen = validated(options, [0.1, 0.2, 0.9, 0.3])
    assert float(model.number.detach()) == seen[2] == pytest.approx(2.25, rel=1e-4)


def test_weight_decay_is_decoupled_from_the_gradient() -> None:
    """Loshchilov & Hutter 2019, algorithm 2: parameters shrink by the step size times the decay, whatever Adam does."""
    model = Mean(start=8.0)
    options = SupervisedOptions(updates=3, learning_rate=0.5, weight_decay=0.1)
    fit(model, lambda m, batch: m.number * 0, [0.0] * 3, options)
    assert float(model.number.detach()) == pytest.approx(8.0 * 0.95**3)
    pulled = Mean(start=8.0)
    fit(pulled, lambda m, batch: 1e3 * m.number, [0.0], replace(options, updates=1))
    assert float(pulled.number.detach()) == pytest.approx(8.0 * 0.95 - 0.5, rel=1e-4)


def test_gradients_are_clipped(monkeypatch: pytest.MonkeyPatch) -> None:
    norms = []
    step = torch.optim.AdamW.step

    def recording(self: torch.optim.AdamW, *args: Any, **kwargs: Any) -> Any:
        norms.append(float(self.param_groups[0]["params"][0].grad.abs()))
        return step(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.AdamW, "step", recording)
    train(SupervisedOptions(updates=2, max_grad_norm=0.5, learning_rate=0), batches=[100.0, 0.1])
    assert norms == pytest.approx([0.5, 0.2], rel=1e-4)


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        (lambda m, b: (m.number - b).square(), "the loss .*the batches at update 1"),
        (lambda m, b: (m.number * 0 + (b != b)).sqrt() * 0 + m.number, r"the gradient .*\(number\)"),
    ],
)
def test_numbers_that_are_not_finite_leave_the_parameters_unchanged(loss: Any, words: str) -> None:
    model, seen = Mean(), []

    def recording(m: Mean, batch: float) -> Tensor:
        seen.append(float(m.number.detach()))
        return loss(m, batch) if len(seen) == 2 else loss_fn(m, batch)

    with pytest.raises(NonFiniteError, match=words):
        fit(model, recording, [1.0, float("inf"), 1.0], SupervisedOptions(updates=3))
    assert len(seen) == 2
    assert float(model.number.detach()) == seen[1] != 0.0


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({}, "updates"),
        ({"updates": 1, "target": 0.5}, "target"),
        ({"updates": 1, "patience": 3}, "patience"),
        ({"updates": 1, "keep": "best"}, "keep"),
    ],
)
def test_trainings_without_a_budget_or_the_accuracy_they_need_are_refused(options: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        train(SupervisedOptions(**options))
    assert caught.value.key == key


def tensors(drawn: Sequences) -> tuple[CoreInput, Tensor, Tensor, Tensor]:
    now, feedback, target, query_mask, boundary = map(torch.from_numpy, drawn[2:])
    return CoreInput(now, feedback), boundary, target, query_mask


def sequence_loss(model: SequenceClassifier, drawn: Sequences) -> Tensor:
    x, boundary, target, query_mask = tensors(drawn)
    return query_loss(model(x, boundary), target, query_mask)


TASK = RepeatFirst(length=3, alphabet=3)


def classifier() -> SequenceClassifier:
    options = MemoryOptions(controller="gru", store="none", access="none", controller_options={"hidden_size": 16})
    core = build_core(options, TASK.sizes.now, TASK.sizes.feedback, TASK.sizes.steps)
    return SequenceClassifier(core, TASK.sizes.classes)


def test_a_core_learns_to_recall() -> None:
    held_out = tensors(next(TASK.batches("validation", 500)))

    def validate(model: SequenceClassifier) -> float:
        return float(query_accuracy(model(*held_out[:2]), *held_out[2:]))

    model = classifier()
    before = validate(model)
    options = SupervisedOptions(updates=1000, learning_rate=1e-2, validate_every=50, target=0.99)
    done = fit(model, sequence_loss, TASK.batches("train", 32), options, validate=validate)
    assert before < 0.6
    assert done.curve[-1].accuracy >= 0.99
    assert done.updates < 1000


def test_a_classifier_of_sequences() -> None:
    x, boundary, _, _ = tensors(TASK.sample(np.random.default_rng(0), 6))
    model = classifier()
    logits = model(x, boundary)
    assert logits.shape == (TASK.sizes.steps, 6, TASK.sizes.classes)
    y, _ = model.core.unroll(x, model.core.initial_state(6), boundary)
    assert torch.equal(logits, model.head(y))
    with pytest.raises(InputError) as caught:
        SequenceClassifier(model.core, 0)
    assert caught.value.key == "classes"


def test_only_steps_that_are_asked_count() -> None:
    logits = torch.randn(4, 3, 5, requires_grad=True)
    target = torch.full((4, 3), -1)
    query_mask = torch.zeros(4, 3, dtype=torch.bool)
    query_mask[2, 1] = query_mask[3, 0] = True
    target[2, 1], target[3, 0] = int(logits[2, 1].argmax()), int(logits[3, 0].argmin())
    loss = query_loss(logits, target, query_mask)
    rows = logits[[2, 3], [1, 0]].log_softmax(-1)
    assert torch.isclose(loss, -(rows[0].max() + rows[1].min()) / 2)
    loss.backward()
    assert (logits.grad.abs().sum(-1) > 0).equal(query_mask)
    assert float(query_accuracy(logits, target, query_mask)) == 0.5
