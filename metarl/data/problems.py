"""What is wrong with files and folders of images, told in a line of any length of list."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from metarl.files import cache_folder, replacing

SHOWN = 10  # problems that a line shows; at least two of each kind
_PLACE = "problems"


class Problem(NamedTuple):
    """What can't be used, and why.

    Args:
        kind: a short name of such problems.
        path: of the file or folder.
        text: a sentence about it.
    """

    kind: str
    path: str
    text: str


def summary(problems: Sequence[Problem], name: str) -> str:
    """How many problems there are of each kind, and the first ones of each.

    If there are more, all are written to a file in the user's cache, which the line names: one in each row, with kind,
    path and text, and tabs between them.

    Args:
        problems: one or more.
        name: of the file.
    """
    kinds: dict[str, list[str]] = {}
    for one in problems:
        text = one.text if one.path in one.text else f"{one.path} {one.text}"
        kinds.setdefault(one.kind, []).append(text)
    most = max(2, SHOWN // len(kinds))
    parts = []
    for kind, texts in sorted(kinds.items(), key=lambda item: -len(item[1])):
        shown = texts[:most] + [f"and {len(texts) - most:,} more"] * (len(texts) > most)
        parts.append(f"{kind} ({len(texts):,}): {'; '.join(shown)}")
    file = _listed(problems, name) if max(map(len, kinds.values())) > most else None
    return "; ".join([*parts, *([f"all are listed in {file}"] if file else [])])


def _listed(problems: Sequence[Problem], name: str) -> Path | None:
    """The file in which all problems are; None if it can't be written."""
    rows = ["\t".join(" ".join(part.split()) for part in one) for one in problems]
    path = cache_folder() / _PLACE / f"{name}.txt"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, sealed=False) as temporary:
            temporary.write_text("\n".join(rows) + "\n", "utf-8", "surrogateescape")
    except OSError:
        return None
    return path
