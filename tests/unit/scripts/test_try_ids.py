"""The table of ids of other packages."""

import json
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

import gymnasium as gym
import pytest
import try_ids

MODULE = """
import os
import gymnasium as gym
from gymnasium import spaces

class Fine(gym.Env):
    observation_space, action_space = spaces.Discrete(3), spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return int(self.np_random.integers(3)), {}

    def step(self, action):
        return int(self.np_random.integers(3)), float(action), True, False, {}

class Leaves(Fine):
    def step(self, action):
        return 7, *super().step(action)[1:]

class Broken(Fine):
    def reset(self, *, seed=None, options=None):
        raise OSError("no display")

class Crashes(Fine):
    def reset(self, *, seed=None, options=None):
        os._exit(3)

for name in ("Fine-v0", "Fine-v1", "Leaves-v0", "Broken-v2", "Crashes-v0"):
    gym.register(f"tried/{name}", entry_point=f"tried_envs:{name[:-3]}")
"""


class Told:
    """A pipe that keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[Any] = []

    def send(self, said: Any) -> None:
        self.sent.append(said)


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A package of environments, importable here and in new processes."""
    (tmp_path / "tried_envs.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "tried_envs", raising=False)
    with patch.dict(gym.registry):
        __import__("tried_envs")
        yield "tried_envs"


def test_the_newest_versions_are_tried(module: str) -> None:
    assert try_ids.listing(module) == {
        "ids": ["tried/Broken-v2", "tried/Crashes-v0", "tried/Fine-v1", "tried/Leaves-v0"],
        "left_out": ["tried/Fine-v0"],
    }


@pytest.mark.parametrize(
    ("name", "stage", "reason"),
    [
        ("Fine-v1", "passed", None),
        ("Leaves-v0", "check", "spaces: the observation 7"),
        ("Broken-v2", "make", "OSError"),
    ],
)
def test_an_id_is_made_checked_and_trained(module: str, name: str, stage: str, reason: str | None) -> None:
    pipe: Any = Told()
    record = try_ids.attempt(f"tried/{name}", module, pipe)
    assert (record["stage"], record.get("steps")) == (stage, 1000 if stage == "passed" else None)
    assert str(record.get("reason")).startswith(str(reason))
    assert pipe.sent == list(try_ids.STAGES[: len(pipe.sent)])


def test_an_id_that_ends_its_process_is_told_of(module: str) -> None:
    child = try_ids.Child(module)
    assert len(child.listing["ids"]) == 4
    record = child.ask("tried/Crashes-v0", 60)
    assert (record["stage"], record["reason"]) == ("make", "the process died with exit code 3")
    assert not child.alive


def test_the_table_counts_every_id_and_work_goes_on_from_its_file(tmp_path: Path) -> None:
    work = try_ids.Work(tmp_path / "work.jsonl")
    work.add({"package": "popgym", "ids": ["A-v0", "B-v0", "C-v0", "D-v0"], "left_out": ["A-v1"]})
    work.add({"package": "popgym", "id": "A-v0", "stage": "passed", "steps": 300, "advice": ["spaces"], "seconds": 2.0})
    work.add({"package": "popgym", "id": "B-v0", "stage": "check", "reason": "spaces: Graph", "seconds": 1.0})
    work.add({"package": "popgym", "id": "C-v0", "stage": "make", "reason": "no display", "seconds": 1.0})
    again = try_ids.Work(tmp_path / "work.jsonl")
    assert (again.done, again.list_ids("popgym")) == (work.done, ["A-v0", "B-v0", "C-v0", "D-v0"])
    made = json.loads(json.dumps(try_ids.summary(again)))
    (table,) = made["packages"].values()
    counts = {key: table[key] for key in ("ids", "left_out", "not_tried", "not_made", "tried", "passed")}
    assert counts == {"ids": 5, "left_out": 1, "not_tried": 1, "not_made": 1, "tried": 2, "passed": 1}
    assert table["with_fewer_steps"] == {"A-v0": 300}
    assert [one["id"] for one in table["failed"]] == ["B-v0"]
    assert table["gym_make_fails"][0]["reason"] == "no display"
    assert made["seconds"] == 4
