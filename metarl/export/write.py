"""Writing an agent's step to a folder: the graph, a manifest in JSON, and a runner."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from metarl.agents.rl2_env import needs_episodes
from metarl.config import InputError
from metarl.export import runner
from metarl.export.step import AgentStep, Slot, graph_of, quiet
from metarl.files import new_folder, replacing, write_json
from metarl.nets.heads import CategoricalHead, GaussianHead
from metarl.types import LARGEST, PREV_ACTION, PREV_DONE, PREV_REWARD, TIME

if TYPE_CHECKING:
    from metarl.agents.rl2 import RL2PPO

Format = Literal["onnx", "torch"]
FILES: dict[Format, str] = {"onnx": "agent.onnx", "torch": "agent.pt2"}
MANIFEST, RUNNER = "agent.json", "run_agent.py"
NEEDED = {"onnx": ("onnx", "onnxscript", "onnxruntime"), "torch": ()}
CHECKED = 25  # steps in which what was written must do as the agent does
CLOSE = 1e-5  # by which it may differ
FED = {
    PREV_ACTION: "the action before: one-hot, part by part, where it is a choice, else its numbers; zeros at a start",
    PREV_REWARD: "the reward of the step before, times reward_scale; 0 at a start",
    PREV_DONE: "1 where the step before ended an episode, else 0; 0 at a start",
    TIME: "the steps of this trial so far, divided by trial_steps",
    "action_mask": "1 for each choice that is allowed, 0 for the others",
}
"""What the caller feeds in parts of an observation."""


@dataclass(frozen=True)
class Exported:
    """What was written.

    Args:
        files: their paths; the graph comes first.
        worst: by how much the answers of the graph differed from the agent's in :data:`CHECKED` steps, at most.
    """

    files: list[Path]
    worst: float


def export(
    agent: RL2PPO, out: str | Path, format: Format = "onnx", *, batch: int = 1, reward_scale: float = 1.0
) -> Exported:
    """Write one step of an agent as a file for other programs, and check it against the agent.

    Args:
        agent: trained.
        out: a folder, made where it is missing; files of an earlier export in it are replaced.
        format: ``onnx`` for onnxruntime, or ``torch`` for ``torch.export.load``.
        batch: trials that it plays side by side.
        reward_scale: by which rewards were multiplied in the agent's observations (``env.prev_reward_scale``).

    Raises:
        InputError: packages are missing, or the agent's step can't be written as a graph; one line that says why.
    """
    check_packages(format)
    if needs_episodes(agent.memory) and PREV_DONE not in agent.policy.encoder.feedback_keys:
        problem = "this memory must know where episodes end, and without prev_done observations don't show it"
        raise InputError(problem, key="export", remedy="train with prev_done=True")
    policy = agent.policy
    training, device = policy.training, next(policy.parameters()).device
    try:
        step = AgentStep(policy.cpu().eval(), batch)
        inputs = [slot.zeros() for slot in step.inputs]
        program = graph_of(step, inputs)
        with torch.no_grad():
            answers = step(*inputs)
        outputs = [Slot.of(n, x) for n, x in zip(step.answer_names, answers, strict=False)]
        with new_folder(out) as folder, replacing(folder / FILES[format]) as temporary:
            write_graph(program, step, temporary, format)
            worst = difference(step, temporary, format)
            if not worst <= CLOSE:
                problem = f"what was written differs from the agent by {worst:.1e} in {CHECKED} steps"
                raise InputError(problem, key="export", expected=f"at most {CLOSE:.0e}")
    finally:
        policy.to(device).train(training)
    about = folder / MANIFEST, _manifest(agent, step, outputs, reward_scale)
    return Exported([folder / FILES[format], *write_beside(*about, runner, folder / RUNNER, format)], worst)


def write_beside(manifest: Path, about: Mapping[str, Any], code: ModuleType, copy: Path, format: Format) -> list[Path]:
    """Write what lies beside a graph, and return the paths.

    Args:
        manifest: the file that describes the graph.
        about: its contents.
        code: runs a graph in ONNX.
        copy: where it is copied to, if the format is ONNX.
        format: of the graph.
    """
    write_json(manifest, about)
    if format != "onnx":
        return [manifest]
    with replacing(copy) as temporary:
        shutil.copyfile(str(code.__file__), temporary)
    return [manifest, copy]


def check_packages(format: Format) -> None:
    """Raise InputError unless the packages that write a format are there."""
    missing = [name for name in NEEDED[format] if find_spec(name) is None]
    if missing:
        problem = f"export to {format} needs the packages {', '.join(missing)}"
        raise InputError(problem, key="format", remedy="pip install 'metarl-memory[export]'")


class Step(Protocol):
    """A function of tensors with named inputs and outputs."""

    @property
    def inputs(self) -> Sequence[Slot]:
        """The inputs, in order."""

    @property
    def answer_names(self) -> Sequence[str]:
        """The outputs that are no state."""

    @property
    def state(self) -> Sequence[Slot]:
        """The state, which comes out as it went in."""


def write_graph(program: torch.export.ExportedProgram, step: Step, path: Path, format: Format) -> None:
    """Write the graph of a step in a format, whatever the name of the file says.

    Args:
        program: as it was recorded.
        step: of which; it names inputs and outputs.
        path: of the file.
        format: ONNX or torch's own.
    """
    with quiet(), torch.no_grad():
        if format == "torch":
            with path.open("wb") as file:
                torch.export.save(program, file)
            return
        aten = torch.ops.aten
        # ONNX has one sort, which is stable, and no cummax.
        program = program.run_decompositions({aten.sort.stable: _sort, aten.cummax.default: _largest_so_far})
        names = [slot.name for slot in step.inputs]
        made = [*step.answer_names, *map(after, step.state)]
        model: Any = torch.onnx.export(program, input_names=names, output_names=made, dynamo=True, verbose=False)
        for node in model.model.graph:  # where in the code it came from
            node.metadata_props.clear()
        path.write_bytes(model.model_proto.SerializeToString())


def difference(step: AgentStep, path: Path, format: Format, steps: int = CHECKED, seed: int = 0) -> float:
    """By how much the answers of a file differ from those of a step, at most, on observations drawn at random.

    Args:
        step: the agent's.
        path: of the file.
        format: of the file.
        steps: how many; in every fifth or so a trial starts, in each row by itself.
        seed: of the observations.
    """
    generator = torch.Generator().manual_seed(seed)
    run = runnable(path, step, format)
    own = given = [slot.zeros() for slot in step.state]
    worst, count = 0.0, len(step.answer_names)
    for number in range(steps):
        start = torch.rand(step.batch, generator=generator) < (0.2 if number else 1.0)
        obs = [_drawn(slot, generator) for slot in step.observation]
        with torch.no_grad():
            expected = step(*obs, start, *own)
        found = run([*obs, start, *given])
        for a, b in zip(expected[1:count], found[1:count], strict=True):
            worst = max(worst, float((a.double() - b.double()).abs().max()))
        own, given = list(expected[count:]), list(found[count:])
    return worst


def runnable(path: Path, step: Step, format: Format) -> Any:
    """What is in a file, as a function of a list of all inputs to a list of all outputs.

    Args:
        path: of the file.
        step: that was written; both lists have its order.
        format: of the file.
    """
    if format == "torch":
        with path.open("rb") as file:
            module = torch.export.load(file).module().requires_grad_(False)
        return lambda given: module(*given)
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = onnxruntime.InferenceSession(path.read_bytes(), options)
    names = [slot.name for slot in step.inputs]

    def run(given: Sequence[Tensor]) -> list[Tensor]:
        feed = {name: part.numpy() for name, part in zip(names, given, strict=True)}
        return [torch.as_tensor(part) for part in session.run(None, feed)]

    return run


def _manifest(agent: RL2PPO, step: AgentStep, outputs: list[Slot], reward_scale: float) -> dict[str, Any]:
    """What somebody who runs the file must know, as plain data."""
    seen = [_plain(slot) | {"fed": FED.get(slot.name, "what the environment shows")} for slot in step.observation]
    head = step.head
    if isinstance(head, CategoricalHead):
        actions = {"choices": head.sizes, "first": np.asarray(head.start).tolist()}
    else:
        assert isinstance(head, GaussianHead)
        actions = {"low": np.clip(head.low, -LARGEST, LARGEST).tolist()}
        actions |= {"high": np.clip(head.high, -LARGEST, LARGEST).tolist()}
    parts = ("controller", "store", "access")
    return {
        "format": 1,
        "metarl": version("metarl-memory"),
        "memory": {name: getattr(agent.memory, name) for name in parts},
        "batch": step.batch,
        "trial_steps": agent.trial_steps,
        "reward_scale": reward_scale,
        "observation": seen,
        "start": _plain(step.start),
        "state": [_plain(slot) | {"next": after(slot)} for slot in step.state],
        "outputs": [_plain(slot) for slot in outputs],
        "actions": actions,
    }


def after(slot: Slot) -> str:
    """The name of a part of the state as it comes out."""
    return slot.name.replace("state", "next", 1)


def _plain(slot: Slot) -> dict[str, Any]:
    return {"name": slot.name, "shape": list(slot.shape), "dtype": str(slot.dtype).removeprefix("torch.")}


def _drawn(slot: Slot, generator: torch.Generator) -> Tensor:
    """Numbers for a part of an observation: about one in size, and 0 or 1 where they are whole."""
    drawn = torch.randn(slot.shape, generator=generator)
    if slot.name in (PREV_DONE, "action_mask"):  # some are 1, and a mask allows something
        return (drawn > 0).float() if slot.name == PREV_DONE else torch.ones(slot.shape)
    return drawn if slot.dtype.is_floating_point else (drawn > 0).to(slot.dtype)


def _sort(x: Tensor, *, stable: bool | None = None, dim: int = -1, descending: bool = False) -> Any:
    """``torch.sort`` as it is without ``stable``."""
    return torch.ops.aten.sort.default(x, dim, descending)


def _largest_so_far(x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """``torch.cummax`` of a single step."""
    assert x.shape[dim] == 1
    return x.clone(), torch.zeros_like(x, dtype=torch.long)
