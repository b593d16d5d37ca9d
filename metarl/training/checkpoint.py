"""Checkpoints without pickle: a zip of JSON and safetensors, written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from metarl.config import InputError, build
from metarl.files import as_path, parse_json, replacing

FORMAT = 2
_EXPECTED = "a file that metarl wrote"
HEAD = "checkpoint.json"
MAX_BYTES = 8 * 2**30  # members larger than this are refused before they are read
MAX_HEAD = 64 * 2**20  # bytes of JSON
OVERHEAD = 1024  # bytes that a zip takes beside each member


class CheckpointError(InputError):
    """A checkpoint is missing, damaged, or of another kind or version."""


def write_checkpoint(
    path: str | Path, meta: Mapping[str, Any], groups: Mapping[str, Mapping[str, Tensor]], half: Sequence[str] = ()
) -> Path:
    """Write plain data and tensors to a file; an interrupted write leaves the old file as it was.

    Args:
        path: of the file; its folder is created if missing.
        meta: what JSON can hold.
        groups: named groups of tensors ``[...]`` by name.
        half: those whose float16 tensors are read as float32, which they were rounded from.

    Returns:
        The path.

    Raises:
        TypeError: ``meta`` has values that JSON has no form for.
        ValueError: it has text that UTF-8 has no form for, so that it could not be read again.
        InputError: what was given is no path.
    """
    path = as_path(path, "the path of the checkpoint")
    members = {f"{name}.safetensors": save({k: alone(v) for k, v in g.items()}) for name, g in groups.items()}
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in members.items()}
    head = {"format": FORMAT, "meta": dict(meta), "sha256": digests} | ({"half": list(half)} if half else {})
    text = json.dumps(head, ensure_ascii=False).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(HEAD, text)
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def read_checkpoint(path: str | Path) -> tuple[dict[str, Any], dict[str, dict[str, Tensor]]]:
    """Read what :func:`write_checkpoint` wrote.

    Returns:
        ``meta`` and ``groups``, with tensors ``[...]`` on the CPU.

    Raises:
        CheckpointError: the file is missing, damaged, too large, of another version, or no checkpoint of this package.
        InputError: what was given is no path.
    """
    path = as_path(path, "the path of the checkpoint")
    if not path.is_file():
        raise CheckpointError(f"there is no file {path}", key=str(path), expected=_EXPECTED)
    try:
        with zipfile.ZipFile(path) as archive:
            _check_sizes(archive, path)
            head = parse_json(archive.read(HEAD))
            if head["format"] != FORMAT:
                earlier = head["format"] < FORMAT
                problem = f"{path} was made by {'an earlier' if earlier else 'a later'} version of metarl"
                remedy = "train again" if earlier else "use that version"
                raise CheckpointError(problem, key="format", given=head["format"], remedy=remedy)
            kept = build(_Head, head, "its head")
            if given := {HEAD, *head["sha256"]} ^ set(archive.namelist()):
                problem = f"{path} is damaged: it has other members than its head says ({', '.join(sorted(given))})"
                raise CheckpointError(problem, key=str(path), given=sorted(given))
            return head["meta"], {
                group: _widened(tensors) if group in kept.half else tensors
                for name, digest in kept.sha256.items()
                for group, tensors in [(name.removesuffix(".safetensors"), _tensors(archive, digest, name, path))]
            }
    except CheckpointError:
        raise
    except Exception as error:  # a damaged file makes zip, JSON and safetensors raise almost anything
        problem = f"{path} is damaged or no metarl checkpoint ({type(error).__name__}: {error})"
        raise CheckpointError(problem, key=str(path), expected=_EXPECTED) from error


@dataclass(frozen=True)
class _Head:
    format: int
    meta: dict[str, Any]
    sha256: dict[str, str]
    half: tuple[str, ...] = ()


def _check_sizes(archive: zipfile.ZipFile, path: Path) -> None:
    """Refuse, before anything is read, members that are compressed or say that they are larger than the file."""
    size, total = path.stat().st_size, 0
    for member in archive.infolist():
        if member.compress_type != zipfile.ZIP_STORED or member.compress_size != member.file_size:
            problem = f"{path} is no metarl checkpoint: {member.filename} is compressed"
            raise CheckpointError(problem, key=member.filename, expected="members that are stored")
        total += member.file_size
        if member.file_size > min(size, MAX_BYTES, MAX_HEAD if member.filename == HEAD else MAX_BYTES):
            problem = f"{member.filename} in {path} has {member.file_size:,} bytes, the whole file {size:,}"
            expected = f"at most {MAX_BYTES:,}, and {MAX_HEAD:,} of {HEAD}"
            raise CheckpointError(problem, key=member.filename, given=member.file_size, expected=expected)
    if not 0 <= size - total <= OVERHEAD * (len(archive.infolist()) + 1):
        problem = f"{path} is damaged: its members have {total:,} bytes, the whole file {size:,}"
        raise CheckpointError(problem, key=str(path), given=total)


def _widened(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors ``[...]``, those of float16 as float32."""
    return {name: one.float() if one.dtype == torch.float16 else one for name, one in tensors.items()}


def _tensors(archive: zipfile.ZipFile, digest: str, name: str, path: Path) -> dict[str, Tensor]:
    """The tensors of a member of a checkpoint."""
    content = archive.read(name)
    if hashlib.sha256(content).hexdigest() != digest:
        problem = f"checkpoint {path} is damaged: {name} is not what was written"
        raise CheckpointError(problem, key=name, remedy="use another one")
    length = int.from_bytes(content[:8], "little")  # of the header, which safetensors reads as JSON
    if length > min(len(content), MAX_HEAD):
        problem = f"{name} in {path} is damaged: its header has {length:,} bytes"
        raise CheckpointError(problem, key=name, given=length, expected=f"at most {MAX_HEAD:,}")
    return load(content)


def check_tensors(given: Mapping[str, Tensor], expected: Mapping[str, Tensor], where: str) -> None:
    """Check that tensors fit those that they are to replace.

    Args:
        given: ``[...]`` by name.
        expected: of the same names, shapes and dtypes; where these are finite, ``given`` must be so too.
        where: what they are from, named first in an error.

    Raises:
        CheckpointError: a name, shape or dtype differs, or a number is not finite.
    """
    for name in (*expected, *given):
        one, wanted = given.get(name), expected.get(name)
        if one is None or wanted is None:
            remedy = "use the checkpoint and the options of one run"
            raise CheckpointError(
                f"{where}: {name} is {'missing' if one is None else 'unknown'}", key=name, remedy=remedy
            )
        if (one.shape, one.dtype) != (wanted.shape, wanted.dtype):
            has, fits = (f"{tuple(tensor.shape)} of {tensor.dtype}" for tensor in (one, wanted))
            raise CheckpointError(f"{where}: {name} is {has}", key=name, given=has, expected=fits)
        if not bool(torch.isfinite(one).all()) and bool(torch.isfinite(wanted).all()):
            raise CheckpointError(
                f"{where}: {name} has numbers that are not finite", key=name, remedy="use another one"
            )


def alone(tensor: Tensor) -> Tensor:
    """A copy ``[...]`` that shares no memory, as safetensors requires; parameters may be tied."""
    return tensor.detach().clone(memory_format=torch.contiguous_format)


def weights_digest(module: nn.Module) -> str:
    """The SHA-256 of the names, shapes, types and numbers of a module's state, wherever it is."""
    found = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        found.update(f"{name} {list(value.shape)} {value.dtype}\n".encode())
        found.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return found.hexdigest()


def optimizer_to_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimiser's state: tensors ``[...]`` by ``INDEX.NAME``, with the index of the parameter."""
    state = optimizer.state_dict()["state"]
    return {f"{i}.{name}": torch.as_tensor(value) for i, slots in state.items() for name, value in slots.items()}


def optimizer_from_tensors(
    optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], where: str = "the optimiser"
) -> None:
    """The inverse of :func:`optimizer_to_tensors`, into an Adam of the same parameters.

    Args:
        optimizer: changed in place.
        tensors: ``[...]`` by ``INDEX.NAME``.
        where: what they are from, named first in an error.

    Raises:
        CheckpointError: a tensor doesn't fit its parameter.
    """
    parameters = [one for group in optimizer.param_groups for one in group["params"]]
    known = {str(i) for i in range(len(parameters))} & {key.partition(".")[0] for key in tensors}
    expected = {f"{i}.{name}": like for i in known for name, like in _adam(parameters[int(i)]).items()}
    check_tensors(tensors, expected, where)
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        i, name = key.split(".", 1)
        state.setdefault(int(i), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _adam(parameter: Tensor) -> dict[str, Tensor]:
    """What Adam keeps of a parameter ``[...]``."""
    return {"step": torch.zeros(()), "exp_avg": parameter.detach(), "exp_avg_sq": parameter.detach()}


def set_generators(generators: Mapping[str, torch.Generator], states: Mapping[str, Tensor], where: str) -> None:
    """Set generators to saved states; one of another kind of device stays as it is.

    Args:
        generators: changed in place.
        states: ``[n]`` uint8 by the same names.
        where: what they are from, named first in an error.

    Raises:
        CheckpointError: a state is missing or damaged.
    """
    kinds = {16, torch.Generator().get_state().numel()}  # bytes of a generator on CUDA, and on the CPU
    for name in generators.keys() | states.keys():
        saved, generator = states.get(name), generators.get(name)
        try:
            if saved is None or generator is None or saved.numel() not in kinds:
                raise ValueError
            check_tensors({name: saved}, {name: torch.zeros(saved.numel(), dtype=torch.uint8)}, where)
            if len(saved) == len(generator.get_state()):
                generator.set_state(saved)
        except (ValueError, RuntimeError):
            raise CheckpointError(f"{where}: {name} is no state of a generator", key=name) from None


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
