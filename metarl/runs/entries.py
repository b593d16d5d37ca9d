"""Where the models of the zoo lie that come with the package: small run folders, each with a card."""

from __future__ import annotations

from pathlib import Path

from metarl.config import InputError, did_you_mean, one_of
from metarl.files import as_path
from metarl.runs.manifest import CARD

PREFIX = "zoo:"
ZOO = Path(__file__).resolve().parents[1] / "zoo"


def entries() -> dict[str, Path]:
    """The folders of all entries, by name."""
    return {path.parent.name: path.parent for path in sorted(ZOO.glob(f"*/{CARD}"))}


def located(path: str | Path) -> Path:
    """The folder that ``zoo:NAME`` stands for; of any other path, itself.

    Raises:
        InputError: the zoo has no such entry, or what was given is no path.
    """
    own, text = as_path(path, "the run folder"), str(path)
    if not text.startswith(PREFIX):
        return own
    found, name = entries(), text.removeprefix(PREFIX)
    if name not in found:
        hint = did_you_mean(name, found)
        raise InputError(key="the entry of the zoo", given=name, expected=one_of(list(found)), remedy=hint)
    return found[name]
