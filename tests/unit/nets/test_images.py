"""The encoder of images: three layouts, bytes, and nothing that passes from one image to another."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from metarl.nets.images import ImageEncoder


@pytest.fixture(autouse=True)
def _weights_from_a_seed() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def test_layouts_of_the_same_images_give_the_same_vectors() -> None:
    first, last = ImageEncoder((3, 9, 8), 6, width=8), ImageEncoder((9, 8, 3), 6, width=8)
    last.load_state_dict(first.state_dict())
    images = torch.rand(2, 4, 3, 9, 8)
    assert first(images).shape == (2, 4, 6)
    torch.testing.assert_close(last(images.movedim(2, -1)), first(images))


def test_grey_images_need_no_axis_of_channels() -> None:
    grey, one = ImageEncoder((9, 8), 6, width=8), ImageEncoder((1, 9, 8), 6, width=8)
    one.load_state_dict(grey.state_dict())
    images = torch.rand(5, 9, 8)
    torch.testing.assert_close(one(images[:, None]), grey(images))


def test_images_do_not_see_each_other() -> None:
    encoder = ImageEncoder((9, 8), 6, width=8)
    images = torch.rand(4, 9, 8)
    torch.testing.assert_close(encoder(images)[1], encoder(images[1]))


@pytest.mark.parametrize("width", [8, 12], ids=["groups", "one group"])
def test_black_white_and_bright_images_stay_finite(width: int) -> None:
    encoder = ImageEncoder((9, 8), 6, width=width)
    images = torch.stack([torch.zeros(9, 8), torch.ones(9, 8), torch.full((9, 8), 1e8)])
    vectors = encoder(images)
    vectors.square().sum().backward()
    assert vectors.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in encoder.parameters())


def test_other_axes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"an image of shape \[5\] was given"):
        ImageEncoder((5,))
