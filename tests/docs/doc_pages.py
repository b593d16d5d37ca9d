"""The pages of the documentation: their blocks, their text, and the commands in both."""

import re
import shlex
from itertools import dropwhile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PAGES = {path.name: path for path in (*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md")))}
RESULTS = "results.md"  # generated from measured rows; its commands are longer than a page's
REFERENCE = "reference.md"  # generated from the code that its tests would look into
WRITTEN = [name for name in PAGES if name not in (RESULTS, REFERENCE)]


class Block(NamedTuple):
    """A fenced block."""

    language: str
    text: str

    @property
    def file(self) -> str | None:
        """The file that its first line names."""
        named = re.match(r"# ([\w./]+\.(?:py|toml))\n", self.text)
        return named[1] if named else None


def blocks(page: str, *languages: str) -> list[Block]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", PAGES[page].read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [Block(language, text) for language, text in found if not languages or language in languages]


def prose(page: str) -> str:
    return re.sub(r"^```.*?^```$", "", PAGES[page].read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def spans(page: str) -> list[str]:
    """What stands in backquotes within the text."""
    return re.findall(r"`([^`\n]+)`", prose(page))


def commands(page: str) -> list[list[str]]:
    """The commands of a page's shell blocks, and those in its text that have arguments; variables before them go."""
    lines = [line for block in blocks(page, "sh") for line in block.text.splitlines()]
    lines += [span for span in spans(page) if re.match(r"(metarl|make) \w", span)]
    found = [shlex.split(part, comments=True) for line in lines for part in line.split("&&")]
    return [[*dropwhile(re.compile("[A-Z_]+=").match, words)] for words in found if words]


def module_of(file: str) -> str:
    """The name that a file is imported by."""
    name = file.removesuffix(".py").replace("/", ".")
    return name if "/" not in file or name.startswith("metarl.") else f"metarl.{name}"
