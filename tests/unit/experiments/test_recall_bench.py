"""The recall benchmark: who is compared, one cell, and many cells side by side."""

import multiprocessing
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from metarl.config import ConfigError
from metarl.data.recall import RECALL_TASKS
from metarl.evaluation.recall import RecallCell, RecallResult, RecallSettings
from metarl.evaluation.results import RecallEvaluation, write_evaluation
from metarl.experiments.recall import bench
from metarl.experiments.recall import experiment as recall
from metarl.experiments.recall.bench import FILE, complete, read
from metarl.experiments.recall.candidates import SUITE, TOLERANCE, candidates, classifier, parameters, sized
from metarl.experiments.recall.experiment import measure, options_of
from metarl.memory.registry import CONTROLLERS, matrix
from metarl.runs.folder import RunError, RunFolder

TOY = RecallSettings(updates=4, batch=4, parameters=5000, key_size=8)
SMALL = {"pairs": 2, "keys": 4, "values": 2}


def toy(memory: str = "gru", seed: int = 0, settings: RecallSettings = TOY) -> RecallCell:
    return RecallCell("associative", memory, seed, settings, SMALL)


def result(cell: RecallCell, accuracy: float = 0.5) -> RecallResult:
    return RecallResult(cell, accuracy, 0.01, 100, 0.25, accuracy, 5012, 12, 3e-3, 4, 0.1)


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
    wanted = RecallSettings().parameters
    for name in SUITE:
        options = options_of(RecallCell(task, name))
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


def test_a_memory_recalls_and_a_net_without_one_does_not() -> None:
    settings = RecallSettings(updates=300, target=0.98, batch=32, parameters=8000, key_size=16, learning_rates=(1e-2,))
    cells = [RecallCell("associative", name, 0, settings) for name in ("episodic+attention", "feedforward")]
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
    fit = recall.fit

    def watched(model, loss, batches, options, **rest):  # type: ignore[no-untyped-def]
        seen.append((options.updates, options.learning_rate))
        return fit(model, loss, batches, options, **rest)

    monkeypatch.setattr(recall, "fit", watched)
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


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[RecallCell]:
    """Stands in for measuring: every cell takes no time; the cells that were asked for."""
    asked: list[RecallCell] = []

    def fake(cell: RecallCell, device: str) -> RecallResult:
        asked.append(cell)
        return result(cell)

    monkeypatch.setattr(bench, "measure", fake)
    return asked


def test_what_is_there_is_not_measured_again(
    measured: list[RecallCell], tmp_path: Path, capsys: pytest.CaptureFixture[str]
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


@pytest.mark.parametrize(
    ("error", "raised"),
    [(FloatingPointError, "1 cells met numbers that are not finite: associative by gru"), (KeyboardInterrupt, None)],
)
def test_a_cell_that_ends_early_does_not_take_what_is_done_with_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: type[BaseException], raised: str | None
) -> None:
    def fake(cell: RecallCell, device: str) -> RecallResult:
        if cell.memory == "gru":
            raise error
        return result(cell)

    monkeypatch.setattr(bench, "measure", fake)
    with pytest.raises(error, match=raised):
        complete([toy("lstm"), toy("gru"), toy("mingru")], tmp_path)
    done = ["lstm"] if error is KeyboardInterrupt else ["lstm", "mingru"]
    assert [r.cell.memory for r in read(tmp_path / FILE)] == done


def test_one_process_measures_in_a_folder(measured: list[RecallCell], tmp_path: Path) -> None:
    (tmp_path / ".recall.json.999999999.tmp").touch()  # of one that was killed
    with RunFolder(tmp_path).locked(), pytest.raises(RunError, match="another process"):
        complete([toy()], tmp_path)
    assert measured == []
    complete([toy()], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def test_what_cannot_be_measured_is_said_first(measured: list[RecallCell], tmp_path: Path) -> None:
    cells = [toy("gru"), toy("dnc+native", settings=replace(TOY, parameters=500))]
    with pytest.raises(ValueError, match=r"dnc\+native can't have"):
        complete(cells, tmp_path)
    assert measured == []


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    kept = [result(toy()), result(toy(settings=replace(TOY, updates=None, seconds=2.0, target=None)), 1.0)]
    write_evaluation(tmp_path / FILE, RecallEvaluation(results=tuple(kept)))
    assert read(tmp_path / FILE) == kept
    assert read(tmp_path / "none.json") == []
    for damaged in ("[", "[]", "{}", '{"kind": "recall", "results": [{"cell": 3}]}', '{"kind": "fewshot"}'):
        (tmp_path / FILE).write_text(damaged)
        with pytest.raises(ConfigError, match=r"recall.json .*move it away"):
            read(tmp_path / FILE)


def test_processes_give_the_same_as_this_one_and_end_with_whoever_asked() -> None:
    long = replace(TOY, updates=None, seconds=600, target=None)
    outcomes = bench.run([toy("delta+native"), toy("lstm", settings=long), toy("mingru", settings=long)], jobs=2)
    cell, apart = next(outcomes)
    outcomes.close()  # type: ignore[attr-defined]
    alone = measure(cell)
    assert cell == toy("delta+native")
    assert isinstance(apart, RecallResult)
    assert replace(apart, seconds=0) == replace(alone, seconds=0)
    end = time.monotonic() + 30
    while multiprocessing.active_children() and time.monotonic() < end:
        time.sleep(0.05)
    assert multiprocessing.active_children() == []
