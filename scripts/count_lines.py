"""Count lines: `count_lines.py [ROOT]` prints how much code the package is, and which files grow too long."""

from __future__ import annotations

import argparse
import ast
import io
import re
import tokenize
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LONGEST = 400
STORE_TYPE = re.compile(r"isinstance\(([\w.]*\.)?store,")
DOCUMENTED = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
BLANK = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


def code_lines(source: str) -> int:
    """The lines of a module with code on them: no blank lines, comments and docstrings (those of attributes count)."""
    docstrings: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node) is not None:
            first = node.body[0]
            docstrings.update(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    code: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in BLANK:
            code.update(range(token.start[0], token.end[0] + 1))
    return len(code - docstrings)


def modules(root: Path, *folders: str) -> dict[str, str]:
    """What the Python files below some folders of ``root`` hold, by path; links are not followed."""
    found = sorted(path for folder in folders for path in (root / folder).rglob("*.py"))
    return {str(p.relative_to(root)): p.read_text(encoding="utf-8") for p in found if p == p.resolve()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", nargs="?", type=Path, default=ROOT, help="the checkout (default: this one)")
    root = parser.parse_args().root.resolve()
    package, tests = modules(root, "metarl", "envs", "agents"), modules(root, "tests")
    report = modules(root, "metarl/report")
    stores = "".join(package.get(f"metarl/memory/{name}.py", "") for name in ("core", "memory"))
    print(f"{sum(map(code_lines, package.values())):7,}  code lines of metarl, envs and agents")
    print(f"{sum(map(count, report.values())):7,}  lines of metarl/report, all counted")
    print(f"{sum(map(count, tests.values())):7,}  lines of tests, all counted")
    print(f"{len(STORE_TYPE.findall(stores)):7,}  checks of a store's type in metarl/memory/core.py and memory.py")
    for path, text in {**package, **modules(root, "scripts"), **tests}.items():
        if count(text) > LONGEST:
            print(f"{count(text):7,}  lines of {path}, more than {LONGEST}")


def count(text: str) -> int:
    """All lines of a text."""
    return len(text.splitlines())


if __name__ == "__main__":
    main()
