"""Two processes that train together, against one process with the rows and examples of both."""

import socket
from pathlib import Path
from typing import Any

import numpy as np
import parallel_toys as toys
import pytest
import torch
from equal_processes import PROCESSES, STEPS, UPDATES, arrays, double, learned_alone, make_agent, shared_minibatches
from parallel_toys import ROWS


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where both processes left what they found."""
    path = tmp_path_factory.mktemp("together")
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.start_processes(toys.together, (port, path), PROCESSES, start_method="spawn")
    return path


@pytest.fixture(scope="module")
def found(place: Path) -> list[dict[str, Any]]:
    return [torch.load(place / f"{rank}.pt", weights_only=False) for rank in range(PROCESSES)]


@pytest.fixture
def joined_minibatches(monkeypatch: pytest.MonkeyPatch) -> None:
    """The minibatches of one process are those of both."""
    monkeypatch.setattr(torch, "randperm", shared_minibatches(ROWS, PROCESSES, 2))


def close(given: dict[str, Any], expected: dict[str, Any], error: float = 1e-10) -> None:
    assert given.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(given[name], value, atol=error, rtol=0, err_msg=name)


def test_two_processes_learn_what_one_learns_from_all_rows(found: list[dict[str, Any]]) -> None:
    with double():
        agent = make_agent(ROWS)
        before = arrays(agent.policy)
        learned = learned_alone(agent, ROWS)
    for one in found:
        close(one["learned"], learned)
        assert one["steps"] == UPDATES * PROCESSES * ROWS * STEPS
    assert min(np.abs(found[0]["learned"][name] - before[name]).max() for name in ("head.linear.weight",)) > 1e-3
    assert found[0]["learned"]["encoder.norms.0.count"] == UPDATES * PROCESSES * ROWS * STEPS


def test_steps_that_do_not_count_weigh_nothing_wherever_they_are(
    found: list[dict[str, Any]], joined_minibatches: None
) -> None:
    with double():
        policy, rollout = toys.ragged()
        report = toys.learned_ragged(policy, rollout)
    for one in found:
        close(one["ragged"], arrays(policy))
    for name in ("explained_variance", "grad_norm", "learning_rate"):
        assert found[0]["report"][name] == pytest.approx(report[name])


def test_supervised_training_is_that_of_one_process_and_the_first_validates(found: list[dict[str, Any]]) -> None:
    with double():
        net, trained = toys.fitted(toys.examples(), best=True)
    assert trained.kept == 2
    for one in found:
        close(one["fitted"], arrays(net))
        assert one["kept"] == trained.kept


@pytest.mark.parametrize("kind", ["agent", "fewshot"])
def test_a_training_goes_on_from_what_each_process_had(kind: str, found: list[dict[str, Any]]) -> None:
    for one in found:
        whole, again = one[kind]
        close(again, whole, 0)
        close(whole, found[0][kind][0], 0)


def test_the_first_process_alone_writes(place: Path, found: list[dict[str, Any]]) -> None:
    assert [one["written"] for one in found] == [[], []]
    for kind, rows in (("agent", 8), ("fewshot", 2)):
        lines = (place / kind / "whole" / "metrics.jsonl").read_text().splitlines()
        assert len(lines) == rows


def test_a_lost_worker_of_one_process_is_replaced_and_all_stay_in_step(found: list[dict[str, Any]]) -> None:
    sound, hurt = (one["lost"] for one in found)
    assert sound["told"] == []
    assert len(hurt["told"]) == 1
    assert "exit code 3" in hurt["told"][0]
    assert all(one is None or bool(one.all()) for one in (*sound["valid"], *hurt["valid"][1:]))
    valid = hurt["valid"][0]
    assert valid[:7].any(0).sum() == ROWS // 2, "the trials of its two rows are void from their beginning"
    assert valid[7:].all(), "new ones have begun"
    assert sound["steps"] == hurt["steps"] == 3 * PROCESSES * ROWS * STEPS
    close(hurt["learned"], sound["learned"], 0)


def test_what_can_not_be_shared_is_refused(found: list[dict[str, Any]]) -> None:
    assert found[0]["refused"][:4] == ["train.n_envs", "train.batch", "processes", found[1]["refused"][3]]
    assert "norm" in found[0]["refused"][3] or "net" in found[0]["refused"][3]
    assert [one["refused"][4] for one in found] == ["n_envs of process 0", "n_envs of process 1"]
    assert found[0]["refused"][5] == "memory.store"
