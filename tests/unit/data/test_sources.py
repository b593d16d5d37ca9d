"""Few-shot episodes and streams: random labels, disjoint support and queries, exclusive groups and superclasses."""

from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import pytest

from metarl.config import InputError
from metarl.data.episodes import Labels, class_positions
from metarl.data.pool import Glyphs, Pool, Within
from metarl.data.sources import Clusters, FewShotSource, distinct
from metarl.types import Ints

CLASSES, EACH = 12, 8


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def numbered(classes: int = CLASSES, **options: Any) -> Pool:
    """Examples that are their own numbers: class and example."""
    numbers = np.stack(np.meshgrid(np.arange(classes), np.arange(EACH), indexing="ij"), -1)
    return Pool(numbers.astype(np.uint8), **options)


EVERY = pytest.mark.parametrize(
    "source", [Clusters(5), numbered(), Glyphs("train", 6, 7)], ids=lambda source: type(source).__name__
)


@EVERY
def test_an_episode_has_the_shapes_it_says(source: FewShotSource) -> None:
    episodes = source.sample(rng(), 4, ways=3, shots=2, queries=5)
    assert episodes.support_x.shape == (4, 6, *source.shape)
    assert episodes.query_x.shape == (4, 15, *source.shape)
    expected = np.float32 if isinstance(source, Clusters) else np.uint8
    assert episodes.support_x.dtype == episodes.query_x.dtype == expected
    for y, count in ((episodes.support_y, 2), (episodes.query_y, 5)):
        assert all(np.bincount(row).tolist() == [count] * 3 for row in y)


@EVERY
def test_sampling_is_pure_in_the_generator(source: FewShotSource) -> None:
    first, again, other = (source.sample(rng(seed), 2, 3, 1, 1) for seed in (0, 0, 1))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first.support_x, other.support_x)
    stream, same = (source.sample_streams(rng(0), 2, 3, 2, "letters") for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(stream, same, strict=True))


def test_a_label_means_one_class_in_support_and_queries_alike() -> None:
    episodes = numbered().sample(rng(), 500, ways=5, shots=2, queries=3)
    for row in range(500):
        classes: dict[int, float] = {}
        for x, y in ((episodes.support_x, episodes.support_y), (episodes.query_x, episodes.query_y)):
            for (number, _), label in zip(x[row], y[row], strict=True):
                assert classes.setdefault(int(label), number) == number
        assert len(set(classes.values())) == 5


def test_no_query_is_a_support_example() -> None:
    episodes = numbered().sample(rng(), 2000, ways=5, shots=3, queries=5)
    x = np.concatenate([episodes.support_x, episodes.query_x], 1)
    assert all(len({tuple(example) for example in row.tolist()}) == 40 for row in x)


def test_a_label_does_not_follow_the_class() -> None:
    episodes, streams = numbered().sample(rng(), 6000, 4, 1, 1), numbered().sample_streams(rng(), 6000, 4, 1)
    for x, y in ((episodes.support_x, episodes.support_y), (streams.x, streams.y[..., 0])):
        shares = np.zeros((CLASSES, 4))
        np.add.at(shares, (x[..., 0].astype(int), y), 1)
        expected = 6000 / CLASSES
        chi_square = ((shares - expected) ** 2 / expected).sum()
        assert chi_square < 80  # 99.9 % of a chi-square with 12 * 4 - 12 - 4 + 1 = 33 degrees of freedom is 64


def test_a_place_does_not_tell_the_label() -> None:
    """Neither that in the queries alone, nor that of the support example at the same place."""
    drawn = numbered().sample(rng(), 6000, 4, 1, 1)
    for label in range(4):
        assert (drawn.query_y[:, 0] == label).mean() == pytest.approx(0.25, abs=0.025)
        assert (drawn.support_y[:, 0] == label).mean() == pytest.approx(0.25, abs=0.025)
    assert (drawn.query_y == drawn.support_y).mean() == pytest.approx(0.25, abs=0.025)


def test_clusters_are_points_with_noise() -> None:
    x = Clusters(3, noise=0.25).draw(rng(), 400, 5, 50)
    assert (x - x.mean(2, keepdims=True)).std() == pytest.approx(0.25 * np.sqrt(49 / 50), rel=0.02)
    assert x.mean(2).std() == pytest.approx(np.sqrt(1 + 0.25**2 / 50), rel=0.03)


def test_glyphs_are_drawn_once_and_stay_bytes() -> None:
    source = Glyphs("validation", 6, 4)
    assert Glyphs("validation", 6, 4).examples is source.examples
    assert not source.examples.flags.writeable
    x = source.sample(rng(), 3, 5, 1, 2).query_x
    assert x.dtype == source.examples.dtype == np.uint8
    assert (x.min(), x.max()) == (0, 255)


def test_other_numbers_than_bytes_become_float32() -> None:
    pool = Pool(np.linspace(0, 1, 24).reshape(4, 3, 2))
    assert pool.examples.dtype == np.float32
    assert pool.sample(rng(), 1, 2, 1, 1).query_x.dtype == np.float32


@pytest.mark.parametrize(("below", "count"), [(7, 3), (70, 2)], ids=["sorted", "drawn again"])
def test_every_row_of_different_numbers_is_as_probable(below: int, count: int) -> None:
    drawn = distinct(rng(), 400_000, below, count)
    code = drawn @ below ** np.arange(count)
    numbers = np.indices((below,) * count).reshape(count, -1)
    fine = [np.unique(row).size == count for row in numbers.T]
    shares = np.bincount(code, minlength=below**count)
    expected = 400_000 / sum(fine)
    allowed = shares[(numbers[:, fine].T @ below ** np.arange(count))]
    assert allowed.sum() == 400_000, "a number comes twice in a row"
    chi_square = ((allowed - expected) ** 2 / expected).sum()
    assert chi_square < sum(fine) + 4 * np.sqrt(2 * sum(fine))


def test_many_numbers_of_many_are_all_different() -> None:
    drawn = distinct(rng(), 300, 1028, 200)
    assert all(np.unique(row).size == 200 for row in drawn)
    assert drawn.min() >= 0
    assert drawn.max() < 1028


def test_no_two_of_one_exclusive_group_are_in_one_episode() -> None:
    group = np.arange(CLASSES) % 5
    drawn = numbered(exclusive_group=group).sample(rng(), 2000, ways=5, shots=1, queries=1).support_x[..., 0]
    assert all(sorted(row) == [0, 1, 2, 3, 4] for row in group[drawn])
    shares = np.bincount(drawn.ravel(), minlength=CLASSES) / 2000
    assert shares == pytest.approx(1 / np.bincount(group)[group], abs=0.04), "members of a group are not equally likely"


def test_within_a_superclass_all_classes_are_of_it() -> None:
    superclass = np.array([7, 7, 7, 7, 7, 7, -1, -1, -1, 4, 4, 4])
    source = numbered(superclass=superclass, within="one")
    drawn = superclass[source.sample(rng(), 3000, ways=3, shots=1, queries=1).support_x[..., 0]]
    assert (drawn == drawn[:, :1]).all()
    for number in (7, -1, 4):
        assert (drawn[:, 0] == number).mean() == pytest.approx(1 / 3, abs=0.04)
    large = source.sample(rng(), 500, ways=5, shots=1, queries=1).support_x[..., 0]
    assert (superclass[large] == 7).all(), "superclasses too small for the ways are left out"
    assert all(np.unique(row).size == 5 for row in large)
    assert np.bincount(large.ravel()) / 500 == pytest.approx(5 / 6, abs=0.06)


def test_exclusive_groups_within_a_superclass() -> None:
    group, superclass = np.arange(CLASSES) // 2, np.arange(CLASSES) // 6
    source = numbered(exclusive_group=group, superclass=superclass, within="one")
    drawn = source.sample(rng(), 500, ways=3, shots=1, queries=1).support_x[..., 0]
    assert (superclass[drawn] == superclass[drawn][:, :1]).all()
    assert all(np.unique(row).size == 3 for row in group[drawn])
    assert set(drawn.ravel()) == set(range(CLASSES))


def test_few_superclasses_give_all_their_groups_one_after_the_other() -> None:
    alphabet = np.array([0, 0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 2])  # of 5, 3 and 4 characters, each in three rotations
    turned = {
        "exclusive_group": np.tile(np.arange(12), 3),
        "superclass": np.tile(alphabet, 3) * 3 + np.arange(36) // 12,
    }
    source = numbered(36, **turned, within="few")
    drawn = source.sample(rng(), 3000, ways=7, shots=1, queries=1).support_x[..., 0].astype(int)
    assert all(np.unique(row).size == 7 for row in drawn % 12), "two rotations of a character meet"
    for row in drawn[:300]:
        counts = np.bincount(alphabet[row % 12], minlength=3)
        whole = (counts == [5, 3, 4]).sum()
        assert whole == (counts > 0).sum() - 1 or counts.tolist() == [0, 3, 4], "more than one alphabet is cut"
        for number in np.flatnonzero(counts):
            assert np.unique(row[alphabet[row % 12] == number] // 12).size == 1, "one alphabet in two rotations"
    assert [(drawn // 12 == turn).mean() for turn in range(3)] == pytest.approx([1 / 3] * 3, abs=0.02)
    first = alphabet[drawn % 12][:, 0]
    assert set(first.tolist()) == {0, 1, 2}, "alphabets come in a fixed order"
    assert (first[:, None] != alphabet[drawn % 12]).any(1).all()
    with pytest.raises(InputError, match="at most 12"):
        source.sample(rng(), 1, ways=13, shots=1, queries=1)


def test_shared_examples_keep_their_place_in_every_class() -> None:
    episodes = numbered(shared_examples=True).sample(rng(), 50, ways=4, shots=2, queries=3)
    for x, y, count in ((episodes.support_x, episodes.support_y, 2), (episodes.query_x, episodes.query_y, 3)):
        for examples, labels in zip(x[..., 1], y, strict=True):
            by_class = examples[labels.argsort(kind="stable")].reshape(4, count)
            assert (by_class == by_class[0]).all()
    assert (np.diff(episodes.query_y) != 0).mean() > 0.5, "queries are not shuffled"


def test_shared_examples_separate_the_drawers_of_support_and_queries() -> None:
    episodes = numbered(shared_examples=True).sample(rng(), 300, ways=4, shots=2, queries=3)
    seen = np.zeros(EACH, int)
    for support, queries in zip(episodes.support_x[..., 1], episodes.query_x[..., 1], strict=True):
        assert len(set(support)) == 2
        assert len(set(queries)) == 3
        assert not set(support) & set(queries)
        seen[list(set(support))] += 1
    assert seen.min() > 0.5 * 300 * 2 / EACH
    apart = numbered().sample(rng(), 300, ways=4, shots=2, queries=3)
    assert any(set(s) & set(q) for s, q in zip(apart.support_x[..., 1], apart.query_x[..., 1], strict=True))


def unequal(counts: list[int], **options: Any) -> Pool:
    """Examples that are their own numbers, class and example, with different numbers of each class."""
    numbers = [(label, number) for label, count in enumerate(counts) for number in range(count)]
    return Pool(np.array(numbers, np.uint8), counts=counts, **options)


def test_every_example_of_a_class_is_drawn_as_often_whatever_others_have() -> None:
    counts = [3, 5, 100, 9]
    drawn = unequal(counts).draw(rng(), 6000, ways=2, count=3)
    assert (drawn[:, :, 0, 0] == drawn[:, :, 2, 0]).all()
    assert all(len(set(row)) == 3 for row in drawn[..., 1].reshape(-1, 3).tolist()), "none is drawn twice"
    for label, count in enumerate(counts):
        seen = drawn[..., 1][drawn[..., 0] == label]
        shares = np.bincount(seen, minlength=count) / (3000 * 3)
        assert len(shares) == count
        assert shares == pytest.approx(1 / count, abs=0.02)


def test_equal_counts_are_drawn_from_as_an_array_is() -> None:
    pool = Pool(numbered().flat, counts=[EACH] * CLASSES)
    assert np.array_equal(pool.examples, numbered().examples)
    for one, other in zip(pool.sample(rng(), 5, 3, 1, 2), numbered().sample(rng(), 5, 3, 1, 2), strict=True):
        assert np.array_equal(one, other)


def test_too_few_examples_name_the_class_that_has_them() -> None:
    pool = unequal([3, 9, 2, 8], names=["owl", "cat", "dog", "bee"])
    pool.check(4, 2, "shots")
    with pytest.raises(InputError, match=r"at most 2.* class dog.* 2 of 4 classes .*min_images=4") as refused:
        pool.check(4, 4, "shots")
    assert refused.value.key == "shots"
    with pytest.raises(InputError, match="take flat"):
        _ = pool.examples
    both = pool.joined(unequal([4, 1]))
    assert (both.counts.tolist(), both.per_class) == ([3, 9, 2, 8, 4, 1], 1)


def test_rotations_are_not_counted_as_classes_with_too_few_examples() -> None:
    group = np.tile(np.arange(8), 4)
    pool = unequal([5, *[6] * 7] * 4, exclusive_group=group)
    with pytest.raises(InputError, match=r"\b1 of 8 classes") as refused:
        pool.check(4, 6, "shots")
    assert "--set data.min_images=6" in str(refused.value.remedy)
    assert "Pool" not in str(refused.value), "which who trains on a folder never made"


def words(y: Ints) -> Ints:
    """One number for each label."""
    return y @ 5 ** np.arange(y.shape[-1])


@pytest.mark.parametrize("labels", get_args(Labels))
def test_a_stream_shows_every_class_as_often_and_nothing_twice(labels: Labels) -> None:
    streams = numbered().sample_streams(rng(), 400, ways=5, per_class=6, labels=labels)
    assert streams.x.shape == (400, 30, 2)
    assert streams.y.shape == (400, 30, 1 if labels == "one_hot" else 5)
    assert streams.y.max() == 4
    assert streams.y.min() == 0
    for x, y in zip(streams.x, words(streams.y), strict=True):
        assert len({tuple(example) for example in x.tolist()}) == 30
        assert sorted(np.unique(x[:, 0], return_counts=True)[1]) == [6] * 5
        assert len({(number, label) for number, label in zip(x[:, 0], y, strict=True)}) == 5
        assert len(set(y)) == 5, "two classes have one label"


def test_neither_the_step_nor_the_label_before_tells_a_label() -> None:
    y = numbered().sample_streams(rng(), 8000, ways=4, per_class=3).y[..., 0]
    for label in range(4):
        assert (y == label).mean(0) == pytest.approx(0.25, abs=0.02)
    # One of the four classes has one of its three examples behind it, and 2 of the 11 left are of this class.
    assert (y[:, 1:] == y[:, :-1]).mean(0) == pytest.approx(2 / 11, abs=0.02)


def test_letters_are_drawn_anew_in_every_stream() -> None:
    y = numbered().sample_streams(rng(), 3000, ways=5, per_class=1, labels="letters").y
    for letter in range(5):
        assert (y == letter).mean((0, 1)) == pytest.approx(0.2, abs=0.02)
    assert np.unique(words(y)).size > 3000, "of 3125 strings"


def test_class_positions_count_the_examples_of_a_class() -> None:
    one_hot = np.array([[1, 0, 1, 1, 2, 0], [2, 2, 2, 0, 1, 0]])[..., None]
    expected = [[1, 1, 2, 3, 1, 2], [1, 2, 3, 1, 1, 2]]
    assert class_positions(one_hot).tolist() == expected
    strings = np.array([[0, 4, 1], [4, 1, 0], [0, 4, 0]])[one_hot[..., 0]]
    assert class_positions(strings).tolist() == expected


def test_joined_pools_keep_their_groups_and_superclasses_apart() -> None:
    group, superclass = np.arange(CLASSES) // 2, np.arange(CLASSES) // 6
    options: dict[str, Any] = {"exclusive_group": group, "superclass": superclass}
    options |= {"within": "one", "shared_examples": True}
    one = numbered(**options)
    other = Pool(100 + one.examples[:, :5], **options)
    both = one.joined(other)
    assert (both.classes, both.per_class, both.shared_examples) == (2 * CLASSES, 5, True)
    assert np.array_equal(both.examples, np.concatenate([one.examples[:, :5], other.examples]))
    drawn = both.draw(rng(), 2000, 3, 5)[..., 0, 0].astype(int)
    side, number = drawn // 100, drawn % 100
    assert set(np.unique(drawn)) == {*range(CLASSES), *range(100, 100 + CLASSES)}
    assert (side == side[:, :1]).all(), "a superclass is of one pool"
    assert (superclass[number] == superclass[number][:, :1]).all()
    assert (np.sort(group[number]) == np.unique(group).reshape(-1, 3)[superclass[number[:, 0]]]).all()
    apart = numbered(exclusive_group=group).joined(numbered(exclusive_group=group))
    apart.check(CLASSES, 1, "count")
    with pytest.raises(InputError, match="at most 12"):
        apart.check(CLASSES + 1, 1, "count")


@pytest.mark.parametrize(
    ("asked", "key"),
    [
        ((1, 13, 1, 1), "ways"),
        ((1, 5, 16, 5), "shots + queries"),
        ((1, 2, 5, 4), "shots + queries"),
        ((0, 2, 1, 1), "n"),
        ((1, 2, 0, 1), "shots"),
        ((1, 13, 1), "ways"),
        ((1, 2, 9), "per_class"),
        ((1, 2, 0), "per_class"),
        ((1, 2, 1, "words"), "labels"),
    ],
)
def test_what_a_source_does_not_have_is_refused(asked: tuple[Any, ...], key: str) -> None:
    streams = len(asked) == 3 or "words" in asked
    with pytest.raises(InputError) as caught:
        (numbered().sample_streams if streams else numbered().sample)(rng(), *asked)
    assert caught.value.key == key


@pytest.mark.parametrize(
    ("groups", "within", "most"), [((4, 1), "any", 3), ((1, 6), "one", 6), ((2, 6), "one", 3), ((2, 6), "few", 6)]
)
def test_more_ways_than_groups_or_superclasses_allow_are_refused(
    groups: tuple[int, int], within: Within, most: int
) -> None:
    group, superclass = (np.arange(CLASSES) // size for size in groups)
    source = numbered(exclusive_group=group, superclass=None if within == "any" else superclass, within=within)
    source.sample(rng(), 1, most, 1, 1)
    with pytest.raises(InputError) as caught:
        source.sample(rng(), 1, most + 1, 1, 1)
    assert (caught.value.key, caught.value.given) == ("ways", most + 1)


@pytest.mark.parametrize(
    ("make", "key"),
    [
        (lambda: numbered(exclusive_group=np.arange(5)), "exclusive_group"),
        (lambda: numbered(superclass=np.zeros(CLASSES)), "superclass"),
        (lambda: numbered(within="one"), "superclass"),
        (lambda: numbered(exclusive_group=np.zeros(CLASSES, int), superclass=np.arange(CLASSES) // 2), "superclass"),
        (lambda: numbered(exclusive_group=np.arange(CLASSES) % 6, superclass=np.arange(CLASSES) // 4), "superclass"),
        (lambda: Clusters(1).sample_streams(rng(), 1, 3126, 1, "letters"), "ways"),
        (lambda: Clusters(0), "size"),
        (lambda: Clusters(noise=float("nan")), "noise"),
        (lambda: Pool(np.zeros(3)), "examples.shape"),
        (lambda: Glyphs("train", 0), "classes"),
        (lambda: Glyphs("exam"), "the split"),  # type: ignore[arg-type]  # wrong on purpose
        (lambda: numbered().joined(Glyphs("train", 6, 7)), "other.shape"),
        (lambda: numbered().replaced(np.zeros((29, 3))), "len(examples)"),
        (lambda: Pool(np.zeros((5, 2)), counts=[3, 3]), "counts"),
        (lambda: Pool(np.zeros((5, 2)), counts=[5, 0]), "counts"),
        (lambda: unequal([1, 2], names=["a"]), "len(names)"),
        (lambda: unequal([1, 2], shared_examples=True), "counts"),
    ],
)
def test_sources_that_do_not_fit_are_refused(make: Callable[[], object], key: str) -> None:
    with pytest.raises(InputError) as caught:
        make()
    assert caught.value.key == key


def test_a_pool_with_other_examples_draws_the_same_ones() -> None:
    pool = Pool(np.arange(60).reshape(6, 5, 2), exclusive_group=np.array([0, 0, 1, 1, 2, 2]))
    other = pool.replaced(np.arange(30).repeat(3).reshape(30, 3).astype(np.float32))
    first, second = (one.draw(np.random.default_rng(0), 4, 3, 2) for one in (pool, other))
    assert second.shape == (4, 3, 2, 3)
    assert np.array_equal(first[..., 0] // 2, second[..., 0])
    assert (pool.shape, other.shape) == ((2,), (3,))
