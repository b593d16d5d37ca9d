"""HTML that stands alone: images and style lie in the page, and every text is escaped."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path


def escaped(text: object) -> str:
    """Text escaped for use in an element or an attribute."""
    plain = "".join(c for c in str(text) if c in "\n\t" or (c >= " " and not "\x7f" <= c <= "\x9f"))
    return html.escape(plain.encode("utf-8", "replace").decode("utf-8"))


def page(heading: str, parts: Iterable[str]) -> str:
    """A whole page of ``parts``, which are HTML already."""
    body = "\n".join(parts)
    style = resources.files("metarl.report").joinpath("style.css").read_text(encoding="utf-8")
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escaped(heading)}</title>\n<style>\n{style}</style>\n</head>\n"
        f"<body>\n<main>\n<h1>{escaped(heading)}</h1>\n{body}\n</main>\n</body>\n</html>\n"
    )


def title(text: str, level: int = 2) -> str:
    """A title within the page."""
    return f"<h{level}>{escaped(text)}</h{level}>"


def paragraph(*lines: object) -> str:
    """Lines of text."""
    return f"<p>{'<br>'.join(map(escaped, lines))}</p>"


def image(path: Path, shows: str) -> str:
    """A PNG file, put into the page; ``shows`` says in words what is on it."""
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    return f'<figure><img alt="{escaped(shows)}" src="data:image/png;base64,{data}"></figure>'


def shown(path: Path, shows: tuple[str, str], of: str = "", level: int = 2) -> list[str]:
    """An image under its title.

    Args:
        path: a PNG file.
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
