"""Episodes of patients: each is about one disease, its two classes are who has it and who has not.

An example is a row of numbers, one for each thing that was measured, NaN where it is unknown. Rows of tables with fewer
columns than others are filled up with NaN.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from metarl.config import InputError
from metarl.data.diseases import Cohort
from metarl.data.sources import FewShotSource
from metarl.types import Floats


class Tables(FewShotSource):
    """Episodes of tables of patients: a disease is drawn, one of its tables, and patients of it.

    Args:
        cohorts: the tables.
        features: columns of an example, at least as many as the widest table has.

    Raises:
        InputError: no table, or a wider one.
    """

    classes = 2

    def __init__(self, cohorts: Sequence[Cohort], features: int) -> None:
        if not cohorts:
            raise InputError(key="cohorts", given=cohorts, expected="one table or more")
        widest = max(cohorts, key=lambda one: one.x.shape[1])
        if widest.x.shape[1] > features:
            expected = f"{widest.x.shape[1]} or more, the columns of the table of {widest.table.disease}"
            raise InputError(key="data.features", given=features, expected=expected)
        self.shape = (features,)
        self.per_class = min(min(int(one.ill.sum()), int((~one.ill).sum())) for one in cohorts)
        self._by_disease: dict[str, list[tuple[Floats, Floats]]] = {}
        for one in cohorts:
            pair = tuple(filled(one.x[chosen], features) for chosen in (~one.ill, one.ill))
            self._by_disease.setdefault(one.table.disease, []).append((pair[0], pair[1]))

    def draw(self, rng: np.random.Generator, n: int, ways: int, count: int) -> Floats:
        """See :meth:`FewShotSource.draw`."""
        out = np.empty((n, ways, count, *self.shape), np.float32)
        diseases = list(self._by_disease.values())
        for episode in range(n):
            tables = diseases[rng.integers(len(diseases))]
            pair = tables[rng.integers(len(tables))]
            for place, one in enumerate(rng.permutation(2)[:ways]):
                out[episode, place] = pair[one][rng.permutation(len(pair[one]))[:count]]
        return out

    def _described(self) -> dict[str, object]:
        return {"diseases": list(self._by_disease), "features": self.shape[0]}


def filled(x: Floats, features: int) -> Floats:
    """Rows ``[n, F]`` filled up with NaN to ``[n, features]``."""
    return np.pad(x, ((0, 0), (0, features - x.shape[1])), constant_values=np.nan)
