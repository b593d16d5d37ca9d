"""HTML that stands alone: images, style and script lie in the page, and every text is escaped."""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from metarl.report import vector


def escaped(text: object) -> str:
    """Text escaped for use in an element or an attribute."""
    plain = "".join(c for c in str(text) if c in "\n\t" or (c >= " " and not "\x7f" <= c <= "\x9f"))
    return html.escape(plain.encode("utf-8", "replace").decode("utf-8"))


def page(heading: str, parts: Iterable[str]) -> str:
    """A whole page of ``parts``, which are HTML already."""
    body = "\n".join(parts)
    style, script = (_file(name) for name in ("style.css", "page.js"))
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    # Nothing is loaded, and no script runs but this one, whatever lies in a run folder.
    policy = f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{digest}'"
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escaped(heading)}</title>\n<style>\n{style}</style>\n</head>\n"
        f"<body>\n<main>\n<h1>{escaped(heading)}</h1>\n{body}\n</main>\n"
        f"<script>{script}</script>\n</body>\n</html>\n"
    )


def _file(name: str) -> str:
    return resources.files("metarl.report").joinpath(name).read_text(encoding="utf-8")


def title(text: str, level: int = 2) -> str:
    """A title within the page."""
    return f"<h{level}>{escaped(text)}</h{level}>"


def paragraph(*lines: object) -> str:
    """Lines of text."""
    return f"<p>{'<br>'.join(map(escaped, lines))}</p>"


def headline(text: str) -> str:
    """The one sentence that says what came out."""
    return f'<p class="headline">{escaped(text)}</p>'


def state(text: str, good: bool) -> str:
    """How far a run came; one that did not come to its end stands out."""
    return f'<p class="state{"" if good else " cut"}">{escaped(text)}</p>'


def image(path: Path, shows: str) -> str:
    """A figure of ours, put into the page; ``shows`` says in words what kind of figure it is."""
    return f'<figure data-file="{escaped(path.stem)}"><div class="wide">{vector.inlined(path, shows)}</div></figure>'


def moving(gif: bytes, shows: str) -> str:
    """An animation; ``shows`` says in words what it shows."""
    data = base64.b64encode(gif).decode("ascii")
    return f'<div class="film"><img alt="{escaped(shows)}" src="data:image/gif;base64,{data}"></div>'


def player(kind: str, data: Any) -> str:
    """A place where the page's script shows ``data``, plain values; without scripts it says so."""
    told = escaped(json.dumps(data, separators=(",", ":")))
    return f'<div class="{kind}" data-{kind}="{told}"><noscript><p>This part needs scripts.</p></noscript></div>'


def shown(path: Path, shows: tuple[str, str], of: str = "", level: int = 2) -> list[str]:
    """An image under its title.

    Args:
        path: of a figure, an SVG file.
        shows: the title, and what is on the image.
        of: what it is an image of, such as ``of 3 runs``.
        level: of the title.
    """
    return [title(shows[0], level), image(path, ", ".join(filter(None, [shows[1], of])))]


def table(head: Sequence[object], rows: Iterable[Sequence[object]], words: bool = False) -> str:
    """A table.

    Args:
        head: of the columns.
        rows: each with as many cells.
        words: whether the cells are text, which is aligned on the left.
    """
    top = "".join(f'<th scope="col">{escaped(cell)}</th>' for cell in head)
    body = "\n".join(f"<tr>{''.join(f'<td>{escaped(cell)}</td>' for cell in row)}</tr>" for row in rows)
    kind = ' class="words"' if words else ""
    return f'<div class="wide"><table{kind}>\n<thead><tr>{top}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table></div>'


def folded(summary: str, parts: Iterable[str], opened: bool = False) -> str:
    """Parts that the reader can fold away.

    Args:
        summary: the line that is always visible.
        parts: HTML.
        opened: whether they are visible at first.
    """
    inner = "\n".join(parts)
    return f"<details{' open' if opened else ''}>\n<summary>{escaped(summary)}</summary>\n{inner}\n</details>"
