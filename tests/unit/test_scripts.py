import ast
import re
import runpy
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from results.pages import BEGIN, END
from results.rows import read
from script_toys import REPRODUCE, SCRIPTS, evaluation, load

from metarl.agents.rl2 import RL2PPO
from metarl.cli.main import main, parser
from metarl.config import parse_assignment
from metarl.data.omniglot import OmniglotError
from metarl.data.recall import RECALL_TASKS
from metarl.evaluation.recall import RecallCell, RecallResult
from metarl.evaluation.results import AgentEvaluation, write_evaluation
from metarl.experiments.presets import load_experiment
from metarl.experiments.recall.candidates import SUITE
from metarl.experiments.run import train
from metarl.presets.names import presets
from metarl.runs.folder import RunFolder
from metarl.training.checkpoint import read_checkpoint

ROOT = Path(__file__).resolve().parents[2]
Page = Callable[..., str]
WITH_OPTIONS = [SCRIPTS / "benchmark.py", SCRIPTS / "train_rl2.py", REPRODUCE / "bandits.py", REPRODUCE / "barcode.py"]
WITH_OPTIONS += [
    REPRODUCE / "ablations.py",
    SCRIPTS / "peers" / "compare.py",
    SCRIPTS / "benchmark_cores.py",
    SCRIPTS / "benchmark_long.py",
    REPRODUCE / "horizon.py",
    REPRODUCE / "recall.py",
    SCRIPTS / "train_omniglot.py",
    SCRIPTS / "lake_controls.py",
    SCRIPTS / "draw_fonts.py",
    REPRODUCE / "lake.py",
    REPRODUCE / "fonts.py",
    REPRODUCE / "beyond.py",
    SCRIPTS / "applications" / "diagnosis.py",
    SCRIPTS / "applications" / "domain.py",
    SCRIPTS / "applications" / "draw_domain.py",
]


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Page:
    """Runs a script, in which warnings are errors; what it prints."""

    def run(script: Path, numbers: dict[str, int], *more: str) -> str:
        options = [f"--{name}={number}" for name, number in numbers.items()]
        monkeypatch.setattr(sys, "argv", [str(script), *options, *more])
        with torch.random.fork_rng():
            runpy.run_path(str(script), run_name="__main__")
        return capsys.readouterr().out

    return run


@pytest.mark.filterwarnings("ignore:rich is experimental")
def test_the_one_page_script_trains_plays_and_saves(tmp_path: Path, page: Page) -> None:
    script = SCRIPTS / "train_rl2.py"
    assert len(script.read_text().splitlines()) <= 60
    numbers = {"steps": 400, "n-envs": 4, "trials": 20, "seed": 1}
    printed = page(script, numbers, "--set", "pulls=10", "--set", "arms=3", "--save", str(tmp_path / "agent.zip"))
    total = re.search(r"return per trial: ([\d.]+) ± [\d.]+ \(random actions ([\d.]+)\)", printed)
    assert total is not None
    assert 0 <= float(total[1]) <= 10
    assert 2 <= float(total[2]) <= 8
    assert re.findall(r"episode +(\d+): mean return [01]\.\d{3}", printed) == ["1", "2", "5", "10"]
    agent = RL2PPO.load(tmp_path / "agent.zip")
    assert (agent.num_timesteps, agent.seed, agent.trial_steps) == (400, 1, 10)


def test_the_page_of_few_shot_learning_trains_tests_and_saves_without_omniglot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: Page
) -> None:
    script = SCRIPTS / "train_omniglot.py"
    assert len(script.read_text().splitlines()) <= 60
    numbers = {"ways": 3, "shots": 2, "updates": 30, "episodes": 40, "seed": 1}
    monkeypatch.setenv("METARL_DATA", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    printed = page(script, numbers, "--save", str(tmp_path / "it.zip"))
    assert "images: generated glyphs, because Omniglot was not found" in printed
    assert re.search(r"updates=30, .*accuracy=0\.\d", printed)
    result = re.search(r"3-way 2-shot, 40 test episodes: ([\d.]+)% ± [\d.]+%", printed)
    assert result is not None
    assert float(result[1]) > 50  # chance is a third
    meta, groups = read_checkpoint(tmp_path / "it.zip")
    assert (meta["ways"], meta["shots"], meta["seed"]) == (3, 2, 1)
    assert "encoder.blocks.0.convolution.weight" in groups["learner"]


def test_the_page_of_few_shot_learning_takes_no_other_drawings_for_the_folder_it_was_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("METARL_DATA", raising=False)
    script = SCRIPTS / "train_omniglot.py"
    monkeypatch.setattr(sys, "argv", [str(script), "--data", str(tmp_path / "nothing")])
    with torch.random.fork_rng(), pytest.raises(OmniglotError, match=r"there is no images_background\.zip"):
        runpy.run_path(str(script), run_name="__main__")


@pytest.mark.parametrize("path", WITH_OPTIONS, ids=lambda path: path.name)
def test_help_says_what_a_script_does(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(path.parent))
    monkeypatch.setattr(sys, "argv", [str(path), "--help"])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(path), run_name="__main__")
    assert end.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    about = ast.get_docstring(ast.parse(path.read_text())) or ""
    assert about.split(":")[0].split("\n")[0] in shown


def toy(mean: float) -> AgentEvaluation:
    return evaluation(mean, {"random": 50.0, "Gittins": 83.56}, error=0.3)


class Trainings:
    """Stands in for ``subprocess``: keeps the commands, and leaves a toy evaluation for each."""

    STDOUT = subprocess.STDOUT

    def __init__(self) -> None:
        self.commands: list[list[str]] = []
        self.threads: list[str] = []

    def run(self, command: list[str], *, check: bool, stdout: Any, stderr: Any, env: dict[str, str]) -> None:
        assert check
        assert stderr == self.STDOUT
        stdout.write("trained\n")
        self.commands.append(command)
        self.threads.append(env["OMP_NUM_THREADS"])
        args = parser().parse_args(command[3:])
        if args.out is not None:
            args.out.mkdir(parents=True)
        write_evaluation((args.resume or args.out) / "evaluation.json", toy(80.0 + (args.seed or 0)))


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "results.md").write_text((ROOT / "docs" / "results.md").read_text())
    return tmp_path / "docs"


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch, docs: Path) -> ModuleType:
    """scripts/reproduce/common.py, writing to a docs folder of its own."""
    module = load(REPRODUCE / "common.py", monkeypatch)
    monkeypatch.setattr(module, "ROOT", docs.parent)
    return module


@pytest.fixture
def trainings(runs: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Trainings:
    fake = Trainings()
    monkeypatch.setattr(runs, "subprocess", SimpleNamespace(run=fake.run, STDOUT=fake.STDOUT))
    monkeypatch.setattr(runs, "trained_at", lambda *_: "abc")
    return fake


def test_train_runs_each_seed_once(runs: ModuleType, trainings: Trainings, tmp_path: Path) -> None:
    out = tmp_path / "runs"
    made = runs.train("bandit", "name", (0, 2), ["env.arms=3", "env.pulls=5"], out, 2)
    assert [evaluation.return_mean for evaluation in made] == [80.0, 82.0]
    assert sorted(command[command.index("--seed") + 1] for command in trainings.commands) == ["0", "2"]
    assert trainings.threads == ["1", "1"]
    for command in trainings.commands:
        assert command[:5] == [sys.executable, "-m", "metarl", "train", "bandit"]
        assert parser().parse_args(command[3:]).settings == ["env.arms=3", "env.pulls=5"]
    assert (out / "name-s0.log").read_text() == "trained\n"
    assert runs.train("bandit", "name", (0, 2, 3), [], out, 1)[:2] == made
    assert len(trainings.commands) == 3  # only seed 3 was missing


def test_a_training_that_was_cut_off_goes_on(runs: ModuleType, trainings: Trainings, tmp_path: Path) -> None:
    cut = tmp_path / "name-s1"
    config = load_experiment("bandit", {"env.arms": 3}).config()
    RunFolder.create_at(cut).start({**config, "seed": 1})
    runs.train("bandit", "name", (0, 1), ["env.arms=3"], tmp_path, 1)
    assert [command[4:] for command in trainings.commands[1:]] == [["--resume", str(cut)]]


def test_a_training_that_fails_fails_the_script(runs: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        runs.train("no-such-preset", "name", (0,), [], tmp_path, 1)
    assert "the preset is 'no-such-preset'" in (tmp_path / "name-s0.log").read_text()


def test_write_pools_seeds_and_replaces_its_row(runs: ModuleType, docs: Path) -> None:
    about = {"setting": "s", "metric": "reward", "goal": (40.0, None), "command": "c", "commit": "abc"}
    about["references"] = runs.references([toy(80.0)], per=2.0)
    assert about["references"] == {"random": 25.0, "Gittins": 41.78}
    evaluations = [toy(80.0), toy(84.0)]
    row = runs.write("toys", evaluations, (0, 1), {**about, "method": "agent"}, per=2.0)
    assert row.ours == pytest.approx(41.0)
    assert row.se == pytest.approx((0.15**2 + 0.15**2) ** 0.5 / 2)
    assert (row.n_tasks, row.seeds, row.train_seconds, row.train_steps) == (20, (0, 1), 840.0, 400)
    off = runs.write("toys", evaluations, (0, 1), {**about, "method": "off"}, ablation="off", per=2.0)
    assert off.ours == pytest.approx(20.5)
    better = runs.write("toys", [toy(90.0)], (5,), {**about, "method": "agent"}, per=2.0)
    assert read(docs / "results" / "toys.json") == [better, off]
    assert "**20.5" in (docs / "results" / "toys.md").read_text()


@pytest.mark.parametrize(
    ("script", "result", "rows", "seeds"),
    [("bandits", "bandits", 32, [(0,), (0, 1, 2)]), ("barcode", "barcode", 26, [(0,), (0, 1, 2)])],
)
def test_a_reproduction_writes_its_rows(
    runs: ModuleType,
    trainings: Trainings,
    docs: Path,
    monkeypatch: pytest.MonkeyPatch,
    script: str,
    result: str,
    rows: int,
    seeds: list[tuple[int, ...]],
) -> None:
    module = load(REPRODUCE / f"{script}.py", monkeypatch)
    monkeypatch.setattr(sys, "argv", [f"{script}.py", "--out", str(docs.parent / "runs"), "--jobs", "1"])
    module.main()
    made = read(docs / "results" / f"{result}.json")
    assert len(made) == rows
    for row in made:
        assert row.seeds in seeds
        assert row.command.startswith(f"python scripts/reproduce/{script}.py")
        others = ("about ten minutes", "asked once a step", "summed up")
        reported = any(control in row.method for control in others)
        along = "encounter 10 of a context" in row.metric
        assert row.goal != (None, None) or reported or along
        published = {"RL² published", "SNAIL published"} if script == "bandits" and not reported else set()
        assert along or set(row.references) == {"random", "Gittins"} | published
    for command in trainings.commands:
        args = parser().parse_args(command[3:])
        assert args.preset in presets(), f"{script}.py trains the preset {args.preset!r}, which does not exist"
        settings = [parse_assignment(text) for text in args.settings]
        experiment: Any = load_experiment(args.preset, settings)
        assert (
            experiment.eval.trials == (100_000 if experiment.env.get("pulls") == 10 else 10_000) or script == "barcode"
        )


def test_the_ablations_write_a_row_for_each_difference(
    runs: ModuleType, trainings: Trainings, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = load(REPRODUCE / "ablations.py", monkeypatch)
    given = ["--out", str(docs.parent / "runs"), "--jobs", "1", "--seeds", "4", "5"]
    for more in ([], ["--steps", "128"]):
        monkeypatch.setattr(sys, "argv", ["ablations.py", *given, *more])
        module.main()
    rows = read(docs / "results" / "ablations.json")
    assert len(rows) == 2 * sum(len(kinds) + len(module.WITHOUT) for kinds in module.TRAINED.values())
    assert {row.seeds for row in rows} == {(4, 5)}
    whole, toys = rows[: len(rows) // 2], rows[len(rows) // 2 :]
    assert all(row.command == module.COMMAND for row in whole)
    assert all("--steps 128" in row.command for row in toys), "a toy run takes no other row's place"
    by_method = {row.method: row.ours for row in whole}
    assert by_method["preset bandit, memory off"] == by_method["preset bandit"] / 2 == 84.5 / 2
    assert (docs / "results" / "ablations.md").is_file()
    told = set()
    for command in trainings.commands:
        args = parser().parse_args(command[3:])
        made: Any = load_experiment(args.preset, [parse_assignment(text) for text in args.settings])
        told.add((args.preset, made.imitation, made.memory.per_action))
    assert len(told) == sum(map(len, module.TRAINED.values())), "each difference is a setting that the preset takes"


def test_agents_are_played_beyond_their_horizon_once(
    runs: ModuleType, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = load(REPRODUCE / "horizon.py", monkeypatch)
    settings = {"env.arms": 3, "env.pulls": 4, "train.n_envs": 4, "train.total_timesteps": 32, "eval.trials": 8}
    folder = docs.parent / "run"
    train("bandit", settings={**settings, "eval.tuning_trials": 2, "threads": 1}, folder=folder, quiet=True)
    given = ["--out", str(docs.parent / "out"), "--runs", str(folder), "--factors", "1", "2", "10"]
    monkeypatch.setattr(sys, "argv", ["horizon.py", *given])
    module.main()
    rows = read(docs / "results" / "horizon.json")
    assert [re.findall(r"pulls=(\d+)", row.where + row.method) for row in rows] == [["4", "4"], ["8", "4"], ["40", "4"]]
    assert [(row.n_tasks, row.train_steps) for row in rows] == [(8, 32)] * 3
    for row, pulls in zip(rows, (4, 8, 40), strict=True):
        assert {"random", "Gittins", "% of Gittins", "ms a step of 100 trials"} <= {*row.references}
        assert row.references["bytes that it has room for"] > row.references["bytes of state in use"] > 0
        assert 0 < row.ours < pulls
    in_use = [row.references["bytes of state in use"] for row in rows]
    assert in_use[2] - in_use[0] <= 110 * 4, "merged, an arm more at the most"
    monkeypatch.setattr(module, "cost", None)  # a second time nothing is played
    module.main()
    assert read(docs / "results" / "horizon.json") == rows


def test_peak_memory_of_long_trials_is_kept(docs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    module = load(SCRIPTS / "benchmark_long.py", monkeypatch)
    monkeypatch.setattr(module, "ROOT", docs.parent)
    trial = module.Trial("toy", "bandit", ("env.arms=3", "env.pulls=5"), 5)
    monkeypatch.setattr(module, "TRIALS", {"toy": trial})
    here = SimpleNamespace(run=lambda command, **_: main(command[3:]), DEVNULL=None)  # in this process, which is faster
    monkeypatch.setattr(module, "subprocess", here)
    monkeypatch.setattr(sys, "argv", ["benchmark_long.py", "--envs", "8"])
    module.main()
    whole, parts = read(docs / "results" / "long.json")
    assert (whole.goal[1], parts.goal[1]) == (None, module.GOAL)
    assert all(0.05 < row.ours < 100 and row.train_steps == 40 for row in (whole, parts))


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    module = load(REPRODUCE / "recall.py", monkeypatch)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    for page in ("results.md", "memory.md"):
        (tmp_path / "docs" / "images").mkdir(parents=True, exist_ok=True)
        (tmp_path / "docs" / page).write_text(f"{BEGIN}\n{END}\n")
    return module


def test_the_script_writes_rows_page_and_picture(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fake(cells: Sequence[RecallCell], folder: Path, *, jobs: int) -> list[RecallResult]:
        assert jobs == 2
        return [RecallResult(cell, 0.5, 0.01, 100, 0.25, 0.5, 5012, 12, 3e-3, 4, 0.1) for cell in cells]

    monkeypatch.setattr(script, "complete", fake)
    monkeypatch.setattr(sys, "argv", ["recall.py", "--part", "two_hop", "suite"])
    script.main()
    rows = read(tmp_path / "docs" / "results" / "recall.json")
    assert len(rows) == 2 + len(RECALL_TASKS) * len(SUITE)
    assert {row.setting["part"] for row in rows} == {script.PARTS[name].name for name in ("two_hop", "suite")}
    assert (tmp_path / "docs" / "images" / "recall.png").is_file()
    assert "Short of the goal: episodic+graph, episodic+attention." in (tmp_path / "docs" / "memory.md").read_text()
    assert "(results/recall.md)" in (tmp_path / "docs" / "results.md").read_text()
