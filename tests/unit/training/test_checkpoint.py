"""Checkpoints: whole, without pickle, and refused in one line where they are damaged."""

import hashlib
import inspect
import json
import pickle
import random
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces

from metarl.training import checkpoint, space_data
from metarl.training.checkpoint import CheckpointError, read_checkpoint, write_checkpoint

SMALL: dict[str, Any] = {"dtype": np.uint8}  # since Gymnasium 1.3
META = {"kind": "toy", "numbers": {"big": 2**120, "small": 1e-300}, "text": "RL²", "none": None}
GROUPS = {
    "weights": {"a": torch.arange(6.0).view(2, 3), "scalar": torch.tensor(3), "flags": torch.tensor([True, False])},
    "empty": {},
}


def written(path: Path) -> Path:
    return write_checkpoint(path / "agent.zip", META, GROUPS)


def test_round_trip(tmp_path: Path) -> None:
    meta, groups = read_checkpoint(written(tmp_path / "new" / "folder"))
    assert meta == META
    assert groups["empty"] == {}
    for name, tensor in GROUPS["weights"].items():
        assert torch.equal(groups["weights"][name], tensor)
        assert groups["weights"][name].dtype == tensor.dtype


def test_tied_and_strided_tensors_are_written_each_on_its_own(tmp_path: Path) -> None:
    base = torch.arange(12.0).view(3, 4)
    tensors = {"whole": base, "again": base, "turned": base.t(), "part": base[:, 1:3]}
    _, groups = read_checkpoint(write_checkpoint(tmp_path / "tied.zip", {}, {"g": tensors}))
    assert all(torch.equal(groups["g"][name], tensor) for name, tensor in tensors.items())


def refused(path: Path, key: str | None = None) -> CheckpointError:
    """The error, of one line with the path, about ``key``: by default the file itself."""
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    assert caught.value.key == (key or str(path))
    return caught.value


def test_a_missing_file_and_other_files_are_refused(tmp_path: Path) -> None:
    refused(tmp_path / "nothing.zip")
    refused(tmp_path)
    for name, content in (("empty", b""), ("text", b"hello\n"), ("json", b"{}")):
        path = tmp_path / name
        path.write_bytes(content)
        refused(path)


def test_every_truncated_file_is_refused(tmp_path: Path) -> None:
    content = written(tmp_path).read_bytes()
    path = tmp_path / "short.zip"
    for length in range(0, len(content), 13):
        path.write_bytes(content[:length])
        refused(path)


def test_a_flipped_bit_is_refused_or_harmless(tmp_path: Path) -> None:
    """One bit of every byte in turn: the content comes back unchanged, or there is an error of one line."""
    content = bytearray(written(tmp_path).read_bytes())
    path = tmp_path / "flipped.zip"
    rng, refusals = random.Random(0), 0
    for place in range(len(content)):
        bit = 1 << rng.randrange(8)
        content[place] ^= bit
        path.write_bytes(content)
        message = ""
        try:
            meta, groups = read_checkpoint(path)
        except CheckpointError as error:
            message = str(error)
            refusals += 1
        else:
            assert meta == META
            assert torch.equal(groups["weights"]["a"], GROUPS["weights"]["a"])
        assert "\n" not in message
        content[place] ^= bit
    assert refusals > 0.7 * len(content)


def test_a_replaced_part_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    parts["weights.safetensors"] = parts["weights.safetensors"][:-1] + b"\x01"
    with zipfile.ZipFile(path, "w") as archive:
        for name, part in parts.items():
            archive.writestr(name, part)
    refused(path, "weights.safetensors")


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> Any:
        return Path.touch, (self.canary,)


def test_nothing_is_ever_unpickled(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    trap = pickle.dumps(Trap(canary))
    for names in (("data.pkl",), ("checkpoint.json",), ("archive/data.pkl", "archive/version")):
        path = tmp_path / "trap.zip"
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.writestr(name, trap)
        refused(path)
    path = written(tmp_path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("data.pkl", trap)
    refused(path)
    path.write_bytes(trap)
    refused(path)
    saved = tmp_path / "torch.zip"
    torch.save({"weights": torch.zeros(2), "trap": Trap(canary)}, saved)
    refused(saved)
    assert not canary.exists()
    pickle.loads(trap)
    assert canary.exists(), "the trap itself works"


def test_other_formats_and_damaged_heads_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.zip"

    def write(head: Any) -> Path:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("checkpoint.json", json.dumps(head))
        return path

    for number, words in ((1, ("earlier version", "train again")), (3, ("later version",))):
        error = refused(write({"format": number, "meta": {}, "sha256": {}}), "format")
        assert error.given == number
        assert all(word in str(error) for word in words)
    whole = {"format": checkpoint.FORMAT, "meta": {}}
    for sums in (["x"], {"missing.safetensors": "0"}):
        refused(write(whole | {"sha256": sums}))
    for head in ([], "text", {}, whole):
        refused(write(head))


def test_a_member_that_is_too_large_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "MAX_BYTES", 10)
    refused(written(tmp_path), "checkpoint.json")


def test_a_bomb_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    for compression, key in ((zipfile.ZIP_DEFLATED, "checkpoint.json"), (zipfile.ZIP_LZMA, "checkpoint.json")):
        with zipfile.ZipFile(path, "w", compression) as archive:
            archive.writestr("checkpoint.json", b"[" * 10**6)
        refused(path, key)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("checkpoint.json", b"[" * 10**5)
    refused(path)
    content = (2**62).to_bytes(8, "little") + b"{}"
    head = {"format": checkpoint.FORMAT, "meta": {}, "sha256": {"g.safetensors": hashlib.sha256(content).hexdigest()}}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("checkpoint.json", json.dumps(head))
        archive.writestr("g.safetensors", content)
    refused(path, "g.safetensors")


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path)
    old = path.read_bytes()

    def full(*_: Any) -> None:
        raise OSError("no space left on device")

    calls = iter([zipfile.ZipFile.writestr, full])
    monkeypatch.setattr(zipfile.ZipFile, "writestr", lambda self, *a: next(calls)(self, *a))
    with pytest.raises(OSError, match="no space"):
        write_checkpoint(path, {"kind": "new"}, GROUPS)
    monkeypatch.undo()
    with pytest.raises(TypeError, match="not JSON serializable"):
        write_checkpoint(path, {"kind": object()}, GROUPS)
    assert path.read_bytes() == old
    assert [p.name for p in tmp_path.iterdir()] == ["agent.zip"]


@pytest.mark.parametrize(
    "space",
    [
        spaces.Discrete(3, start=-1),
        *([spaces.Discrete(5, **SMALL)] if "dtype" in inspect.signature(spaces.Discrete).parameters else []),
        spaces.Box(-np.inf, np.inf, (2, 2), np.float32),
        spaces.Box(np.array([0.1, -1e-30], np.float32), np.array([0.2, 3e38], np.float32)),
        spaces.Box(0.1, 0.3, (1,), np.float64),
        spaces.Box(-1, 1, (), np.float32),
        spaces.Box(0, 255, (8, 6, 3), np.uint8),
        spaces.Box(-(2**63), 2**63 - 1, (2,), np.int64),
        spaces.Box(np.array([[0, 3]], np.uint8), np.array([[255, 7]], np.uint8)),
        spaces.MultiDiscrete(np.array([[2, 3], [4, 5]]), dtype=np.int32, start=np.array([[0, -1], [7, 2]])),
        spaces.MultiBinary([2, 3]),
        spaces.Dict({"obs": spaces.Box(0, 1, (2,), np.float32), "b": spaces.Dict({"c": spaces.Discrete(2)})}),
    ],
    ids=str,
)
def test_spaces_come_back_through_json(space: spaces.Space[Any]) -> None:
    back = space_data.space_from_json(json.loads(json.dumps(space_data.space_to_json(space), allow_nan=False)))
    assert back == space
    assert back.dtype == space.dtype
    if isinstance(space, spaces.Box):
        assert np.array_equal(back.low, space.low)  # equal boxes may differ by rounding
        assert np.array_equal(back.high, space.high)


def test_a_space_that_cannot_be_saved_is_refused() -> None:
    with pytest.raises(CheckpointError, match="Text") as caught:
        space_data.space_to_json(spaces.Dict({"obs": spaces.Text(3)}))
    assert caught.value.key == "space"


BOX = {"kind": "Box", "low": ["0"], "high": ["1"], "shape": [2], "dtype": "float32"}


@pytest.mark.parametrize(
    "data",
    [
        *([], "text", None, {}, {"kind": "Text"}, {"kind": "Dict", "spaces": [1]}, {"kind": ["Box"]}),
        *({**BOX, **change} for change in ({"shape": [10**10]}, {"shape": [10**5] * 3}, {"shape": [-1]}, {"shape": 2})),
        *({**BOX, **change} for change in ({"low": ["nan"]}, {"low": [[]]}, {"low": []}, {"low": ["0"] * 3})),
        *({**BOX, "dtype": dtype} for dtype in ("object", "V1000000000", "U9", "M8[s]", None, "os:system")),
        *({"kind": "Discrete", "n": n, "start": 0, "dtype": "int64"} for n in (10**11, 0, -1, 1.5, "3", True, 10**300)),
        {"kind": "Discrete", "n": 2, "start": 10**30, "dtype": "int64"},
        {"kind": "MultiDiscrete", "nvec": [10**9, 10**9], "start": [0, 0], "dtype": "int64"},
        {"kind": "MultiBinary", "n": [10**5, 10**5]},
        {"kind": "Dict", "spaces": {str(i): BOX for i in range(10_001)}},
        {"kind": "Dict", "spaces": {str(i): {**BOX, "shape": [10**7]} for i in range(11)}},
    ],
    ids=lambda data: str(data)[:60],
)
def test_a_space_that_is_none_or_too_large_is_refused(data: Any) -> None:
    with pytest.raises(CheckpointError) as caught:
        space_data.space_from_json(data, "a.zip: space")
    assert caught.value.key == "a.zip: space"


def test_arrays_are_taken_out_of_plain_data_and_put_back() -> None:
    data = {"rng": {"state": 2**100}, "rows": np.arange(3), "deep": {"t": torch.ones(2), "n": None}, "flag": True}
    arrays: dict[str, torch.Tensor] = {}
    plain = checkpoint.split_arrays(data, arrays)
    assert set(arrays) == {"rows", "deep.t"}
    back = checkpoint.join_arrays(json.loads(json.dumps(plain)), arrays)
    assert back["rng"] == data["rng"]
    assert back["flag"] is True
    assert back["rows"].tolist() == [0, 1, 2]
    assert back["deep"]["t"].tolist() == [1, 1]


def test_text_that_could_not_be_read_again_is_refused_and_the_old_file_stays(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "x.zip", {"name": "café"}, {})
    with pytest.raises(ValueError, match="surrogates"):
        write_checkpoint(path, {"name": "caf\udce9"}, {})
    assert read_checkpoint(path)[0] == {"name": "café"}
