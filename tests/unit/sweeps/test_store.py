"""Trials that several processes share: each is taken once, and one whose process is gone is taken again."""

from pathlib import Path

import pytest
from sweep_toys import RECALL, of

from metarl.sweeps import store as stores
from metarl.sweeps.store import Claim, Store
from metarl.sweeps.table import pooled, results

RANDOM = [*RECALL, "--random", "fit.batch=2..40", "--trials", "6"]


def opened(folder: Path, words: list[str] = RANDOM, url: str | None = None) -> Store:
    folder.mkdir(exist_ok=True)
    return Store(of(words), "toy", folder, url)


def taken(store: Store) -> Claim:
    claim = store.claim()
    assert claim is not None
    return claim


def test_each_trial_is_taken_once_and_whoever_takes_it_gets_the_same_settings(tmp_path: Path) -> None:
    one, other = opened(tmp_path / "a"), opened(tmp_path / "a")
    claims = [taken(store) for store in (one, other, other, one, other, one)]
    assert [claim.slot for claim in claims] == [0, 1, 2, 3, 4, 5]
    assert (one.claim(), other.claim()) == (None, None)
    alone = opened(tmp_path / "b")
    assert [taken(alone).params for _ in range(6)] == [claim.params for claim in claims]


def test_a_trial_whose_process_is_gone_is_taken_again_by_another(tmp_path: Path) -> None:
    one, other = opened(tmp_path), opened(tmp_path)
    first = taken(one)
    with first.held():
        assert taken(other).slot == 1
    again = taken(other)  # as after a kill, nobody holds its lock any more
    assert (again.slot, again.params) == (0, first.params)
    first.finish(0.1, values=[0.1], errors=[None])  # too late
    again.finish(0.5, values=[0.5], errors=[None])
    rows = results(one)
    assert (rows[0].trial, rows[0].value) == (0, 0.5)
    assert sorted(row.trial for row in rows) == [0, 1, 2, 3, 4, 5]


def test_machines_that_share_a_database_alone_see_signs_of_life(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "BEAT", 0.01)
    monkeypatch.setattr(stores, "SILENT", 0.2)
    now = [0.0]
    monkeypatch.setattr(stores.time, "monotonic", lambda: now[0])
    url = f"sqlite:///{tmp_path / 'trials.db'}"
    here, there = opened(tmp_path / "here", url=url), opened(tmp_path / "there", url=url)
    first = taken(here)
    with first.held():
        for _ in range(3):
            before = there.trials()[0].user_attrs.get("life")
            while there.trials()[0].user_attrs.get("life") == before:
                pass
            now[0] += 1.0
            assert taken(there).slot != 0, "its process gives signs of life"
    assert there.claim() is not None
    now[0] += 1.0
    again = there.claim()
    assert again is not None
    assert (again.slot, again.params) == (0, first.params)
    first.finish(0.1, values=[0.1], errors=[None])
    again.finish(0.5, values=[0.5], errors=[None])
    assert results(here)[0].values == (0.5,)


def test_trials_that_two_processes_add_at_once_count_once(tmp_path: Path) -> None:
    one = opened(tmp_path)
    one.fill()
    for slot in (0, 3):  # as if another had looked before
        one.study.enqueue_trial({}, user_attrs={"slot": slot})
    slots = []
    while (claim := one.claim()) is not None:
        slots.append(claim.slot)
        claim.finish(0.0, values=[0.0], errors=[None])
    assert slots == [0, 1, 2, 3, 4, 5]
    assert len(results(one)) == 6


def test_tpe_goes_near_what_did_well(tmp_path: Path) -> None:
    words = [*RECALL, "--tpe", "fit.learning_rates=[1e-3],[1e-2]", "--tpe", "fit.batch=1..1000", "--trials", "40"]
    store = opened(tmp_path, words)
    tried = []
    while (claim := store.claim()) is not None:
        tried.append(claim.params["fit.batch"])
        claim.finish(-abs(tried[-1] - 700.0), values=[0.0], errors=[None])
    near = [sum(abs(value - 700) < 150 for value in part) for part in (tried[:10], tried[-10:])]
    assert near[1] >= near[0] + 3


def test_means_over_seeds_have_intervals() -> None:
    assert pooled([], []) == (None, None)
    assert pooled([0.5], [None]) == (0.5, None)
    assert pooled([0.5], [0.1]) == (0.5, pytest.approx(0.196))
    mean, half = pooled([0.4, 0.6], [None, None])
    assert (mean, half) == (pytest.approx(0.5), pytest.approx(12.706 * 0.1, rel=1e-3))  # Student's t, 1 degree
