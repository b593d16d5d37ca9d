"""The comparison of resumed runs with whole ones sees what is equal, and what is not."""

from pathlib import Path

import pytest
import resumed_runs
import torch
from resumed_runs import INSIDE, NATIVE, USUAL, experiment, run_resumed, same

from metarl.memory.registry import runnable


def test_a_killed_run_is_found_to_end_as_a_whole_one(tmp_path: Path) -> None:
    assert run_resumed(experiment(USUAL, NATIVE, INSIDE), tmp_path) == (True, False)


def test_a_run_that_goes_on_otherwise_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start = resumed_runs.starting_point

    def other(*given: object) -> object:
        found = start(*given)  # type: ignore[arg-type]  # what the script gives
        assert found.saved is not None
        found.saved.groups["generators"]["policy"].copy_(torch.Generator().manual_seed(7).get_state())
        return found

    monkeypatch.setattr(resumed_runs, "starting_point", other)
    assert run_resumed(experiment(USUAL, NATIVE, INSIDE), tmp_path) == (False, False)


def test_one_bit_is_a_difference() -> None:
    here, there = ({"a": {"x": torch.tensor([1.0, number])}} for number in (2.0, 2.0000002))
    assert same(("", here), ("", {"a": {"x": torch.tensor([1.0, 2.0])}}))
    assert not same(("", here), ("", there))
    assert not same(("", here), (" ", here))
    assert not same(("", here), ("", {"a": {"x": torch.tensor([1.0, 2.0]), "y": torch.zeros(1)}}))


def test_every_core_has_a_case() -> None:
    methods = [method for _, method, _, _ in resumed_runs.cases()]
    assert len(methods) > len(list(runnable()))
    assert {name for name, _ in runnable()} <= set(methods)
