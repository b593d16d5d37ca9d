"""Probabilistic linear discriminant analysis: a metric for class means and queries, fitted to other classes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

WITHIN, BETWEEN = 0.5, 0.1  # by how much the two covariances are drawn towards multiples of the identity
TINY = 1e-12


class Plda(nn.Module):
    """Compares queries with class means as if classes and their examples were drawn from two normal distributions.

    With class centres from N(m, B) and the examples of a class from N(centre, W), and in the basis in which W is the
    identity and B diagonal, what is known of a class of which k examples have the mean s is again normal: with b in B,
    its centre is expected at s k b / (k b + 1), and a query then has the variance 1 + b / (k b + 1) around it (Ioffe
    2006; Prince & Elder 2007). So dimensions in which classes differ little count little, and means of few examples are
    drawn towards the middle. A query's distances to all classes are divided by the same variance, that of a class with
    the harmonic mean of their numbers of examples, so that they stay Euclidean distances of mapped vectors.

    Until it is fitted it changes nothing.

    Args:
        size: width ``E`` of the vectors.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.mean: Tensor
        self.directions: Tensor
        self.noise: Tensor
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("directions", torch.eye(size))
        self.register_buffer("noise", torch.zeros(size))  # 1 / b

    def forward(self, means: Tensor, queries: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        """Vectors whose Euclidean distances are those of this metric.

        Args:
            means: of the examples of each class ``[B, N, E]``.
            queries: ``[B, Q, E]``
            counts: examples of each class ``[B, N]``; those with none play no part.

        Returns:
            The class means ``[B, N, E]`` and the queries ``[B, Q, E]``.
        """
        each, known = counts.clamp_min(1)[..., None], (counts > 0).to(means)[..., None]
        fewness = (known / each).sum(1, keepdim=True) / known.sum(1, keepdim=True).clamp_min(1)  # [B, 1, 1]: 1 / k
        variance = 1 + 1 / (1 / fewness.clamp_min(TINY) + self.noise)
        weight = ((1 + fewness) / variance).sqrt()
        means = (means - self.mean) @ self.directions * (each / (each + self.noise))
        return means * weight, (queries - self.mean) @ self.directions * weight

    @torch.no_grad()
    def fit(self, examples: Tensor, labels: Tensor) -> None:
        """Learn both covariances; vectors of different classes stay as far apart as they were, on the average.

        Both are drawn towards a multiple of the identity, W by a half and B by a tenth.

        Args:
            examples: ``[N, E]``
            labels: ``[N]`` the numbers of their classes, 0, 1, ...: two classes or more, and two examples of one.
        """
        x = examples.double()
        of_class = F.one_hot(labels.to(x.device)).to(x)
        counts, size = of_class.sum(0), x.shape[1]
        centres = of_class.T @ x / counts[:, None]
        mean = centres.mean(0)
        residuals = x - centres[labels]
        within = residuals.T @ residuals / (len(x) - len(counts))
        between = (centres - mean).T @ (centres - mean) / (len(counts) - 1) - within * (1 / counts).mean()
        one = torch.eye(size).to(x)
        known, spread = (part.trace().clamp_min(TINY) for part in (within, between))
        w, b = (
            (1 - share) * part + share * total / size * one
            for part, total, share in ((within, known, WITHIN), (between, spread, BETWEEN))
        )
        whitening = torch.linalg.inv(torch.linalg.cholesky(w))
        values, vectors = torch.linalg.eigh(whitening @ b @ whitening.T)
        directions, noise = whitening.T @ vectors, 1 / values.clamp_min(1e-4)
        gain, variance = 1 / (1 + noise), 1 + 1 / (1 + noise)  # with one example
        seen = (directions * ((within + between) @ directions)).sum(0)
        apart = (seen * (1 + gain.square()) / variance).sum().clamp_min(TINY)
        self.mean.copy_(mean)
        self.directions.copy_(directions * ((known + spread) / apart).sqrt())
        self.noise.copy_(noise)
