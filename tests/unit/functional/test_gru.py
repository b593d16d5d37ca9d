"""The written-out GRU beside torch's."""

import pytest
import torch
from torch import Tensor, nn

from metarl.functional.gru import gru_unroll


def given(steps: int, batch: int, inputs: int, size: int) -> tuple[nn.GRU, list[Tensor]]:
    """A net of torch's, and x, h_0 and its weights as leaves."""
    generator = torch.Generator().manual_seed(0)
    rnn = nn.GRU(inputs, size).double()
    for parameter in rnn.parameters():
        nn.init.uniform_(parameter, -1, 1, generator=generator)
    x = torch.randn(steps, batch, inputs, generator=generator, dtype=torch.float64, requires_grad=True)
    h = torch.randn(batch, size, generator=generator, dtype=torch.float64, requires_grad=True)
    return rnn, [x, h, *rnn.all_weights[0]]


@pytest.mark.parametrize("sizes", [(1, 1, 1, 1), (7, 3, 2, 5), (40, 6, 4, 8)])
def test_outputs_and_gradients_are_those_of_torch(sizes: tuple[int, int, int, int]) -> None:
    rnn, leaves = given(*sizes)
    expected, found = rnn(leaves[0], leaves[1][None])[0], gru_unroll(*leaves)
    torch.testing.assert_close(found, expected)
    toward = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    torch.testing.assert_close(
        torch.autograd.grad(found, leaves, toward), torch.autograd.grad(expected, leaves, toward)
    )


def test_it_can_be_differentiated_twice() -> None:
    _, leaves = given(3, 2, 2, 3)
    assert torch.autograd.gradcheck(gru_unroll, leaves)
    assert torch.autograd.gradgradcheck(gru_unroll, leaves)


def test_a_gradient_for_the_last_state_only_reaches_the_first_input() -> None:
    _, (x, *rest) = given(5, 2, 2, 3)
    (gradient,) = torch.autograd.grad(gru_unroll(x, *rest)[-1].sum(), x)
    assert gradient.abs().amin((1, 2)).gt(0).all()
