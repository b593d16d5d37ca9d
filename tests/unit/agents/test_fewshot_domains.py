"""A classifier in another domain: norms that are estimated again, and shifts that are recognised and undone."""

import numpy as np
import pytest
import torch
from torch import nn

from metarl.agents.fewshot.domains import ShiftRecogniser, with_norm_of
from metarl.config import InputError
from metarl.data.pool import Glyphs, Pool
from metarl.data.shifts import Shift, shifted
from metarl.fewshot import FewShotClassifier
from metarl.nets.images import ImageEncoder
from metarl.types import Split

MEANS = {"access_options": {"kernel": "euclidean", "empty_slot": False}}


@pytest.fixture(scope="module")
def learner() -> FewShotClassifier:
    """One whose running statistics are those of some glyphs."""
    torch.manual_seed(0)
    encoder = {"net": "pooled", "width": 8, "norm": "running", "embedding_size": 0}
    made = FewShotClassifier((28, 28), 5, MEANS, readout="mean_votes", encoder=encoder)
    rng, pool = np.random.default_rng(0), Glyphs("train", 40, 5)
    for norm in (one for one in made.modules() if isinstance(one, nn.BatchNorm2d)):
        norm.momentum = None  # the mean over all batches
    for _ in range(10):
        made.train().loss(pool.sample(rng, 4, 5, 1, 3))
    return made.eval()


def test_with_an_endless_prior_a_norm_estimated_again_is_that_of_training(learner: FewShotClassifier) -> None:
    episodes = Glyphs("test", 40, 5).sample(np.random.default_rng(1), 3, 5, 2, 3)
    before = learner(*episodes[:3])
    torch.testing.assert_close(with_norm_of(learner, prior=1e9)(*episodes[:3]), before, rtol=1e-3, atol=1e-3)
    assert not torch.allclose(with_norm_of(learner)(*episodes[:3]), before, rtol=1e-2, atol=1e-2)
    torch.testing.assert_close(learner(*episodes[:3]), before)  # and the learner itself stays as it was


def test_a_norm_estimated_from_the_images_themselves_is_theirs(learner: FewShotClassifier) -> None:
    made = with_norm_of(learner)
    x = torch.rand(2, 6, 28, 28)
    assert isinstance(made.encoder, ImageEncoder)
    block = made.encoder.blocks[0]
    normed = block.norm(block.convolution(x.flatten(0, 1)[:, None]), 2, 6).unflatten(0, (2, 6))
    torch.testing.assert_close(normed.mean((1, 3, 4)), torch.zeros(2, 8), atol=1e-4, rtol=0)


def test_only_a_transductive_norm_lets_queries_see_each_other(learner: FewShotClassifier) -> None:
    support, labels, queries, _ = Glyphs("test", 40, 5).sample(np.random.default_rng(1), 2, 5, 1, 3)
    for transductive in (False, True):
        made = with_norm_of(learner, transductive=transductive)
        apart = torch.cat([made(support, labels, queries[:, [one]]) for one in range(queries.shape[1])], 1)
        same = torch.allclose(apart, made(support, labels, queries), rtol=1e-3, atol=1e-3)
        assert same is not transductive
        assert made.transductive is transductive


def test_a_norm_estimated_again_does_not_care_for_contrast(learner: FewShotClassifier) -> None:
    pool = Glyphs("test", 40, 5)
    faint = pool.replaced(pool.flat // 4)
    plain, weak = (one.sample(np.random.default_rng(1), 20, 5, 1, 3) for one in (pool, faint))

    def moved(one: FewShotClassifier) -> float:
        with torch.no_grad():
            return float((one(*plain[:3]).softmax(-1) - one(*weak[:3]).softmax(-1)).abs().mean())

    assert moved(with_norm_of(learner)) < moved(learner) / 2


@pytest.mark.parametrize("prior", [-1.0, float("inf"), float("nan")])
def test_a_prior_that_is_no_number_of_images_is_refused(learner: FewShotClassifier, prior: float) -> None:
    with pytest.raises(InputError, match="prior"):
        with_norm_of(learner, prior=prior)


def test_a_learner_without_running_statistics_is_refused() -> None:
    made = FewShotClassifier((28, 28), 5, MEANS, encoder={"norm": "group", "width": 8})
    with pytest.raises(InputError, match=r"encoder\.norm"):
        with_norm_of(made)


def with_a_top(split: Split) -> Pool:
    """Glyphs, which have no way up by themselves, fainter in their lower half."""
    pool = Glyphs(split, 60, 5)
    images = pool.flat.copy()
    images[:, 14:] //= 3
    return pool.replaced(images)


@pytest.fixture(scope="module")
def recogniser(learner: FewShotClassifier) -> ShiftRecogniser:
    shifts = [Shift(), Shift(rotation=90), Shift(inverted=True), Shift(growth=1)]
    return ShiftRecogniser(learner, with_a_top("train").flat, shifts)


@pytest.mark.parametrize("number", range(4))
def test_what_happened_to_all_images_is_recognised_in_unseen_classes(recogniser: ShiftRecogniser, number: int) -> None:
    pool = shifted(with_a_top("test"), recogniser.shifts[number])
    episodes = pool.sample(np.random.default_rng(2), 20, 20, 1, 1)
    assert (recogniser.recognise(episodes.support_x) == number).mean() >= 0.8


def test_support_and_queries_are_led_back_by_what_the_support_shows(recogniser: ShiftRecogniser) -> None:
    plain = with_a_top("test").sample(np.random.default_rng(2), 3, 20, 1, 1)
    support, queries = recogniser.undone(255 - plain.support_x, 255 - plain.query_x)
    np.testing.assert_array_equal(support, plain.support_x)
    np.testing.assert_array_equal(queries, plain.query_x)
    as_it_was = plain.query_x.copy()
    recogniser.undone(255 - plain.support_x, plain.query_x)
    np.testing.assert_array_equal(plain.query_x, as_it_was)  # what was given stays


def test_a_recogniser_needs_a_net_images_and_shifts(learner: FewShotClassifier) -> None:
    images = Glyphs("train", 4, 5).flat
    flat = FewShotClassifier((28, 28), 5, MEANS, encoder={"net": "flat"})
    for key, arguments in {
        "learner": (flat, images, [Shift(), Shift(inverted=True)]),
        r"len\(images\)": (learner, images[:1], [Shift(), Shift(inverted=True)]),
        r"len\(shifts\)": (learner, images, [Shift()]),
    }.items():
        with pytest.raises(InputError, match=key):
            ShiftRecogniser(*arguments)
