"""The net of inner loops: against torch's own layers, many tasks at once, and differentiated twice."""

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.nn import functional as F

from metarl.nets.adaptable import BLOCKS, AdaptableNet, Overlaid, Patches

pytestmark = pytest.mark.usefixtures("weights_from_a_seed")


def unlike(net: AdaptableNet, tasks: int) -> dict[str, Tensor]:
    """Parameters of many tasks, no two alike."""
    return {name: p.detach() + 0.3 * torch.randn(tasks, *p.shape).to(p) for name, p in net.params().items()}


def by_torch(params: dict[str, Tensor], images: Tensor, support: int) -> Tensor:
    """The outputs for one task's images ``[n, C, H, W]``, by torch's convolution; norm by statistics of the first."""
    x = images
    for block in range(BLOCKS):
        kernel = params[f"convolution{block}"].unflatten(0, (3, 3, -1)).permute(3, 2, 0, 1)
        x = F.conv2d(x, kernel, stride=2, padding=1)
        mean, variance = x[:support].mean((0, 2, 3)), x[:support].var((0, 2, 3), correction=0)
        x = F.batch_norm(x, mean, variance, params[f"scale{block}"], params[f"shift{block}"]).relu()
    return x.permute(0, 2, 3, 1).flatten(1) @ params["weight"] + params["bias"]


@pytest.mark.parametrize("side", range(1, 7))
@pytest.mark.parametrize("other", [1, 4, 5])
def test_patches_are_those_of_torch_and_their_gradient_too(side: int, other: int) -> None:
    x = torch.randn(2, side, other, 3, dtype=torch.float64, requires_grad=True)
    patches = Patches.apply(x)
    columns = F.unfold(x.permute(0, 3, 1, 2), 3, padding=1, stride=2)
    expected = columns.unflatten(1, (3, 9)).unflatten(3, patches.shape[1:3]).permute(0, 3, 4, 2, 1)
    assert torch.equal(patches, expected)
    gradient = torch.randn_like(patches)
    found, wanted = (torch.autograd.grad(y, x, gradient)[0] for y in (patches, expected))
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("sides", [(4, 5), (5, 4), (1, 2)])
def test_patches_and_their_transpose_can_be_differentiated_twice(sides: tuple[int, int]) -> None:
    image = torch.randn(2, *sides, 2, dtype=torch.float64, requires_grad=True)
    patches = torch.randn_like(Patches.apply(image)).requires_grad_()
    # A product makes it curved: a linear map alone has a second derivative of zero, whatever its code does.
    assert gradcheck(lambda x: Patches.apply(x) ** 2, image)
    assert gradgradcheck(lambda x: Patches.apply(x) ** 2, image)
    assert gradcheck(lambda p: Overlaid.apply(p, *sides) ** 2, patches)
    assert gradgradcheck(lambda p: Overlaid.apply(p, *sides) ** 2, patches)


@pytest.mark.parametrize("shape", [(9, 8), (9, 8, 3), (3, 9, 8)], ids=["grey", "channels last", "channels first"])
@pytest.mark.parametrize("support", [4, None], ids=["support", "all"])
def test_it_is_convolutions_and_batch_norm_of_torch_for_every_task(shape: tuple[int, ...], support: int | None) -> None:
    net = AdaptableNet(shape, 5, width=6)
    params, images = unlike(net, 3), torch.rand(3, 7, *shape)
    first = images[:, :, None] if len(shape) == 2 else images if shape[0] == 3 else images.movedim(-1, 2)
    expected = [by_torch({k: p[t] for k, p in params.items()}, first[t], support or 7) for t in range(3)]
    torch.testing.assert_close(net(params, images, support), torch.stack(expected), atol=1e-4, rtol=1e-4)


def test_shared_parameters_are_those_of_all_tasks() -> None:
    net, images = AdaptableNet((9, 8), 5, width=6), torch.rand(3, 4, 9, 8)
    repeated = {name: p.expand(3, *p.shape) for name, p in net.params().items()}
    torch.testing.assert_close(net(net.params(), images), net(repeated, images))


def test_statistics_are_those_of_the_support_of_each_task_alone() -> None:
    net, images = AdaptableNet((9, 8), 5, width=6), torch.rand(2, 5, 9, 8)
    together = net(net.params(), images, 3)
    for query in (3, 4):
        alone = net(net.params(), images[:1, [0, 1, 2, query]], 3)
        torch.testing.assert_close(alone[0], together[0, [0, 1, 2, query]])
    assert not torch.allclose(net(net.params(), images), together)
    assert not list(net.buffers()), "nothing is kept of what it has seen"


def test_the_whole_net_can_be_differentiated_twice() -> None:
    net = AdaptableNet((5, 6), 2, width=2).double()
    names, values = zip(*unlike(net, 2).items(), strict=True)
    images = torch.rand(2, 3, 5, 6, dtype=torch.float64)

    def outputs(*params: Tensor) -> Tensor:
        return net(dict(zip(names, params, strict=True)), images, 2)

    given = tuple(value.requires_grad_() for value in values)
    assert gradcheck(outputs, given)
    assert gradgradcheck(outputs, given)


def test_bfloat16_computes_nearly_the_same_and_learns_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metarl.nets.precision.computed_here", lambda: True)
    exact, fast = AdaptableNet((28, 28), 5), AdaptableNet((28, 28), 5, precision="bfloat16")
    fast.load_state_dict(exact.state_dict())
    images = torch.rand(2, 6, 28, 28)
    found, expected = fast(fast.params(), images), exact(exact.params(), images)
    assert found.dtype == torch.float32
    assert 0 < (found - expected).norm() / expected.norm() < 0.03
    found.square().sum().backward()
    assert {p.grad.dtype for p in fast.parameters() if p.grad is not None} == {torch.float32}


@pytest.mark.parametrize("shape", [(), (9,), (1, 2, 3, 4), (9, 0), (0, 9, 9)])
def test_what_is_no_image_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="image"):
        AdaptableNet(shape, 5)
