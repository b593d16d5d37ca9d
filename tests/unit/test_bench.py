import importlib.util
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
from command_line import run as command
from metarl.bench import recall as bench
from metarl.bench import run as running
from metarl.bench.candidates import SUITE, TOLERANCE, candidates, classifier, named, parameters, sized
from metarl.bench.recall import Cell, Result, Settings, measure, options_of
from metarl.bench.run import FILE, complete, read, write
from metarl.report.results import BEGIN, END
from metarl.report.results import read as read_rows

from metarl.config import ConfigError
from metarl.data.recall import RECALL_TASKS
from metarl.memory.registry import CONTROLLERS, matrix
from metarl.report.recall import NAME, PICTURE, place

ROOT = Path(__file__).resolve().parents[2]
TOY = Settings(updates=4, batch=4, parameters=5000, key_size=8)
SMALL = {"pairs": 2, "keys": 4, "values": 2}


def toy(memory: str = "gru", seed: int = 0, settings: Settings = TOY) -> Cell:
    return Cell("associative", memory, seed, settings, SMALL)


def result(cell: Cell, accuracy: float = 0.5) -> Result:
    return Result(cell, accuracy, 0.01, 100, 0.25, accuracy, 5012, 12, 3e-3, 4, 0.1)


# --- who takes part


def test_candidates_are_all_controllers_and_all_pairs_that_go_together() -> None:
    pairs = {f"{store}+{access}" for store, access, reason in matrix() if reason is None}
    known = candidates()
    assert set(known) == {*CONTROLLERS, *pairs}
    assert set(SUITE) <= set(known)
    assert len(SUITE) == 14
    for name in pairs:
        assert known[name].controller == "feedforward"
        assert not known[name].gate


@pytest.mark.parametrize("task", RECALL_TASKS)
def test_all_candidates_of_the_suite_are_of_one_size(task: str) -> None:
    wanted = Settings().parameters
    for name in SUITE:
        options = options_of(Cell(task, name))
        assert abs(parameters(classifier(options, RECALL_TASKS[task]())) - wanted) <= TOLERANCE * wanted, name


def test_a_size_is_the_nearest() -> None:
    task = RECALL_TASKS["copy"]()
    options = sized(candidates()["gru"], task, 5000, "gru")
    units = options.controller_options["hidden_size"]

    def gap(units: int) -> int:
        changed = replace(options, controller_options={"hidden_size": units})
        return abs(parameters(classifier(changed, task)) - 5000)

    assert gap(units) <= min(gap(units - 1), gap(units + 1))
    heads = sized(candidates()["window"], task, 20_000, "window").controller_options["hidden_size"]
    assert heads % 4 == 0


def test_a_size_that_cannot_be_had_is_an_error() -> None:
    with pytest.raises(
        ValueError, match=r"dnc\+native can't have 1,000 ± 10% parameters on Copy: the nearest is [\d,]+"
    ):
        sized(candidates()["dnc+native"], RECALL_TASKS["copy"](), 1000, "dnc+native")


def test_names_are_checked() -> None:
    assert named(["b", "a", "b"], ["a", "b", "c"], "--tasks") == ["b", "a"]
    with pytest.raises(ConfigError, match="--tasks is 'coppy'; did you mean 'copy'"):
        named(["coppy"], list(RECALL_TASKS), "--tasks")


# --- one cell


def test_a_memory_recalls_and_a_net_without_one_does_not() -> None:
    settings = Settings(updates=300, target=0.98, batch=32, parameters=8000, key_size=16, learning_rates=(1e-2,))
    cells = [Cell("associative", name, 0, settings) for name in ("episodic+attention", "feedforward")]
    able, unable = (measure(cell, sequences=1000) for cell in cells)
    assert able.accuracy > 0.95
    assert able.updates < 300  # it stopped where nothing was left to learn
    assert unable.accuracy == pytest.approx(unable.chance, abs=0.03)
    assert unable.updates == 300
    for each in (able, unable):
        assert abs(each.parameters - 8000) <= 800
        assert each.sequences == 1000


def test_each_learning_rate_has_its_part_and_the_best_on_validation_is_tested(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int | None, float]] = []
    fit = bench.fit

    def watched(model, loss, batches, options, **rest):  # type: ignore[no-untyped-def]
        seen.append((options.updates, options.learning_rate))
        return fit(model, loss, batches, options, **rest)

    monkeypatch.setattr(bench, "fit", watched)
    settings = replace(TOY, updates=60, batch=16, learning_rates=(1e-6, 3e-2), target=None)
    done = measure(toy("episodic+attention", settings=settings), sequences=200)
    assert seen == [(30, 1e-6), (30, 3e-2)]
    assert (done.learning_rate, done.updates) == (3e-2, 60)
    easy = measure(toy(settings=replace(settings, target=0.0)), sequences=200)
    assert (easy.learning_rate, easy.updates) == (1e-6, 30)  # good enough at once: nothing else is tried


def test_a_cell_can_be_measured_again_and_leaves_no_trace() -> None:
    torch.manual_seed(3)
    before, threads = torch.random.get_rng_state(), torch.get_num_threads()
    first, second, other = (measure(toy("lrua+native", seed), sequences=100) for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.get_num_threads() == threads
    assert replace(first, seconds=0) == replace(second, seconds=0)
    assert other.validation != first.validation


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"updates": None}, "no end: give updates, seconds or both"),
        ({"updates": 1}, "1 updates can't be parted among 2 learning rates"),
        ({"learning_rates": ()}, "no learning rate"),
    ],
)
def test_wrong_settings_are_errors(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(TOY, **change)  # type: ignore[arg-type]


# --- many cells


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[Cell]:
    """Stands in for measuring: every cell takes no time; the cells that were asked for."""
    asked: list[Cell] = []

    def fake(cell: Cell) -> Result:
        asked.append(cell)
        return result(cell)

    monkeypatch.setattr(running, "measure", fake)
    return asked


def test_what_is_there_is_not_measured_again(
    measured: list[Cell], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = toy("gru"), toy("lstm")
    complete([first], tmp_path)
    assert [r.cell for r in complete([second, first], tmp_path)] == [second, first]
    assert measured == [first, second]
    other = toy("gru", settings=replace(TOY, updates=6))
    complete([other, toy("gru", seed=1), first], tmp_path)
    assert measured[2:] == [other, toy("gru", seed=1)]
    assert len(read(tmp_path / FILE)) == 4
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) == 4
    assert "50.00% ± 1.96% (chance 25.0%) after 4 updates, 0 s, 5,012 parameters, seed 0" in shown[0]


def test_a_cell_that_fails_does_not_take_the_others_with_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fake(cell: Cell) -> Result:
        if cell.memory == "gru":
            raise FloatingPointError("the loss is not finite")
        return result(cell)

    monkeypatch.setattr(running, "measure", fake)
    with pytest.raises(FloatingPointError, match="1 cells met numbers that are not finite: associative by gru"):
        complete([toy("gru"), toy("lstm")], tmp_path)
    assert [r.cell.memory for r in read(tmp_path / FILE)] == ["lstm"]


def test_an_interrupt_keeps_what_is_done(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fake(cell: Cell) -> Result:
        if cell.memory == "lstm":
            raise KeyboardInterrupt
        return result(cell)

    monkeypatch.setattr(running, "measure", fake)
    with pytest.raises(KeyboardInterrupt):
        complete([toy("gru"), toy("lstm")], tmp_path)
    assert [r.cell.memory for r in read(tmp_path / FILE)] == ["gru"]


def test_what_cannot_be_measured_is_said_first(measured: list[Cell], tmp_path: Path) -> None:
    cells = [toy("gru"), toy("dnc+native", settings=replace(TOY, parameters=500))]
    with pytest.raises(ValueError, match=r"dnc\+native can't have"):
        complete(cells, tmp_path)
    assert measured == []


def test_results_survive_being_written(tmp_path: Path) -> None:
    kept = [result(toy()), result(toy(settings=replace(TOY, updates=None, seconds=2.0, target=None)), 1.0)]
    write(tmp_path / FILE, kept)
    assert read(tmp_path / FILE) == kept
    assert read(tmp_path / "none.json") == []
    for damaged in ("[", "{}", '[{"cell": 3}]', json.dumps([{"accuracy": 1.0}])):
        (tmp_path / FILE).write_text(damaged)
        with pytest.raises(ValueError, match=r"recall.json holds no results of the benchmark: .*; move it"):
            read(tmp_path / FILE)


def test_processes_give_the_same_as_this_one(tmp_path: Path) -> None:
    cells = [toy("gru"), toy("delta+native")]
    alone, apart = (complete(cells, tmp_path / str(jobs), jobs=jobs) for jobs in (1, 2))
    assert [replace(r, seconds=0) for r in alone] == [replace(r, seconds=0) for r in apart]


def test_processes_end_with_whoever_asked() -> None:
    long = replace(TOY, updates=None, seconds=600, target=None)
    outcomes = running.run([toy("gru"), toy("lstm", settings=long), toy("mingru", settings=long)], jobs=2)
    assert next(outcomes)[0] == toy("gru")
    outcomes.close()  # type: ignore[attr-defined]
    end = time.monotonic() + 30
    while multiprocessing.active_children() and time.monotonic() < end:
        time.sleep(0.05)
    assert multiprocessing.active_children() == []


# --- the command


def test_the_command_measures_prints_and_draws(tmp_path: Path) -> None:
    options = ["--updates", "4", "--batch", "4", "--parameters", "5000", "--out", str(tmp_path / "out")]
    names = ["--tasks", "repeat_first", "--memories", "gru", "feedforward", "--seed", "0", "1"]
    ran = command("bench", "memory", *names, *options)
    assert ran.status == 0, ran.err
    lines = ran.out.splitlines()
    assert sum(line.startswith("repeat_first") for line in lines) == 4
    table = lines[4:8]
    assert [line.split()[0] for line in table] == ["memory", "gru", "feedforward", "chance"]
    assert "25.0 %" in table[-1]
    assert (tmp_path / "out" / "recall.png").read_bytes().startswith(b"\x89PNG")
    assert len(read(tmp_path / "out" / FILE)) == 4
    again = command("bench", "memory", *names, *options)
    assert again.out.splitlines() == lines[4:]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tasks", "coppy"], "--tasks is 'coppy'; did you mean 'copy'? it can be copy, associative,"),
        (["--memories", "episodic+native"], "--memories is 'episodic+native'; "),
        (["--parameters", "50", "--memories", "dnc+native"], "dnc+native can't have 50 ± 10% parameters on Copy"),
        (["--import", "nothing_like_this"], "cannot import 'nothing_like_this'"),
        (["--updates", "1"], "'1' is not a whole number of at least 2"),
    ],
)
def test_wrong_names_and_numbers_are_one_line(arguments: list[str], message: str, tmp_path: Path) -> None:
    ran = command("bench", "memory", *arguments, "--out", tmp_path)
    assert ran.status == 2
    assert message in ran.err
    assert len(ran.err.splitlines()) == 1


def test_the_command_can_be_interrupted_and_goes_on(tmp_path: Path) -> None:
    given = [sys.executable, "-m", "metarl", "bench", "memory", "--tasks", "repeat_first", "--memories", "delta+native"]
    given += ["lstm", "gru", "dnc+native", "--jobs", "2", "--out", str(tmp_path)]  # the last takes longest by far
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}

    def heed() -> None:  # a shell's background jobs, and so their children, are deaf to it
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    with subprocess.Popen(given, env=environment, preexec_fn=heed, **pipes) as ran:
        end = time.monotonic() + 120
        while not (tmp_path / FILE).exists() and time.monotonic() < end:
            time.sleep(0.1)
        ran.send_signal(signal.SIGINT)
        out, err = ran.communicate(timeout=60)
    assert ran.returncode == 130, err
    assert "interrupted; what was measured until then is in" in out
    assert "Traceback" not in err
    kept = [r.cell.memory for r in read(tmp_path / FILE)]
    assert kept
    assert "dnc+native" not in kept


# --- the script


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("reproduce_recall", ROOT / "scripts" / "reproduce" / "recall.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    for page in ("results.md", "memory.md"):
        (tmp_path / "docs" / "images").mkdir(parents=True, exist_ok=True)
        (tmp_path / "docs" / page).write_text(f"{BEGIN}\n{END}\n")
    return module


def test_the_script_measures_what_the_goals_are_for(script: ModuleType) -> None:
    parts = {name: part.cells() for name, part in script.PARTS.items()}
    assert len(parts["suite"]) == len(RECALL_TASKS) * len(SUITE)
    runnable = {f"{store}+{access}" for store, access, reason in matrix() if reason is None}
    assert {cell.memory for cell in parts["cells"]} == runnable
    assert all(cell.sizes["pairs"] == 8 and cell.settings.seconds == 300 for cell in parts["cells"])
    assert all(cell.sizes["pairs"] == 16 and cell.settings.seconds == 600 for cell in parts["pairs16"])
    graph, attention = parts["two_hop"]
    assert (graph.memory, attention.memory) == ("episodic+graph", "episodic+attention")
    assert graph.settings == attention.settings
    assert (graph.sizes["pairs"], graph.settings.target) == (16, None)
    assert script.PARTS["two_hop"].goals == {"episodic+graph": (0.95, None), "episodic+attention": (None, 0.4)}


def test_the_script_writes_rows_page_and_picture(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fake(cells: Sequence[Cell], folder: Path, *, jobs: int) -> list[Result]:
        assert jobs == 2
        return [result(cell) for cell in cells]

    monkeypatch.setattr(script, "complete", fake)
    monkeypatch.setattr(sys, "argv", ["recall.py", "--part", "two_hop", "suite"])
    script.main()
    rows = read_rows(tmp_path / "docs" / "results" / f"{NAME}.json")
    assert len(rows) == 2 + len(RECALL_TASKS) * len(SUITE)
    assert {place(row).part for row in rows} == {script.PARTS[name].name for name in ("two_hop", "suite")}
    assert (tmp_path / "docs" / PICTURE).is_file()
    assert "Short of the goal: episodic+graph, episodic+attention." in (tmp_path / "docs" / "memory.md").read_text()
    assert "## recall" in (tmp_path / "docs" / "results.md").read_text()
