"""Whatever bytes or values a file holds, reading it gives a value or an InputError; METARL_FUZZ=1000 tries more."""

import json
import os
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from report_runs import bandit
from report_trials import arrays

from metarl.agents.rl2_meta import AgentMeta, read_meta
from metarl.config import InputError, build, load_toml, parse_assignment, to_plain
from metarl.evaluation.records import read_episodes, read_trials, trials_file, write_record
from metarl.evaluation.results import read_evaluation
from metarl.experiments.presets import from_config, load_experiment
from metarl.files import MANIFEST
from metarl.runs.folder import RunFolder
from metarl.training.checkpoint import read_checkpoint
from metarl.training.space_data import space_from_json

fuzzed = settings(
    max_examples=int(os.environ.get("METARL_FUZZ", "40")),
    database=None,
    deadline=None,
    derandomize="METARL_FUZZ" not in os.environ,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
numbers = st.integers() | st.floats() | st.sampled_from([10**9, -1, 2**63, 10**400, 1e308])
values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def changed(draw: st.DrawFn, whole: Any) -> Any:
    """Nested plain data with another value, or none, at one place."""
    keys = list(whole) if isinstance(whole, dict) else list(range(len(whole))) if isinstance(whole, list) else []
    if not keys or draw(st.integers(0, 4)) == 0:
        return draw(values)
    key = draw(st.sampled_from(keys))
    if isinstance(whole, dict) and draw(st.integers(0, 5)) == 0:
        return {name: value for name, value in whole.items() if name != key}
    parts = dict(whole) if isinstance(whole, dict) else list(whole)
    parts[key] = draw(changed(whole[key]))
    return parts


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """Bytes with some cut out and others put in."""
    start, stop = sorted(draw(st.tuples(*[st.integers(0, len(whole))] * 2)))
    return whole[:start] + draw(st.binary(max_size=20)) + whole[min(stop, start + 40) :]


CONFIG: Any = to_plain(load_experiment("bandit")) | {"kind": "rl2"}
SPACE = {"kind": "Box", "low": ["0"], "high": ["1"], "shape": [2], "dtype": "float32"}
META: Any = {
    "kind": "rl2ppo",
    **{name: CONFIG[name] for name in ("ppo", "memory")},
    "settings": {"n_envs": 1, "n_steps": None, "schedule_steps": 5, "seed": 0, "trial_steps": 4},
    "counters": {"num_timesteps": 0, "n_updates": 0},
    "observation_space": SPACE,
    "action_space": SPACE,
}


def test_what_is_fuzzed_is_right_before() -> None:
    assert from_config(CONFIG, "here").kind == "rl2"
    assert read_meta(META, "here") == build(AgentMeta, META)
    assert space_from_json(SPACE).shape == (2,)


@fuzzed
@given(changed(CONFIG))
def test_configurations(data: Any) -> None:
    with suppress(InputError):
        from_config(data, "here") if isinstance(data, dict) else build(AgentMeta, data)


@fuzzed
@given(changed(META))
def test_metadata_of_checkpoints(data: Any) -> None:
    with suppress(InputError):
        read_meta(data, "here")


@fuzzed
@given(changed({"kind": "Dict", "spaces": {"a": SPACE, "b": {"kind": "MultiBinary", "n": [2]}}}))
def test_spaces(data: Any) -> None:
    with suppress(InputError):
        space_from_json(data)


@fuzzed
@given(st.text(max_size=60) | values.map(repr))
def test_settings_and_presets(tmp_path: Path, text: str) -> None:
    with suppress(InputError):
        parse_assignment(f"a.b={text}")
    with suppress(InputError):
        parse_assignment(text)
    path = tmp_path / "a.toml"
    path.write_text(f"a = {text}", encoding="utf-8", errors="surrogateescape")
    with suppress(InputError):
        load_toml(path)


@fuzzed
@given(changed(to_plain(bandit())))
def test_evaluations(tmp_path: Path, data: Any) -> None:
    path = tmp_path / "evaluation.json"
    path.write_text(json.dumps(data))
    with suppress(InputError):
        read_evaluation(path)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    run = RunFolder.create_at(tmp_path_factory.mktemp("fuzz") / "run")
    run.start({"seed": 0}, argv=["metarl"])
    write_record(trials_file(run), {name: part for name, part in arrays().items() if part is not None})
    return run


@fuzzed
@given(st.data())
def test_bytes_of_a_run_folder(run: RunFolder, data: st.DataObject) -> None:
    rows = b'{"env_steps": 1}\n{"env_steps": 2}\n'
    for name, whole in (
        ("config.json", b'{"seed": 1, "a": [1.5]}'),
        ("metrics.jsonl", rows),
        (MANIFEST, b'{"a": ["b"]}'),
    ):
        before = (run.path / name).read_bytes() if (run.path / name).exists() else b""
        (run.path / name).write_bytes(data.draw(damaged(whole) | st.binary(max_size=40), name))
        with suppress(InputError):
            RunFolder.open(run.path)
        with suppress(InputError):
            run.metrics()
        (run.path / name).write_bytes(before)


@fuzzed
@given(st.data())
def test_bytes_of_records_and_checkpoints(run: RunFolder, tmp_path: Path, data: st.DataObject) -> None:
    content = data.draw(damaged(trials_file(run).read_bytes()))
    folder = RunFolder(tmp_path)
    for name in ("trials.npz", "episodes.npz", "checkpoint.zip"):
        (tmp_path / name).write_bytes(content)
    with zipfile.ZipFile(tmp_path / "head.zip", "w") as archive:
        archive.writestr(
            "checkpoint.json", json.dumps(data.draw(changed({"format": 2, "meta": {}, "sha256": {"a": "b"}})))
        )
        archive.writestr("a", data.draw(st.binary(max_size=40)))
    for read in (
        lambda: read_trials(folder),
        lambda: read_episodes(folder),
        lambda: read_checkpoint(folder.checkpoint),
        lambda: read_checkpoint(tmp_path / "head.zip"),
    ):
        with suppress(InputError):
            read()
