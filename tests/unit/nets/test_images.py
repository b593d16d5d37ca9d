"""The encoders of images: three layouts, bytes, and what may pass from one image to another."""

import math
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metarl.nets.images import VIEWS, EncoderOptions, EpisodeNorm, ImageEncoder, Net, Norm, Views, affine
from metarl.training.checkpoint import read_checkpoint, write_checkpoint

pytestmark = pytest.mark.usefixtures("weights_from_a_seed")


def make(shape: tuple[int, ...], **options: Any) -> ImageEncoder:
    return ImageEncoder(shape, EncoderOptions(**{"embedding_size": 6, "width": 8} | options))


@pytest.mark.parametrize("net", get_args(Net))
@pytest.mark.parametrize("norm", get_args(Norm))
def test_layouts_of_the_same_images_give_the_same_vectors(net: Net, norm: Norm) -> None:
    first, last = make((3, 9, 8), net=net, norm=norm), make((9, 8, 3), net=net, norm=norm)
    last.load_state_dict(first.state_dict())
    images = torch.rand(2, 4, 3, 9, 8)
    assert first(images).shape == (2, 4, 6)
    torch.testing.assert_close(last(images.movedim(2, -1)), first(images))


def test_grey_images_need_no_axis_of_channels_and_bytes_are_numbers_from_0_to_1() -> None:
    grey, one = make((9, 8)), make((1, 9, 8))
    one.load_state_dict(grey.state_dict())
    images = torch.rand(2, 5, 9, 8)
    torch.testing.assert_close(one(images[:, :, None]), grey(images))
    images = torch.randint(256, (1, 3, 9, 8), dtype=torch.uint8)
    torch.testing.assert_close(grey(images), grey(images / 255))


@pytest.mark.parametrize("net", get_args(Net))
def test_images_do_not_see_each_other(net: Net) -> None:
    encoder = make((9, 8), net=net)
    images = torch.rand(1, 4, 9, 8)
    torch.testing.assert_close(encoder(images)[:, 1], encoder(images[:, 1:2])[:, 0])


def test_batch_norm_goes_by_the_support_of_each_episode_alone() -> None:
    encoder, images = make((9, 8), norm="batch"), torch.rand(2, 5, 9, 8)
    together = encoder(images, support=3)
    for episode in range(2):
        for query in (3, 4):
            alone = images[episode : episode + 1, [0, 1, 2, query]]
            torch.testing.assert_close(encoder(alone, support=3)[0, 3], together[episode, query])
    reference = nn.BatchNorm2d(8, track_running_stats=False)
    x = torch.rand(4, 8, 3, 3)
    torch.testing.assert_close(EpisodeNorm(8)(x, 1, 4), reference(x))
    assert not (encoder(images) - together).allclose(torch.zeros(())), "over all of them if there is no support"
    assert not list(encoder.buffers()), "nothing is kept from one episode for the next"


def test_running_statistics_are_kept_in_training_and_used_afterwards() -> None:
    encoder, images = make((9, 8), norm="running"), torch.rand(1, 6, 9, 8)
    norms = [module for module in encoder.modules() if isinstance(module, nn.BatchNorm2d)]
    before = encoder.eval()(images)
    encoder.train()(images)
    assert all((norm.running_mean != 0).any() and norm.num_batches_tracked == 1 for norm in norms), "kept"
    kept = [buffer.clone() for buffer in encoder.buffers()]
    after = encoder.eval()(images)
    assert not torch.allclose(after, before), "used"
    torch.testing.assert_close(after[:, :1], encoder(images[:, :1]))
    assert all(torch.equal(a, b) for a, b in zip(kept, encoder.buffers(), strict=True))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("net", ["strided", "residual"])
def test_an_encoder_of_another_type_takes_bytes_and_numbers(net: Net, dtype: torch.dtype) -> None:
    encoder, exact = make((9, 8), net=net, views=True).eval(), make((9, 8), net=net, views=True).eval()
    exact.load_state_dict(encoder.state_dict())
    encoder.to(dtype)
    images = torch.randint(256, (1, 3, 9, 8), dtype=torch.uint8)
    vectors = encoder(images)
    assert vectors.dtype == dtype
    torch.testing.assert_close(vectors.float(), exact(images), atol=0.1, rtol=0.1)
    torch.testing.assert_close(encoder(images / 255), vectors)


def test_the_last_features_or_their_means_over_places_can_be_the_embedding() -> None:
    assert make((28, 28), net="pooled", embedding_size=0).size == 8
    whole, averaged = (make((28, 28), net="residual", embedding_size=0, average=on) for on in (False, True))
    averaged.load_state_dict(whole.state_dict())
    assert (whole.size, averaged.size) == (3 * 3 * 4 * 8, 4 * 8)
    vectors = whole(images := torch.rand(2, 3, 28, 28))
    assert vectors.shape == (2, 3, 288)
    torch.testing.assert_close(averaged(images), vectors.unflatten(2, (-1, 9)).mean(3))


def test_no_net_is_the_pixels_one_by_one() -> None:
    encoder, images = make((9, 8), net="flat", embedding_size=0), torch.rand(2, 3, 9, 8)
    assert (encoder.size, list(encoder.parameters())) == (72, [])
    assert torch.equal(encoder(images), images.flatten(2))
    assert make((9, 8), net="flat")(images).shape == (2, 3, 6), "with a linear map behind them if asked for"
    coloured = torch.rand(1, 2, 9, 8, 3)
    assert torch.equal(make((9, 8, 3), net="flat", embedding_size=0)(coloured), coloured.movedim(-1, 2).flatten(2))


def test_a_residual_net_begins_at_half_its_width() -> None:
    blocks = make((28, 28), net="residual").blocks
    widths = [module.out_channels for module in blocks.modules() if isinstance(module, nn.Conv2d)]
    assert widths == [4, *[8] * 3, *[16] * 3, *[32] * 3], "each later block has two convolutions and a shortcut"


@pytest.mark.parametrize("net", ["pooled", "residual"])
def test_pooling_before_relu_is_relu_before_pooling(net: Net, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, images = make((9, 8), net=net), torch.rand(2, 3, 9, 8)
    pooled_first = encoder(images)
    monkeypatch.setattr(
        "metarl.nets.images._halved", lambda x, pooled: F.max_pool2d(F.relu(x), 2) if pooled else F.relu(x)
    )
    assert torch.equal(encoder(images), pooled_first)


@pytest.mark.parametrize("norm", get_args(Norm))
def test_half_precision_comes_close_and_its_parameters_and_vectors_stay_whole(
    norm: Norm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metarl.nets.precision.computed_here", lambda: True)
    exact, rough = make((28, 28), norm=norm), make((28, 28), norm=norm, precision="bfloat16")
    rough.load_state_dict(exact.state_dict())
    images = torch.rand(2, 5, 28, 28)
    vectors = rough(images, support=3)
    assert vectors.dtype == torch.float32
    difference = (vectors - exact(images, support=3)).detach().abs()
    assert 0 < difference.max() < 0.1, "after a layer norm vectors have numbers around 1"
    vectors.square().sum().backward()
    assert all(p.dtype == p.grad.dtype == torch.float32 for p in rough.parameters() if p.grad is not None)


def test_parameters_lie_channels_last_and_do_so_after_a_checkpoint(tmp_path: Path) -> None:
    encoder, again = make((28, 28), norm="running"), make((28, 28), norm="running")
    write_checkpoint(tmp_path / "it.zip", {}, {"encoder": encoder.state_dict()})
    again.load_state_dict(read_checkpoint(tmp_path / "it.zip")[1]["encoder"])
    images = torch.rand(1, 3, 28, 28)
    assert torch.equal(again.eval()(images), encoder.eval()(images))
    for net in (encoder, again):
        kernels = [p for p in net.parameters() if p.ndim == 4]
        assert len(kernels) == 4
        assert all(p.is_contiguous(memory_format=torch.channels_last) for p in kernels)
        assert not all(p.is_contiguous() for p in kernels)


@pytest.mark.parametrize("width", [8, 12], ids=["groups", "one group"])
def test_black_white_and_bright_images_stay_finite(width: int) -> None:
    encoder = make((9, 8), width=width)
    images = torch.stack([torch.zeros(9, 8), torch.ones(9, 8), torch.full((9, 8), 1e8)])[None]
    vectors = encoder(images)
    vectors.square().sum().backward()
    assert vectors.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in encoder.parameters())


def test_other_axes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\[5\]"):
        ImageEncoder((5,))


@pytest.mark.parametrize("views", [True, "many"])
def test_vectors_are_means_over_views_outside_training_alone(views: Views) -> None:
    plain, seen = make((9, 8)), make((9, 8), views=views)
    seen.load_state_dict(plain.state_dict())
    images = torch.rand(2, 4, 9, 8)
    torch.testing.assert_close(seen(images), plain(images))
    plain.eval()
    means = sum(plain(affine(images.flatten(0, 1)[:, None], *view).view_as(images)) for view in VIEWS[views])
    torch.testing.assert_close(seen.eval()(images), (plain(images) + means) / (1 + len(VIEWS[views])))
    assert not torch.allclose(seen(images), plain(images))


def test_views_are_the_image_larger_smaller_and_rotated() -> None:
    y, x = torch.meshgrid(torch.arange(20) - 9.5, torch.arange(16) - 7.5, indexing="ij")
    right, below = (torch.exp(-((x - a).square() + (y - b).square()) / 2)[None, None] for a, b in ((3, 0), (0, 3)))

    def place(image: Tensor) -> tuple[float, float]:
        shown = image[0, 0] / image.sum()
        return float((shown * x).sum()), float((shown * y).sum())

    for scale, degrees in ((1.0, 0.0), *VIEWS["many"]):
        cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        far = 3 * scale
        assert place(affine(right, scale, degrees)) == pytest.approx((far * cos, far * sin), abs=0.05)
        assert place(affine(below, scale, degrees)) == pytest.approx((-far * sin, far * cos), abs=0.05)
