"""Sentences to read with fresh eyes: ``python scripts/sentences.py`` prints some of the pages and help texts, by seed.

What stumbles is mended where it stands; the same seed then shows the same places, as far as the texts allow.
"""

from __future__ import annotations

import argparse
import random
import re
from collections.abc import Iterator
from pathlib import Path

from metarl.cli.main import parser as command_line

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("README.md", "docs/concepts.md")
CODE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")
END = re.compile(r"(?<=[.!?:;])\s+(?=[A-Z\"'*`(])")
LEAST = 4  # words of a sentence


def sentences_of(text: str) -> Iterator[str]:
    """The sentences of a page of Markdown, of its tables the cells."""
    for line in LINK.sub(r"\1", CODE.sub("", text)).splitlines():
        parts = line.strip().strip("|").split("|") if line.startswith("|") else [line]
        for part in parts:
            yield from long_enough(END.split(part.lstrip("#-> ").strip()))


def long_enough(parts: list[str]) -> Iterator[str]:
    """Those that are sentences rather than labels."""
    for part in parts:
        if len(re.findall(r"[A-Za-z]{2,}", part)) >= LEAST:
            yield part.strip()


def help_texts(one: argparse.ArgumentParser) -> Iterator[tuple[str, str]]:
    """What a command and those below it say in their help, each with the name of the command."""
    for sentence in long_enough(END.split(" ".join((one.description or "").split()))):
        yield one.prog, sentence
    for action in one._actions:  # argparse has no public list of them
        if isinstance(action, argparse._SubParsersAction):
            for command in action.choices.values():
                yield from help_texts(command)
        elif action.help:
            yield from ((one.prog, text) for text in long_enough([action.help]))


def all_sentences() -> list[tuple[str, str]]:
    """Every sentence once, with where it stands."""
    found = [(page, text) for page in PAGES for text in sentences_of((ROOT / page).read_text(encoding="utf-8"))]
    found += help_texts(command_line())
    return list({text: (where, text) for where, text in reversed(found)}.values())[::-1]


def main() -> None:
    """Print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-n", type=int, default=200, help="how many")
    args = parser.parse_args()
    found = all_sentences()
    drawn = random.Random(args.seed).sample(range(len(found)), min(args.n, len(found)))
    for number, place in enumerate(sorted(drawn), start=1):
        where, text = found[place]
        print(f"{number:3} {where}: {text}")


if __name__ == "__main__":
    main()
