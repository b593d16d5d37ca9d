"""Entries that are shared: what is pulled is a stranger's."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from command_line import files, run

import metarl
from metarl.config import InputError
from metarl.files import MANIFEST, read_json, write_json
from metarl.runs.entries import entries
from metarl.runs.manifest import CARD
from metarl.training.checkpoint import read_checkpoint, write_checkpoint
from metarl.zoo.hub import pull, push
from metarl.zoo.make import FILES

BANDIT = entries()["bandit"]


class Hub:
    """A hub in a folder."""

    def __init__(self, root: Path) -> None:
        self.root, self.sizes, self.downloads = root, dict[str, Any](), list[str]()

    def create_repo(self, repository: str, *, private: bool, exist_ok: bool) -> str:
        (self.root / repository).mkdir(parents=True, exist_ok=exist_ok)
        return f"https://hub/{repository}"

    def upload_folder(self, *, repo_id: str, folder_path: str, commit_message: str) -> None:
        shutil.copytree(folder_path, self.root / repo_id, dirs_exist_ok=True)

    def model_info(self, repository: str, *, revision: str | None, files_metadata: bool) -> Any:
        if not (self.root / repository).is_dir():
            raise LookupError(f"404 Client Error: {repository}\nand much more")
        sizes = {path.name: path.stat().st_size for path in (self.root / repository).iterdir()} | self.sizes
        return SimpleNamespace(sha="5", siblings=[SimpleNamespace(rfilename=k, size=v) for k, v in sizes.items()])

    def download(self, repository: str, name: str, *, revision: str, cache_dir: Path) -> str:
        assert revision == "5"
        self.downloads.append(name)
        return str(self.root / repository / name)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hub:
    made, module = Hub(tmp_path / "hub"), ModuleType("huggingface_hub")
    vars(module).update(HfApi=lambda: made, hf_hub_download=made.download)
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    shutil.copytree(BANDIT, made.root / "me" / "bandit")
    return made


def test_what_is_pushed_is_pulled_again(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("zoo", "push", "bandit", "me/new").out == "https://hub/me/new\n"
    assert "license: mit" in (hub.root / "me" / "new" / "README.md").read_text()
    assert run("zoo", "pull", "me/new").status == 0
    assert files(tmp_path / "new") == files(BANDIT)
    assert isinstance(metarl.load("new"), metarl.RL2PPO)
    assert run("zoo", "pull", "me/new").status == 2  # nothing is overwritten


def names_code(folder: Path) -> None:
    # what is written gets its checksum, here and below
    config = read_json(folder / "config.json")
    write_json(folder / "config.json", {**config, "policy": {"normalise": "auto", "encoder": "evil_module:make"}})


def other_shapes(folder: Path) -> None:
    meta, groups = read_checkpoint(folder / "checkpoint.zip")
    cut = {name: one[:1] for name, one in groups["policy"].items() if one.ndim}
    write_checkpoint(folder / "checkpoint.zip", meta, {"policy": cut})


def longer(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b" ")


def without_sums(folder: Path) -> None:
    (folder / MANIFEST).write_text(json.dumps({k: [] for k in read_json(folder / MANIFEST)}))


def no_card(folder: Path) -> None:
    write_json(folder / CARD, {"name": "bandit"})


CHANGES: dict[str, Callable[[Path], object]] = {
    "a changed checkpoint": lambda folder: longer(folder / "checkpoint.zip"),
    "a changed card": lambda folder: longer(folder / CARD),
    "no manifest's sums": without_sums,
    "an empty manifest": lambda folder: (folder / MANIFEST).write_text("{}"),
    "a card without figures": no_card,
    "code of a stranger": names_code,
    "weights of another net": other_shapes,
    "no configuration": lambda folder: (folder / "config.json").unlink(),
    "a status of no form": lambda folder: (folder / "status.json").write_text("[]"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_is_no_whole_entry_is_not_kept(hub: Hub, tmp_path: Path, change: Callable[[Path], object]) -> None:
    change(hub.root / "me" / "bandit")
    with pytest.raises(InputError, match="me/bandit"):
        pull("me/bandit", tmp_path / "pulled")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hub"]
    assert "evil_module" not in sys.modules


@pytest.mark.parametrize("size", [2**40, -1, None, "1"])
def test_files_too_large_are_not_even_downloaded(hub: Hub, tmp_path: Path, size: Any) -> None:
    hub.sizes = {FILES[-1]: size}
    with pytest.raises(InputError, match=FILES[-1]):
        pull("me/bandit", tmp_path / "pulled")
    assert hub.downloads == []


def test_a_file_larger_than_the_hub_says_is_refused(hub: Hub, tmp_path: Path) -> None:
    (hub.root / "me" / "bandit" / CARD).write_bytes(b" " * 2**20)
    hub.sizes = {CARD: 5}
    with pytest.raises(InputError, match="1,048,576 bytes"):
        pull("me/bandit", tmp_path / "pulled")


def test_errors_of_the_hub_are_one_line(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = run("zoo", "pull", "me/nothing", "--out", tmp_path / "pulled")
    assert (done.status, len(done.err.splitlines())) == (2, 1)
    assert "404" in done.err
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(InputError, match=r"metarl-memory\[hub\]"):
        push(BANDIT, "me/bandit")
