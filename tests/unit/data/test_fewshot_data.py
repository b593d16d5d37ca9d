"""Few-shot episodes: labels that follow nothing, and queries that no support example is."""

from __future__ import annotations

import numpy as np
import pytest

from metarl.data.fewshot import Clusters, Episodes, FewShotSource, Glyphs, Pool

CLASSES, EACH = 12, 8


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def numbered() -> Pool:
    """Examples that are their own numbers: class and example."""
    return Pool(np.stack(np.meshgrid(np.arange(CLASSES), np.arange(EACH), indexing="ij"), -1))


def sources() -> list[FewShotSource]:
    return [Clusters(5), numbered(), Glyphs("train", 6, 7)]


@pytest.mark.parametrize("source", sources(), ids=lambda source: type(source).__name__)
def test_an_episode_has_the_shapes_it_says(source: FewShotSource) -> None:
    episodes = source.sample(rng(), 4, ways=3, shots=2, queries=5)
    assert episodes.support_x.shape == (4, 6, *source.shape)
    assert episodes.query_x.shape == (4, 15, *source.shape)
    assert episodes.support_x.dtype == episodes.query_x.dtype == np.float32
    for y, count in ((episodes.support_y, 2), (episodes.query_y, 5)):
        assert all(np.bincount(row).tolist() == [count] * 3 for row in y)


@pytest.mark.parametrize("source", sources(), ids=lambda source: type(source).__name__)
def test_sampling_is_pure_in_the_generator(source: FewShotSource) -> None:
    first, again, other = (source.sample(rng(seed), 2, 3, 1, 1) for seed in (0, 0, 1))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first.support_x, other.support_x)


def test_a_label_means_one_class_in_support_and_queries_alike() -> None:
    episodes = numbered().sample(rng(), 500, ways=5, shots=2, queries=3)
    for row in range(500):
        classes: dict[int, float] = {}
        for x, y in ((episodes.support_x, episodes.support_y), (episodes.query_x, episodes.query_y)):
            for (number, _), label in zip(x[row], y[row], strict=True):
                assert classes.setdefault(int(label), number) == number
        assert len(set(classes.values())) == 5


def test_trap_33_no_query_is_a_support_example() -> None:
    episodes = numbered().sample(rng(), 2000, ways=5, shots=3, queries=5)
    x = np.concatenate([episodes.support_x, episodes.query_x], 1)
    assert all(len({tuple(example) for example in row.tolist()}) == 40 for row in x)


def labels(ways: int = 4, count: int = 6000) -> Episodes:
    return numbered().sample(rng(), count, ways, 1, 1)


def test_trap_24_a_label_does_not_follow_the_class() -> None:
    drawn = labels()
    shares = np.zeros((CLASSES, 4))
    np.add.at(shares, (drawn.support_x[..., 0].astype(int), drawn.support_y), 1)
    expected = 6000 * 4 / CLASSES / 4
    chi_square = ((shares - expected) ** 2 / expected).sum()
    assert chi_square < 80  # 99.9 % of a chi-square with 12 * 4 - 12 - 4 + 1 = 33 degrees of freedom is 64


def test_trap_25_a_place_does_not_tell_the_label() -> None:
    """Neither that in the queries alone, nor that of the support example at the same place."""
    drawn = labels()
    for label in range(4):
        assert (drawn.query_y[:, 0] == label).mean() == pytest.approx(0.25, abs=0.025)
        assert (drawn.support_y[:, 0] == label).mean() == pytest.approx(0.25, abs=0.025)
    assert (drawn.query_y == drawn.support_y).mean() == pytest.approx(0.25, abs=0.025)


def test_clusters_are_points_with_noise() -> None:
    x = Clusters(3, noise=0.25).draw(rng(), 400, 5, 50)
    assert (x - x.mean(2, keepdims=True)).std() == pytest.approx(0.25 * np.sqrt(49 / 50), rel=0.02)
    assert x.mean(2).std() == pytest.approx(np.sqrt(1 + 0.25**2 / 50), rel=0.03)


def test_glyphs_are_drawn_once_and_come_as_numbers_from_0_to_1() -> None:
    source = Glyphs("validation", 6, 4)
    assert Glyphs("validation", 6, 4).examples is source.examples
    assert not source.examples.flags.writeable
    x = source.sample(rng(), 3, 5, 1, 2).query_x
    assert x.min() == 0
    assert 0.99 < x.max() <= 1


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ((1, 13, 1, 1), "13 ways were asked of Pool, which has 12 classes"),
        ((1, 2, 5, 4), "5 shots and 4 queries were asked of Pool, which has 8 examples of a class"),
        ((0, 2, 1, 1), "n is 0"),
        ((1, 2, 0, 1), "shots is 0"),
    ],
)
def test_what_a_source_does_not_have_is_refused(asked: tuple[int, int, int, int], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        numbered().sample(rng(), *asked)


def test_sources_of_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="clusters of size=0"):
        Clusters(0)
    with pytest.raises(ValueError, match="noise=nan"):
        Clusters(noise=float("nan"))
    with pytest.raises(ValueError, match=r"an array \(3,\), expected \[classes"):
        Pool(np.zeros(3))
    with pytest.raises(ValueError, match="classes=0"):
        Glyphs("train", 0)
    with pytest.raises(ValueError, match="unknown split 'exam'"):
        Glyphs("exam")  # type: ignore[arg-type]
