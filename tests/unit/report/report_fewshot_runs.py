"""Few-shot run folders with made-up results."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from metarl.report.fewshot_kept import FILE
from metarl.runs.folder import RunFolder

ACCURACY = {(5, 1): 0.99, (5, 5): 0.997, (20, 1): 0.967, (20, 5): 0.991}
BY_INSTANCE = [0.35, 0.82, 0.9, 0.93, 0.95, 0.96, 0.97, 0.975, 0.98, 0.981]


def evaluation(**more: Any) -> dict[str, Any]:
    """Of a prototypical network in the four cells."""
    cells = [
        {"ways": ways, "shots": shots, "queries": 5, "episodes": 1000, "accuracy": share, "se": 0.0005}
        | {"interval": [share - 0.001, share + 0.001]}
        for (ways, shots), share in ACCURACY.items()
    ]
    return {
        "kind": "fewshot",
        "learner": "prototypical",
        "preset": "prototypical",
        "data": "Omniglot (standard split)",
        "real": True,
        "split": "test",
        "transductive": False,
        "norm": "running",
        "rotations": False,
        "within_alphabet": False,
        "distinct_drawers": False,
        "seed": 0,
        "parameters": 111_936,
        "first_order": None,
        "train_seconds": 731.2,
        "train_episodes": 1800,
        "train_seed": 0,
        "note": "",
        "cells": cells,
        "streams": [],
    } | more


def stream(ways: int = 5, labels: str = "one_hot", by_instance: list[float] | None = None) -> dict[str, Any]:
    shares = by_instance or BY_INSTANCE
    return {
        "ways": ways,
        "labels": labels,
        "episodes": 1000,
        "by_instance": shares,
        "by_instance_interval": [[share - 0.01, share + 0.01] for share in shares],
    }


def mann(**more: Any) -> dict[str, Any]:
    """Of a learner of streams."""
    return evaluation(**{"learner": "mann", "preset": "mann", "cells": [], "streams": [stream()], **more})


def sets(
    ways: int = 5, shots: int = 1, n: int = 4, queries: int = 2, weights: str | None = "support"
) -> dict[str, Any]:
    """Episodes whose first query of each is wrong; the most weight is where the answer is."""
    rng = np.random.default_rng(ways + shots)
    support_y = np.stack([rng.permutation(np.repeat(np.arange(ways), shots)) for _ in range(n)])
    query_y = np.stack([rng.permutation(np.repeat(np.arange(ways), queries)) for _ in range(n)])
    predicted = query_y.copy()
    predicted[:, 0] = (predicted[:, 0] + 1) % ways
    arrays = {
        "support_x": rng.integers(0, 256, (*support_y.shape, 8, 8), np.uint8),
        "support_y": support_y,
        "query_x": rng.integers(0, 256, (*query_y.shape, 8, 8), np.uint8),
        "query_y": query_y,
        "predicted": predicted,
    }
    if weights:
        slots = support_y if weights == "support" else np.broadcast_to(np.arange(ways), (n, ways))
        said = (slots[:, None] == predicted[:, :, None]) + 0.1
        arrays["weights"] = (said / said.sum(2, keepdims=True)).astype(np.float16)
    return arrays


def streams(ways: int = 5, labels: str = "one_hot", n: int = 2) -> dict[str, Any]:
    """Streams with one mistake each, at the third step."""
    rng = np.random.default_rng(ways)
    digits = (
        np.arange(ways)[:, None]
        if labels == "one_hot"
        else rng.permuted(np.arange(5 * ways).reshape(ways, 5) % 5, axis=1)
    )
    y = np.stack([rng.permutation(np.repeat(digits, 4, 0)) for _ in range(n)])
    predicted = y.copy()
    predicted[:, 2, 0] = (predicted[:, 2, 0] + 1) % 5
    x = rng.integers(0, 256, (*y.shape[:2], 8, 8), np.uint8)
    return {"stream_x": x, "stream_y": y, "stream_predicted": predicted}


def made(
    path: Path,
    told: dict[str, Any] | None = None,
    *,
    kept: dict[str, Any] | None = None,
    evaluated: bool = True,
    learned: bool = True,
) -> RunFolder:
    """A run of few-shot learning; ``kept``: the arrays of its episodes, an empty dict for none."""
    run = RunFolder.create_at(path)
    told = told or evaluation()
    run.start(
        {"seed": told["train_seed"], "data": {"source": "auto"}, "fit": {"updates": 1800}},
        ["metarl", "fewshot", "train", "prototypical", "--set", "a=<b>&"],
    )
    run.set_status("finished")
    if evaluated:
        run.evaluation.write_text(json.dumps(told))
    if learned:
        rows: list[dict[str, Any]] = [{"episodes": 100 * i, "time": 2.0 * i, "train/loss": 1 / i} for i in range(1, 11)]
        for row in rows[1::2]:
            row["validation/accuracy"] = 1 - 10 / row["episodes"]
        (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    arrays = sets() if kept is None else kept
    if arrays:
        np.savez_compressed(path / FILE, **arrays)
    return run
