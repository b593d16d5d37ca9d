"""The recall tasks: what they show, that it is enough to answer, and the accuracy without a memory."""

from collections import Counter
from typing import Any

import numpy as np
import pytest

from metarl.config import InputError, build
from metarl.data.recall import (
    RECALL_TASKS,
    TEST_SEQUENCES,
    AssociativeRecall,
    CountRecall,
    RepeatFirst,
    RepeatPrevious,
    TwoHopRecall,
)
from metarl.data.sequences import NONE, RecallTask, Sequences, one_hot
from metarl.types import SPLITS, Boundary

SMALL: dict[str, dict[str, int]] = {
    "copy": {"length": 3, "alphabet": 4},
    "associative": {"pairs": 3, "keys": 5, "values": 4},
    "two_hop": {"pairs": 4, "symbols": 8},
    "repeat_first": {"length": 3, "alphabet": 4},
    "repeat_previous": {"length": 5, "lag": 2, "alphabet": 4},
    "count": {"deck": 5, "faces": 3},
}
NAMES = pytest.mark.parametrize("name", RECALL_TASKS)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def seen(sequences: Sequences, row: int) -> list[tuple[int, int, bool]]:
    """What ``now`` and ``feedback`` show: a symbol, the item of the previous step, and the flag of a query."""
    now, feedback = sequences.now[:, row], sequences.feedback[:, row]
    items = np.where(feedback[:, :-1].any(1), feedback[:, :-1].argmax(1), NONE)
    return list(zip(now.argmax(1).tolist(), items.tolist(), (feedback[:, -1] == 1).tolist(), strict=True))


def answers(task: RecallTask, stream: list[tuple[int, int, bool]]) -> list[int]:
    """The answers of a perfect memory of slots, which is written when the next input comes, then read."""
    slots: dict[int, int] = {}
    items: list[int] = []
    found = []
    for t, (symbol, item, query) in enumerate(stream):
        if item != NONE:
            slots[stream[t - 1][0]] = item
            items.append(item)
        if not query:
            continue
        if isinstance(task, TwoHopRecall):
            found.append(slots[slots[symbol]])
        elif isinstance(task, RepeatPrevious):
            found.append(items[t - task.lag])
        elif isinstance(task, CountRecall):
            found.append(Counter(items)[symbol])
        else:
            found.append(slots[symbol])
    return found


@NAMES
def test_a_sequence_has_the_shapes_it_says_and_shows_each_item_once_in_its_own_episode(name: str) -> None:
    task = RECALL_TASKS[name]()
    drawn = task.sample(rng(), 7)
    steps, now, feedback, classes = task.sizes
    assert drawn.now.shape == (steps, 7, now)
    assert drawn.feedback.shape == (steps, 7, feedback)
    assert drawn.now.dtype == drawn.feedback.dtype == np.float32
    assert all(part.shape == (steps, 7) for part in (drawn.symbols, drawn.shown, drawn.target, drawn.boundary))
    assert drawn.query_mask.any(0).all()
    assert drawn.target[drawn.query_mask].min() >= 0
    assert drawn.target[drawn.query_mask].max() < classes
    assert (drawn.target[~drawn.query_mask] == NONE).all()
    # One symbol in each ``now``; in ``feedback`` the item of the previous step, and the flag of a query.
    assert (drawn.now.sum(-1) == 1).all()
    assert (drawn.now.argmax(-1) == drawn.symbols).all()
    assert (drawn.feedback[..., -1] == drawn.query_mask).all()
    assert (drawn.feedback[..., :-1] == one_hot(drawn.shown, drawn.feedback.shape[-1] - 1)).all()
    assert not drawn.feedback[0].any()
    assert (drawn.boundary[0] == Boundary.TRIAL).all()
    assert ((drawn.boundary[1:] == Boundary.EPISODE) == (drawn.shown[1:] != NONE)).all()
    assert (drawn.boundary[1:] != Boundary.TRIAL).all()


@NAMES
def test_a_perfect_memory_answers_everything(name: str) -> None:
    task = RECALL_TASKS[name]()
    drawn = task.sample(rng(), 50)
    for row in range(50):
        assert answers(task, seen(drawn, row)) == drawn.target[:, row][drawn.query_mask[:, row]].tolist()


@NAMES
def test_chance_is_what_a_reader_without_memory_reaches(name: str) -> None:
    """The best answer to each pair of a symbol and what is shown, found on some sequences and tried on others."""
    task = build(RECALL_TASKS[name], SMALL[name])
    learned, tried = task.sample(rng(1), 40_000), task.sample(rng(2), 40_000)
    counts = np.zeros((task.sizes.now, task.sizes.feedback, task.sizes.classes))
    asked = learned.query_mask
    np.add.at(counts, (learned.symbols[asked], learned.shown[asked], learned.target[asked]), 1)
    asked = tried.query_mask
    best = counts.argmax(-1)[tried.symbols[asked], tried.shown[asked]]
    accuracy = (best == tried.target[asked]).mean()
    deviation = np.sqrt(task.chance * (1 - task.chance) / 40_000)  # queries of one sequence are not independent
    assert accuracy == pytest.approx(task.chance, abs=4 * deviation)


@pytest.mark.parametrize(
    ("task", "chance"),
    [
        (RECALL_TASKS["copy"](), 1 / 16),
        (RepeatFirst(alphabet=5), 1 / 5),
        (RepeatPrevious(alphabet=5), 1 / 5),
        (AssociativeRecall(pairs=1), 1.0),
        (AssociativeRecall(pairs=8, values=16), (1 / 8 + 7 / 8 / 16 + 7 / 16) / 8),
        (TwoHopRecall(pairs=16, symbols=64), (1 / 16 + 7 / 63) / 8),
        (CountRecall(deck=2, faces=2), (1 / 2 + 1 / 2) / 2),
    ],
)
def test_chance_by_hand(task: RecallTask, chance: float) -> None:
    assert task.chance == pytest.approx(chance)


@NAMES
def test_sampling_is_pure_in_the_generator(name: str) -> None:
    task = RECALL_TASKS[name]()
    first, again, other = task.sample(rng(), 4), task.sample(rng(), 4), task.sample(rng(1), 4)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first.target, other.target)


def test_keys_differ_within_a_sequence_and_pairings_from_one_to_the_next() -> None:
    task = AssociativeRecall(pairs=8, keys=9)
    drawn = task.sample(rng(), 2000)
    keys, asked = drawn.symbols[:8], drawn.symbols[8:]
    assert all(len(set(row)) == 8 for row in keys.T.tolist())
    assert (np.sort(keys, 0) == np.sort(asked, 0)).all()
    with_first = drawn.shown[1:9][keys == 0]
    assert np.bincount(with_first).min() > 0.6 * len(with_first) / 16


def test_two_hops_do_not_leak() -> None:
    """An answer is never what one hop finds, and its place among the ends of all chains tells nothing."""
    task = TwoHopRecall()
    drawn = task.sample(rng(), 4000)
    keys, values = drawn.symbols[:16], drawn.shown[1:17]
    asked, target = drawn.symbols[16:], drawn.target[16:]
    ends = ~(values[:, None] == keys).any(1)
    assert (ends.sum(0) == 8).all()
    place = (values[None] == target[:, None]).argmax(1)
    rank = np.take_along_axis(ends.cumsum(0) - 1, place, 0)
    own = (keys[None] == asked[:, None]).argmax(1)
    one_hop = np.take_along_axis(values, own, 0)
    assert not (one_hop == target).any()
    for cells in (rank, rank[:1], rank[-1:]):
        share = np.bincount(cells.ravel(), minlength=8) / cells.size
        assert np.abs(share - 1 / 8).max() < 4 * np.sqrt(1 / 8 * 7 / 8 / 4000)
    assert (place > own).mean() == pytest.approx(0.5, abs=4 * np.sqrt(0.25 / 32_000))


def test_the_test_takes_ten_thousand_fresh_sequences() -> None:
    batches = list(AssociativeRecall().batches("test", 3000, total=TEST_SEQUENCES))
    assert [batch.boundary.shape[1] for batch in batches] == [3000, 3000, 3000, 1000]
    assert not np.array_equal(batches[0].shown, batches[1].shown)


def test_streams_of_the_splits_never_meet() -> None:
    task = AssociativeRecall()
    found: dict[str, set[bytes]] = {}
    for split in SPLITS:
        drawn = [next(task.batches(split, 2000, seed=seed)) for seed in (0, 1)]
        rows = [row for batch in drawn for row in np.concatenate([batch.symbols, batch.shown]).T]
        found[split] = {row.tobytes() for row in rows}
        assert len(found[split]) == 4000
    assert len(set.union(*found.values())) == 12_000


@pytest.mark.parametrize(
    ("kind", "options", "key"),
    [
        (AssociativeRecall, {"pairs": 65}, "keys"),
        (AssociativeRecall, {"pairs": 0}, "pairs"),
        (TwoHopRecall, {"pairs": 5}, "pairs"),
        (TwoHopRecall, {"pairs": 16, "symbols": 23}, "symbols"),
        (RepeatPrevious, {"lag": 1}, "lag"),
        (RepeatPrevious, {"length": 4}, "length"),
        (RepeatFirst, {"length": 1}, "length"),
        (CountRecall, {"faces": 1}, "faces"),
        (RECALL_TASKS["copy"], {"length": 1}, "length"),
    ],
)
def test_lengths_that_do_not_fit_are_refused(kind: type[RecallTask], options: dict[str, Any], key: str) -> None:
    for make in (lambda: kind(**options), lambda: build(kind, options)):
        with pytest.raises(InputError) as caught:
            make()
        assert caught.value.key == key


def test_an_empty_batch_is_refused() -> None:
    with pytest.raises(InputError) as caught:
        next(RepeatFirst().batches("train", 0))
    assert caught.value.key == "size"
