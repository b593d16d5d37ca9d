"""Embeddings compared by probabilistic linear discriminant analysis, against the densities that it stands for."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fewshot_toys import GREY, NET, WAYS, episodes
from torch import Tensor

from metarl.agents.fewshot.bounded import BoundedMemory
from metarl.agents.fewshot.domains import with_norm_of
from metarl.agents.fewshot.embedded import embedded
from metarl.agents.fewshot.ensemble import Ensemble
from metarl.config import ConfigError, InputError
from metarl.data.pool import Pool
from metarl.experiments.presets import load_experiment
from metarl.experiments.run import open_run, run
from metarl.fewshot import FewShotClassifier
from metarl.nets.plda import Plda

SIZE = 6
EUCLIDEAN = {"kernel": "euclidean", "temperature": 0.1, "empty_slot": False}


def make(**options: Any) -> FewShotClassifier:
    given = {"memory": {"access_options": EUCLIDEAN}, "readout": "mean_votes", "encoder": NET, "longest": 40}
    return FewShotClassifier(GREY, WAYS, **{**given, "plda": True, **options}).eval()


def mixture(classes: int, examples: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Classes that differ much in the first dimensions, and examples that differ much in the last."""
    rng = np.random.default_rng(seed)
    between, within = np.array([9, 4, 1, 1, 0.1, 0.01]) ** 0.5, np.array([0.1, 1, 1, 4, 4, 9]) ** 0.5
    turn = np.linalg.qr(np.random.default_rng(7).normal(size=(SIZE, SIZE)))[0]
    centres = rng.normal(size=(classes, 1, SIZE)) * between
    x = (centres + rng.normal(size=(classes, examples, SIZE)) * within) @ turn + 3
    return torch.as_tensor(x.reshape(-1, SIZE)).float(), torch.arange(classes).repeat_interleave(examples)


def fitted(seed: int = 0) -> Plda:
    metric = Plda(SIZE)
    metric.fit(*mixture(2000, 10, seed))
    return metric


def squares(means: Tensor, queries: Tensor) -> Tensor:
    return torch.cdist(queries.double(), means.double()).square()


def test_until_it_is_fitted_nothing_changes() -> None:
    means, queries = torch.rand(2, 5, SIZE), torch.rand(2, 4, SIZE)
    for counts in (torch.ones(2, 5), torch.tensor([[1, 3, 0, 2, 5], [4, 4, 4, 4, 4]])):
        for given, made in zip((means, queries), Plda(SIZE)(means, queries, counts), strict=True):
            torch.testing.assert_close(made, given)


@pytest.mark.parametrize("shots", [1, 5])
def test_distances_are_those_of_the_densities_of_classes(shots: int) -> None:
    """Differences of log densities of a query, computed from joint normal distributions, are proportional to them."""
    x, labels = mixture(2000, 10)
    metric = Plda(SIZE)
    metric.fit(x, labels)
    basis = metric.directions.double()
    w = torch.linalg.inv(basis @ basis.T)
    b = w @ basis @ torch.diag(1 / metric.noise.double()) @ basis.T @ w
    means, queries = (x[i : i + 4].double() for i in (0, 100))
    joint = b + w / shots  # of the mean of the examples of a class
    gain = b @ torch.linalg.inv(joint)
    spread = b + w - gain @ b
    centres = metric.mean.double() + (means - metric.mean) @ gain.T
    apart = queries[:, None] - centres
    expected = (apart @ torch.linalg.inv(spread) * apart).sum(-1)
    found = squares(
        *(part[0] for part in metric(means.float()[None], queries.float()[None], torch.full((1, 4), shots)))
    )
    ratio = found / expected
    torch.testing.assert_close(ratio, ratio.mean().expand_as(ratio), rtol=1e-3, atol=0)


def test_it_names_more_queries_of_new_classes_and_keeps_their_distances() -> None:
    metric, (x, _) = fitted(), mixture(20, 21, seed=1)
    each = x.reshape(1, 20, 21, SIZE)
    asked, target = each[:, :, 1:].flatten(1, 2), torch.arange(20).repeat_interleave(20)
    found, apart = [], []
    for means, queries in ((each[:, :, 0], asked), metric(each[:, :, 0], asked, torch.ones(1, 20))):
        distances = squares(means[0], queries[0])
        found.append((distances.argmin(1) == target).double().mean())
        apart.append(float(distances[target[:, None] != torch.arange(20)].mean()))
    assert found[1] > found[0] + 0.1
    assert apart[1] == pytest.approx(apart[0], rel=0.3)


def test_a_class_of_few_examples_is_drawn_towards_the_middle() -> None:
    metric, means = fitted(), mixture(2, 1, seed=1)[0][None]
    lengths = [metric(means, means, torch.tensor([[k, 50]]))[0][0].norm(dim=1) for k in (1, 50)]
    assert lengths[0][0] / lengths[0][1] < 0.9 * lengths[1][0] / lengths[1][1]
    with_none = torch.tensor([[3, 3, 0]])
    wider = torch.cat([means, torch.full((1, 1, SIZE), 5.0)], 1)
    for whole, part in zip(metric(means, means, with_none[:, :2]), metric(wider, means, with_none), strict=True):
        torch.testing.assert_close(part[:, :2], whole)


def fit(learner: Any) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (60, *GREY), dtype=np.uint8)
    learner.fit_metric(learner.embed(images), torch.arange(60) // 4)


def test_a_classifier_compares_by_it_outside_training_alone() -> None:
    torch.manual_seed(0)
    learner = make(rotate_support=True)
    plain = make(rotate_support=True, plda=False)
    plain.load_state_dict(learner.state_dict(), strict=False)
    given = episodes()
    before = learner(*given[:3])
    torch.testing.assert_close(before, plain(*given[:3]))
    fit(learner)
    assert not torch.allclose(learner(*given[:3]), before)
    torch.testing.assert_close(learner.train().loss(given), plain.train().loss(given))
    wide = learner.eval().resized(WAYS + 2, 50)
    torch.testing.assert_close(wide(*given[:3])[..., :WAYS], learner(*given[:3]))


def test_a_memory_of_bounded_size_compares_by_it_too() -> None:
    torch.manual_seed(0)
    learner = make()
    fit(learner)
    given = episodes()
    shown = [learner.embed(part.reshape(-1, *GREY)) for part in (given.support_x[:1], given.query_x[:1])]
    assert shown[0] is not None
    assert shown[1] is not None
    memory = BoundedMemory(learner, 10_000)
    memory.write(shown[0][None], torch.as_tensor(given.support_y[:1]))
    expected = learner(*(part[:1] for part in given[:3]))
    torch.testing.assert_close(memory.logits(shown[1][None], WAYS), expected, rtol=1e-4, atol=1e-4)


def test_members_have_a_metric_each() -> None:
    torch.manual_seed(0)
    both = Ensemble([make(), make()])
    fit(both)
    for member in both.members:
        alone = make()
        alone.load_state_dict(member.state_dict())
        fit(alone)
        for name, value in alone.state_dict().items():
            torch.testing.assert_close(value, member.state_dict()[name])


@pytest.mark.parametrize(
    "options",
    [
        {"readout": "votes"},
        {"readout": "linear"},
        {"context": "full"},
        {"encoder": {**NET, "norm": "batch"}},
        {"memory": {"access_options": {**EUCLIDEAN, "kernel": "cosine"}}},
        {"memory": {"store": "lrua", "access_options": EUCLIDEAN}},
    ],
    ids=str,
)
def test_it_is_refused_where_no_means_of_single_embeddings_are_compared(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="plda"):
        make(**options)
    with pytest.raises(TypeError, match="plda"):
        make(**{"plda": False, **options}).fit_metric(torch.rand(4, 8), torch.tensor([0, 0, 1, 1]))


@pytest.mark.parametrize(
    ("embedded", "labels"),
    [
        (torch.rand(6, 8), torch.arange(6)),
        (torch.rand(6, 8), torch.zeros(6, dtype=torch.int64)),
        (torch.rand(6, 8), torch.tensor([0, 0, 1, 1])),
        (torch.rand(6, 8), torch.tensor([0.0, 0, 0, 1, 1, 1])),
        (torch.rand(6, 7), torch.tensor([0, 0, 0, 1, 1, 1])),
        (torch.full((6, 8), torch.nan), torch.tensor([0, 0, 0, 1, 1, 1])),
    ],
)
def test_it_is_not_fitted_to_what_tells_nothing(embedded: Tensor, labels: Tensor) -> None:
    with pytest.raises(InputError):
        make().fit_metric(embedded, labels)


def test_it_is_fitted_to_any_numbers_of_classes_and_says_so() -> None:
    rng = np.random.default_rng(0)
    x, labels = rng.normal(size=(12, 8)).astype(np.float32), np.repeat([3, 7, 40], 4)
    one, other = make(), make()
    assert "not fitted" in repr(one)
    one.fit_metric(x, labels)
    other.fit_metric(torch.as_tensor(x), torch.as_tensor(labels) % 3)  # 0, 1, 1
    assert "plda='fitted'" in repr(one)
    assert not torch.allclose(one.state_dict()["reader.plda.noise"], other.state_dict()["reader.plda.noise"])


def test_with_norms_of_an_episode_there_is_no_metric_of_other_norms() -> None:
    learner = make(encoder={**NET, "norm": "running"})
    fit(learner)
    plain = make(encoder={**NET, "norm": "running"}, plda=False)
    plain.load_state_dict({name: value for name, value in learner.state_dict().items() if "plda" not in name})
    given = episodes()
    found, expected = (with_norm_of(one, prior=5.0)(*given[:3]) for one in (learner, plain))
    torch.testing.assert_close(found, expected)


def test_a_signal_ends_the_fitting() -> None:
    pool = Pool(np.zeros((3, 100, *GREY), np.uint8))
    assert embedded(make(), pool) is not None
    assert embedded(make(), pool, lambda done: done > 0) is None


def test_a_training_fits_it_last_and_keeps_it(tmp_path: Path) -> None:
    small = {"data.source": "glyphs", "data.size": 28, "fit.updates": 2, "eval.episodes": 2, "device": "cpu"}
    net = {"classifier.encoder.width": 8, "classifier.encoder.views": False, "classifier.encoder.net": "strided"}
    settings = [(tuple(key.split(".")), value) for key, value in {**small, **net, "train.ways": 5}.items()]
    runs = []
    for name, on in (("on", True), ("off", False)):
        experiment = load_experiment("prototypical", [*settings, (("classifier", "plda"), on)])
        runs.append(run(experiment.check(), tmp_path / name, quiet=True).model.state_dict())
    assert runs[0]["reader.plda.noise"].any()
    for name, value in runs[1].items():
        assert torch.equal(value, runs[0][name])  # training is the same
    loaded = open_run(tmp_path / "on", device="cpu").model.state_dict()
    for name, value in runs[0].items():
        assert torch.equal(value, loaded[name])
