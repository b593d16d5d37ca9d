import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command_line import AGENT, Ran, evaluation, files, run, settings

from metarl.cli import listing
from metarl.envs.bandit import BatchedBandit
from metarl.files import MANIFEST, write_json
from metarl.memory.ablation import ABLATIONS
from metarl.memory.options import MemoryOptions
from metarl.memory.registry import ACCESSES, CONTROLLERS, NATIVE, STORES, build_core
from metarl.presets.names import presets
from metarl.runs.folder import RunFolder

ROOT = Path(__file__).resolve().parents[3]

PNG = b"\x89PNG\r\n\x1a\n"
IMAGES = ["adaptation", "learning", "memory", "episodes"]
BANDIT = settings(*AGENT, "env.arms=7", "env.pulls=12", "train.total_timesteps=96")
BARCODE = settings(
    *AGENT, "env.arms=3", "env.contexts=3", "env.repeats=3", "env.pulls=2", "env.bits=6", "train.total_timesteps=144"
)


@pytest.fixture(scope="module")
def bandit(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, Ran]:
    path = tmp_path_factory.mktemp("bandit") / "run"
    ran = run("train", "bandit", *BANDIT, "--seed", "3", "--out", path)
    return RunFolder(path), ran


@pytest.fixture(scope="module")
def barcode(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    path = tmp_path_factory.mktemp("barcode") / "run"
    assert run("train", "barcode", *BARCODE, "--out", path).status == 0
    return RunFolder(path)


def test_train_leaves_a_whole_run_folder_and_prints_a_table(bandit: tuple[RunFolder, Ran]) -> None:
    folder, ran = bandit
    assert (ran.status, ran.err) == (0, "")
    assert set(files(folder.path)) == {
        *("config.json", "meta.json", "status.json", "metrics.jsonl", "checkpoint.zip", "evaluation.json", MANIFEST),
        *("trials.npz", "figures/trial.gif", *(f"figures/{name}.png" for name in IMAGES)),
    }
    assert folder.config["env"] == {"id": "metarl/BernoulliBandit-v0", "arms": 7, "pulls": 12}
    starts = {path.suffix: path.read_bytes()[:3] for path in folder.figures.iterdir()}
    assert starts == {".png": PNG[:3], ".gif": b"GIF"}
    lines = ran.out.splitlines()
    assert lines[0] == "environment: metarl/BernoulliBandit-v0"
    assert lines[1].startswith(f"training in {folder.path}; Ctrl-C")
    assert re.fullmatch(r"trained 96 steps in \d+ s, with at most [\d,]+ MB of memory", lines[2])
    assert 10**7 < folder.status["train_peak_bytes"] < 10**11
    rows = ["agent (sampled", "agent (greedy", "memory off", "random", "greedy", "UCB1", "Thompson", "Gittins"]
    for name in rows:
        assert any(line.startswith(name) and "±" in line for line in lines), name
    assert lines[-6] == f"run folder: {folder.path}"
    assert lines[-5:-1] == [f"image:      {folder.figures / name}.png" for name in IMAGES]
    assert lines[-1] == f"image:      {folder.figures / 'trial.gif'}"


def test_an_agent_is_evaluated_in_longer_trials_and_its_run_stays_as_it_is(bandit: tuple[RunFolder, Ran]) -> None:
    folder, _ = bandit
    before = files(folder.path)
    ran = run("eval", folder.path, "-n", "8", "--json", *settings("env.pulls=30", "eval.rows=4"))
    assert (ran.status, ran.err) == (0, "")
    told = json.loads(ran.out)
    assert (told["steps_per_trial"], told["trials"], len(told["by_episode"])) == (30, 8, 30)
    assert told["env_options"] == {"arms": 7, "pulls": 30}
    assert files(folder.path) == before


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("memory.key_size=8", "env or eval"),
        ("env=3", "env or eval"),
        ("env.arms=3", "env was set to tasks of other spaces"),
        ("env.pull=3", "pulls"),
        ("env.pulls=0", "pulls"),
    ],
)
def test_an_evaluation_changes_tasks_alone(bandit: tuple[RunFolder, Ran], setting: str, named: str) -> None:
    ran = run("eval", bandit[0].path, "-n", "2", "--set", setting)
    assert (ran.status, ran.out) == (2, "")
    assert named in ran.err
    assert len(ran.err.splitlines()) == 1


def test_a_run_is_never_overwritten(bandit: tuple[RunFolder, Ran]) -> None:
    before = files(bandit[0].path)
    ran = run("train", "bandit", *BANDIT, "--out", bandit[0].path)
    assert (ran.status, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert "exists and is not empty; choose another folder or remove it first" in ran.err
    assert files(bandit[0].path) == before


def test_eval_json_is_one_object(bandit: tuple[RunFolder, Ran]) -> None:
    before = files(bandit[0].path)
    result = evaluation(bandit[0].path)
    assert (result["env"], result["split"], result["trials"]) == ("metarl/BernoulliBandit-v0", "test", 20)
    assert set(result["references"]) == {"random", "greedy", "epsilon-greedy", "UCB1", "Thompson", "Gittins"}
    assert set(result["ablations"]) == {"off"}
    assert result["return_mean"] == pytest.approx(sum(result["by_episode"]))
    assert result["return_se"] > 0
    assert [len(entry["by_episode"]) for entry in (result, *result["references"].values())] == [12] * 7
    assert result["env_options"] == {"arms": 7, "pulls": 12}
    assert json.loads((bandit[0].path / "evaluation.json").read_text()) == result
    assert (result["train_steps"], result["train_seed"]) == (96, 3)
    assert files(bandit[0].path) == before


def test_eval_takes_trials_split_and_seed(bandit: tuple[RunFolder, Ran]) -> None:
    path = bandit[0].path
    one, again = evaluation(path, "--trials", "9"), evaluation(path, "--trials", "9")
    assert one == again
    assert one["trials"] == 9
    validation = evaluation(path, "--trials", "9", "--split", "validation")
    assert validation["split"] == "validation"
    other = evaluation(path, "--trials", "9", "--seed", "1")
    returns = [result["references"]["random"]["by_episode"] for result in (one, validation, other)]
    assert returns[0] != returns[1] != returns[2] != returns[0]
    assert evaluation(path, "--trials", "1")["return_se"] == 0, "of one trial, and still plain JSON"


def test_eval_prints_the_table(bandit: tuple[RunFolder, Ran]) -> None:
    ran = run("eval", bandit[0].path)
    table = bandit[1].out.split("\n", 3)[3].partition("run folder:")[0]
    assert ran == Ran(0, table, "")


def test_report_draws_again_and_writes_a_page(bandit: tuple[RunFolder, Ran], tmp_path: Path) -> None:
    copy = Path(shutil.copytree(bandit[0].path, tmp_path / "run"))
    shutil.rmtree(copy / "figures")
    ran = run("report", copy)
    assert (ran.status, ran.err) == (0, "")
    pictures = [f"image:      {copy / 'figures' / name}.svg" for name in IMAGES]
    assert ran.out.splitlines() == [f"run folder: {copy}", *pictures, f"page:       {copy / 'report.html'}"]
    assert (copy / "report.html").read_text().count("<svg ") == 4


def test_report_says_what_is_missing_and_eval_makes_it(bandit: tuple[RunFolder, Ran], tmp_path: Path) -> None:
    copy = Path(shutil.copytree(bandit[0].path, tmp_path / "run"))
    kept = (copy / "trials.npz").read_bytes()
    for name in ("trials.npz", "evaluation.json"):
        (copy / name).unlink()
    ran = run("report", copy)
    assert ran.status == 0
    assert [line for line in ran.out.splitlines() if line.startswith("missing:")] == [
        f"missing:    adaptation curve: {copy} has no evaluation.json; make it with metarl eval {copy}",
        f"missing:    memory and single trials: {copy} has no trials.npz; make it with metarl eval {copy}",
    ]
    assert run("eval", copy, "--split", "validation").status == 0
    assert not (copy / "trials.npz").exists()
    assert run("eval", copy).status == 0
    assert (copy / "trials.npz").read_bytes() == kept
    assert "missing:" not in run("report", copy).out


def test_report_of_several_runs_is_one_page(bandit: tuple[RunFolder, Ran], barcode: RunFolder, tmp_path: Path) -> None:
    other = Path(shutil.copytree(bandit[0].path, tmp_path / "other"))
    config = json.loads((other / "config.json").read_text())
    config["memory"]["horizon"] = "episode"
    write_json(other / "config.json", config)
    ran = run("report", bandit[0].path, other, "--out", tmp_path / "page.html")
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.splitlines()[-1] == f"page:       {tmp_path / 'page.html'}"
    assert "horizon=episode" in (tmp_path / "page.html").read_text()
    ran = run("report", bandit[0].path, barcode.path, "--out", tmp_path / "families.html")
    assert (ran.status, ran.err) == (0, "")
    assert "2 runs of 2 families" in (tmp_path / "families.html").read_text()


def test_a_barcode_run_is_told_by_exposure_and_has_both_ablations(barcode: RunFolder) -> None:
    result = json.loads((barcode.path / "evaluation.json").read_text())
    assert set(result["ablations"]) == set(ABLATIONS)
    assert len(result["by_exposure"]) == 3
    assert len(result["by_episode"]) == 9
    for entry in (*result["ablations"].values(), *result["references"].values()):
        assert len(entry["by_exposure"]) == 3
    assert np.mean(result["by_exposure"]) == pytest.approx(np.mean(result["by_episode"]), abs=1e-6)


@pytest.mark.parametrize("what", ["applications", "envs", "memories", "presets"])
def test_list_shows_the_same_as_text_and_as_json(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "cost", None)  # nothing is timed unless it is asked for
    shown, told = run("list", what), run("list", what, "--json")
    assert shown.status == told.status == 0
    rows = json.loads(told.out)
    lines = shown.out.splitlines()
    assert lines[0].split() == list(rows[0])
    assert len(lines) == 1 + len(rows)
    for line, row in zip(lines[1:], rows, strict=True):
        assert line.startswith(str(next(iter(row.values()))))


def test_costs_are_measured_where_they_are_asked_for() -> None:
    core = build_core(MemoryOptions(), listing.NOW_SIZE, listing.FEEDBACK_SIZE, listing.TRIAL_STEPS)
    assert all(cost > 0 for cost in listing.cost(core).values())


def test_list_names_what_can_be_used() -> None:
    for application in json.loads(run("list", "applications", "--json").out):
        assert (ROOT / application["page"]).is_file()
        assert (ROOT / application["run"].split()[1]).is_file()
        assert application["preset"] in presets()
    envs = json.loads(run("list", "envs", "--json").out)
    assert {"metarl/BernoulliBandit-v0", "metarl/BarcodeBandit-v0"} <= {row["id"] for row in envs}
    kind = {row["name"]: row["kind"] for row in json.loads(run("list", "presets", "--json").out)}
    assert {kind[name] for name in ("bandit", "barcode", "barcode-episodic")} == {"rl2"}
    assert {kind[name] for name in ("prototypical", "matching")} == {"fewshot"}
    memories = json.loads(run("list", "memories", "--json").out)
    cores = [row for row in memories if row["parameters"] != "n/a"]
    assert {row["controller"] for row in cores} == set(CONTROLLERS)
    assert all(row["parameters"] > 0 and row["unroll"] in ("parallel", "stepped") for row in cores)
    cells = {(row["store"], row["access"]) for row in memories if row["store"] != "none"}
    assert cells == {(store, access) for store in STORES for access in (*ACCESSES, NATIVE)}, "the whole matrix"
    assert all(row["note"] for row in memories if row not in cores), "what can't be has a reason"


WRONG = {
    "command": (["trian"], "'trian'.*'train', 'eval', 'report'.* did you mean 'train'"),
    "nothing near": (["zzz"], "'completion'\\) \\(see metarl --help"),
    "no preset": (["train"], "preset"),
    "preset": (["train", "bandti"], "barcode.*did you mean 'bandit'"),
    "preset file": (["train", "nowhere.toml"], "cannot read nowhere.toml: No such file"),
    "key": (["train", "bandit", "--set", "train.n_env=4"], "unknown key train.n_env, .* did you mean 'n_envs'"),
    "no equals sign": (["train", "bandit", "--set", "env.arms"], "'env.arms', expected key=value"),
    "type": (["train", "bandit", "--set", "train.n_envs=four"], "train.n_envs is 'four', expected an integer"),
    "access": (["train", "bandit", "--set", "memory.access=graf"], "memory.access is 'graf', .* did you mean 'graph'"),
    "memory value": (["train", "bandit", "--set", "memory.access_options.heads=0"], "heads is 0, expected greater"),
    "memory parts": (["train", "bandit", "--set", "memory.reinstate=true"], "memory.reinstate is True"),
    "env id": (["train", "bandit", "--set", "env.id=metarl/BernouliBandit-v0"], "did you mean 'metarl/Bernoulli"),
    "env option": (["train", "bandit", "--set", "env.arm=4"], "no option 'arm', .* did you mean 'arms'"),
    "env input": (["train", "bandit", "--set", "env.time=4"], "time is 4, expected true or false"),
    "too many arms": (["train", "bandit", "--set", "env.arms=1000000000000"], "prev_action would be .* at most 4096"),
    "training split": (["train", "bandit", "--set", "env.split=test"], "env.split.*--split"),
    "negative seed": (["train", "bandit", "--seed", "-1"], "'-1' is not a whole number of at least 0"),
    "wandb": (["train", "bandit", "--wandb", "maybe"], "'maybe'.*'offline', 'online', 'disabled'"),
    "option": (["train", "bandit", "--sede", "3"], "^metarl train: .*--sede 3; did you mean '--seed'"),
    "jobs alone": (["train", "bandit", "--jobs", "2"], "--jobs is 2, expected --seeds"),
    "no seeds": (["train", "bandit", "--seeds", "0"], "--seeds is '0', expected how many"),
    "a seed twice": (["train", "bandit", "--seeds", "1", "1"], "different seeds"),
    "seed and seeds": (["train", "bandit", "--seed", "1", "--seeds", "2"], "not allowed with"),
    "quiet and verbose": (["train", "bandit", "-q", "-v"], "not allowed with"),
    "no latest run": (["eval", "latest"], "there is no run in runs/ yet"),
    "settings of none": (["settings", "bandti"], "did you mean 'bandit'"),
    "run": (["eval", "nowhere"], "there is no folder nowhere, expected a folder made by `metarl train`"),
    "not a run": (["eval", "."], "is not a run folder: it has no config.json"),
    "resume of none": (["train", "--resume", "nowhere"], "there is no folder nowhere"),
    "resume and more": (["train", "--resume", "nowhere", "--seed", "0"], "leave out --seed"),
    "resume a preset": (["train", "bandit", "--resume", "nowhere"], "leave out the preset"),
    "report of none": (["report", "nowhere"], "there is no folder nowhere"),
    "report of nothing": (["report"], "RUN"),
    "few-shot command": (["fewshot", "train", "prototypical"], "use metarl train prototypical$"),
    "few-shot option": (["train", "bandit", "--data", "x"], "--data is an option of fewshot .* kind rl2"),
    "device": (["train", "bandit", "--device", "gpu"], "device is 'gpu', expected"),
    "old preset": (["train", "../old.toml"], "old has no kind"),
    "nothing to time": (["list", "envs", "--timed"], "--timed is for list memories"),
    "list": (["list", "env"], "'env'.*'applications', 'envs', 'memories', 'presets'"),
    "trials": (["eval", "nowhere", "--trials", "0"], "'0' is not a whole number of at least 1"),
    "evaluated split": (["eval", "nowhere", "--split", "train"], "'train'.*'validation', 'test'"),
}


@pytest.mark.parametrize(("arguments", "message"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    (tmp_path / "old.toml").write_text("[env]\nid = 'metarl/BernoulliBandit-v0'\n[train]\ntotal_timesteps = 9")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    ran = run(*arguments)
    assert (ran.status, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert ran.err.startswith("metarl")
    assert re.search(message, ran.err)
    assert not list((tmp_path / "here").iterdir())


def test_a_run_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ran = run("train", "bandit", "--out", tmp_path / "file" / "run")
    assert (ran.status, ran.out) == (2, "")
    assert ran.err == f"metarl: cannot use {tmp_path}/file/run: Not a directory; give another path\n"


def not_finite_from(monkeypatch: pytest.MonkeyPatch, calls: int) -> None:
    """Bandits pay NaN from the given step on."""
    step, made = BatchedBandit.step, []

    def nan(self: BatchedBandit, actions: Any, rng: np.random.Generator) -> Any:
        obs, rewards, done = step(self, actions, rng)
        made.append(1)
        return obs, np.where(len(made) > calls, np.nan, rewards), done

    monkeypatch.setattr(BatchedBandit, "step", nan)


def test_an_environment_that_is_not_finite_ends_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    not_finite_from(monkeypatch, 17)
    ran = run("train", "bandit", *BANDIT, "--out", tmp_path / "run")
    assert (ran.status, ran.err.count("\n")) == (1, 1)
    assert ran.err.startswith("metarl: BernoulliBandit gave a prev_reward that is not finite (")
    assert "at step 17" in ran.err
    folder = RunFolder.open(tmp_path / "run")
    assert folder.status["status"] == "failed"
    assert [row["env_steps"] for row in folder.metrics()] == [48]
    assert not folder.checkpoint.exists()


def test_an_environment_that_is_not_finite_ends_evaluation(
    bandit: tuple[RunFolder, Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    not_finite_from(monkeypatch, 5)
    ran = run("eval", bandit[0].path)
    assert (ran.status, ran.out, ran.err.count("\n")) == (1, "", 1)
    assert "prev_reward that is not finite" in ran.err


def test_ctrl_c_outside_training_is_no_traceback(
    bandit: tuple[RunFolder, Ran], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(BatchedBandit, "step", interrupt)
    assert run("eval", bandit[0].path) == Ran(130, "", "metarl: interrupted\n")
