"""One step of an agent as a function of tensors alone, and its graph."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from metarl import tree
from metarl.config import InputError
from metarl.functional.branches import recording
from metarl.memory.contract import Access
from metarl.nets.heads import CategoricalHead, GaussianHead
from metarl.nets.policy import MemoryPolicy
from metarl.types import MASK_KEY, PREV_DONE, Boundary

START = "start"
LOGGERS = ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")  # they tell of what is no fault


class Slot(NamedTuple):
    """A tensor that goes into or out of a step."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype

    @classmethod
    def of(cls, name: str, tensor: Tensor) -> Slot:
        """That of ``tensor`` ``[...]``."""
        return cls(name, tuple(tensor.shape), tensor.dtype)

    def zeros(self) -> Tensor:
        """A tensor for it ``[*shape]``."""
        return torch.zeros(self.shape, dtype=self.dtype)


class AgentStep(nn.Module):
    """Observations, whether trials start, and the memory as a flat list, to actions and the next memory.

    What the policy makes of observations is part of it: running means, pictures, symbols, masks of actions. An episode
    begins where ``prev_done`` says so. Parts of the state that hold no number are left out.

    Args:
        policy: trained; its critic is left out.
        batch: trials side by side.
    """

    def __init__(self, policy: MemoryPolicy, batch: int) -> None:
        super().__init__()
        self.encoder, self.core, self.head, self.batch = policy.encoder, policy.core, policy.head, batch
        self._template = policy.initial_state(batch)
        self.observation = [
            Slot(key, (batch, *shape), self.encoder.dtypes[key]) for key, shape in self.encoder.shapes.items()
        ]
        self.start = Slot(START, (batch,), torch.bool)
        named = tree.named_leaves(self._template, "state")
        self.state = [Slot.of(name, leaf) for name, leaf in named if leaf[0].numel()]

    @property
    def inputs(self) -> list[Slot]:
        """What :meth:`forward` takes, in order."""
        return [*self.observation, self.start, *self.state]

    @property
    def answer_names(self) -> list[str]:
        """What :meth:`forward` returns before the state."""
        return ["action", "log_probs"] if isinstance(self.head, CategoricalHead) else ["action", "mean", "std"]

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        """What :attr:`inputs` lists, to :attr:`answer_names` and the next state, in the order of :attr:`state`."""
        count = len(self.observation)
        obs = dict(zip((slot.name for slot in self.observation), given, strict=False))
        start, left = given[count], iter(given[count + 1 :])
        state = tree.map_tensors(lambda leaf: next(left) if leaf[0].numel() else leaf, self._template)
        boundary = torch.where(start, int(Boundary.TRIAL), int(Boundary.INSIDE))
        if PREV_DONE in obs:
            episode = torch.where(obs[PREV_DONE][:, 0] > 0.5, int(Boundary.EPISODE), int(Boundary.INSIDE))
            boundary = torch.where(start, boundary, episode)
        obs = self.encoder.normalised(obs)
        y, state = self.core(self.encoder(obs), state, boundary)
        parameters = self.head(y, obs.get(MASK_KEY))
        return (*self.answers(parameters), *(leaf for leaf in tree.leaves(state) if leaf[0].numel()))

    def answers(self, parameters: Tensor) -> list[Tensor]:
        """The most probable actions as the environment takes them, and their distribution; see :attr:`answer_names`."""
        head, action = self.head, self.head.best(parameters)
        if isinstance(head, CategoricalHead):
            action = action.reshape(self.batch, *head.env_shape) + torch.as_tensor(head.start)
            return [action, parameters]
        assert isinstance(head, GaussianHead)
        middle, reach, low, high = map(torch.as_tensor, (head.middle, head.reach, head.low, head.high))
        mean = middle + reach * action.reshape(self.batch, *head.env_shape)
        std = reach * head.log_std.exp().reshape(head.env_shape)
        dtype = low.dtype if head.env_dtype == "float64" else torch.float32
        return [x.to(dtype) for x in (mean.clamp(low, high), mean, std.expand_as(mean))]


def graph_of(step: nn.Module, inputs: list[Tensor], free: dict[str, Any] | None = None) -> torch.export.ExportedProgram:
    """The graph of a step of tensors.

    Args:
        step: a module in evaluation mode.
        inputs: of the shapes and types that the graph is for; their numbers don't count.
        free: axes of inputs that may have other sizes, as ``torch.export`` takes ``dynamic_shapes``.

    Raises:
        InputError: it can't be recorded.
    """
    differentiates = any(isinstance(part, Access) and part.differentiates for part in step.modules())
    module: Any = step
    with torch.no_grad(), recording(), quiet(), torch.backends.mkldnn.flags(enabled=False):  # whose LSTM is no graph
        try:
            if differentiates:
                from torch.fx.experimental.proxy_tensor import make_fx

                module = make_fx(step)(*inputs)
            program = torch.export.export(module, tuple(inputs), strict=False, dynamic_shapes=free)
        except Exception as error:  # torch raises of every kind
            why = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else 'no reason'}"
            problem = f"this model can't be written as a graph of operations: torch says {why}"
            remedy = "a store, access, controller or encoder of your own must not ask for the numbers in a tensor"
            raise InputError(problem, key="export", remedy=remedy) from error
    for node in program.graph.nodes:  # where in the code it came from helps nobody elsewhere, and takes most of a file
        for name in ("stack_trace", "nn_module_stack", "source_fn_stack", "torch_fn", "from_node"):
            node.meta.pop(name, None)
    return program


@contextmanager
def quiet() -> Iterator[None]:
    """Keep back warnings and logs of exporters, which are for those who write them."""
    loggers = [logging.getLogger(name) for name in LOGGERS]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            for logger in loggers:
                logger.setLevel(logging.ERROR)
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
