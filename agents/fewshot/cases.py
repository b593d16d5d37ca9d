"""A trained learner of tables as a tool: it remembers diagnosed patients and diagnoses new ones of the same table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from metarl.agents.fewshot.learner import FewShotLearner, check_evaluating
from metarl.agents.fewshot.trained import Prediction, Recalled
from metarl.config import InputError
from metarl.data.tables import filled
from metarl.types import Floats, Ints


class CaseMemory:
    """Diagnoses patients by the few that it was shown, with what it learned in training about tables as such.

    For research only: it is no medical device and gives no medical advice. Its weights never change. What a column
    means follows from the remembered patients alone, so all patients need the same columns in the same order.

    Args:
        learner: in evaluation mode, with an encoder of tables.
        features: most columns of a table, as it was trained.

    Raises:
        InputError: a learner in training mode.
    """

    def __init__(self, learner: FewShotLearner, features: int) -> None:
        check_evaluating(learner)
        self.learner, self.features = learner, features
        self._ready = learner
        self._patients: dict[str, Floats] = {}

    @property
    def classes(self) -> dict[str, int]:
        """The remembered classes, with the number of patients of each."""
        return {name: len(rows) for name, rows in self._patients.items()}

    def remember(self, patients: Mapping[str, Any]) -> None:
        """Remember patients of classes, beside those that are remembered already.

        Args:
            patients: one row or several for each class by name, such as ``{"ill": rows, "well": rows}``: numbers
                ``[F]`` or ``[n, F]``, NaN where something was not measured. Classes may have different numbers.

        Raises:
            InputError: no rows of numbers, other columns than before, or more classes than the learner has; nothing is
                changed then.
        """
        if not isinstance(patients, Mapping) or not patients:
            expected = "class names with the rows of each, such as {'ill': rows, 'well': rows}"
            raise InputError(key="patients", given=patients, expected=expected)
        made, columns = dict(self._patients), self._columns
        for name, given in patients.items():
            rows = _rows(given, f"the patients of {name!r}", columns)
            columns = rows.shape[1]
            made[name] = np.concatenate([made[name], rows]) if name in made else rows
        if columns is not None and columns > self.features:
            raise InputError(key="columns", given=columns, expected=f"at most {self.features}, the run's data.features")
        self._ready = self.learner.resized(len(made), sum(map(len, made.values())))
        self._patients = made

    @torch.no_grad()
    def predict(self, queries: Any) -> list[Prediction]:
        """The diagnosis of each patient ``[F]`` or ``[Q, F]``, each answered alone.

        Raises:
            InputError: no rows of as many numbers as the remembered patients have, or fewer than two classes.
        """
        logits = self._ready(*self._episode(queries))[0, :, : len(self._patients)]
        shares = (logits - logits.logsumexp(1, keepdim=True)).exp()
        names = list(self._patients)
        made = []
        for row in shares.tolist():
            ranked = dict(sorted(zip(names, row, strict=True), key=lambda pair: -pair[1]))
            made.append(Prediction(*next(iter(ranked.items())), ranked))
        return made

    def recalled(self, query: Any) -> list[Recalled]:
        """Which remembered patients were read for a new one ``[F]``, with their weights, the most important first.

        Raises:
            InputError: as :meth:`predict`, more than one patient, or a learner that doesn't weigh single patients.
        """
        episode = self._episode(query)
        if len(episode[2][0]) != 1:
            raise InputError(key="query", given=f"{len(episode[2][0])} patients", expected="one")
        weights = self._ready.weights(*episode)
        if weights is None or weights.shape[2] != len(episode[1][0]):
            problem = f"a {type(self.learner).__name__} as it was trained gives no weights of single patients"
            raise InputError(problem, key="recalled", expected="readout 'votes', as in the preset diagnosis")
        places = [(name, place) for name, rows in self._patients.items() for place in range(len(rows))]
        read = [Recalled(*place, None, weight) for place, weight in zip(places, weights[0, 0].tolist(), strict=True)]
        return sorted(read, key=lambda one: -one.weight)

    @property
    def _columns(self) -> int | None:
        return next((rows.shape[1] for rows in self._patients.values()), None)

    def _episode(self, queries: Any) -> tuple[Floats, Ints, Floats]:
        """The remembered patients by class ``[1, S, features]``, their labels, and the queries ``[1, Q, features]``."""
        if len(self._patients) < 2:
            given = f"{len(self._patients)} remembered classes"
            raise InputError(key="the memory", given=given, expected="2 or more", remedy="call remember")
        asked = _rows(queries, "the query", self._columns)
        known = filled(np.concatenate(list(self._patients.values())), self.features)
        labels = np.repeat(np.arange(len(self._patients)), [len(rows) for rows in self._patients.values()])
        return known[None], labels[None], filled(asked, self.features)[None]

    def __repr__(self) -> str:
        return f"CaseMemory({self.learner!r}, {len(self._patients)} classes remembered)"


def _rows(given: Any, name: str, columns: int | None) -> Floats:
    """Rows ``[n, F]`` float32."""
    try:
        rows: Floats = np.asarray(given, np.float32)
    except (TypeError, ValueError):
        raise InputError(
            key=name, given=type(given).__name__, expected="numbers [F] or [n, F], NaN if unknown"
        ) from None
    rows = rows[None] if rows.ndim == 1 else rows
    if rows.ndim != 2 or 0 in rows.shape or np.isinf(rows).any():
        problem = f"{name} has shape {list(rows.shape)}" if not np.isinf(rows).any() else f"{name} has infinite numbers"
        raise InputError(problem, key=name, expected="finite numbers [F] or [n, F], NaN if unknown")
    if columns is not None and rows.shape[1] != columns:
        problem = f"{name} has {rows.shape[1]} columns"
        raise InputError(problem, key=name, expected=f"{columns}, as the remembered patients have")
    return rows
