"""What ``diagnosis.py`` keeps: the rows of docs/results/medical.json and docs/images/diagnosis.png."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from metarl.agents.fewshot.cases import CaseMemory
from metarl.data.diseases import Cohort
from metarl.evaluation.diagnosis import Scores, calibration_error
from metarl.evaluation.results import read_evaluation
from metarl.functional.stats import bootstrap_mean, standard_error
from metarl.report.canvas import COLORS, INK, SOFT, panels, title
from metarl.report.canvas import save as save_figure
from metarl.runs.folder import RunFolder
from metarl.types import Array, Floats, Ints

sys.path.append(str(Path(__file__).resolve().parents[1] / "reproduce"))  # where what scripts share lies
from common import save, trained_at
from results.rows import ROOT, Row

NAME, COMMAND = "medical", "python scripts/applications/diagnosis.py --keep"
OURS, PEER, NEAREST = "metarl", "logistic regression", "nearest neighbours"
WORST = -5.0  # points of AUROC that a single disease may be below logistic regression
DRAWN = 5  # labelled patients of a class whose figures are drawn
SHOWN = 6  # features of a patient that are written

Key = tuple[int, str]
Measured = Mapping[Key, Mapping[str, Scores]]


def write_rows(
    runs: Sequence[Path],
    said: Mapping[Key, Mapping[str, Floats]],
    truth: Mapping[Key, Array],
    measured: Measured,
    c: float,
) -> None:
    """Write the rows: of each number of patients the mean over diseases, then every disease."""
    evaluations: list[Any] = [read_evaluation(run / "evaluation.json") for run in runs]
    common = {
        "method": "preset diagnosis",
        "seeds": tuple(int(RunFolder.open(run).config["seed"]) for run in runs),
        "command": COMMAND,
        "train_seconds": max(one.train_seconds for one in evaluations),
        "train_steps": evaluations[0].train_steps,
        "commit": ", ".join(dict.fromkeys(map(trained_at, runs))),
        "parameters": evaluations[0].parameters,
        "flags": f"trained on random tables alone; logistic regression with C = {c:g}",
    }
    rows = []
    diseases = list(dict.fromkeys(disease for _, disease in measured))
    for shots in dict.fromkeys(shots for shots, _ in measured):
        by = {name: [measured[shots, d][name] for d in diseases] for name in measured[shots, diseases[0]]}
        episodes = len(by[OURS][0].auroc)
        few = f"never met in training, {shots} patient{'s' * (shots > 1)} a class"
        common |= {"setting": f"{len(diseases)} diseases {few}"}
        goals = {PEER: (0.0, None), NEAREST: (0.0, None)} if shots == 5 else {}
        for rival in (PEER, NEAREST):
            gaps = [100 * (one.auroc - other.auroc) for one, other in zip(by[OURS], by[rival], strict=True)]
            rows.append(
                Row(
                    **common,
                    metric=f"AUROC % above {rival}, same episodes, mean of the diseases",
                    ours=float(np.mean(gaps)),
                    se=standard_error(np.mean(gaps, 0)),
                    n_tasks=episodes * len(diseases),
                    goal=goals.get(rival, (None, None)),
                    references={name: _percent([one.auroc for one in each]) for name, each in by.items()},
                )
            )
            if rival == PEER:
                worst = min(range(len(diseases)), key=lambda i: gaps[i].mean())
                rows.append(
                    Row(
                        **common,
                        metric=f"AUROC % above {rival}, same episodes, the disease with the least",
                        ours=float(gaps[worst].mean()),
                        se=standard_error(gaps[worst]),
                        n_tasks=episodes,
                        goal=(WORST, None) if shots == 5 else (None, None),
                        references={
                            f"of {diseases[worst]}: {name}": _percent([each[worst].auroc]) for name, each in by.items()
                        },
                    )
                )
        for field, metric in (("accuracy", "accuracy %"), ("brier", "Brier score %")):
            values = [100 * getattr(one, field) for one in by[OURS]]
            others = {
                name: _percent([getattr(one, field) for one in each]) for name, each in by.items() if name != OURS
            }
            rows.append(
                Row(
                    **common,
                    metric=f"{metric}, mean of the diseases",
                    ours=float(np.mean(values)),
                    se=standard_error(np.mean(values, 0)),
                    n_tasks=episodes * len(diseases),
                    goal=(None, None),
                    references=others,
                )
            )
        errors = {name: _calibration(said, truth, shots, diseases, name) for name in by}
        rows.append(
            Row(
                **common,
                metric="calibration error (ECE, ten bins) %, mean of the diseases",
                ours=errors.pop(OURS),
                se=None,
                n_tasks=episodes * len(diseases),
                goal=(None, None),
                references={name: round(value, 2) for name, value in errors.items()},
            )
        )
        for place, disease in enumerate(diseases):
            gap = 100 * (by[OURS][place].auroc - by[PEER][place].auroc)
            references = {f"AUROC {name}": _percent([each[place].auroc]) for name, each in by.items()}
            references |= {f"accuracy {name}": _percent([by[name][place].accuracy]) for name in (OURS, PEER)}
            references |= {f"Brier {name}": _percent([by[name][place].brier]) for name in (OURS, PEER)}
            rows.append(
                Row(
                    **common | {"setting": f"{disease}, {few}"},
                    metric=f"AUROC % above {PEER}, same episodes",
                    ours=float(gap.mean()),
                    se=standard_error(gap),
                    n_tasks=episodes,
                    goal=(None, None),
                    references=references,
                )
            )
    save(NAME, *rows)


def draw(
    measured: Measured, memory: CaseMemory, asked: Floats, cohort: Cohort, shown: Mapping[str, Ints], shots: int = DRAWN
) -> Path:
    """Draw AUROC by disease beside logistic regression, and a patient with those that were read for it.

    Args:
        measured: of each number of patients and disease.
        memory: with the patients ``shown``, in their order.
        asked: the new patient ``[F]``.
        cohort: the table that all are of.
        shown: the rows of the remembered patients of each class.
        shots: the number of patients a class whose AUROC is drawn.
    """
    figure, (left, right) = panels(13.0, 5.2, columns=2, width_ratios=[1, 1.15])
    diseases = sorted((d for k, d in measured if k == shots), key=lambda d: measured[shots, d][OURS].auroc.mean())
    for y, disease in enumerate(diseases):
        for name, color, offset, marker in ((OURS, COLORS[0], 0.13, "o"), (PEER, COLORS[1], -0.13, "s")):
            mean, low, high = bootstrap_mean(measured[shots, disease][name].auroc)
            left.plot([low, high], [y + offset] * 2, color=color, lw=2)
            left.plot(mean, y + offset, marker, color=color, ms=6, label=name if not y else None)
    left.set_yticks(range(len(diseases)), diseases)
    left.axvline(0.5, color=SOFT, lw=1, ls=":")
    left.set_xlabel("AUROC (0.5 is guessing), 95 % interval over episodes")
    left.legend(loc="lower right", frameon=False, fontsize=9)
    title(
        left, "A disease never met, from five patients of each class", "Held-out diseases; the same patients for both"
    )

    read = memory.recalled(asked)
    answer = memory.predict(asked)[0]
    numbers = _told(cohort)
    for y, one in enumerate(reversed(read)):
        row = cohort.x[shown[one.name][one.example]]
        right.barh(y, one.weight, 0.62, color=COLORS[1] if one.name == "ill" else COLORS[0])
        text = ", ".join(_written(cohort.features[i], row[i]) for i in numbers)
        right.text(one.weight + 0.006, y, f"{one.weight:.0%}  {text}", va="center", fontsize=8, color=INK)
    right.set_yticks(range(len(read)), [f"{one.name} {one.example + 1}" for one in reversed(read)])
    right.set_xlim(0, 2.6 * max(one.weight for one in read))
    right.set_xlabel("weight of a remembered patient in the answer")
    new = ", ".join(_written(cohort.features[i], asked[i]) for i in numbers)
    title(
        right, f"A patient with {cohort.table.disease}: {answer.probability:.0%} {answer.name}", f"New patient: {new}"
    )
    return save_figure(figure, ROOT / "docs" / "images" / "diagnosis.png")


def _told(cohort: Cohort) -> list[int]:
    """The columns that are written: the first ones that are no answers by yes or no."""
    many = [i for i, column in enumerate(cohort.x.T) if len(np.unique(column[~np.isnan(column)])) > 2]
    return many[:SHOWN]


def _written(name: str, value: float) -> str:
    return f"{name} {'?' if np.isnan(value) else f'{value:g}'}"


def _percent(each: Sequence[Floats]) -> float:
    return round(100 * float(np.mean(each)), 2)


def _calibration(
    said: Mapping[Key, Mapping[str, Floats]], truth: Mapping[Key, Array], shots: int, diseases: Sequence[str], name: str
) -> float:
    """In per cent, of each training and disease, then the mean."""
    errors = [calibration_error(p, truth[shots, d]) for d in diseases for p in said[shots, d][name]]
    return 100 * float(np.mean(errors))
