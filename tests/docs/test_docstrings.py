"""Public functions of several arguments say what each of them is, and classes of data what their fields are."""

import ast
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
FILES = sorted(path for folder in ("metarl", "envs", "agents") for path in (ROOT / folder).rglob("*.py"))


def public_functions(tree: ast.AST) -> Iterator[ast.FunctionDef]:
    """Functions and methods whose name, and whose class's name, has no leading underscore; overloads have no text."""
    for node in ast.iter_child_nodes(tree):
        if any(ast.unparse(one) == "overload" for one in getattr(node, "decorator_list", [])):
            continue
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_"):
            if isinstance(node, ast.FunctionDef):
                yield node
            else:
                yield from public_functions(node)


def hidden(source: str) -> list[str]:
    """Dataclasses and tuples with a text below a field, which ``help`` doesn't show; it belongs to the class's own."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ClassDef):
            kinds = " ".join(map(ast.unparse, (*node.decorator_list, *node.bases)))
            below = [
                b for a, b in pairwise(node.body) if isinstance(a, ast.AnnAssign) and "ClassVar" not in ast.unparse(a)
            ]
            if ("dataclass" in kinds or "NamedTuple" in kinds) and any(isinstance(b, ast.Expr) for b in below):
                found.append(node.name)
    return found


def undocumented(source: str) -> list[str]:
    """Public functions of three or more arguments without a section on them; overrides may point to what they do."""
    found = []
    for function in public_functions(ast.parse(source)):
        text, given = ast.get_docstring(function) or "", function.args
        names = {arg.arg for arg in (*given.posonlyargs, *given.args, *given.kwonlyargs)} - {"self", "cls"}
        if len(names) >= 3 and "Args:" not in text and "see :" not in text.lower() and not text.startswith("As "):
            found.append(function.name)
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_arguments_are_documented(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert (undocumented(source), hidden(source)) == ([], [])


def test_an_undocumented_argument_is_seen() -> None:
    assert undocumented('class A:\n    def f(self, a, b, c):\n        """Does."""') == ["f"]
    assert hidden('@dataclass\nclass A:\n    x: int\n    """A number."""') == ["A"]
    assert undocumented('def f(a, b, c):\n    """See :func:`g`."""') == []
