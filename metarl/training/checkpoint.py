"""Checkpoints without pickle: a zip of JSON and safetensors, written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from safetensors.torch import load, save
from torch import Tensor

from metarl.config import InputError
from metarl.files import replacing
from metarl.types import Array

FORMAT = 2
_EXPECTED = "a file written by save()"
MAX_BYTES = 8 * 2**30  # members larger than this are refused before they are read


class CheckpointError(InputError):
    """A checkpoint is missing, damaged, or of another kind or version."""


def write_checkpoint(path: str | Path, meta: Mapping[str, Any], groups: Mapping[str, Mapping[str, Tensor]]) -> Path:
    """Write plain data and tensors to a file; an interrupted write leaves the old file as it was.

    Args:
        path: of the file; its folder is created if missing.
        meta: what JSON can hold.
        groups: named groups of tensors ``[...]`` by name.

    Returns:
        The path.

    Raises:
        TypeError: ``meta`` has values that JSON has no form for.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    members = {f"{name}.safetensors": save({k: alone(v) for k, v in g.items()}) for name, g in groups.items()}
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in members.items()}
    head = {"format": FORMAT, "meta": dict(meta), "sha256": digests}
    with replacing(path) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("checkpoint.json", json.dumps(head))
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def read_checkpoint(path: str | Path) -> tuple[dict[str, Any], dict[str, dict[str, Tensor]]]:
    """Read what :func:`write_checkpoint` wrote.

    Returns:
        ``meta`` and ``groups``, with tensors ``[...]`` on the CPU.

    Raises:
        CheckpointError: the file is missing, damaged, too large, of another version, or no checkpoint of this package.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"there is no checkpoint at {path}", key=str(path), expected=_EXPECTED)
    try:
        with zipfile.ZipFile(path) as archive:
            head = json.loads(_member(archive, "checkpoint.json", path))
            if head["format"] != FORMAT:
                earlier = head["format"] < FORMAT
                problem = f"{path} was made by {'an earlier' if earlier else 'a later'} version of metarl"
                remedy = "train again" if earlier else "use that version"
                raise CheckpointError(problem, key="format", given=head["format"], remedy=remedy)
            groups = {}
            for name, digest in head["sha256"].items():
                content = _member(archive, name, path)
                if hashlib.sha256(content).hexdigest() != digest:
                    problem = f"checkpoint {path} is damaged: {name} is not what was written"
                    raise CheckpointError(problem, key=name, remedy="use another one")
                groups[name.removesuffix(".safetensors")] = load(content)
            return head["meta"], groups
    except CheckpointError:
        raise
    except Exception as error:  # a damaged file makes zip, JSON and safetensors raise almost anything
        problem = f"{path} is damaged or no metarl checkpoint ({type(error).__name__}: {error})"
        raise CheckpointError(problem, key=str(path), expected=_EXPECTED) from error


def alone(tensor: Tensor) -> Tensor:
    """A copy ``[...]`` that shares no memory, as safetensors requires; parameters may be tied."""
    return tensor.detach().clone(memory_format=torch.contiguous_format)


def _member(archive: zipfile.ZipFile, name: str, path: Path) -> bytes:
    size = archive.getinfo(name).file_size
    if size > MAX_BYTES:
        problem = f"{name} in {path} has {size} bytes"
        raise CheckpointError(problem, key=name, given=size, expected=f"at most {MAX_BYTES}")
    return archive.read(name)


def space_to_json(space: spaces.Space[Any]) -> dict[str, Any]:
    """A Box, Discrete, MultiDiscrete, MultiBinary or Dict space as plain data.

    Raises:
        CheckpointError: a space of another kind.
    """
    if isinstance(space, spaces.Dict):
        return {"kind": "Dict", "spaces": {k: space_to_json(s) for k, s in space.spaces.items()}}
    if isinstance(space, spaces.Discrete):
        return {"kind": "Discrete", "n": int(space.n), "start": int(space.start), "dtype": str(space.dtype)}
    if isinstance(space, spaces.MultiDiscrete):
        start = space.start.tolist()
        return {"kind": "MultiDiscrete", "nvec": space.nvec.tolist(), "start": start, "dtype": str(space.dtype)}
    if isinstance(space, spaces.MultiBinary):
        return {"kind": "MultiBinary", "n": space.n if isinstance(space.n, int) else list(space.n)}
    if isinstance(space, spaces.Box):
        low, high = (_bound(bound) for bound in (space.low, space.high))
        return {"kind": "Box", "low": low, "high": high, "shape": list(space.shape), "dtype": str(space.dtype)}
    expected = "Box, Discrete, MultiDiscrete, MultiBinary, or a Dict of these"
    raise CheckpointError(f"cannot save the space {space}", key="space", given=space, expected=expected)


def _bound(bound: Array) -> list[str]:
    """One side of a Box, once if it is the same everywhere; as strings, because JSON has no inf."""
    flat = bound.ravel()
    return [str(x) for x in (flat[:1] if flat.size and (flat == flat[0]).all() else flat)]


def space_from_json(data: Mapping[str, Any]) -> spaces.Space[Any]:
    """The inverse of :func:`space_to_json`."""
    if data["kind"] == "Dict":
        return spaces.Dict({k: space_from_json(s) for k, s in data["spaces"].items()})
    if data["kind"] == "MultiBinary":
        return spaces.MultiBinary(data["n"])
    dtype: Any = np.dtype(data["dtype"]).type
    if data["kind"] == "Discrete":
        other: Any = {} if dtype is np.int64 else {"dtype": dtype}  # Gymnasium 1.2 has no other
        return spaces.Discrete(data["n"], start=data["start"], **other)
    if data["kind"] == "MultiDiscrete":
        return spaces.MultiDiscrete(np.array(data["nvec"]), dtype=dtype, start=np.array(data["start"]))
    shape = data["shape"]
    sides = (np.array(data[b]).astype(dtype) for b in ("low", "high"))  # exact, for large integers too
    low, high = (side.reshape(shape) if side.size > 1 else np.full(shape, side[0]) for side in sides)
    return spaces.Box(low, high, dtype=dtype)


def optimizer_to_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's state: tensors ``[...]`` by ``INDEX.NAME``, with the index of the parameter."""
    state = optimizer.state_dict()["state"]
    return {f"{i}.{name}": torch.as_tensor(value) for i, slots in state.items() for name, value in slots.items()}


def optimizer_from_tensors(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """The inverse of :func:`optimizer_to_tensors`, into an optimiser of the same parameters.

    Args:
        optimizer: changed in place.
        tensors: ``[...]`` by ``INDEX.NAME``.
    """
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        i, name = key.split(".", 1)
        state.setdefault(int(i), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def split_arrays(data: Any, arrays: dict[str, Tensor], at: str = "") -> Any:
    """Replace the arrays in nested plain data by their names.

    Args:
        data: nested mappings of plain data, NumPy arrays and tensors ``[...]``.
        arrays: the arrays are added to it as tensors, by the path of their keys.
        at: the path of ``data``.

    Returns:
        ``data`` with ``{"tensor": NAME}`` in place of each array.
    """
    if isinstance(data, np.ndarray | Tensor):
        arrays[at] = torch.as_tensor(data)
        return {"tensor": at}
    if isinstance(data, Mapping):
        return {k: split_arrays(v, arrays, f"{at}.{k}" if at else k) for k, v in data.items()}
    return data


def join_arrays(data: Any, arrays: Mapping[str, Tensor]) -> Any:
    """The inverse of :func:`split_arrays`: plain data ``data`` with NumPy arrays ``[...]`` from ``arrays``."""
    if isinstance(data, Mapping):
        if set(data) == {"tensor"}:
            return arrays[data["tensor"]].numpy()
        return {k: join_arrays(v, arrays) for k, v in data.items()}
    return data
