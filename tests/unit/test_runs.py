import os
import subprocess
from datetime import datetime
from pathlib import Path

import pytest

from metarl.config import InputError
from metarl.files import MAX_JSON, read_json, replacing, write_json
from metarl.runs import folder as runs
from metarl.runs.folder import RunError, RunFolder
from metarl.runs.provenance import PACKAGES, REMOVED, Commit, commit, without_secrets

ROOT = Path(__file__).resolve().parents[2]
SECRET = "0123456789abcdef" * 2 + "fakefake"


def test_an_automatic_name_is_numbered_never_reused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Noon(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime(2030, 1, 2, 12, 0, 0, tzinfo=tz)

    monkeypatch.setattr(runs, "datetime", Noon)
    made = [RunFolder.create(tmp_path / "runs", "bandit", seed=0).path.name for _ in range(3)]
    assert made == [f"bandit-20300102-120000-s0{end}" for end in ("", "-2", "-3")]


def test_a_name_is_one_folder_under_a_folder(tmp_path: Path) -> None:
    for name in ("", "a/b", "../a"):
        with pytest.raises(RunError) as caught:
            RunFolder.create(tmp_path, name, seed=0)
        assert caught.value.given == name
    (tmp_path / "root").touch()
    with pytest.raises(OSError, match="root"):
        RunFolder.create(tmp_path / "root", "a", seed=0)


def test_an_explicit_folder_is_never_overwritten(tmp_path: Path) -> None:
    folder = RunFolder.create_at(tmp_path / "a" / "b")
    assert RunFolder.create_at(folder.path) == folder  # still empty
    folder.start({"x": 1}, argv=["metarl"])
    before = {path.name: path.read_bytes() for path in folder.path.iterdir()}
    for taken in (folder.path, folder.path / "config.json"):
        with pytest.raises(FileExistsError, match=taken.name):
            RunFolder.create_at(taken)
    assert {path.name: path.read_bytes() for path in folder.path.iterdir()} == before


def test_a_run_that_was_cut_off_before_it_had_begun_is_started_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Cut(BaseException):
        pass

    def cut(path: Path, data: object) -> None:
        if path.name == "config.json":
            path.with_name(".config.json.999999999.tmp").touch()
            raise Cut
        write_json(path, data)

    folder = RunFolder.create_at(tmp_path / "run")
    with monkeypatch.context() as patch:
        patch.setattr("metarl.runs.folder.write_json", cut)
        with pytest.raises(Cut):
            folder.start({"x": 1})
    with pytest.raises(RunError, match="before it had begun") as caught:
        RunFolder.open(folder.path)
    assert f"--out {folder.path}" in str(caught.value.remedy)
    (folder.path / "notes.txt").touch()
    with pytest.raises(FileExistsError):
        RunFolder.create_at(folder.path)
    (folder.path / "notes.txt").unlink()
    again = RunFolder.create_at(folder.path)
    again.start({"x": 1})
    assert RunFolder.open(folder.path) == again
    assert list(folder.path.glob(".*")) == []


def test_a_run_is_found_again(tmp_path: Path) -> None:
    config = {"env": {"arms": 7, "prior": [1.0, 2.0]}, "limit": None}
    RunFolder.create_at(tmp_path / "run").start(config, argv=["/usr/bin/metarl", "train", "quick"])
    folder = RunFolder.open(tmp_path / "run")
    assert folder.config == config
    assert folder.status["status"] == "running"
    assert folder.checkpoint == tmp_path / "run" / "checkpoint.zip"
    assert folder.figures.is_dir()
    meta = folder.meta
    assert meta.command == ("metarl", "train", "quick")
    assert str(meta.versions["numpy"]).split(".")[0].isdigit()
    assert set(meta.versions) == {"metarl", "python", *PACKAGES}
    assert meta.cpus == os.cpu_count()
    assert datetime.fromisoformat(meta.started).tzinfo is not None
    assert meta.git == commit(ROOT)
    folder.go_on(["metarl", "train", "--resume", "\udcff"])
    folder.go_on(["metarl", "train", "--resume", "again"])
    first, again = folder.meta.resumed
    assert (folder.meta.command, first.command[-1], again.command[-1]) == (meta.command, "\\udcff", "again")

    folder.set_status("failed", env_steps=100)
    assert folder.status | {"since": None} == {"status": "failed", "since": None, "env_steps": 100}
    with pytest.raises(InputError, match="running, finished, interrupted, failed"):
        folder.set_status("done")  # type: ignore[arg-type]


def test_a_run_that_did_not_start(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="status") as caught:
        _ = RunFolder.create_at(tmp_path / "run").status
    assert caught.value.key == str(tmp_path / "run" / "status.json")


@pytest.mark.parametrize("damage", ["missing", "a file", "no config", "cut", "not an object", "binary"])
def test_what_is_no_run_is_named(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "run"
    if damage == "a file":
        path.touch()
    elif damage != "missing":
        RunFolder.create_at(path).start({"x": 1}, argv=["metarl"])
        config = path / "config.json"
        if damage == "no config":
            config.unlink()
        else:
            config.write_bytes({"cut": b'{"x"', "not an object": b"[1]", "binary": b"\xff\x00"}[damage])
    with pytest.raises(RunError) as caught:
        RunFolder.open(path)
    assert str(path) in str(caught.value.key)
    assert "metarl train" in str(caught.value.expected) or "JSON" in str(caught.value.expected)


def test_metrics_survive_a_line_cut_short(tmp_path: Path) -> None:
    folder = RunFolder.create_at(tmp_path)
    assert folder.metrics() == []
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"env_steps": 1}\n{"env_steps": 2}\n{"env_st')
    assert folder.metrics() == [{"env_steps": 1}, {"env_steps": 2}]
    path.write_text('{"env_steps": 1}\n{"env_st\n{"env_steps": 3}\n')
    with pytest.raises(RunError, match=r"metrics\.jsonl is damaged at line 2"):
        folder.metrics()


DEEP = "[" * 100_000
HOSTILE = {
    "deep": DEEP,
    "deep and closed": DEEP + "]" * 100_000,
    "a little too deep": "[" * 500 + "]" * 500,
    "tables": '{"a":' * 5000 + "1" + "}" * 5000,
    "infinite": "Infinity",
    "too large": "1e400",
    "400 digits": "9" * 400,
    "5000 digits": "9" * 5000,
    "nan": "NaN",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_json_is_named(tmp_path: Path, text: str) -> None:
    folder = RunFolder.create_at(tmp_path)
    for name in ("config.json", "meta.json", "status.json"):
        (tmp_path / name).write_text(f'{{"seed": {text}}}')
        with pytest.raises(RunError) as caught:
            getattr(folder, name.removesuffix(".json"))
        assert caught.value.key == str(tmp_path / name)
    (tmp_path / "metrics.jsonl").write_text(f'{{"env_steps": {text}}}\n')
    with pytest.raises(RunError) as caught:
        folder.metrics()
    assert caught.value.key == str(tmp_path / "metrics.jsonl")


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        *(("meta", key, value) for key in ("versions", "command", "platform", "started") for value in (None, 1, [1])),
        *(("meta", "cpus", value) for value in (-1, 0, 1.5, "4", 10**300)),
        ("meta", "git", "0123abc"),
        ("meta", "git.commit", 1),
        ("meta", "git.dirty", None),
        ("meta", "versions.torch", 2),
        ("meta", "started", "yesterday"),
        ("meta", "resumed", [1]),
        ("meta", "more", 1),
        *(("status", key, value) for key in ("status", "since") for value in (None, 1, "soon", [])),
        *(("status", key, value) for key in ("train_steps", "train_seconds") for value in (None, -1, "4", 10**300)),
        ("status", "train_seconds", 1e300),
        ("status", "train_steps", 1.5),
        ("status", "trained", 1),
        ("status", "device", 0),
        ("status", "reason", {}),
        ("status", "wandb_id", 7),
    ],
)
def test_a_field_of_another_type_or_size_is_named(tmp_path: Path, name: str, key: str, value: object) -> None:
    folder = RunFolder.create_at(tmp_path / "run")
    folder.start({"x": 1}, argv=["metarl"])
    path = folder.path / f"{name}.json"
    data = read_json(path)
    outer, _, inner = key.partition(".")
    data[outer] = {**(data[outer] or {"commit": "a", "dirty": False}), inner: value} if inner else value
    write_json(path, data)
    with pytest.raises(RunError) as caught:
        getattr(folder, name)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_status_may_say_more(tmp_path: Path) -> None:
    folder = RunFolder.create_at(tmp_path)
    folder.start({"x": 1}, argv=["metarl"])
    folder.set_status("finished", train_steps=7, more=[1])
    assert folder.status | {"since": ""} == {"status": "finished", "since": "", "train_steps": 7, "more": [1]}


@pytest.mark.parametrize("row", ["[]", "1", "null", '"text"', "true"])
def test_a_row_that_is_no_object_is_named(tmp_path: Path, row: str) -> None:
    (tmp_path / "metrics.jsonl").write_text(row + "\n")
    with pytest.raises(RunError) as caught:
        RunFolder(tmp_path).metrics()
    assert caught.value.key == str(tmp_path / "metrics.jsonl")


def test_a_file_that_is_none_or_too_large_is_refused_unread(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "status.json")
    with (tmp_path / "meta.json").open("wb") as file:
        file.truncate(MAX_JSON + 1)
    for name in ("status", "meta"):
        with pytest.raises(RunError) as caught:
            getattr(RunFolder(tmp_path), name)
        assert caught.value.key == str(tmp_path / f"{name}.json")


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})

    def fail(*_: object) -> None:
        raise OSError("no space left on device")

    for step in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, step, fail)
            with pytest.raises(OSError, match="no space left"):
                write_json(path, {"a": 2})

    def write_half() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(path, {"a": float("nan")})
    assert read_json(path) == {"a": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]


def test_a_file_of_another_kind_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, [1])
    assert read_json(path, list) == [1]
    with pytest.raises(InputError) as caught:
        read_json(path)
    assert (caught.value.key, caught.value.given) == (str(path), [1])
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "none.json")


def test_secrets_are_taken_off_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_TOKEN", "short-but-secret")
    given = {
        "metarl": "metarl",
        "runs/bernoulli-bandit-20300102-120000-s0-2": None,
        "--set": None,
        "memory.key_size=32": None,
        "train.max_tokens=4": None,
        "--api-key": None,
        "abc": REMOVED,
        "--token=abc": f"--token={REMOVED}",
        "env.password=abc": f"env.password={REMOVED}",
        SECRET: REMOVED,
        f"--key={SECRET}": REMOVED,
        "--x=short-but-secret": REMOVED,
        "https://me:pw@example.org/a": REMOVED,
    }
    assert without_secrets(list(given)) == [kept or arg for arg, kept in given.items()]


def test_no_environment_variable_reaches_the_run_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", SECRET)
    monkeypatch.setenv("HARMLESS", "seen-nowhere-at-all")
    RunFolder.create_at(tmp_path / "run").start({"x": 1}, argv=["metarl", "train", f"--key={SECRET}"])
    written = b"".join(path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file())
    assert REMOVED.encode() in written
    assert SECRET.encode() not in written
    assert b"seen-nowhere-at-all" not in written


def test_the_commit_of_the_checkout_and_of_nothing_else(tmp_path: Path) -> None:
    def git(*command: str) -> str:
        return subprocess.run(
            ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(tmp_path), *command],
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()

    git("init", "-q")
    assert commit(tmp_path) is None  # no commit yet
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a").write_text("1")
    git("add", ".")
    git("commit", "-qm", "one")
    head = git("rev-parse", "HEAD")
    assert commit(tmp_path) == Commit(head, dirty=False)
    (tmp_path / "sub" / "a").write_text("2")
    assert commit(tmp_path) == Commit(head, dirty=True)
    assert str(commit(tmp_path)) == f"{head[:7]}+dirty"
    assert str(commit(tmp_path, exclude=["sub"])) == head[:7]
    assert commit(tmp_path / "sub") is None  # a package installed inside somebody's repository
