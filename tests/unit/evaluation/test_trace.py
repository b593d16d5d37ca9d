from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from metarl.config import to_plain
from metarl.envs import distribution
from metarl.evaluation import trace as recording
from metarl.evaluation.play import rollout_trials
from metarl.evaluation.records import read_trials, trials_file, write_record
from metarl.evaluation.trace import downsample, record, recorded_reads
from metarl.memory.options import MemoryOptions
from metarl.nets.policy import MemoryPolicy
from metarl.runs.folder import RunFolder
from metarl.tasks.vector.env import TrialVectorEnv
from metarl.training.actor import PolicyActor

SMALL = {"key_size": 4, "value_size": 4, "controller_options": {"hidden_size": 4}}
NO_STORE = {"store": "none", "access": "none", "controller": "gru", "key_size": 4}


class Setup:
    """An untrained policy and environments of its family."""

    def __init__(self, env: str, memory: dict[str, Any], split: str = "test", **options: Any) -> None:
        self.family = distribution(f"metarl/{env}-v0", split=split, **options)
        one = self.make(1)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.policy = MemoryPolicy(
                one.single_observation_space, one.single_action_space, MemoryOptions(**memory), self.family.trial_steps
            )
        self.actor = PolicyActor(self.policy)

    def make(self, rows: int) -> TrialVectorEnv:
        return TrialVectorEnv(self.family, rows)

    def record(self, n: int = 3, **options: Any) -> dict[str, Any]:
        return record(self.actor, self.policy.core, self.make, n, **options)


def test_what_is_kept_is_what_was_played() -> None:
    setup = Setup("BarcodeBandit", SMALL, arms=3, contexts=2, repeats=2, pulls=3, bits=4)
    kept = setup.record(seed=5)
    played = rollout_trials(setup.actor, setup.make, 3, seed=5, rows=3)
    np.testing.assert_array_equal(kept["rewards"], played.rewards)
    np.testing.assert_array_equal(kept["ends"], played.ends)
    assert kept["lengths"].tolist() == [12, 12, 12]
    assert kept["obs"].shape == (3, 12, 4)
    assert (kept["obs"][:, 0] == kept["obs"][:, 2]).all()  # one barcode an episode
    assert kept["actions"].shape == (3, 12)
    again = setup.record(seed=5)
    assert all(np.array_equal(kept[name], again[name], equal_nan=True) for name in kept)
    weights = kept["weights"]
    assert weights.shape == (12, 11), "those of the first trial"
    there = np.tri(12, 11, -1, dtype=bool)
    assert np.isnan(weights[~there]).all()
    assert (weights[there] > 0).all()
    assert (np.nansum(weights, 1) < 1).all()


ASKED = {"per_action": True, "key_size": 64, "access_options": {"kernel": "cosine"}}


def test_a_memory_that_is_asked_per_action_shows_the_question_that_was_acted_on() -> None:
    """The key of an action is nearest to itself, so a question about it finds its own slots first."""
    kept = Setup("BernoulliBandit", {**SMALL, **ASKED}, arms=3, pulls=12).record(1)
    actions, told = kept["actions"][0], 0
    for t in range(1, 12):
        weights, own = kept["weights"][t, :t], actions[:t] == actions[t]
        if own.any() and not own.all():
            told += 1
            assert weights[own].min() > weights[~own].max()
    assert told > 3


def test_merged_slots_are_shown_as_one() -> None:
    kept = Setup("BernoulliBandit", {**SMALL, **ASKED, "store_options": {"merge": True}}, arms=3, pulls=12).record(1)
    shown = np.isfinite(kept["weights"]).sum(1)
    assert shown.tolist() == [len(set(kept["actions"][0, :t].tolist())) for t in range(12)]


def test_equal_slots_share_the_weight_with_the_empty_one() -> None:
    weights = Setup("BernoulliBandit", SMALL, arms=2, pulls=9).record()["weights"].astype(float)
    for slots in range(1, 9):  # one context: n equal logits s and the empty slot's 0 give 1 / (n + exp(-s)) each
        np.testing.assert_allclose(1 / weights[slots, :slots] - slots, 1 / weights[1, 0] - 1, atol=0.02)


def test_recording_leaves_the_agent_as_it_was() -> None:
    setup = Setup("BernoulliBandit", SMALL, arms=2, pulls=4)
    setup.record()
    with recorded_reads(setup.policy.core) as first, recorded_reads(setup.policy.core) as second:
        setup.record()
    assert len(first) == len(second) == 4
    with pytest.raises(RuntimeError, match="on the way"), recorded_reads(setup.policy.core) as notes:
        raise RuntimeError("on the way")
    setup.record()
    assert not notes, "nothing is noted afterwards"


def test_without_a_store_there_are_no_weights() -> None:
    assert "weights" not in Setup("BernoulliBandit", NO_STORE, arms=2, pulls=4).record()


def test_trials_of_different_lengths_keep_their_own(tmp_path: Path) -> None:
    setup = Setup("CartPolePhysics", SMALL, episodes=2, max_steps=30)
    kept = setup.record(4)
    assert len(set(kept["lengths"].tolist())) > 1
    assert kept["rewards"].shape[1] == kept["lengths"].max()
    assert kept["ends"].sum(1).tolist() == [2, 2, 2, 2]
    assert len(kept["weights"]) == kept["lengths"][0]
    run = RunFolder(tmp_path)
    write_record(trials_file(run), kept)
    for trial, length in zip(read_trials(run), kept["lengths"], strict=True):
        assert len(trial.episodes()) == 2
        assert trial.rewards.sum() == length  # every step pays one
        assert trial.ends[-1]


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "STEPS", 5)
    monkeypatch.setattr(recording, "READS", 3)
    kept = Setup("BernoulliBandit", SMALL, arms=2, pulls=9).record()
    assert kept["obs"].shape[:2] == kept["actions"].shape == kept["rewards"].shape == kept["ends"].shape == (3, 5)
    assert kept["lengths"].tolist() == [5, 5, 5]
    assert kept["weights"].shape == (3, 2)


def test_images_are_downsampled_and_copied() -> None:
    picture = np.arange(2 * 100 * 30 * 3, dtype=np.uint8).reshape(2, 100, 30, 3)
    small = downsample(picture)
    assert small.shape == (2, 34, 30, 3)
    np.testing.assert_array_equal(small, picture[:, ::3])
    small[:] = 0
    assert picture.any()


def test_training_tasks_are_not_recorded() -> None:
    with pytest.raises(ValueError, match="refusing to evaluate on training tasks"):
        Setup("BernoulliBandit", SMALL, split="train", arms=2, pulls=4).record()
    with pytest.raises(ValueError, match="trials is 0"):
        Setup("BernoulliBandit", SMALL, arms=2, pulls=4).record(0)


@pytest.mark.parametrize("store", [{"replace": "least_used", "capacity": 3}, {"capacity": 2}])
def test_a_full_store_keeps_its_weights(store: dict[str, Any]) -> None:
    memory = to_plain(MemoryOptions(**SMALL, store_options=store))
    weights = Setup("BernoulliBandit", memory, arms=2, pulls=8).record()["weights"]
    assert weights.shape == (8, store["capacity"])
    assert np.isfinite(weights[-1]).all()
