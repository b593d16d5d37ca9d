"""GRU and LSTM controllers, the LSTM optionally with reinstatement (Ritter et al. 2018, episodic LSTM)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, NamedTuple

import torch
from annotated_types import Ge
from torch import Tensor, nn

from metarl.functional.branches import in_graph
from metarl.functional.gru import gru_unroll
from metarl.memory.contract import Controller


@dataclass(frozen=True)
class RecurrentOptions:
    """Options of the recurrent controllers.

    Args:
        hidden_size: units of the cell.
    """

    hidden_size: Annotated[int, Ge(1)] = 128


def weights(rnn: nn.RNNBase) -> list[nn.Parameter]:
    """The input and hidden weights and biases of a single layer, in torch's order of the gates."""
    return rnn.all_weights[0]


class GRUState(NamedTuple):
    """The state of a GRU: h ``[B, H]``."""

    h: Tensor


class GRU(Controller):
    """One GRU layer (Cho et al. 2014), run by torch's kernel; for gradients on a CPU, where it has none, by ours."""

    has_cell: ClassVar[bool] = True

    def __init__(self, input_size: int, options: RecurrentOptions) -> None:
        super().__init__()
        self.rnn = nn.GRU(input_size, options.hidden_size)
        self.output_size = options.hidden_size

    def initial_state(self, batch_size: int) -> GRUState:
        """See :meth:`metarl.memory.contract.Controller.initial_state`."""
        return GRUState(weights(self.rnn)[1].new_zeros(batch_size, self.output_size))

    def unroll(
        self, x: Tensor, state: GRUState, reinstated: Tensor | None = None, cleared: Tensor | None = None
    ) -> tuple[Tensor, GRUState]:
        """See :meth:`metarl.memory.contract.Controller.unroll`."""
        if x.device.type != "cpu" or in_graph() or not torch.is_grad_enabled():
            y, h = self.rnn(x, state.h[None])
            return y, GRUState(h[0])
        y = gru_unroll(x, state.h, *weights(self.rnn))
        return y, GRUState(y[-1])

    def cell(self, state: GRUState) -> Tensor:
        """See :meth:`metarl.memory.contract.Controller.cell`."""
        return state.h


class LSTMState(NamedTuple):
    """The state of an LSTM: h and c, each ``[B, H]``."""

    h: Tensor
    c: Tensor


class LSTM(Controller):
    """One LSTM layer (Hochreiter & Schmidhuber 1997), run by torch's fused kernel where nothing is reinstated.

    With ``reinstates`` the cell has a fifth gate, through which a cell state m that was read from memory returns
    (Ritter et al. 2018): c_t = f * c_{t-1} + i * g + r * tanh(m_t), r = sigmoid(W_r [x_t, h_{t-1}] + b_r).
    """

    has_cell: ClassVar[bool] = True
    accepts_reinstatement: ClassVar[bool] = True

    def __init__(self, input_size: int, options: RecurrentOptions, reinstates: bool = False) -> None:
        super().__init__()
        size = options.hidden_size
        self.rnn = nn.LSTM(input_size, size)
        self.gate = nn.Linear(input_size + size, size) if reinstates else None
        self.output_size = size

    def initial_state(self, batch_size: int) -> LSTMState:
        """See :meth:`metarl.memory.contract.Controller.initial_state`."""
        zeros = weights(self.rnn)[1].new_zeros(batch_size, self.output_size)
        return LSTMState(zeros, zeros.clone())

    def unroll(
        self, x: Tensor, state: LSTMState, reinstated: Tensor | None = None, cleared: Tensor | None = None
    ) -> tuple[Tensor, LSTMState]:
        """See :meth:`metarl.memory.contract.Controller.unroll`."""
        if reinstated is None or self.gate is None:
            y, (h, c) = self.rnn(x, (state.h[None], state.c[None]))
            return y, LSTMState(h[0], c[0])
        size, inputs = self.output_size, x.shape[-1]
        weight_ih, weight_hh, bias_ih, bias_hh = weights(self.rnn)
        weight_x = torch.cat([weight_ih, self.gate.weight[:, :inputs]])
        weight_h = torch.cat([weight_hh, self.gate.weight[:, inputs:]]).t()
        bias = torch.cat([bias_ih + bias_hh, self.gate.bias])
        from_input = nn.functional.linear(x, weight_x, bias)
        memory = torch.tanh(reinstated)
        (h, c), outputs = state, []
        for t in range(x.shape[0]):
            pre = torch.addmm(from_input[t], h, weight_h)
            i, f, g, o, r = pre.split(size, dim=-1)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g) + torch.sigmoid(r) * memory[t]
            h = torch.sigmoid(o) * torch.tanh(c)
            outputs.append(h)
        return torch.stack(outputs), LSTMState(h, c)

    def cell(self, state: LSTMState) -> Tensor:
        """See :meth:`metarl.memory.contract.Controller.cell`."""
        return state.c
