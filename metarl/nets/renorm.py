"""Batch norm whose statistics are estimated again in another domain, from few images beside those of training."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from metarl.config import InputError
from metarl.nets.images import EpisodeNorm


class DomainNorm(EpisodeNorm):
    """A trained batch norm that mixes the statistics of an episode with those of training.

    With n images of an episode and a prior of N, the mean and the variance are (N s + n t) / (N + n), s being those of
    training and t those of the images (Schneider et al. 2020, eq. 3). Without a prior only the images count.

    Args:
        trained: what it is made from; its statistics stay as they are.
        prior: images that those of training count for, N.

    Raises:
        InputError: a negative or infinite prior, or a norm without statistics.
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, trained: nn.BatchNorm2d, prior: float) -> None:
        super().__init__(trained.num_features)
        if not 0 <= prior < float("inf"):
            raise InputError(key="prior", given=prior, expected="0 images or more")
        if trained.running_mean is None or trained.running_var is None:
            raise InputError(key="trained", given=repr(trained), expected="a batch norm with running statistics")
        self.weight, self.bias, self.epsilon, self.prior = trained.weight, trained.bias, trained.eps, prior
        self.register_buffer("mean", trained.running_mean.clone())
        self.register_buffer("variance", trained.running_var.clone())

    def forward(self, x: Tensor, episodes: int, support: int) -> Tensor:
        """See :meth:`metarl.nets.images.EpisodeNorm.forward`."""
        each = x.unflatten(0, (episodes, -1))
        own, mean = torch.var_mean(each[:, :support].float(), (1, 3, 4), correction=0, keepdim=True)
        share = support / (support + self.prior)
        mean = torch.lerp(self.mean[:, None, None], mean, share)
        variance = torch.lerp(self.variance[:, None, None], own, share)
        scale = self.weight[:, None, None] * torch.rsqrt(variance + self.epsilon)
        return torch.addcmul((self.bias[:, None, None] - mean * scale).to(x), each, scale.to(x)).flatten(0, 1)


def renormed(net: nn.Module, prior: float) -> int:
    """Replace each batch norm of a net by a :class:`DomainNorm`, in place; how many there were.

    Args:
        net: that has them somewhere inside.
        prior: see :class:`DomainNorm`.

    Raises:
        InputError: see :class:`DomainNorm`.
    """
    found = 0
    for module in list(net.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, DomainNorm(child, prior))
                found += 1
    return found
