"""``make reference``: ``docs/reference.md`` and what the command line lists, made from the code."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from metarl.cli.listed import LISTED
from metarl.cli.listing import memories
from metarl.cli.main import parser
from metarl.cli.settings import shown
from metarl.experiments.settings import all_settings
from metarl.files import write_text
from metarl.presets.names import GIVEN, OTHER

ROOT = Path(__file__).resolve().parents[1]
PAGE, DATA = ROOT / "docs" / "reference.md", ROOT / "metarl" / "cli" / LISTED
KINDS = {"rl2": "RL² agents", "fewshot": "Few-shot learners", "recall": "Memories on recall tasks"}
HEAD = """# Reference

Every command, every setting, and what a run leaves behind. This page is generated from the code by `make reference`.
`metarl COMMAND --help` prints the same of a command.
`metarl settings PRESET` prints the settings of a preset, with the values that it gives them.
"""
RUN = """## The run folder

| file | what it holds |
| --- | --- |
| `config.json` | all options, nested, with the `kind` and the `seed`; a run is evaluated and resumed by them |
| `meta.json` | versions, commit, command line, machine and time; once more for each time that it was resumed |
| `status.json` | `status` (running, finished, interrupted or failed), and facts, such as what `ended` training |
| `metrics.jsonl` | one JSON object of numbers a line, for each update or validation |
| `checkpoint.zip` | the trained model: JSON and safetensors, without pickle |
| `checkpoints/` | the state of training at its last two checkpoints, from which it is resumed |
| `evaluation.json` | the results on held-out tasks; `metarl.evaluation.results` has the classes and the reader |
| `trials.npz`, `episodes.npz` | a few test trials of an agent, or episodes of a few-shot learner, step by step |
| `figures/` | pictures |
| `manifest.json` | the checksum of each file above but the status |
| `report.html` | what `metarl report` wrote |
| `wandb/` | what Weights & Biases keeps, with `--wandb` |

`metarl runs` lists the folders in `runs/`. In Python `metarl.load(path)` gives the trained model.

## Logged numbers

Each row of `metrics.jsonl` has `time` (seconds) and an x-axis: `env_steps` of agents, `episodes` of few-shot learners,
`sequences` of memories on recall tasks.
What agents log is [on the page on the outer loop](outer-loop.md#every-logged-number). Others log, at each validation:

| name | what it is |
| --- | --- |
| `train/loss` | mean loss over the updates since the last validation |
| `validation/accuracy` | share of correct answers on validation classes, or on validation sequences |
| `train/accuracy` | in its place with `data.trainval = true`: on classes that are trained on |
| `train/learning_rate` | of recall tasks: Adam's step size at hand |
"""


def render() -> dict[Path, str]:
    """What the generated files should hold, by path."""
    settings = [one._asdict() for one in all_settings()]
    data = {"settings": settings, "memories": memories()}
    lines = ",\n".join(
        f' "{name}": [\n  {f",{chr(10)}  ".join(map(json.dumps, rows))}\n ]' for name, rows in data.items()
    )
    data_text = f"{{\n{lines}\n}}\n"
    page = "\n".join([HEAD, *commands(parser(), level=2), RUN, *settings_part(json.loads(json.dumps(settings)))])
    return {PAGE: page.rstrip() + "\n", DATA: data_text}


def commands(one: argparse.ArgumentParser, level: int) -> Iterator[str]:
    """A command with its options, then the commands below it."""
    yield f"{'#' * level} {one.prog}\n"
    yield f"{' '.join((one.description or '').split())}\n"
    below: list[argparse.ArgumentParser] = []
    rows = []
    for action in one._actions:  # argparse has no public list of them
        if isinstance(action, argparse._SubParsersAction):
            below = list(action.choices.values())
        else:
            rows.append((f"`{spelled(action)}`", meaning(action)))
    yield from table(("argument", "meaning"), rows)
    if one.epilog and one.epilog.startswith("examples:"):
        examples = [line.strip() for line in one.epilog.splitlines()[1:]]
        yield "\n".join(["```sh", *examples, "```\n"])
    for command in below:
        yield from commands(command, level + 1)


def spelled(action: argparse.Action) -> str:
    """An argument as one types it."""
    names = ", ".join(action.option_strings)
    if action.nargs == 0:
        return names
    choices = "|".join(map(str, action.choices)) if action.choices else None
    value = choices or str(action.metavar or (action.dest if not names else action.dest.upper()))
    return f"{names} {value}".strip() + (" ..." if action.nargs in ("+", "*") else "")


def meaning(action: argparse.Action) -> str:
    """The help of an argument."""
    return (action.help or "") % {"default": action.default} if action.help else ""


def settings_part(settings: list[dict[str, Any]]) -> Iterator[str]:
    """The settings of each kind, by their first section and what they need."""
    yield "## Settings\n"
    yield (
        "A dash is a setting that is left out by default. Beside the ranges, options are checked against each other "
        "when a run begins.\n"
    )
    for kind, of_kind in groupby(settings, key=lambda one: str(one["kind"])):
        yield f'### {KINDS[kind]} (`kind = "{kind}"`)\n'
        groups: dict[str, list[dict[str, Any]]] = {}
        for one in of_kind:
            if ".memory." not in one["key"]:
                groups.setdefault(heading(one), []).append(one)
        for title, group in groups.items():
            yield f"{title}\n"
            yield from table(("key", "default", "range", "meaning"), [row(one) for one in group])
        if kind == "fewshot":
            yield "Settings of `classifier.memory` and `stream.memory`: those of `memory` above.\n"


def row(setting: Mapping[str, Any]) -> tuple[str, str, str, str]:
    """A setting in a table."""
    default = shown(setting["default"])
    told = "required" if setting["required"] else default if default == "–" else f"`{default}`"
    return f"`{setting['key']}`", told, setting["range"], setting["about"]


def heading(setting: Mapping[str, Any]) -> str:
    """The section of a setting, and what it needs."""
    section = setting["key"].rpartition(".")[0]
    title = f"Settings of `{section}`" if section else "Settings of the run"
    if setting["where"] is None:
        return f"{title}:"
    key, value = setting["where"]
    if value == GIVEN:
        return f"{title}, where there is a table `{key}`:"
    return f"{title}, of environments {OTHER}:" if value == OTHER else f"{title}, where `{key}` is `{value}`:"


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """A table of Markdown; nothing where there are no rows."""
    if rows:
        lines = [head, ("---",) * len(head), *(tuple(cell.replace("|", "\\|") for cell in row) for row in rows)]
        yield "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


if __name__ == "__main__":
    for path, text in render().items():
        write_text(path, text)
        print(f"wrote {path.relative_to(ROOT)}")
