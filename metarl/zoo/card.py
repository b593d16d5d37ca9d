"""The card of a trained model: what it was trained on, how well it does, and where that ends."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, MaxLen, MinLen

from metarl.config import InputError, build, to_plain
from metarl.files import parse_json, read_bytes
from metarl.runs.manifest import CARD
from metarl.types import Count, Number, Positive, Size

MAX_CARD = 64 * 2**10  # bytes
WIDTH = 100  # columns of a card as text

Precision = Literal["half", "single"]
Line = Annotated[str, MaxLen(2000)]


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A mean over held-out tasks.

    Args:
        name: what it is, such as the return of a trial; accuracies are shares.
        value: of the model of the entry.
        se: its standard error over tasks.
        tasks: how many: trials, episodes or streams.
        trained: the mean of the model as it was trained, in single precision, on the same tasks.
    """

    name: Line
    value: Number
    se: Positive
    tasks: Size
    trained: Number


@dataclass(frozen=True, kw_only=True)
class Card:
    """What ``card.json`` of an entry holds.

    Args:
        name: of the entry.
        kind: of the experiment.
        about: what it is, in a line.
        tasks: the distribution of tasks, or the data.
        split: the split that the figures are on.
        in_distribution: whether no tasks could be held out, so that those of training were played.
        train_seed: of the training.
        seed: of the tasks of the figures.
        steps: trained: of the environment, or few-shot episodes.
        unit: what the steps are called.
        parameters: how many numbers the model has.
        precision: in which its parameters are kept.
        figures: how well it does.
        references: what others reached on the same tasks as the first figure, by name.
        curve: points of its learning curve: steps, and the number that ``curve_of`` names.
        curve_of: a name of ``metrics.jsonl``.
        command: that trained it.
        commit: of the code that it was trained with.
        versions: of the packages that it was trained with.
        licence: of the weights.
        limits: what it was not trained for, or not measured on.

    Raises:
        ValueError: a text holds characters that can't be printed, such as those that steer a terminal.
    """

    name: Annotated[str, MinLen(1), MaxLen(100)]
    kind: Literal["rl2", "fewshot"]
    about: Line
    tasks: Line
    split: Literal["validation", "test"] = "test"
    in_distribution: bool = False
    train_seed: Annotated[int, Ge(0)]
    seed: Annotated[int, Ge(0)]
    steps: Count
    unit: Line
    parameters: Count
    precision: Precision
    figures: Annotated[tuple[Figure, ...], MinLen(1), MaxLen(100)]
    references: dict[Line, Number] = field(default_factory=dict)
    curve: Annotated[tuple[tuple[Count, Number], ...], MaxLen(100)] = ()
    curve_of: Line = ""
    command: Line
    commit: Line
    versions: dict[Line, Line | None] = field(default_factory=dict)
    licence: Line
    limits: Line

    def __post_init__(self) -> None:
        for text in _texts(to_plain(self)):
            if not text.isprintable():
                raise ValueError(f"the text {text!r} can't be printed, expected one line of plain text")


def _texts(data: Any) -> Iterator[str]:
    """All texts in nested plain data."""
    if isinstance(data, str):
        yield data
    elif isinstance(data, dict | list):
        for one in (*data.keys(), *data.values()) if isinstance(data, dict) else data:
            yield from _texts(one)


def read_card(folder: Path) -> Card:
    """The card of an entry.

    Raises:
        InputError: there is none, or it is damaged.
    """
    path = folder / CARD
    try:
        return build(Card, parse_json(read_bytes(path, MAX_CARD)), f"{path} is damaged")
    except FileNotFoundError:
        remedy = "give a name that metarl zoo list shows, or a folder that metarl zoo pull made"
        raise InputError(f"{folder} is no entry of a zoo: it has no {CARD}", key=str(folder), remedy=remedy) from None
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{path} is damaged: {error}", key=str(path), expected="a JSON object") from None


def number(name: str, value: float) -> str:
    """A figure, or its error, as text: accuracies in per cent."""
    return f"{100 * value:.2f} %" if "accuracy" in name else f"{value:.2f}"


def figure_text(figure: Figure) -> str:
    """A figure with its standard error."""
    return f"{figure.name} {number(figure.name, figure.value)} ± {number(figure.name, figure.se)}"


def facts(card: Card, size: int) -> dict[str, str]:
    """What a card says, by what it is about.

    Args:
        card: of an entry.
        size: bytes of its folder.
    """
    held_out = "tasks like those of training (none can be held out)" if card.in_distribution else f"{card.split} tasks"
    figures = [f"{figure_text(one)} ({one.tasks:,} {held_out}, seed {card.seed})" for one in card.figures]
    others = ", ".join(f"{name} {value:.2f}" for name, value in card.references.items())
    curve = ", ".join(f"{steps:,}: {value:.4g}" for steps, value in card.curve)
    told = {
        "about": card.about,
        "tasks": card.tasks,
        "result": "; ".join(figures),
        "beside it": f"{others} on the same tasks" if others else "",
        "trained": f"{card.steps:,} {card.unit}, seed {card.train_seed}: {card.command}",
        "code": f"commit {card.commit}; " + ", ".join(f"{name} {version}" for name, version in card.versions.items()),
        "learning curve": f"{card.curve_of} by {card.unit}: {curve}" if curve else "",
        "model": f"{card.parameters:,} parameters in {card.precision} precision, {size / 1e6:.2f} MB",
        "limits": card.limits,
        "licence": card.licence,
    }
    return {name: text for name, text in told.items() if text}


def folder_size(folder: Path) -> int:
    """The bytes of the files in a folder."""
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file())


def card_text(folder: Path) -> str:
    """The card of an entry as lines for a terminal."""
    card = read_card(folder)
    lines = [card.name]
    for name, text in facts(card, folder_size(folder)).items():
        lines += textwrap.wrap(text, WIDTH, initial_indent=f"{name + ':':15} ", subsequent_indent=" " * 16)
    return "\n".join(lines)


def card_page(folder: Path) -> str:
    """The card of an entry as the README.md of a repository of the Hugging Face hub."""
    card = read_card(folder)
    head = ["---", f"license: {card.licence.lower()}", "library_name: metarl", "tags: [meta-learning, metarl]", "---"]
    rows = [f"- **{name}**: {text}" for name, text in facts(card, folder_size(folder)).items()]
    use = ["```sh", "pip install 'metarl-memory[hub]'", f"metarl zoo pull OWNER/REPOSITORY --out {card.name}"]
    use += [f"metarl zoo eval {card.name}", "```"]
    after = f'In Python, `metarl.load("{card.name}")` then gives the model.'
    return "\n".join([*head, "", f"# {card.name}", "", *rows, "", *use, "", after, ""])
