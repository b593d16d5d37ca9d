"""Low-rank weights from outside: what they add to a head, and that a memory can keep them by task."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from metarl.memory.access.attention import Attention, AttentionOptions
from metarl.memory.contract import Query, Write
from metarl.memory.stores.key_value import KeyValue, KeyValueOptions
from metarl.nets.lowrank import LowRankHead

pytestmark = pytest.mark.usefixtures("weights_from_a_seed")

INPUTS, OUTPUTS, RANK = 6, 3, 2
TASKS, EXAMPLES, KEY = 4, 40, 8


def test_weights_of_zero_leave_the_plain_head() -> None:
    head, x = LowRankHead(INPUTS, OUTPUTS, RANK), torch.randn(5, INPUTS)
    assert head.size == RANK * (INPUTS + OUTPUTS)
    torch.testing.assert_close(head(x, torch.zeros(head.size)), head.linear(x))


def test_weights_are_two_thin_matrices_of_every_example() -> None:
    head, x = LowRankHead(INPUTS, OUTPUTS, RANK), torch.randn(5, INPUTS)
    v, u = torch.randn(5, RANK, INPUTS), torch.randn(5, OUTPUTS, RANK)
    y = head(x, torch.cat([v.flatten(1), u.flatten(1)], 1))
    for i in range(5):
        torch.testing.assert_close(y[i], (head.linear.weight + u[i] @ v[i]) @ x[i] + head.linear.bias)


def test_weights_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="rank"):
        LowRankHead(INPUTS, OUTPUTS, 0)
    with pytest.raises(ValueError, match="18"):
        LowRankHead(INPUTS, OUTPUTS, RANK)(torch.randn(2, INPUTS), torch.zeros(2, 17))


def regressions(head: LowRankHead) -> tuple[Tensor, Tensor]:
    """Examples ``[TASKS, EXAMPLES, ...]`` of tasks that each change the head by a matrix of the rank it can take."""
    x = torch.randn(TASKS, EXAMPLES, INPUTS)
    change = torch.randn(TASKS, OUTPUTS, RANK) @ torch.randn(TASKS, RANK, INPUTS)
    return x, (head.linear(x) + x @ change.mT).detach()


def fitted(head: LowRankHead, x: Tensor, y: Tensor) -> Tensor:
    """Weights ``[TASKS, size]`` by gradient descent, the head itself staying as it is."""
    weights = (0.3 * torch.randn(TASKS, head.size)).requires_grad_()
    optimizer = torch.optim.Adam([weights], 0.05)
    for _ in range(300):
        (grad,) = torch.autograd.grad(F.mse_loss(head(x, weights[:, None]), y), weights)
        weights.grad = grad
        optimizer.step()
    return weights.detach()


def test_a_key_value_memory_keeps_weights_of_a_head_by_task() -> None:
    head = LowRankHead(INPUTS, OUTPUTS, RANK)
    x, y = regressions(head)
    weights = fitted(head, x, y)

    store = KeyValue(KEY, head.size, TASKS, KeyValueOptions(learned=0))
    access = Attention(KEY, head.size, AttentionOptions(kernel="cosine", temperature=0.02, empty_slot=False))
    keys = torch.linalg.qr(torch.randn(KEY, KEY))[0][:TASKS]
    state = store.initial_state(1)
    for key, value in zip(access.prepare(keys), weights, strict=True):
        state = store.write(state, Write(key[None], value[None]))
    noisy = access.prepare(keys + 0.1 * torch.randn(TASKS, KEY))
    found = access(Query(noisy[None]), store.content(state)).value[0]

    def error(of: Tensor) -> Tensor:
        """Mean squared error ``[TASKS]``, one set of weights for each task."""
        return (head(x, of[:, None]) - y).square().mean((1, 2))

    untouched = error(torch.zeros(TASKS, head.size))
    assert (error(weights) < 0.01 * untouched).all(), "the weights were to be fitted"
    assert (error(found) < error(weights) + 0.01 * untouched).all()
    assert (error(found.roll(1, 0)) > untouched / 2).all(), "weights of another task were not to serve this one"
