"""Layers: imports go down only, and heavy libraries are imported where they belong."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent

FLOORS = (
    ("types", "config"),
    ("tree", "seeding", "files", "limits", "parallel"),
    ("functional", "runs"),
    ("memory",),
    ("nets", "tasks", "data"),
    ("training",),
    ("envs", "agents"),
    ("evaluation", "fewshot"),
    ("report", "presets", "export"),
    ("experiments",),
    ("zoo", "sweeps"),
    ("cli",),
    ("__main__",),
)
"""From the bottom up. Parts of one layer do not import each other."""

MEMORY = (
    ("options", "ops", "actions"),
    ("contract",),
    ("reading",),
    ("controllers", "stores", "access"),
    ("boundaries", "precision"),
    ("memory",),
    ("core", "ablation"),
    ("per_action",),
    ("registry",),
)
TASKS = (("family",), ("trial",), ("vector",), ("check",))


class Import(NamedTuple):
    """A module that a file imports."""

    name: str
    inside: str | None
    """The function that contains the import; None where it is the module's own."""
    typing_only: bool


def sources() -> dict[str, Path]:
    """The modules of the library by name; ``envs`` and ``agents`` by the name that they are imported by."""
    files = [(path, path.relative_to(ROOT)) for path in (ROOT / "metarl").rglob("*.py")]
    for linked in ("envs", "agents"):
        files += [(path, Path("metarl", path.relative_to(ROOT))) for path in (ROOT / linked).rglob("*.py")]
    found = {}
    for path, place in files:
        parts = place.with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


SOURCES = sources()


def imports(module: str) -> tuple[Import, ...]:
    return _imports(SOURCES[module].read_text(encoding="utf-8"))


@cache
def _imports(text: str) -> tuple[Import, ...]:
    return tuple(_walk(ast.parse(text), None, False))


def _walk(node: ast.AST, inside: str | None, typing_only: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        match child:
            case ast.Import():
                yield from (Import(alias.name, inside, typing_only) for alias in child.names)
            case ast.ImportFrom():
                assert child.level == 0, "imports are absolute"
                for alias in child.names:
                    full = f"{child.module}.{alias.name}"
                    yield Import(full if full in SOURCES else str(child.module), inside, typing_only)
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                yield from _walk(child, child.name, typing_only)
            case ast.If(test=ast.Name(id="TYPE_CHECKING")):
                yield from _walk(child, inside, True)
            case _:
                yield from _walk(child, inside, typing_only)


def floor_of(part: str, floors: tuple[tuple[str, ...], ...]) -> int:
    for number, names in enumerate(floors):
        if part in names:
            return number
    raise AssertionError(f"{part} has no layer; give it one in FLOORS")


def wrong_ways(depth: int, package: str, floors: tuple[tuple[str, ...], ...]) -> list[str]:
    """Imports between the parts of ``package`` (the ``depth``-th part of a module's name) that don't go down."""
    wrong = []
    for module in SOURCES:
        if not module.startswith(f"{package}."):
            continue
        here = module.split(".")[depth]
        for found in imports(module):
            if not found.name.startswith(f"{package}."):
                continue
            there = found.name.split(".")[depth]
            if here != there and floor_of(there, floors) >= floor_of(here, floors):
                wrong.append(f"{module} imports {found.name}")
    return wrong


def test_the_sources_are_found() -> None:
    assert {"metarl", "metarl.types", "metarl.envs.table", "metarl.agents.rl2", "metarl.memory.core"} <= set(SOURCES)
    for module in SOURCES:
        if module != "metarl":
            floor_of(module.split(".")[1], FLOORS)


def test_imports_go_down_only() -> None:
    assert wrong_ways(1, "metarl", FLOORS) == []


@pytest.mark.parametrize(("package", "floors"), [("metarl.memory", MEMORY), ("metarl.tasks", TASKS)])
def test_imports_within_a_package_go_down_only(package: str, floors: tuple[tuple[str, ...], ...]) -> None:
    assert wrong_ways(2, package, floors) == []


def circle(graph: dict[str, set[str]]) -> list[str]:
    """The nodes of one circle in the order in which they point to each other; none where there is none."""
    done: set[str] = set()

    def walk(node: str, path: list[str]) -> list[str]:
        if node in path:
            return path[path.index(node) :]
        for target in () if node in done else sorted(graph[node]):
            if found := walk(target, [*path, node]):
                return found
        done.add(node)
        return []

    return next((found for node in graph if (found := walk(node, []))), [])


def test_there_is_no_circle_of_imports() -> None:
    graph = {m: {i.name for i in imports(m) if not i.typing_only and i.name in SOURCES} for m in SOURCES}
    assert circle(graph) == []
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": set()}) == ["b", "c"]


def test_the_test_sees_an_upward_and_a_sideways_import(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for text, shown in (
        ("from metarl import training", "metarl.training"),
        ("def late():\n    import metarl.envs.table", "metarl.envs.table"),
        ("from metarl.nets.policy import MemoryPolicy", "metarl.nets.policy"),
    ):
        bad = tmp_path / "bad.py"
        bad.write_text(text)
        monkeypatch.setitem(SOURCES, "metarl.tasks.bad", bad)
        assert wrong_ways(1, "metarl", FLOORS) == [f"metarl.tasks.bad imports {shown}"]


def test_importing_metarl_itself_takes_the_table_of_ids_and_no_more() -> None:
    at_once = {i.name for i in imports("metarl") if i.inside is None and not i.typing_only and i.name in SOURCES}
    assert at_once == {"metarl.envs.table"}


def who_imports(library: str) -> dict[str, list[Import]]:
    """The modules that import ``library``, and where."""
    found = {module: [i for i in imports(module) if i.name.split(".")[0] == library] for module in SOURCES}
    return {module: uses for module, uses in found.items() if uses}


def test_wandb_is_imported_in_one_function_of_one_file() -> None:
    ((module, (use,)),) = who_imports("wandb").items()
    assert module == "metarl.runs.tracking"
    assert use.inside is not None


def test_optuna_is_imported_in_one_function_of_one_file() -> None:
    used = {module: [use for use in uses if not use.typing_only] for module, uses in who_imports("optuna").items()}
    assert {module: [use.inside for use in uses] for module, uses in used.items() if uses} == {
        "metarl.sweeps.store": ["optuna"]
    }


def test_stable_baselines3_is_imported_at_the_edge_only() -> None:
    edge = {"metarl.agents.rl2", "metarl.agents.rl2_env", "metarl.tasks.vector.sb3"}
    assert set(who_imports("stable_baselines3")) == edge


@pytest.mark.parametrize(
    ("package", "library"),
    [
        ("metarl.memory", "gymnasium"),
        ("metarl.functional", "gymnasium"),
        ("metarl.envs", "torch"),
        ("metarl.types", "torch"),
        ("metarl.tasks", "torch"),
        ("metarl.data", "torch"),
    ],
)
def test_packages_that_must_not_import_a_library(package: str, library: str) -> None:
    users = {m: uses for m, uses in who_imports(library).items() if m == package or m.startswith(f"{package}.")}
    assert [m for m, uses in users.items() if not all(use.typing_only for use in uses)] == []


def test_agents_see_no_concrete_environment() -> None:
    for module in SOURCES:
        if module.startswith("metarl.agents"):
            assert not [i.name for i in imports(module) if i.name.startswith("metarl.envs")], module


FOUND_IN_MEMORY = {"topk", "cdist", "scaled_dot_product_attention", "MultiheadAttention", "autograd.grad", "jacrev"}
"""What stores, accesses and inner loops use; nothing else may."""
ATTENTION = FOUND_IN_MEMORY | {"softmax", "Softmax", "softmin", "bmm", "baddbmm", "einsum"}
"""What few-shot learners must not use either: they read by the memory's accesses alone."""


def used(module: str) -> set[str]:
    """The names and dotted names that occur in a module, of its own and of what it imports."""
    names = set()
    for node in ast.walk(ast.parse(SOURCES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute):
            last = getattr(node.value, "attr", getattr(node.value, "id", ""))
            names |= {node.attr, f"{last}.{node.attr}"}
        elif isinstance(node, ast.Name):
            names.add(node.id)
        elif isinstance(node, ast.ImportFrom):
            names |= {alias.name for alias in node.names}
            names |= {f"{(node.module or '').split('.')[-1]}.{alias.name}" for alias in node.names}
    return names


def test_attention_slots_and_inner_loops_are_in_the_memory_and_below_only() -> None:
    fewshot = [name for name in SOURCES if name.startswith(("metarl.agents.fewshot", "metarl.experiments.fewshot"))]
    assert len(fewshot) > 5
    assert {module: found for module in fewshot if (found := used(module) & ATTENTION)} == {}
    others = [module for module in SOURCES if not module.startswith(("metarl.memory", "metarl.functional"))]
    assert {module: found for module in others if (found := used(module) & FOUND_IN_MEMORY)} == {}
    assert "autograd.grad" in used("metarl.functional.inner_loop")
    assert "softmax" in used("metarl.memory.access.graph")


def test_environments_and_agents_are_links_in_git() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(
        ["git", "-C", str(ROOT), "ls-files", "-s", "metarl/envs", "metarl/agents"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    assert [(line.split()[0], line.split()[-1]) for line in listed] == [
        ("120000", "metarl/agents"),
        ("120000", "metarl/envs"),
    ]
    assert all((ROOT / "metarl" / name).readlink() == Path("..", name) for name in ("envs", "agents"))


@pytest.mark.parametrize("name", ["envs", "agents"])
def test_the_bare_name_is_refused_with_the_right_one(name: str) -> None:
    run = subprocess.run(
        [sys.executable, "-c", f"import {name}"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 1
    assert f"ImportError: the {'environments' if name == 'envs' else 'learners'}" in run.stderr
    assert run.stderr.rstrip().endswith(f"import metarl.{name}")


def test_every_direct_dependency_is_pinned_within_its_range() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pins: dict[str, str] = {}
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        text = line.partition("#")[0].strip()
        if text:
            pin = Requirement(text)
            (specifier,) = pin.specifier
            assert specifier.operator == "==", f"{text} is no pin"
            pins[canonicalize_name(pin.name)] = specifier.version
    optional = [line for lines in project.get("optional-dependencies", {}).values() for line in lines]
    for line in (*project["dependencies"], *optional):
        wanted = Requirement(line)
        name = canonicalize_name(wanted.name)
        if name == canonicalize_name(project["name"]):
            continue
        assert name in pins, f"constraints.txt does not pin {name}"
        assert wanted.specifier.contains(pins[name], prereleases=True), (
            f"{name}=={pins[name]} is not {wanted.specifier}"
        )


def test_every_package_is_listed_for_the_wheel() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"]
    packages = {module for module, path in SOURCES.items() if path.name == "__init__.py"}
    assert sorted(listed) == sorted(packages)


def test_the_documented_floors_are_those_that_are_enforced() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", page, re.MULTILINE)
    assert {int(floor): set(re.findall(r"`(\w+)`", what)) for floor, what in rows} == {
        floor: {name for name in names if any(module.split(".")[1:2] == [name] for module in SOURCES)}
        for floor, names in enumerate(FLOORS)
    }
