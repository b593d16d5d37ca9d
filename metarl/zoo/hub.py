"""Sharing entries by the Hugging Face hub. What is pulled is a stranger's: bounded, checked, and never code."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from shutil import copy
from typing import Any

from metarl.config import InputError
from metarl.files import read_bytes, read_manifest, write_text
from metarl.runs.manifest import CARD
from metarl.zoo.card import MAX_CARD, card_page, read_card
from metarl.zoo.check import opened
from metarl.zoo.make import FILES

LARGEST = {"checkpoint.zip": 256 * 2**20, CARD: MAX_CARD}
MAX_OTHER = 2**20
"""Bytes of the files of an entry; larger ones are refused before they are downloaded."""
SEALED = ("config.json", "checkpoint.zip", CARD)
"""The files that need a checksum in the manifest."""


def push(folder: Path, repository: str, *, private: bool = False) -> str:
    """Upload an entry, with its card as the page of the repository.

    Who uploads is known to ``huggingface_hub`` (``hf auth login``).

    Args:
        folder: of the entry.
        repository: OWNER/NAME; made where there is none.
        private: whether a new repository is for its owner alone.

    Returns:
        The address of the repository.

    Raises:
        InputError: the entry is damaged, ``huggingface_hub`` is not installed, or the hub refuses.
    """
    opened(folder, "cpu")
    hub = _hub()
    with tempfile.TemporaryDirectory() as place:
        for name in FILES:
            copy(folder / name, place)
        write_text(Path(place) / "README.md", card_page(folder))
        try:
            api = hub.HfApi()
            address = api.create_repo(repository, private=private, exist_ok=True)
            api.upload_folder(
                repo_id=repository, folder_path=place, commit_message=f"{read_card(folder).name} of metarl"
            )
        except Exception as error:  # the hub's client raises errors of its own and of its HTTP library
            raise _refused(repository, error) from error
    return str(address)


def pull(repository: str, target: str | Path, *, revision: str | None = None) -> Path:
    """Download an entry into a folder, which is then opened as any run of a stranger's.

    Args:
        repository: OWNER/NAME
        target: the folder to make.
        revision: a branch, tag or commit; None: the main branch.

    Returns:
        The folder.

    Raises:
        FileExistsError: there is something at ``target``.
        InputError: ``huggingface_hub`` is not installed, the hub refuses, or what it has is no entry: a file is
            missing, too large, damaged, without its checksum, of an unknown form, or names code.
    """
    target = Path(target)
    if os.path.lexists(target):
        raise FileExistsError(f"{target} exists; choose another folder with --out or remove it first")
    hub = _hub()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".pulled-", dir=target.parent) as place:
        made = Path(place) / target.name
        made.mkdir()
        try:
            found = hub.HfApi().model_info(repository, revision=revision, files_metadata=True)
        except Exception as error:  # as above
            raise _refused(repository, error) from error
        sizes = {one.rfilename: one.size for one in found.siblings or ()}
        for name in FILES:
            _check_size(repository, name, sizes)
        for name in FILES:
            try:
                path = hub.hf_hub_download(repository, name, revision=found.sha, cache_dir=Path(place) / "cache")
            except Exception as error:  # as above
                raise _refused(repository, error) from error
            (made / name).write_bytes(read_bytes(Path(path), _most(name)))
        _check(made, repository)
        os.replace(made, target)
    return target


def _check(folder: Path, repository: str) -> None:
    """Refuse a folder that is no whole entry."""
    try:
        listed = read_manifest(folder) or {}
        for name in SEALED:
            if not listed.get(name):
                raise InputError(f"its manifest has no checksum of {name}", key=name, expected="one of every file")
        run = opened(folder, "cpu")  # which imports nothing, and verifies the checksums
        _ = run.folder.status  # which no checksum covers
        if read_card(folder).kind != run.experiment.kind:
            raise InputError("its card is of another kind of model", key="kind", expected=run.experiment.kind)
    except (InputError, FileNotFoundError) as error:
        raise InputError.of(error, f"{repository} was not kept") from error


def _check_size(repository: str, name: str, sizes: dict[str, Any]) -> None:
    """Refuse a file that is not there, or too large, before it is downloaded."""
    if name not in sizes:
        raise InputError(f"{repository} is no entry of a zoo: it has no {name}", key=name, expected=", ".join(FILES))
    if type(sizes[name]) is not int or not 0 <= sizes[name] <= _most(name):
        expected = f"at most {_most(name):,} bytes"
        raise InputError(f"{name} of {repository} is too large", key=name, given=sizes[name], expected=expected)


def _most(name: str) -> int:
    """The bytes that a file of an entry may have."""
    return LARGEST.get(name, MAX_OTHER)


def _refused(repository: str, error: Exception) -> InputError:
    """What the hub's client raised, as one line."""
    told = (str(error).strip() or type(error).__name__).splitlines()[0]
    remedy = "check the name, the network, and for what is private `hf auth login`"
    return InputError(f"{repository}: {told}", key="the repository", remedy=remedy)


def _hub() -> Any:
    """The package ``huggingface_hub``.

    Raises:
        InputError: it is not installed.
    """
    try:
        import huggingface_hub
    except ImportError:
        problem = "sharing models needs the package huggingface_hub, which is not installed"
        raise InputError(problem, key="huggingface_hub", remedy="pip install 'metarl-memory[hub]'") from None
    return huggingface_hub
