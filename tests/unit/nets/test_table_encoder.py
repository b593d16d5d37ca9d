"""The set encoder of tables: what must make no difference to it, and what must."""

import numpy as np
import pytest
import torch
from torch import Tensor

from metarl.config import ConfigError
from metarl.nets.images import EncoderOptions
from metarl.nets.tables import TableEncoder

SUPPORT, QUERIES, FEATURES, EACH = 6, 4, 5, 3


@pytest.fixture
def net() -> TableEncoder:
    torch.manual_seed(0)
    made = TableEncoder(2, EncoderOptions(net="table", width=16, embedding_size=EACH)).double()
    for parameter in made.parameters():  # away from a start that says little
        torch.nn.init.normal_(parameter, std=0.5)
    return made


@pytest.fixture
def x() -> Tensor:
    rng = np.random.default_rng(0)
    x = torch.as_tensor(rng.standard_normal((2, SUPPORT + QUERIES, FEATURES)))
    x[:, :, 1] = (x[:, :, 1] > 0).double()
    x[:, 2, 3] = x[:, 7, 3] = torch.nan
    return x


LABELS = torch.tensor([[0, 1, 0, 1, 1, 0]] * 2)


def test_neither_order_nor_number_of_features_matters(net: TableEncoder, x: Tensor) -> None:
    before = net(x, SUPPORT, LABELS)
    assert before.shape == (2, SUPPORT + QUERIES, 2 * EACH)
    order = torch.tensor([3, 0, 4, 2, 1])
    torch.testing.assert_close(net(x[:, :, order], SUPPORT, LABELS), before)
    unknown = torch.full((2, SUPPORT + QUERIES, 7), torch.nan).double()
    torch.testing.assert_close(net(torch.cat([x, unknown], 2), SUPPORT, LABELS), before)


def test_units_make_no_difference(net: TableEncoder, x: Tensor) -> None:
    scale, shift = torch.tensor([1.0, 2.0, 0.1, 30.0, 5.0]), torch.tensor([0.0, 3.0, -4.0, 1.0, 100.0])
    torch.testing.assert_close(net(x * scale + shift, SUPPORT, LABELS), net(x, SUPPORT, LABELS))


def test_renaming_the_classes_renames_their_vectors(net: TableEncoder, x: Tensor) -> None:
    one, other = (net(x, SUPPORT, labels).unflatten(2, (2, EACH)) for labels in (LABELS, 1 - LABELS))
    torch.testing.assert_close(one.flip(2), other)
    assert not torch.allclose(one, other)


def test_a_query_changes_nothing_else(net: TableEncoder, x: Tensor) -> None:
    before = net(x, SUPPORT, LABELS)
    changed = x.clone()
    changed[:, -1] += 50
    after = net(changed, SUPPORT, LABELS)
    torch.testing.assert_close(after[:, :-1], before[:, :-1], rtol=0, atol=0)
    assert not torch.allclose(after[:, -1], before[:, -1])


def test_the_order_of_the_support_makes_no_difference(net: TableEncoder, x: Tensor) -> None:
    order = torch.tensor([4, 2, 0, 5, 1, 3])
    turned = torch.cat([x[:, order], x[:, SUPPORT:]], 1)
    before, after = net(x, SUPPORT, LABELS), net(turned, SUPPORT, LABELS[:, order])
    torch.testing.assert_close(after[:, :SUPPORT], before[:, order])
    torch.testing.assert_close(after[:, SUPPORT:], before[:, SUPPORT:])


def test_what_tells_nothing_is_left_out(net: TableEncoder, x: Tensor) -> None:
    constant = torch.cat([x, torch.full((2, SUPPORT + QUERIES, 1), 7.0).double()], 2)
    constant[:, SUPPORT:, -1] = 9  # another value, whose scale nobody knows
    assert torch.isfinite(net(constant, SUPPORT, LABELS)).all()
    torch.testing.assert_close(net(constant, SUPPORT, LABELS)[:, SUPPORT:], net(x, SUPPORT, LABELS)[:, SUPPORT:])


def test_one_patient_a_class_and_nothing_known_stay_finite(net: TableEncoder, x: Tensor) -> None:
    labels = torch.tensor([[0, 1]] * 2)
    few = torch.cat([x[:, :2], x[:, SUPPORT:]], 1).requires_grad_()
    net(few, 2, labels).square().sum().backward()
    assert few.grad is not None
    assert all(torch.isfinite(p.grad).all() for p in net.parameters() if p.grad is not None)
    assert torch.isfinite(net(torch.full_like(x, torch.nan), SUPPORT, LABELS)).all()


def test_it_starts_as_a_discriminant() -> None:
    torch.manual_seed(0)
    net = TableEncoder(2, EncoderOptions(net="table", width=16, embedding_size=EACH))
    rng = np.random.default_rng(1)
    labels = torch.as_tensor(np.tile([0, 1], (50, 5)))
    truth = torch.as_tensor(np.tile([0, 1], (50, 10)))
    x = torch.as_tensor(rng.standard_normal((50, 30, 6))) + 1.5 * torch.cat([labels, truth], 1)[..., None]
    own = net(x, 10, labels).unflatten(2, (2, EACH)).mean(3)
    assert (own[:, 10:].argmax(2) == truth).double().mean() > 0.9


@pytest.mark.parametrize(
    "options",
    [{"views": True}, {"norm": "running"}, {"dropout": 0.1}, {"precision": "bfloat16"}, {"embedding_size": 0}],
)
def test_options_of_images_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError) as refused:
        TableEncoder(2, EncoderOptions(net="table", **options))  # type: ignore[arg-type]  # one of several types
    assert refused.value.key == f"encoder.{next(iter(options))}"
