"""Few-shot run folders with made-up results."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from metarl.evaluation.records import episodes_file, write_record
from metarl.evaluation.results import CellResult, FewShotEvaluation, StreamResult, write_evaluation
from metarl.runs.folder import RunFolder

ACCURACY = {(5, 1): 0.99, (5, 5): 0.997, (20, 1): 0.967, (20, 5): 0.991}
BY_INSTANCE = [0.35, 0.82, 0.9, 0.93, 0.95, 0.96, 0.97, 0.975, 0.98, 0.981]


def cell(ways: int, shots: int, accuracy: float, **more: Any) -> CellResult:
    interval = (accuracy - 0.001, accuracy + 0.001)
    one = CellResult(ways=ways, shots=shots, queries=5, episodes=1000, accuracy=accuracy, se=0.0005, interval=interval)
    return replace(one, **more)


def evaluation(**more: Any) -> FewShotEvaluation:
    """Of a prototypical network in the four cells."""
    one = FewShotEvaluation(
        learner="prototypical",
        preset="prototypical",
        data="Omniglot (standard split)",
        real=True,
        split="test",
        transductive=False,
        norm="running",
        rotations=False,
        seed=0,
        parameters=111_936,
        cells=tuple(cell(*key, share) for key, share in ACCURACY.items()),
        train_seconds=731.2,
        train_steps=1800,
        train_seed=0,
    )
    return replace(one, **more)


def stream(ways: int = 5, labels: Any = "one_hot", by_instance: list[float] | None = None) -> StreamResult:
    shares = by_instance or BY_INSTANCE
    intervals = tuple((share - 0.01, share + 0.01) for share in shares)
    return StreamResult(
        ways=ways, labels=labels, episodes=1000, by_instance=tuple(shares), by_instance_interval=intervals
    )


def mann(**more: Any) -> FewShotEvaluation:
    """Of a learner of streams."""
    return evaluation(**{"learner": "mann", "preset": "mann", "cells": (), "streams": (stream(),), **more})


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
    told: FewShotEvaluation | None = None,
    *,
    kept: dict[str, Any] | None = None,
    evaluated: bool = True,
    learned: bool = True,
) -> RunFolder:
    """A run of few-shot learning; ``kept``: the arrays of its episodes, an empty dict for none."""
    run = RunFolder.create_at(path)
    told = told or evaluation()
    run.start(
        {"kind": "fewshot", "seed": told.train_seed, "data": {"source": "auto"}, "fit": {"updates": 1800}},
        ["metarl", "train", "prototypical", "--set", "a=<b>&"],
    )
    if evaluated:
        write_evaluation(run, told)
    if learned:
        rows: list[dict[str, Any]] = [{"episodes": 100 * i, "time": 2.0 * i, "train/loss": 1 / i} for i in range(1, 11)]
        for row in rows[1::2]:
            row["validation/accuracy"] = 1 - 10 / row["episodes"]
        (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    arrays = sets() if kept is None else kept
    if arrays:
        write_record(episodes_file(run), arrays)
    run.set_status("finished")
    return run
