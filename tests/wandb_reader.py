"""Reads what wandb wrote offline: a LevelDB-style log of protobuf records, a private format, so for tests only."""

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HEADER = 7  # the file's: magic and version; also each chunk's: checksum, length, kind
BLOCK = 32768
FULL, FIRST, LAST = 1, 2, 4


def records(path: Path) -> Iterator[Any]:
    """The protobuf records of a ``.wandb`` file, in the order written."""
    from wandb.proto import wandb_internal_pb2

    data, position, record = path.read_bytes(), HEADER, b""
    assert data[:4] == b":W&B", f"{path} is no wandb file"
    while position + HEADER <= len(data):
        left = BLOCK - position % BLOCK
        if left < HEADER:  # padding: a chunk never crosses a block
            position += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, position)
        chunk = data[position + HEADER : position + HEADER + length]
        position += HEADER + length
        record = chunk if kind in (FULL, FIRST) else record + chunk
        if kind in (FULL, LAST):
            message = wandb_internal_pb2.Record()
            message.ParseFromString(record)
            yield message


def items(entries: Any) -> dict[str, Any]:
    """Key and value of history rows, configurations or summaries; nested keys are joined by a slash."""
    return {"/".join(entry.nested_key) or entry.key: json.loads(entry.value_json) for entry in entries}


def own(row: dict[str, Any]) -> dict[str, Any]:
    """Without what W&B adds."""
    return {name: value for name, value in row.items() if not name.startswith("_")}


def logged(folder: Path, kind: str) -> list[Any]:
    """The records of a kind in the only offline run of a run folder."""
    (path,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    return [getattr(record, kind) for record in records(path) if record.HasField(kind)]


def history(folder: Path) -> list[dict[str, Any]]:
    return [own(items(row.item)) for row in logged(folder, "history")]


def summary(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for record in logged(folder, "summary"):
        found |= items(record.update)
    return found


def artifacts(folder: Path) -> list[Any]:
    asked = [r.log_artifact.artifact for r in logged(folder, "request") if r.HasField("log_artifact")]
    return asked + logged(folder, "artifact")


def at_home(base: Path) -> dict[str, str]:
    """The environment in which W&B keeps its own files below a folder."""
    return {"HOME": str(base), "WANDB_DATA_DIR": str(base / "data"), "WANDB_CACHE_DIR": str(base / "cache")}
