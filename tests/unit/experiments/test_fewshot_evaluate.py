"""Evaluation of few-shot learners: what it counts, which classes and episodes it takes, and what it leaves alone."""

import json
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from experiment_toys import LEARNERS, WAYS, ran, toy
from torch import Tensor

from metarl.agents.fewshot import embedded as embedding
from metarl.agents.fewshot.learner import FewShotLearner, Protocol
from metarl.config import ConfigError, to_plain
from metarl.data.episodes import Episodes, Streams, class_positions
from metarl.data.pool import Glyphs, Pool
from metarl.data.sources import FewShotSource
from metarl.evaluation import accuracy as answers
from metarl.evaluation.accuracy import correct, correct_in_streams, prepared
from metarl.experiments.fewshot.build import make_learner
from metarl.experiments.fewshot.evaluate import evaluate, record
from metarl.experiments.fewshot.met import met_in
from metarl.experiments.fewshot.options import DataOptions
from metarl.experiments.run import open_run
from metarl.types import SPLITS, Array

pytestmark = pytest.mark.usefixtures("undrawn")

EVERY_LEARNER = pytest.mark.parametrize("kind", LEARNERS)


class Knowing(FewShotLearner):
    """Knows every glyph of the test split, but is wrong about queries of label 0; of streams, about first instances."""

    def __init__(self) -> None:
        super().__init__()
        self.number = {picture.tobytes(): i for i, shown in enumerate(Glyphs("test").examples) for picture in shown}

    def forward(self, support_x: Any, support_y: Any, query_x: Any) -> Tensor:
        logits = torch.zeros(*query_x.shape[:2], WAYS)
        for b in range(len(query_x)):
            known = {self.number[x.tobytes()]: int(y) for x, y in zip(support_x[b], support_y[b], strict=True)}
            for q, x in enumerate(query_x[b]):
                label = known[self.number[x.tobytes()]]
                logits[b, q, label or 1] = 1
        return logits

    def predict_streams(self, x: Any, y: Any) -> Tensor:
        return torch.as_tensor(np.where(class_positions(y)[..., None] == 1, y + 1, y))


@pytest.fixture
def sampled(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Episodes | Streams]]:
    """What was drawn, and the split of glyphs that it came from."""
    split_of = {id(Glyphs(split).examples): split for split in SPLITS}
    sample, sample_streams, found = FewShotSource.sample, FewShotSource.sample_streams, list[Any]()

    def noted(real: Any) -> Any:
        def draw(source: Pool, *given: Any) -> Any:
            found.append((split_of[id(source.examples)], real(source, *given)))
            return found[-1][1]

        return draw

    monkeypatch.setattr(FewShotSource, "sample", noted(sample))
    monkeypatch.setattr(FewShotSource, "sample_streams", noted(sample_streams))
    return found


def arrays(found: list[tuple[str, Episodes | Streams]]) -> list[Array]:
    return [array for _, batch in found for array in batch]


def equal(one: list[Array], other: list[Array]) -> bool:
    return len(one) == len(other) and all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_accuracy_is_the_share_of_queries_that_are_right() -> None:
    made = toy("classifier", "eval.episodes=40")
    result = evaluate(Knowing().eval(), made, quiet=True)
    (cell,) = result.cells
    assert (cell.ways, cell.shots, cell.queries, cell.episodes) == (WAYS, 1, 2, 40)
    assert (cell.accuracy, *cell.interval) == (pytest.approx(1 - 1 / WAYS),) * 3
    assert cell.se == pytest.approx(0, abs=1e-9)


def test_streams_are_told_by_instance() -> None:
    result = evaluate(Knowing().eval(), toy("stream", "train.shots=4"), quiet=True)
    assert [stream.ways for stream in result.streams] == [WAYS, 3]
    for stream in result.streams:
        assert stream.by_instance == (0, 1, 1, 1)
        assert stream.by_instance_interval == ((0, 0), (1, 1), (1, 1), (1, 1))
        assert (stream.episodes, stream.labels) == (6, "one_hot")


def test_rotations_of_a_test_are_classes_of_their_own() -> None:
    plain, turned = (toy("classifier", f"eval.rotations={on}").source("test") for on in ("false", "true"))
    assert turned.classes == 4 * plain.classes


def test_an_evaluation_says_what_it_measured() -> None:
    made = toy("classifier", "classifier.encoder.norm=batch", "transductive=true", "eval.rotations=true")
    learner = make_learner(made, seed=0).eval()
    result = evaluate(learner, made, split="validation", episodes=3, seed=7, quiet=True)
    told = to_plain(result)
    said = {name: value for name, value in told.items() if name not in ("cells", "streams") and "train_" not in name}
    assert said == {
        "kind": "fewshot",
        "learner": "classifier",
        "preset": "classifier",
        "data": "drawn glyphs, not Omniglot",
        "real": False,
        "split": "validation",
        "transductive": True,
        "norm": "batch",
        "rotations": True,
        "within_alphabet": False,
        "distinct_drawers": False,
        "trainval": False,
        "kept_step": None,
        "seed": 7,
        "parameters": sum(p.numel() for p in learner.parameters()),
        "first_order": None,
    }
    assert result.cells[0].episodes == 3
    json.dumps(told, allow_nan=False)


@pytest.mark.parametrize(
    ("algorithm", "first"), [("maml", False), ("anil", False), ("fomaml", True), ("reptile", True)]
)
def test_whether_gradients_are_first_order_is_recorded(algorithm: str, first: bool) -> None:
    made = toy("gradient", f"gradient.algorithm={algorithm}")
    assert evaluate(make_learner(made, seed=0).eval(), made, episodes=2, quiet=True).first_order is first


def test_evaluations_that_would_mean_nothing_are_refused() -> None:
    wrong: dict[str, Any] = {"split": "train", "episodes": 1}
    for key, given in wrong.items():
        with pytest.raises(ConfigError) as error:
            evaluate(Knowing().eval(), toy("classifier"), quiet=True, **{key: given})
        assert (error.value.key, error.value.given) == (key, given)
    with pytest.raises(ValueError, match="in training mode"):
        evaluate(Knowing().train(), toy("classifier"), quiet=True)
    with pytest.raises(ConfigError, match="ways is 201"):
        evaluate(Knowing().eval(), toy("classifier", "eval.cells=[[201,1]]"), quiet=True)


@EVERY_LEARNER
def test_a_test_leaves_nothing_in_the_learner(kind: str) -> None:
    norm = {"classifier": ["classifier.encoder.norm=running"], "stream": ["stream.encoder.norm=running"]}
    made = toy(kind, *norm.get(kind, []))
    learner = make_learner(made, seed=0).eval()
    before = {name: value.clone() for name, value in learner.state_dict().items()}
    evaluate(learner, made, quiet=True)
    record(learner, made)
    assert all(torch.equal(value, before[name]) for name, value in learner.state_dict().items())
    assert learner.training is False
    assert all(p.grad is None for p in learner.parameters())


def test_episodes_hang_on_seed_split_and_cell_alone(sampled: list[tuple[str, Episodes | Streams]]) -> None:
    def drawn(kind: str, *settings: str, **options: Any) -> list[Array]:
        sampled.clear()
        made = toy(kind, "eval.streams=[]", *settings) if kind == "stream" else toy(kind, *settings)
        evaluate(make_learner(made, seed=0).eval(), made, quiet=True, **options)
        assert {split for split, _ in sampled} == {options.get("split", "test")}
        return arrays(sampled)

    first = drawn("classifier")
    assert equal(drawn("classifier"), first)
    assert equal(drawn("gradient"), first), "learners are compared on the same"
    assert equal(drawn("stream"), first)
    assert not equal(drawn("classifier", seed=1), first)
    assert not equal(drawn("classifier", split="validation"), first)
    both = drawn("classifier", "eval.cells=[[3,1],[4,1]]")
    assert equal(both[len(both) // 2 :], first), "whatever cell came before"
    more = drawn("classifier", episodes=9)
    assert all(len(m) == 9 for m in more)


@EVERY_LEARNER
def test_no_picture_of_a_test_is_one_of_training(kind: str, sampled: list[tuple[str, Episodes | Streams]]) -> None:
    made = toy(kind)
    evaluate(make_learner(made, seed=0).eval(), made, quiet=True)
    known = {picture.tobytes() for picture in Glyphs("train").examples.reshape(-1, 28, 28)}
    shown = [array for array in arrays(sampled) if array.dtype == np.uint8]
    assert len(shown) == (4 if kind == "stream" else 2)
    assert not known & {picture.tobytes() for array in shown for picture in array.reshape(-1, 28, 28)}


def test_many_episodes_are_classified_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    glyphs, learner = Glyphs("test"), Knowing()
    episodes = glyphs.sample(np.random.default_rng(0), 7, WAYS, 1, 2)
    streams = glyphs.sample_streams(np.random.default_rng(0), 7, WAYS, 3)
    whole = correct(learner, episodes), correct_in_streams(learner, streams)
    assert whole[0].shape == (7, 2 * WAYS)
    assert whole[1].shape == (7, 3 * WAYS)
    assert np.array_equal(whole[0], episodes.query_y != 0)
    assert np.array_equal(whole[1], class_positions(streams.y) > 1)
    monkeypatch.setattr(answers, "IMAGES", 1)
    assert np.array_equal(correct(learner, episodes), whole[0])
    assert np.array_equal(correct_in_streams(learner, streams), whole[1])


def test_letters_are_right_when_all_of_them_are() -> None:
    class Nearly(Knowing):
        protocol: ClassVar[Protocol] = "streams"

        def predict_streams(self, x: Any, y: Any) -> Tensor:
            changed = y.copy()
            changed[:, ::2, 3] += 1
            return torch.as_tensor(changed)

    streams = Glyphs("test").sample_streams(np.random.default_rng(0), 3, WAYS, 3, "letters")
    found = correct_in_streams(Nearly(), streams)
    assert not found[:, ::2].any()
    assert found[:, 1::2].all()


@EVERY_LEARNER
def test_recorded_episodes_hold_the_learners_own_answers(kind: str) -> None:
    made = toy(kind)
    learner = make_learner(made, seed=0).eval()
    kept: Any = record(learner, made, 3)
    assert (kept["support_x"].dtype, kept["support_x"].shape) == (np.dtype(np.uint8), (8, WAYS, 28, 28))
    answers_now = learner.predict(kept["support_x"], kept["support_y"], kept["query_x"])
    assert np.array_equal(kept["predicted"], answers_now)
    assert ("stream_x" in kept) is (kind == "stream")
    if kind == "stream":
        assert kept["stream_x"].shape == (8, WAYS * 3, 28, 28)
        assert np.array_equal(kept["stream_predicted"], learner.predict_streams(kept["stream_x"], kept["stream_y"]))


def test_what_was_recalled_is_kept_of_learners_that_show_it() -> None:
    voting = toy(
        "classifier", "classifier.readout=votes", "classifier.memory={ access_options = { empty_slot = false } }"
    )
    kept = record(make_learner(voting, seed=0).eval(), voting)
    assert kept["weights"].shape == (8, 2 * WAYS, WAYS)
    np.testing.assert_allclose(kept["weights"].astype(float).sum(-1), 1, atol=2e-3)
    plain = toy("classifier")
    assert "weights" not in record(make_learner(plain, seed=0).eval(), plain)


@pytest.mark.parametrize("members", [1, 2])
def test_a_pool_that_is_embedded_first_gives_the_same_answers(members: int, monkeypatch: pytest.MonkeyPatch) -> None:
    made = toy("classifier", f"classifier.members={members}")
    learner, pool = make_learner(made, seed=0).eval(), Glyphs("test", 5)
    monkeypatch.setattr(embedding, "CHUNK", 30)
    found = []
    for examples in (pool.examples.size, 0):
        held, answer = prepared(learner, pool, examples)
        found.append(answer(held.sample(np.random.default_rng(0), 20, WAYS, 1, 3)))
        assert (held is pool) is (examples == 0)
    assert np.array_equal(found[0], found[1])


def test_what_embeds_nothing_by_itself_is_given_the_examples() -> None:
    pool = Glyphs("test")
    held, answer = prepared(Knowing(), pool, pool.examples.size)
    drawn = held.sample(np.random.default_rng(0), 3, WAYS, 1, 2)
    assert held is pool
    assert np.array_equal(answer(drawn), drawn.query_y != 0)


def test_validation_classes_that_were_trained_on_are_classes_of_training() -> None:
    plain, both = (met_in(DataOptions(source="omniglot", trainval=on)) for on in (False, True))
    assert set(both) == {"train"}
    assert set(both["train"]) == {*plain["train"], *plain["validation"]}


@pytest.mark.parametrize(
    "settings", [{"classifier.readout": "votes"}, {"classifier.encoder.views": True}, {"data.trainval": True}], ids=str
)
def test_what_made_a_learner_is_no_setting_of_its_tests(settings: dict[str, Any], tmp_path: Path) -> None:
    done = ran(tmp_path / "run", toy("classifier"))
    with pytest.raises(ConfigError):
        open_run(done.folder.path, settings, device="cpu")
    open_run(done.folder.path, {"eval.episodes": 3}, device="cpu")
