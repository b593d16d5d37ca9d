"""Damaged and hostile run folders, read by eval, report and open_run: ``python scripts/damaged_files.py``.

A small agent is trained once. Copies of its run folder are then damaged, one file each: truncated, one bit flipped, one
digit changed, 512 bytes zeroed, a field of another type, an absurd number; or a hostile file takes the place of one.
The last three have a manifest that agrees too. All are read in one process that may take 1 GiB more memory than at its
start. The counts go into docs/results/reliability.json: what was named in one line, what was believed, and what ended
in a traceback.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import multiprocessing
import os
import pickle
import random
import resource
import shutil
import sys
import tempfile
import traceback
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from results.rows import ROOT, Row, commit, upsert

import metarl
from metarl.cli.main import main as metarl_main
from metarl.config import InputError
from metarl.files import MANIFEST, replacing
from metarl.training.checkpoint import read_checkpoint, write_checkpoint

ROWS = ROOT / "docs" / "results" / "reliability.json"
SMALL = {"train.total_timesteps": 400, "train.n_envs": 4, "env.pulls": 20, "env.arms": 3, "eval.trials": 20}
SMALL |= {"eval.tuning_trials": 20, "eval.rows": 20}
FILES = ("config.json", "meta.json", "evaluation.json", "metrics.jsonl", "trials.npz", "checkpoint.zip")
TEXTS = ("config.json", "meta.json", "evaluation.json", "metrics.jsonl", "status.json")  # the last has no checksum
AGREED = "in a manifest that agrees"
FREE = ("env_options",)  # of an evaluation: what a family was made with, which only the family itself could type
ABSURD = (1e300, -1e300, 10**300, float("nan"))
MEMORY = 2**30  # bytes more than at the start
EVIL = "import pathlib\npathlib.Path({mark!r}).touch()\n"
Damage = Callable[[random.Random, bytes], bytes]
Hostile = tuple[str, Callable[[Path], object]]


def truncated(rng: random.Random, content: bytes) -> bytes:
    return content[: rng.randrange(len(content))]


def flipped(rng: random.Random, content: bytes) -> bytes:
    place = rng.randrange(len(content))
    return content[:place] + bytes([content[place] ^ (1 << rng.randrange(8))]) + content[place + 1 :]


def digit(rng: random.Random, content: bytes) -> bytes:
    place = rng.choice([i for i, byte in enumerate(content) if 48 <= byte <= 57])
    other = rng.choice([byte for byte in range(48, 58) if byte != content[place]])
    return content[:place] + bytes([other]) + content[place + 1 :]


def zeroed(rng: random.Random, content: bytes) -> bytes:
    place = rng.randrange(len(content))
    gap = min(512, len(content) - place)
    return content[:place] + bytes(gap) + content[place + gap :]


DAMAGES: dict[str, Damage] = {
    "truncated": truncated,
    "one bit flipped": flipped,
    "one digit changed": digit,
    "512 bytes zeroed": zeroed,
}


def changed_field(rng: random.Random, content: bytes, kinds: tuple[type, ...], values: Sequence[Any]) -> bytes:
    """One field of these ``kinds``, of JSON or of the last whole line, with one of the values of another kind."""
    *before, line = content.splitlines(keepends=True) if b"}\n{" in content else (content,)
    data = json.loads(line)
    fields = [place for place in places(data) if isinstance(place[0][place[1]], kinds)]
    table, key = rng.choice(fields)
    kind = kind_of(table[key])
    table[key] = rng.choice([value for value in values if kind_of(value) != kind or value in ABSURD or value != value])
    return b"".join(before) + json.dumps(data).encode() + b"\n"


def places(data: Any) -> Iterator[tuple[Any, Any]]:
    """Tables and lists with each key of theirs, nested ones too."""
    for key, value in data.items() if isinstance(data, dict) else enumerate(data):
        yield data, key
        if isinstance(value, dict | list) and key not in FREE:
            yield from places(value)


def kind_of(value: Any) -> str:
    """The kind of a value in JSON."""
    names = {bool: "true or false", int: "number", float: "number", str: "text", list: "list", dict: "table"}
    return names.get(type(value), "null")


def retyped(rng: random.Random, content: bytes) -> bytes:
    """A field with a value of another type; null may stand for any, so neither is it changed nor put in."""
    values = [True, -1, 1.5, "text", [1], [[]], {"a": [1]}]
    return changed_field(rng, content, (bool, int, float, str, list, dict), values)


def absurd(rng: random.Random, content: bytes) -> bytes:
    """A number that no run has."""
    return changed_field(rng, content, (int, float), ABSURD)


FIELDS: dict[str, Damage] = {"a field of another type": retyped, "an absurd number": absurd}


def put(name: str, content: bytes) -> Callable[[Path], None]:
    """A file in a run folder, and in its manifest."""

    def write(run: Path) -> None:
        with replacing(run / name) as temporary:
            temporary.write_bytes(content)

    return write


def edited(name: str, *keys: str, value: Any) -> Callable[[Path], None]:
    """A value in a file of JSON, and in the manifest."""

    def write(run: Path) -> None:
        data = json.loads((run / name).read_text())
        table = data
        for key in keys[:-1]:
            table = table[key]
        table[keys[-1]] = value
        put(name, json.dumps(data).encode())(run)

    return write


def saved(change: Callable[[Any, Any], object]) -> Callable[[Path], None]:
    """A checkpoint with right checksums after ``change(meta, groups)``."""

    def write(run: Path) -> None:
        meta, groups = read_checkpoint(run / "checkpoint.zip")
        change(meta, groups)
        write_checkpoint(run / "checkpoint.zip", meta, groups)

    return write


def zipped(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED, zeros: int = 0) -> bytes:
    """A zip of ``members``, each followed by so many zeros."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", compression) as archive:
        for name, content in members.items():
            with archive.open(name, "w", force_zip64=True) as file:
                file.write(content)
                for _ in range(zeros >> 20):
                    file.write(bytes(2**20))
    return made.getvalue()


def npy(shape: str, descr: str = "<f8") -> bytes:
    text = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


class Trap:
    """Leaves a mark when it is unpickled."""

    def __init__(self, mark: str) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path(self.mark).touch, ()


def linked(run: Path) -> None:
    (run / "trials.npz").unlink()
    (run / "trials.npz").symlink_to("/dev/zero")


def hostile(mark: str) -> Iterator[Hostile]:
    """Kinds of hostile files, and what makes one of a run folder."""
    imports = "imports"
    known = {"id": "CartPole-v1"}
    for env in (known | {"import": ["evil_here"]}, known | {"wrap": "evil_here:Wrapper"}, {"id": "evil_here:A-v0"}):
        yield imports, edited("config.json", "env", value=env)
    yield imports, edited("config.json", "env", value={"id": ["evil_here:A-v0", "evil_here:B-v0"]})
    yield imports, edited("config.json", "policy", "encoder", value="evil_here:make")
    for key in ("store", "controller", "access"):

        def claim(meta: Any, groups: Any, key: str = key) -> None:
            meta["memory"][key] = "evil_here:X"

        yield imports, saved(claim)
    yield imports, saved(lambda meta, groups: meta["ppo"].update(tensorboard_log="/tmp/stranger"))
    trap = pickle.dumps(Trap(mark))
    objects, whole = io.BytesIO(), io.BytesIO()
    np.savez(objects, rewards=np.array([Trap(mark)], dtype=object))
    torch.save({"trap": Trap(mark)}, whole)
    for content in (trap, whole.getvalue(), zipped({"data.pkl": trap}), zipped({"checkpoint.json": trap})):
        yield "pickles", put("checkpoint.zip", content)
    for content in (trap, objects.getvalue(), whole.getvalue()):
        yield "pickles", put("trials.npz", content)
    packed, size = zipfile.ZIP_DEFLATED, 3 * 2**29
    yield "bombs", put("checkpoint.zip", zipped({"checkpoint.json": b""}, packed, size))
    yield "bombs", put("checkpoint.zip", zipped({"checkpoint.json": b"", "policy.safetensors": b""}, packed, size))
    yield "bombs", put("trials.npz", zipped({"rewards.npy": npy(f"({size},)", "|b1")}, packed, size))
    several = {f"{i}.npy": npy(f"({2**26},)") for i in range(3)}
    yield "bombs", put("trials.npz", zipped(several, packed, 2**29))
    yield "links", linked
    for name in ("config.json", "evaluation.json", "metrics.jsonl", "checkpoint.zip", "meta.json"):

        def link(run: Path, name: str = name) -> None:
            (run / name).unlink()
            (run / name).symlink_to("/dev/zero" if name != "checkpoint.zip" else run)

        yield "links", link
    for name in ("config.json", "evaluation.json", "metrics.jsonl", MANIFEST):
        for text in ("[" * 10**5, '{"a":' * 10**4 + "1" + "}" * 10**4):
            yield "deep nesting", put(name, text.encode() + b"\n")
    for seed in (-1, "7", True, 1.9, None, [1]):
        yield "huge claims", edited("config.json", "seed", value=seed)
    for text in ("Infinity", "1e400", "9" * 400, "9" * 5000):
        yield "huge claims", put("metrics.jsonl", f'{{"env_steps": {text}}}\n'.encode())
    for keys in (("memory", "key_size"), ("env", "pulls"), ("train", "n_envs")):
        yield "huge claims", edited("config.json", *keys, value=10**9)
        yield "huge claims", edited("config.json", *keys, value=10**18)
    for shape, descr in (("(10**12,)", "<f8"), ("(1000000000000,)", "<f8"), ("(2,)", "|V2000000000")):
        yield "huge claims", put("trials.npz", zipped({"rewards.npy": npy(shape, descr)}))
    yield "huge claims", saved(lambda meta, groups: meta["memory"].update(key_size=10**9))
    yield "huge claims", saved(lambda meta, groups: meta["action_space"].update(n=10**11))
    box = {"kind": "Box", "low": ["0"], "high": ["1"], "shape": [10**10], "dtype": "float32"}
    yield "huge claims", saved(lambda meta, groups: meta["observation_space"]["spaces"].update(obs=box))
    for group in ("policy", "optimizer"):
        for change in (lambda one: one * torch.nan, lambda one: one.double(), lambda one: torch.stack([one, one])):

            def spoil(meta: Any, groups: Any, group: str = group, change: Any = change) -> None:
                name = next(iter(groups[group]))
                groups[group][name] = change(groups[group][name])

            yield "wrong tensors", saved(spoil)


def read(run: Path) -> str:
    """``named`` where eval, report or open_run says in one line what is wrong, ``believed``, or the traceback.

    A warning counts that names a file; that there is no manifest does not.
    """
    said = False
    for command in (["eval", str(run), "--json"], ["report", str(run)], None):
        out = io.StringIO()
        try:
            with (
                contextlib.redirect_stdout(out),
                contextlib.redirect_stderr(out),
                warnings.catch_warnings(record=True) as noted,
            ):
                warnings.simplefilter("always")
                if command:
                    said |= metarl_main(command) != 0
                else:
                    metarl.open_run(run, device="cpu")
            said |= any(f"{run}{os.sep}" in str(one.message) for one in noted if one.category is UserWarning)
        except InputError:
            said = True
        except SystemExit as end:
            told = out.getvalue()
            if end.code != 2 or told.count("\n") != 1:
                return f"{command}: {told}"
            said = True
        except BaseException:  # whatever it is, it was not named
            return f"{command}: {traceback.format_exc()}"
    return "named" if said else "believed"


def read_all(source: Path, folder: Path, count: int, seed: int, send: Any) -> None:
    """Damage and read copies of the run ``source``; counts by kind and outcome are sent."""
    mark = folder / "mark"
    (folder / "evil_here.py").write_text(EVIL.format(mark=str(mark)))
    os.chdir(folder)
    sys.path.insert(0, str(folder))
    for _ in range(2):
        assert read(source) == "believed"
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    made: dict[str, Counter[str]] = {}
    rng = random.Random(seed)

    def tried(kind: str, change: Callable[[Path], object], what: str) -> None:
        run = folder / "run"
        shutil.copytree(source, run)
        change(run)
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))
        outcome = read(run)
        resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        if outcome not in ("named", "believed"):
            print(f"{kind}, {what}: {outcome}", file=sys.stderr, flush=True)
            outcome = "tracebacks"
        elif outcome == "believed":
            print(f"{kind}, {what}: believed", file=sys.stderr, flush=True)
        made.setdefault(kind, Counter())[outcome] += 1
        shutil.rmtree(run)

    agreed = {f"{kind}, {AGREED}": damage for kind, damage in FIELDS.items()}
    for kind, damage in (DAMAGES | FIELDS | agreed).items():
        names = FILES if kind in DAMAGES else TEXTS if kind in agreed else TEXTS[:-1]
        for number in range(count // 5 if kind in agreed else count):  # those are slow: all is read
            name = names[number % len(names)]
            before = (source / name).read_bytes()
            changed = damage(rng, before)
            while changed == before:
                changed = damage(rng, before)

            def change(run: Path, kind: str = kind, name: str = name, changed: bytes = changed) -> None:
                put(name, changed)(run) if kind in agreed else (run / name).write_bytes(changed)

            tried(kind, change, f"{name} number {number}")
    for number, (kind, harm) in enumerate(hostile(str(mark))):
        tried(f"hostile: {kind}", harm, f"number {number}")
    made["code run"] = Counter({"marks": int(mark.exists())})
    send.send(made)


def goal(outcome: str, count: int) -> tuple[float, float]:
    """Everything is named."""
    wanted = float(count) if outcome == "named" else 0.0
    return wanted, wanted


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=200, help="damaged files of each kind (default 200)")
    parser.add_argument("--seed", type=int, default=0, help="of the damages (default 0)")
    parser.add_argument("--rows", type=Path, default=ROWS, help=f"file of rows (default {ROWS.relative_to(ROOT)})")
    args = parser.parse_args()
    torch.set_num_threads(1)
    began = commit()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place).resolve()
        done = metarl.train("bandit", settings=SMALL, folder=folder / "trained", device="cpu", quiet=True)
        receive, send = multiprocessing.Pipe(duplex=False)
        child = multiprocessing.get_context("fork").Process(
            target=read_all, args=(done.folder.path, folder, args.count, args.seed, send)
        )
        child.start()
        send.close()
        made = receive.recv()
        child.join()
    marks = made.pop("code run")["marks"]
    common: dict[str, Any] = {"se": None, "n_tasks": 0, "seeds": (args.seed,), "references": {}, "train_seconds": 0.0}
    common |= {"train_steps": 0, "commit": began, "command": "python scripts/damaged_files.py"}
    setting = "damaged run folders read by eval, report and open_run"
    rows = [
        Row(
            setting=setting,
            method=f"{kind} ({sum(counts.values())} folders)",
            metric=outcome,
            ours=float(counts[outcome]),
            goal=goal(outcome, sum(counts.values())),
            **common,
        )
        for kind, counts in made.items()
        for outcome in ("named", "believed", "tracebacks")
    ]
    ran: dict[str, Any] = {"metric": "code of a folder that ran", "ours": float(marks), "goal": (0.0, 0.0)}
    rows.append(Row(setting=setting, method="all", **ran, **common))
    upsert(args.rows, *rows, alone=True)
    for row in rows:
        print(f"{row.method:40} {row.metric:12} {row.ours:g}")


if __name__ == "__main__":
    main()
