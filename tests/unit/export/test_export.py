"""Exported agents beside the agents themselves."""

import copy
import json
import re
import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from metarl import RL2PPO, tree
from metarl.cli.main import main
from metarl.config import InputError
from metarl.envs import distribution
from metarl.experiments.rl.experiment import RL2Experiment
from metarl.export import runner, write
from metarl.export.runner import Agent
from metarl.export.step import AgentStep
from metarl.export.write import FILES, Format, export, runnable
from metarl.runs.folder import RunFolder
from metarl.tasks.trial.layout import TrialInputs
from metarl.tasks.vector.env import TrialVectorEnv
from metarl.training.actor import PolicyActor
from metarl.types import Bools, Boundary, TrialObservation

BARCODE = "metarl/BarcodeBandit-v0", {"arms": 3, "contexts": 2, "repeats": 2, "pulls": 3, "bits": 4}
PENDULUM = "metarl/PendulumGoal-v0", {"episodes": 2, "max_steps": 6}
SMALL = {"key_size": 16, "value_size": 16, "controller_options": {"hidden_size": 16}}
CASES: dict[str, tuple[Any, dict[str, Any], Format]] = {
    "merged slots": (BARCODE, {"per_action": True, "store_options": {"merge": True}}, "torch"),
    "slots of their own": (BARCODE, {"per_action": True, "own_slots": True, "store_options": {"merge": True}}, "onnx"),
    "transitions": (
        BARCODE,
        {"per_action": True, "access": "graph", "access_options": {"edges": "transition"}},
        "torch",
    ),
    "a window": (PENDULUM, {"controller": "window", "store_options": {"write": "episode"}}, "torch"),
    "gradients": (BARCODE, {"access": "meta_gradient", "controller": "lstm", "read_every": 2}, "onnx"),
    "gradients, least used": (BARCODE, {"store": "lrua", "access": "meta_gradient"}, "torch"),
    "a sort": (PENDULUM, {"store": "dnc", "access": "native", "controller": "lstm", "emit": "controller"}, "onnx"),
}
"""What a step asks of numbers, or asks of ONNX that others don't."""
ROWS = 3


class Made(NamedTuple):
    """An agent, trials to play, and the folder that it was exported to."""

    agent: RL2PPO
    env: TrialVectorEnv
    folder: Path


def made(case: tuple[Any, ...], folder: Path, **inputs: Any) -> Made:
    """An agent with random weights, so that what it reads counts."""
    (id, options), memory, *_ = case
    family = distribution(id, **options)
    env = TrialVectorEnv(family, ROWS, **inputs)
    agent = RL2PPO("MemoryPolicy", env, memory=SMALL | memory, device="cpu")
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in agent.policy.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    agent.policy.eval()
    return Made(agent, TrialVectorEnv(family, ROWS, **inputs), folder)


def needs(*names: str) -> None:
    for name in names:
        pytest.importorskip(name, reason="pip install 'metarl-memory[export]'")


def play(one: Made, other: Callable[[TrialObservation, Bools], tuple[Any, list[Any]]], steps: int = 60) -> None:
    """Compare actions and memories of an agent and of ``other`` in trials that end and begin."""
    actor = PolicyActor(one.agent.policy, deterministic=True)
    actor.reset(ROWS, np.random.default_rng(0))
    obs, _ = one.env.reset(seed=0)
    one.env.single_action_space.seed(0)
    boundary, trials = np.full(ROWS, Boundary.TRIAL), 0
    for number in range(steps):
        action = actor.act(obs, boundary)
        found, state = other(obs, boundary == Boundary.TRIAL)
        np.testing.assert_allclose(found, action, atol=1e-5, rtol=0)
        for leaf, part in zip([x for x in tree.leaves(actor.state) if x[0].numel()], state, strict=True):
            np.testing.assert_allclose(part, leaf.numpy(), atol=1e-5, rtol=0)
        given = action if number % 2 else np.stack([one.env.single_action_space.sample() for _ in range(ROWS)])
        step = one.env.advance(given.astype(action.dtype))
        trials += int(step.ended.sum())
        obs, boundary = step.obs, step.boundary
    assert trials >= 2 * ROWS


@pytest.mark.parametrize("case", CASES)
def test_a_file_acts_and_remembers_as_the_agent_does_over_trials(case: str, tmp_path: Path) -> None:
    one, format = made(CASES[case], tmp_path / "out"), CASES[case][2]
    if format == "onnx":
        needs("onnx", "onnxscript", "onnxruntime")
    path = export(one.agent, one.folder, format, batch=ROWS).files[0]
    step = AgentStep(one.agent.policy, ROWS)
    run, state = runnable(path, step, format), [slot.zeros() for slot in step.state]

    def other(obs: TrialObservation, start: Bools) -> tuple[Any, list[Any]]:
        seen = [torch.as_tensor(obs[slot.name]) for slot in step.observation]
        action, *rest = run([*seen, torch.as_tensor(start), *state])
        state[:] = rest[len(step.answer_names) - 1 :]
        return action.numpy(), state

    play(one, other)


@pytest.fixture(scope="module")
def gru(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A GRU alone, exported in both formats."""
    needs("onnx", "onnxscript", "onnxruntime")
    memory = {"controller": "gru", "store": "none", "access": "none", "key_size": 64, "value_size": None}
    one = made((BARCODE, memory), tmp_path_factory.mktemp("gru"))
    files = [path.name for format in FILES for path in export(one.agent, one.folder, format, batch=ROWS).files]
    assert {*files} == {"agent.onnx", "agent.pt2", "agent.json", "run_agent.py"}
    return one


def zeros(folder: Path) -> dict[str, Any]:
    """An observation of zeros by what the manifest says."""
    about = json.loads((folder / "agent.json").read_text())
    return {part["name"]: np.zeros(part["shape"], part["dtype"]) for part in about["observation"]}


def test_the_runner_beside_a_file_plays_as_the_agent_does(gru: Made) -> None:
    runner = runpy.run_path(str(gru.folder / "run_agent.py"))["Agent"](gru.folder)
    play(gru, lambda obs, start: (runner.step(obs, start), [*runner.state.values()]))


def test_the_file_of_torch_export_needs_nothing_but_torch(gru: Made) -> None:
    about = json.loads((gru.folder / "agent.json").read_text())
    step = torch.export.load(gru.folder / "agent.pt2").module()
    parts = [*about["observation"], about["start"], *about["state"]]
    given = [torch.zeros(part["shape"], dtype=getattr(torch, part["dtype"])) for part in parts]
    given[len(about["observation"])] |= True
    found = step(*given)
    names = [part["name"] for part in about["outputs"]] + [part["next"] for part in about["state"]]
    action, _ = gru.agent.predict(zeros(gru.folder), deterministic=True)
    assert dict(zip(names, found, strict=True))["action"].tolist() == action.tolist()


def test_a_start_wipes_whatever_was_remembered_in_its_row_alone(gru: Made) -> None:
    agent, seen = Agent(gru.folder), zeros(gru.folder)
    agent.step(seen)
    fresh = agent.state["state.h"].copy()
    agent.state["state.h"][:] = 9.0
    agent.step(seen, start=[True, False, True])
    wiped = np.isclose(agent.state["state.h"], fresh).all(1)
    assert wiped.tolist() == [True, False, True]


def test_actions_are_drawn_with_a_seed_by_their_probabilities(gru: Made) -> None:
    seen = zeros(gru.folder)
    same = [Agent(gru.folder, seed=seed).step(seen).tolist() for seed in (1, 1, 2, 3, 4, 5)]
    assert same[0] == same[1]
    assert len({str(one) for one in same}) > 1
    draw, rng = Agent._draw, np.random.default_rng(0)
    agent = object.__new__(Agent)
    shares = np.log([[0.9, 0.1, 0.2, 0.3, 0.5]]).repeat(4000, 0)
    out: dict[str, Any] = {"log_probs": shares, "action": np.zeros((4000, 2), np.int64)}
    drawn = draw(agent, out, rng, {"choices": [2, 3], "first": [5, 0]})
    assert np.abs((drawn[:, 0] == 5).mean() - 0.9) < 0.03
    assert np.abs((drawn[:, 1] == 2).mean() - 0.5) < 0.03
    out = {"mean": np.full((4000, 1), 1.0, np.float32), "std": np.full((4000, 1), 2.0, np.float32)}
    drawn = draw(agent, out, rng, {"low": [-1.0], "high": [9.0]})
    assert abs(np.median(drawn) - 1) < 0.2
    assert abs((drawn == -1).mean() - 0.159) < 0.03


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, gru: Made, tmp_path: Path) -> None:
    monkeypatch.setattr(write, "find_spec", lambda name: None if name == "onnxscript" else object())
    with pytest.raises(InputError, match=r"onnxscript; pip install 'metarl-memory\[export\]'"):
        export(gru.agent, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_ends_of_episodes_that_observations_do_not_show_are_refused(tmp_path: Path) -> None:
    one = made((BARCODE, {"read_every": "episode"}), tmp_path / "out", inputs=TrialInputs(prev_done=False))
    with pytest.raises(InputError, match="prev_done"):
        export(one.agent, one.folder, "torch")
    assert not one.folder.exists()


def test_a_step_that_asks_for_numbers_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, gru: Made, tmp_path: Path
) -> None:
    head = gru.agent.policy.head
    forward = head.forward
    monkeypatch.setattr(head, "forward", lambda y, mask: forward(y, mask) if float(y.sum()) else y)
    with pytest.raises(InputError, match="graph of operations") as refused:
        export(gru.agent, tmp_path / "out", "torch")
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "out").exists()


def test_a_file_that_differs_from_the_agent_is_not_kept(
    monkeypatch: pytest.MonkeyPatch, gru: Made, tmp_path: Path
) -> None:
    graph_of = write.graph_of

    def graph_of_another(step: Any, inputs: Any) -> Any:
        other = copy.deepcopy(step)
        other.head.linear.bias.data[0] += 0.01
        return graph_of(other, inputs)

    monkeypatch.setattr(write, "graph_of", graph_of_another)
    with pytest.raises(InputError, match="differs"):
        export(gru.agent, tmp_path / "out", "torch", batch=ROWS)
    assert not (tmp_path / "out").exists()


def code_of_the_page() -> list[str]:
    page = (Path(__file__).parents[3] / "docs" / "deploy.md").read_text(encoding="utf-8").split("## Few-shot")[0]
    return re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)


def test_the_page_shows_the_runner_which_has_40_lines() -> None:
    text = Path(runner.__file__).read_text(encoding="utf-8")
    assert text in code_of_the_page()
    assert len(text.splitlines()) <= 40


def test_the_page_feeds_what_an_environment_would_show(monkeypatch: pytest.MonkeyPatch, gru: Made) -> None:
    monkeypatch.chdir(gru.folder)
    monkeypatch.syspath_prepend(str(gru.folder))
    _, feeding, with_torch = code_of_the_page()
    names: dict[str, Any] = {}
    exec(feeding, names)
    exec(with_torch, {})
    monkeypatch.delitem(sys.modules, "run_agent")
    expected, _ = gru.env.reset(seed=0)
    action = reward = done = number = np.zeros(ROWS, int)
    for _ in range(2 * gru.agent.trial_steps):
        found = names["observation"](expected["obs"], action, reward, done, number)
        assert found.keys() == expected.keys()
        for name, part in expected.items():
            np.testing.assert_allclose(found[name], part, atol=1e-6)
        action = np.array([number[0] % 3, 1, 2])
        step = gru.env.advance(action)
        expected, reward, done = step.obs, step.reward, step.episode_ended
        number = np.where(step.ended, 0, number + 1)


def test_the_command_writes_beside_the_run_and_refuses_what_is_no_agent(
    monkeypatch: pytest.MonkeyPatch, gru: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment = object.__new__(RL2Experiment)
    object.__setattr__(experiment, "env", {"id": BARCODE[0], "prev_reward_scale": 0.5})
    folders = {kind: RunFolder.create_at(tmp_path / kind) for kind in ("rl2", "recall")}
    for kind, folder in folders.items():
        folder.start({"kind": kind, "seed": 0}, [])
    opened = SimpleNamespace(experiment=experiment, model=gru.agent, folder=folders["rl2"])
    monkeypatch.setattr("metarl.experiments.run.open_run", lambda path, **options: opened)
    out = tmp_path / "rl2" / "export"
    assert main(["export", str(tmp_path / "rl2"), "--format", "torch"]) == 0
    assert json.loads((out / "agent.json").read_text())["reward_scale"] == 0.5
    assert str(out / "agent.pt2") in capsys.readouterr().out
    for given, told in (["recall"], "recall benchmark"), (["rl2", "--ways", "4"], "--ways"):
        with pytest.raises(SystemExit) as end:
            main(["export", str(tmp_path / given[0]), *given[1:]])
        assert end.value.code == 2
        assert told in capsys.readouterr().err
