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
