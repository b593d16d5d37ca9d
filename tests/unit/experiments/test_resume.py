"""Runs that are cut off and go on: what is the same, what is lost, and what is said."""

import contextlib
import json
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from experiment_toys import TOYS, cut_off, ran, same, toy, weights

import metarl
from metarl.config import ConfigError
from metarl.experiments.resume import check_same
from metarl.experiments.run import Run, run
from metarl.files import write_json
from metarl.runs.folder import RunError, RunFolder
from metarl.runs.session import Session, Stopped
from metarl.runs.tracking import Tracker
from metarl.tasks.vector.env import TrialVectorEnv
from metarl.training.checkpoint import CheckpointError, read_checkpoint, write_checkpoint

pytestmark = pytest.mark.usefixtures("undrawn")

OFTEN = "checkpoint_seconds=0"
LONGER = {
    "recall": ["fit.updates=300", "fit.learning_rates=[0.01, 0.001]", "fit.parameters=2000"],
    "agent": ["ppo.n_minibatches=2"],
    "ordinary environments": ['env={id = "CartPole-v1", vary = {length = "0.3..1"}, steps = 6}'],
    "short rollouts": ["train.n_steps=4", "train.total_timesteps=112"],
    "validated": ["train.keep=best", "train.validate_every=24", "eval.validation_trials=6"],
    **{name: ["fit.updates=5", "fit.average=0.5", "fit.patience=3"] for name in ("classifier", "stream", "gradient")},
}


def rows(done: Run) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if not k.startswith("time")} for row in done.folder.metrics()]


def last_state(done: Run) -> Any:
    """The last checkpoint without what is measured in seconds."""
    meta, groups = read_checkpoint(done.folder.checkpoints[-1])
    for part in (meta["session"], meta.get("fit", {})):
        part.pop("seconds", None)
    if "fit" in meta:
        meta["fit"]["curve"] = [[a, c, d] for a, _, c, d in meta["fit"]["curve"]]
    for episode in meta.get("episodes", ()):
        del episode["t"]
    meta.pop("seconds", None)
    return json.dumps(meta, sort_keys=True), groups


@pytest.mark.parametrize("name", ["short rollouts", "ordinary environments", "validated", *TOYS])
def test_a_run_that_was_cut_off_ends_as_if_it_never_was(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = toy(name if name in TOYS else "agent", OFTEN, *LONGER[name])
    whole = ran(tmp_path / "whole", experiment)
    path = tmp_path / "cut"
    cut_off(monkeypatch, path, experiment, rows=len(whole.folder.metrics()) // 2 + 1)
    done = metarl.resume(path, quiet=True)
    assert same(weights(done), weights(whole))
    assert rows(done) == rows(whole)
    times = [row["time"] for row in done.folder.metrics()]
    assert times == sorted(times)
    (one, left), (other, right) = last_state(done), last_state(whole)
    assert one == other
    assert all(torch.equal(left[group][key], right[group][key]) for group in right for key in right[group])
    assert done.evaluation is not None
    assert whole.evaluation is not None
    assert done.folder.status["status"] == "finished"
    assert done.steps == whole.steps
    assert len(done.folder.checkpoints) == 2
    assert done.folder.config == whole.folder.config
    assert len(done.folder.meta.resumed) == 1
    with pytest.raises(RunError, match="nothing to resume"):
        metarl.resume(path, quiet=True)


@pytest.fixture
def cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    cut_off(monkeypatch, tmp_path / "run", toy("agent", OFTEN), rows=3)
    return tmp_path / "run"


def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(cut: Path, tmp_path: Path) -> None:
    whole = ran(tmp_path / "whole", toy("agent"))
    newest = RunFolder.open(cut).checkpoints[-1]
    newest.write_bytes(newest.read_bytes()[:1000])
    left = cut / ".checkpoint.zip.999999999.tmp"
    left.touch()
    with pytest.warns(UserWarning, match=newest.name):
        done = metarl.resume(cut, quiet=True)
    assert same(weights(done), weights(whole))
    assert rows(done) == rows(whole)
    assert not left.exists()


def test_damaged_checkpoints_never_take_the_place_of_good_ones(cut: Path) -> None:
    for name, path in zip(("90.zip", "95.zip"), RunFolder.open(cut).checkpoints, strict=True):
        path.rename(path.with_name(name)).write_bytes(b"damaged")
    with pytest.warns(UserWarning, match=r"damaged|anew"):
        done = metarl.resume(cut, quiet=True)
    assert [path.name for path in done.folder.checkpoints] == ["48.zip", "72.zip"]
    for path in done.folder.checkpoints:
        read_checkpoint(path)


def test_a_run_without_a_checkpoint_starts_anew(cut: Path, tmp_path: Path) -> None:
    whole = ran(tmp_path / "whole", toy("agent"))
    shutil.rmtree(cut / "checkpoints")
    with pytest.warns(UserWarning, match="anew"):
        done = metarl.resume(cut, quiet=True)
    assert same(weights(done), weights(whole))
    assert rows(done) == rows(whole)


def test_a_run_that_is_trained_is_evaluated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = ran(tmp_path / "whole", toy("agent"))

    def interrupted(*_: object) -> None:
        signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "complete", interrupted)
        with pytest.raises(Stopped) as caught:
            ran(tmp_path / "run", toy("agent"))
    assert caught.value.number == signal.SIGTERM
    folder = RunFolder.open(tmp_path / "run")
    assert (folder.status["status"], folder.status["trained"]) == ("interrupted", True)
    with monkeypatch.context() as patch:
        patch.setattr(type(whole.experiment), "learn", None)
        done = metarl.resume(folder.path, quiet=True)
    assert folder.status["status"] == "finished"
    assert (done.steps, rows(done)) == (whole.steps, rows(whole))
    assert done.evaluation is not None


STAGES = {
    "before training": ("metarl.experiments.rl.experiment.RL2Experiment.build", None),
    "saving": ("metarl.experiments.rl.experiment.RL2Experiment.save", signal.SIGTERM),
    "evaluation": ("metarl.experiments.run.Run.evaluate", None),
    "drawing": ("metarl.experiments.run.draw_run", None),
}


@pytest.fixture
def closing_counts() -> Iterator[None]:
    """A closed terminal ends the process, also where the tests were started with nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("closing_counts")
@pytest.mark.parametrize(
    ("stage", "number"),
    [(stage, signal.SIGTERM) for stage in STAGES] + [("evaluation", signal.SIGINT), ("saving", signal.SIGHUP)],
)
def test_a_signal_at_any_stage_leaves_a_true_status(
    stage: str, number: signal.Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, returned = STAGES[stage]
    module, _, name = target.rpartition(".")
    owner: Any = pytest.importorskip(module) if stage == "drawing" else None
    if owner is None:
        package, _, kind = module.rpartition(".")
        owner = getattr(pytest.importorskip(package), kind)
    real: Callable[..., Any] = getattr(owner, name)

    def signalled(*given: Any, **options: Any) -> Any:
        signal.raise_signal(number)
        return real(*given, **options)

    handlers = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, signalled)
        if returned is None:
            with pytest.raises(Stopped) as caught:
                ran(tmp_path / "run", toy("agent"))
            assert caught.value.number == number
        else:
            assert ran(tmp_path / "run", toy("agent")).signal == number
    assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == handlers
    folder = RunFolder.open(tmp_path / "run")
    assert folder.status["status"] == ("finished" if stage == "drawing" else "interrupted")
    assert folder.evaluation.exists() == (stage == "drawing")
    if stage == "before training":
        with pytest.warns(UserWarning, match="anew"):
            metarl.resume(folder.path, quiet=True)
    elif stage != "drawing":
        metarl.resume(folder.path, quiet=True)
    assert folder.status["status"] == "finished"
    assert folder.evaluation.exists()


@pytest.mark.parametrize("grace", [5.0, 0.0])
def test_an_agent_that_is_stopped_in_a_rollout_loses_it_only_where_it_is_long(
    grace: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    advance, seen = TrialVectorEnv.advance, [0]

    def signalled(env: TrialVectorEnv, actions: Any) -> Any:
        seen[0] += 1
        if seen[0] == 9:  # of six steps in a rollout
            signal.raise_signal(signal.SIGINT)
            time.sleep(0.05)
        return advance(env, actions)

    monkeypatch.setattr(Run, "evaluate", lambda done, quiet: None)
    monkeypatch.setattr(Run, "complete", lambda *_: None)
    whole = ran(tmp_path / "whole", toy("agent"))
    monkeypatch.setattr("metarl.experiments.rl.experiment.GRACE", grace)
    monkeypatch.setattr(TrialVectorEnv, "advance", signalled)
    stopped = ran(tmp_path / "run", toy("agent"))
    assert stopped.signal == signal.SIGINT
    assert [path.stem for path in stopped.folder.checkpoints] == (["48"] if grace else [])
    assert not [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer) and thread.is_alive()]
    with contextlib.nullcontext() if grace else pytest.warns(UserWarning, match="anew"):
        done = metarl.resume(tmp_path / "run", quiet=True)
    assert same(weights(done), weights(whole))
    assert rows(done) == rows(whole)


def test_a_failed_run_says_why_and_how_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = Tracker.log

    def full(tracker: Tracker, *given: Any, **options: Any) -> None:
        if tracker.rows == 2:
            raise OSError(28, "No space left on device")
        log(tracker, *given, **options)

    path = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(Tracker, "log", full)
        with pytest.raises(OSError, match="No space") as caught:
            ran(path, toy("agent", OFTEN))
    assert f"metarl train --resume {path}" in caught.value.__notes__[0]
    status = RunFolder.open(path).status
    assert status["status"] == "failed"
    assert "No space left" in status["reason"]
    assert metarl.resume(path, quiet=True).evaluation is not None
    assert "reason" not in RunFolder.open(path).status


def test_one_process_trains_in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder.create_at(tmp_path / "run")
    with folder.locked():
        with pytest.raises(RunError, match="another process"):
            run(toy("agent"), RunFolder(folder.path), quiet=True)
        assert list(folder.path.iterdir()) == []
    ran(folder.path, toy("agent"))
    before = {path.name: path.read_bytes() for path in folder.path.iterdir() if path.is_file()}
    with pytest.raises(RunError):  # found empty a moment ago, by another process
        run(toy("agent"), RunFolder(folder.path), seed=2, quiet=True)
    assert {path.name: path.read_bytes() for path in folder.path.iterdir() if path.is_file()} == before


def test_code_that_a_folder_names_is_not_imported(cut: Path) -> None:
    config = json.loads((cut / "config.json").read_text())
    config["env"] = {"id": "CartPole-v1", "import": ["a_module_of_a_stranger"]}
    write_json(cut / "config.json", config)
    with pytest.raises(ConfigError) as caught:
        metarl.resume(cut, quiet=True)
    assert caught.value.given == ["a_module_of_a_stranger"]


@pytest.mark.parametrize("options", [{"seed": 7}, {"seed": 0, "env": {"arms": 4}}])
def test_a_changed_configuration_is_refused(cut: Path, options: dict[str, Any]) -> None:
    config = json.loads((cut / "config.json").read_text())
    config["env"] |= options.get("env", {})
    write_json(cut / "config.json", config | {"seed": options["seed"]})
    with pytest.raises(RunError) as caught:
        metarl.resume(cut, quiet=True)
    assert caught.value.key == "config.json"
    with pytest.raises(ConfigError) as other:
        run(toy("agent", "env.arms=5"), cut, seed=options["seed"], quiet=True, resume=True)
    assert other.value.key == "env"


def test_a_run_of_a_version_with_fewer_options_goes_on(tmp_path: Path) -> None:
    folder = RunFolder.create_at(tmp_path / "run")
    config = toy("agent").config() | {"seed": 0}
    del config["train"]["keep"], config["eval"]["validation_trials"]
    folder.start(config)
    check_same(toy("agent").config() | {"seed": 0}, folder)
    for change in ("train.n_envs=5", "train.keep=best", "env.time=false"):
        with pytest.raises(ConfigError) as caught:
            check_same(toy("agent", change).config() | {"seed": 0}, folder)
        assert caught.value.key == change.partition(".")[0]


def test_a_checkpoint_that_does_not_fit_is_refused(cut: Path) -> None:
    newest = RunFolder.open(cut).checkpoints[-1]
    meta, groups = read_checkpoint(newest)
    write_checkpoint(newest, meta, {**groups, "policy": {}})
    with pytest.raises(CheckpointError, match="policy"):
        metarl.resume(cut, quiet=True)
    assert RunFolder.open(cut).status["status"] == "failed"


def test_an_evaluation_of_the_model_so_far_does_not_outlive_it(tmp_path: Path) -> None:
    path = tmp_path / "run"
    real = Session.save_due

    def stop(session: Session, step: int, write: Any) -> None:
        real(session, step, write)
        if step == 48:
            signal.raise_signal(signal.SIGTERM)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Session, "save_due", stop)
        stopped = ran(path, toy("agent", OFTEN))
    stopped.complete(stopped.evaluate(quiet=True))
    done = metarl.resume(path, quiet=True)
    assert done.evaluation is not None
    assert done.evaluation.train_steps == 96
    assert metarl.open_run(path).evaluation == done.evaluation


def test_checkpoints_are_saved_when_they_are_due(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[int] = []
    save = Session.save_due

    def counted(session: Session, step: int, write: Any) -> None:
        saved.append(step)
        save(session, step, write)

    monkeypatch.setattr(Session, "save_due", counted)
    done = ran(tmp_path / "run", toy("agent"))
    assert saved == [0, 24, 48, 72]
    assert done.folder.checkpoints == []  # none was due within a minute
    done = ran(tmp_path / "steps", toy("agent", "checkpoint_steps=40"))
    assert [path.name for path in done.folder.checkpoints] == ["48.zip"]


def test_a_cut_off_run_is_no_model_yet(cut: Path) -> None:
    with pytest.raises(RunError, match="--resume"):
        metarl.open_run(cut)


def test_weights_and_biases_gets_the_same_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr("metarl.runs.tracking._import_wandb", lambda: None)
    monkeypatch.setattr(Tracker, "_init", lambda tracker, mode, options: asked.append(options) or 1 / 0)
    monkeypatch.setattr(Run, "complete", lambda *_: signal.raise_signal(signal.SIGINT))
    with pytest.raises(Stopped):
        run(toy("agent"), tmp_path / "run", wandb="offline", quiet=True)
    with pytest.raises(Stopped):
        metarl.resume(tmp_path / "run", wandb="offline", quiet=True)
    first, second = asked
    assert first["id"] == second["id"]
    assert ("resume" in first, second["resume"]) == (False, "allow")
