"""The scripts that run ours beside its peers, at toy size; here no peer is installed."""

import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from results.rows import read

ROOT = Path(__file__).resolve().parents[3]
MODULES = ("bandit", "compare", "environments", "serve", "sides")


@pytest.fixture
def peers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[dict[str, ModuleType]]:
    """The modules of scripts/peers by name, where no peer is installed."""
    monkeypatch.syspath_prepend(str(ROOT / "scripts" / "peers"))
    monkeypatch.setattr(sys, "path", [*sys.path])
    made = {name: importlib.import_module(name) for name in MODULES}
    monkeypatch.setattr(made["environments"], "PLACE", tmp_path / "environments")
    yield made
    for name in MODULES:
        sys.modules.pop(name)


def test_all_parts_run_at_toy_size_and_what_was_measured_stays(
    peers: dict[str, ModuleType], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    compare, out = peers["compare"], tmp_path / "out"
    monkeypatch.setattr(compare, "RACERS", {name: compare.RACERS[name] for name in ("jax", "ours")})
    monkeypatch.setattr(compare, "THREADS", {"one thread": "1"})
    rows_of_docs = {path: path.read_bytes() for path in (ROOT / "docs" / "results").glob("*.json")}
    for part in compare.PARTS:
        compare.main([part, "--quick", "--out", str(out)])
    printed = capsys.readouterr().out
    for peer in ("sb3", "jax", "torchrl"):
        assert f"left out: {peer} is not installed: make peers installs it" in printed
    rows = read(out / "throughput.json")
    raced, busy = rows
    assert raced.ours == 300  # nobody learns in a second
    assert "1 of 1 did not reach it" in raced.flags
    assert raced.train_steps > 0
    assert busy.goal == (0.4, None)
    assert busy.ours > 0
    assert {path: path.read_bytes() for path in (ROOT / "docs" / "results").glob("*.json")} == rows_of_docs

    def never(*given: Any) -> Any:
        raise AssertionError("it was measured before")

    monkeypatch.setattr(compare, "race", never)
    monkeypatch.setattr(compare, "Running", never)
    for part in compare.PARTS:
        compare.main([part, "--quick", "--out", str(out)])
    assert read(out / "throughput.json") == rows


@pytest.mark.parametrize(
    ("returns", "reached"),
    [
        ([[90.0] * 8], None),  # fewer than the window
        ([[90.0] * 8, [75.0] * 4], 2),
        ([[0.0] * 8, [90.0] * 12], 2),  # what lies before the window doesn't count
        ([[0.0] * 8, [90.0] * 4, [90.0] * 4], None),  # the last two chunks are fewer than the window
        ([[0.0] * 8, [90.0] * 4, [90.0] * 4, [90.0] * 4], 4),
    ],
)
def test_the_window_of_a_race(peers: dict[str, ModuleType], returns: list[list[float]], reached: int | None) -> None:
    race = peers["serve"].Race(80.0, 60.0, 10)
    over = [race.add(100 * (i + 1), np.array(chunk)) for i, chunk in enumerate(returns)]
    assert over == [i + 1 == reached for i in range(len(returns))]
    assert (race.result()["seconds"] is None) == (reached is None)


def test_a_race_ends_at_its_limit(peers: dict[str, ModuleType]) -> None:
    race = peers["serve"].Race(80.0, 0.0, 4)
    assert race.add(100, np.zeros(4))
    assert race.result() == {"seconds": None, "steps": 100, "best": 0.0, "curve": [(pytest.approx(0, abs=1), 100, 0.0)]}


def test_the_bandits_of_peers_are_those_of_the_family(peers: dict[str, ModuleType]) -> None:
    bandits = peers["bandit"].Bandits(2000, 0)
    assert not bandits.reset().any()
    totals, over = np.zeros(2000), False
    best = bandits.p.argmax(1)
    while not over:
        obs, rewards, over = bandits.step(best)
        totals += rewards
    assert bandits.t == peers["bandit"].PULLS == 100
    assert (totals == bandits.returns).all()
    assert totals.mean() == pytest.approx(100 * 10 / 11, abs=1)  # the expected maximum of ten uniform numbers
    assert (obs[:, :10].argmax(1) == best).all()
    assert (obs[:, 10] == rewards).all()
    assert (obs[:, 11:] == 1).all()


def test_a_peer_that_fails_is_named_with_its_last_line(peers: dict[str, ModuleType]) -> None:
    sides = peers["sides"]
    broken = sides.Side("broken", sides.OURS, ("--no-such-option",))
    for run in (lambda: sides.race(broken, "--bar", "1"), lambda: sides.Running(broken)):
        with pytest.raises(sides.PeerError, match="no-such-option"):
            run()


def test_a_peer_that_cannot_be_installed_is_left_out_with_the_reason(
    peers: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    environments = peers["environments"]
    commands: list[list[str]] = []

    def run(*command: str | Path) -> None:
        commands.append([str(word) for word in command])
        (tmp_path / "environments" / "one").mkdir(parents=True, exist_ok=True)
        if "no-such-thing" in (tmp_path / "one.txt").read_text() and "pip" in command:
            told = "Looking in links\nERROR: No matching distribution found for no-such-thing==1.0\n"
            raise subprocess.CalledProcessError(1, commands[-1], output=told)

    monkeypatch.setattr(environments, "LISTS", tmp_path)
    monkeypatch.setattr(environments, "_run", run)
    (tmp_path / "one.txt").write_text("no-such-thing==1.0\n")
    assert environments.install("one") == "ERROR: No matching distribution found for no-such-thing==1.0"
    assert environments.missing("one") is not None
    (tmp_path / "one.txt").write_text("thing==1.0\n")
    assert environments.install("one", ["--no-index"]) is None
    assert commands[-1][1:] == ["-m", "pip", "install", "--quiet", "--no-index", "-r", str(tmp_path / "one.txt")]
    assert environments.missing("one") is None
    count = len(commands)
    assert environments.install("one") is None
    assert len(commands) == count  # it is there
    (tmp_path / "one.txt").write_text("thing==2.0\n")
    assert environments.install("one") is None
    assert len(commands) == count + 2  # another list, so it is made anew


def test_every_peer_has_exact_versions_and_a_script(peers: dict[str, ModuleType]) -> None:
    environments = peers["environments"]
    assert set(environments.PEERS) == {"jax", "sb3", "torchrl"}
    for peer in environments.PEERS:
        lines = (environments.LISTS / f"{peer}.txt").read_text().split()
        assert lines
        assert all(line.count("==") == 1 for line in lines)
        assert (ROOT / "scripts" / "peers" / f"peer_{peer}.py").is_file()
