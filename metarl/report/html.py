"""HTML that stands alone: images and style lie in the page, and every text is escaped."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence
from pathlib import Path

_STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #222; --soft: #5f5f5f; --line: #ddd; }
@media (prefers-color-scheme: dark) { :root { --paper: #1b1d20; --ink: #e8e8e8; --soft: #a9a9a9; --line: #3c3f43; } }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.5rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin-top: 2.5rem; overflow-wrap: anywhere; }
h3 { font-size: 1rem; margin-top: 1.8rem; }
p { color: var(--soft); overflow-wrap: anywhere; }
figure { margin: 1rem 0; padding: 1rem; background: #fff; border: 1px solid var(--line); border-radius: 8px; }
img { display: block; width: 100%; max-width: 760px; height: auto; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.9rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.25rem 0.9rem 0.25rem 0; text-align: right; border-bottom: 1px solid var(--line); }
th:first-child, td:first-child, .words td, .words th { text-align: left; }
td { overflow-wrap: anywhere; }
thead th { color: var(--soft); font-weight: 600; }
tbody tr:first-child { font-weight: 600; }
.words tbody tr:first-child { font-weight: inherit; }
summary { cursor: pointer; font-weight: 600; margin-top: 1.5rem; }
code { overflow-wrap: anywhere; }
""".strip()


def escaped(text: object) -> str:
    """Text that can stand in an element or an attribute."""
    plain = "".join(c for c in str(text) if c in "\n\t" or (c >= " " and not "\x7f" <= c <= "\x9f"))
    return html.escape(plain.encode("utf-8", "replace").decode("utf-8"))


def page(heading: str, parts: Iterable[str]) -> str:
    """A whole page of ``parts``, which are HTML already."""
    body = "\n".join(parts)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escaped(heading)}</title>\n<style>\n{_STYLE}\n</style>\n</head>\n"
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
    """An image under its title; ``shows``: the title, and what is on the image."""
    return [title(shows[0], level), image(path, ", ".join(filter(None, [shows[1], of])))]


def table(head: Sequence[object], rows: Iterable[Sequence[object]], words: bool = False) -> str:
    """A table; ``words`` where the cells are no numbers."""
    top = "".join(f'<th scope="col">{escaped(cell)}</th>' for cell in head)
    body = "\n".join(f"<tr>{''.join(f'<td>{escaped(cell)}</td>' for cell in row)}</tr>" for row in rows)
    kind = ' class="words"' if words else ""
    return f'<div class="wide"><table{kind}>\n<thead><tr>{top}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table></div>'


def folded(summary: str, parts: Iterable[str], opened: bool = False) -> str:
    """Parts that the reader can fold away."""
    inner = "\n".join(parts)
    return f"<details{' open' if opened else ''}>\n<summary>{escaped(summary)}</summary>\n{inner}\n</details>"
