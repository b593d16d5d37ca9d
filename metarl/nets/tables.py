"""A net from the patients of an episode to vectors, for tables of any width: a set encoder over (feature, value).

A cell of a table is told by numbers alone: the value on the scale of the support, and how the feature is spread in the
support, in all and within each class. One small net looks at every cell, and a patient is the weighted sum over them:
neither the order of features nor their number matters, and nothing is learned about any single one. A patient has a
vector for each class, in favour of it or against; renaming classes renames these vectors.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from metarl.config import ConfigError
from metarl.nets.images import EncoderOptions

CLIP = 4.0  # standard deviations of the support beyond which a value counts as being there
MOST = 8.0  # the largest evidence of one cell
RIDGES = (0.1, 1.0, 10.0)  # penalties, in mean squared lengths of a patient
PRIOR = 1.0  # cases that a variance of 1 counts for
START = -1.5  # softplus of it is what the evidence of a cell weighs at first
TINY = 1e-6
INPUTS = 23
"""Numbers that tell of a cell."""


class TableEncoder(nn.Module):
    """Patients as vectors, by what the support of their episode says about each feature.

    Numbers of the queries never enter a statistic. For a patient of the support, the classes are described by the other
    patients, or it would look more typical of its own than a query can; its label is then added to its vector.

    It starts as two discriminants, and learns to weigh both. One takes features one by one: a cell's evidence for a
    class is (m - o) (x - (m + o) / 2) / v, with the means m of the class and o of the others and a shrunken pooled
    variance v, as in diagonal linear discriminant analysis (Tibshirani et al. 2002). What a cell weighs is
    learned, and so is what else it says. The other takes all features together: ridge regressions of the labels on
    values and on ranks, with three penalties each.

    Args:
        ways: most classes of an episode.
        options: ``width`` is that of hidden layers, ``embedding_size`` that of the vector of each class.

    Raises:
        ConfigError: an option that is of images alone, or vectors of no size.
    """

    def __init__(self, ways: int, options: EncoderOptions) -> None:
        super().__init__()
        plain = EncoderOptions()
        for name in ("norm", "average", "dropout", "views", "precision"):
            if getattr(options, name) != getattr(plain, name):
                expected = f"{getattr(plain, name)!r} with net = 'table', as it is for images"
                raise ConfigError(key=f"encoder.{name}", given=getattr(options, name), expected=expected)
        width, each = options.width, options.embedding_size
        if not each:
            raise ConfigError(key="encoder.embedding_size", given=0, expected="1 or more with net = 'table'")
        self.ways, self.size = ways, ways * each
        self.first, self.second = nn.Linear(INPUTS, width), nn.Linear(width, width)
        self.whole, self.third = nn.Linear(2 * width, width), nn.Linear(width, width)
        self.weight, self.more = nn.Linear(width, each), nn.Linear(width, each)
        self.together = nn.Linear(2 * len(RIDGES), each, bias=False)
        last = nn.Linear(width, each)
        said = 2 * each + 2 * len(RIDGES) + width
        self.after = nn.Sequential(nn.Linear(said, width), nn.GELU(), last)
        self.label = nn.Parameter(torch.ones(each))
        for quiet in (self.weight, self.more, last):
            nn.init.normal_(quiet.weight, std=0.01)
            nn.init.zeros_(quiet.bias)
        nn.init.constant_(self.weight.bias, START)
        nn.init.constant_(self.together.weight, 0.5)

    def forward(self, x: Tensor, support: int, labels: Tensor) -> Tensor:
        """Embed the patients of episodes.

        Args:
            x: ``[B, N, F]``, NaN where a value is unknown.
            support: the first ``support`` patients of each episode are labelled.
            labels: ``[B, support]`` from 0 to ``ways - 1``.

        Returns:
            ``[B, N, size]``
        """
        x = x.to(self.label)
        x = x[:, :, (~x[:, :support].isnan()).any(1).any(0)]  # what no support knows tells nothing
        classes = F.one_hot(labels, self.ways).to(x)
        z, known = _scaled(x, support)
        rank, ties = _ranks(x, known, support)
        cells, evidence = self._cells(z, rank, ties, known, classes)
        linear = torch.cat([_ridges(part, known, classes) for part in (z, rank)], -1)  # [B, N, C, 2 * RIDGES]
        there, count = known[..., None, None], known.sum(2).clamp_min(1)[..., None, None]
        hidden = F.gelu(self.second(F.gelu(self.first(cells))))  # [B, N, F, C, H]
        mean = (hidden * there).sum(2) / count
        whole = self.whole(torch.cat([mean, mean.mean(2, keepdim=True).expand_as(mean)], -1))
        hidden = F.gelu(self.third(hidden) + whole[:, :, None])
        said = F.softplus(self.weight(hidden)) * evidence[..., None] + self.more(hidden)
        patient = _against_others((said * there).sum(2) / count.sqrt() + self.together(linear))  # [B, N, C, E]
        patient = _against_others(patient + self.after(torch.cat([patient, patient.abs(), linear, mean], -1)))
        own = F.pad((classes - 1 / self.ways)[..., None] * self.label, (0, 0, 0, 0, 0, x.shape[1] - support))
        return (patient + own).flatten(2)

    def _cells(self, z: Tensor, rank: Tensor, ties: Tensor, known: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        """What is told of each cell.

        Args:
            z: values on the scale of the support, ``[B, N, F]``.
            rank: see :func:`_ranks`.
            ties: likewise.
            known: see :func:`_scaled`.
            classes: one-hot ``[B, support, C]``.

        Returns:
            Numbers ``[B, N, F, C, INPUTS]``, and evidence ``[B, N, F, C]``.
        """
        support = classes.shape[1]
        own = F.pad(classes, (0, 0, 0, z.shape[1] - support))[:, :, None]  # [B, N, 1, C]
        count, total, squares = (_others(part, classes, own) for part in (known, z, z.square()))
        rest = count.sum(-1, keepdim=True) - count
        mean, other = total / count.clamp_min(1), (total.sum(-1, keepdim=True) - total) / rest.clamp_min(1)
        within = (squares - count * mean.square()).clamp_min(0)
        all_within = within.sum(-1, keepdim=True)
        free = (count.sum(-1, keepdim=True) - self.ways).clamp_min(0)
        pooled = (all_within + PRIOR) / (free + PRIOR)
        both = ((count > 0) & (rest > 0)).to(z)
        apart = (mean - other) * both
        error = (pooled * (1 / count.clamp_min(1) + 1 / rest.clamp_min(1))).sqrt()
        value = z[..., None]
        evidence = (apart * (value - (mean + other) / 2) / pooled.clamp_min(0.1)).clamp(-MOST, MOST)
        spread = ((within + pooled) / count.clamp_min(1)).sqrt()
        other_spread = ((all_within - within + pooled) / rest.clamp_min(1)).sqrt()
        ranks = _others(rank, classes, own)
        mean_rank = ranks / count.clamp_min(1)
        other_rank = (ranks.sum(-1, keepdim=True) - ranks) / rest.clamp_min(1)
        apart_rank = (mean_rank - other_rank) * both
        shown, there = z[:, :support], known[:, :support].sum(1, keepdim=True)
        alike = shown @ shown.mT
        dimensions = alike.diagonal(dim1=1, dim2=2).sum(1).square() / alike.square().sum((1, 2)).clamp_min(TINY)
        told = (
            value,
            mean,
            other,
            apart,
            value - mean,
            (apart / error).clamp(-6, 6) / 3,
            evidence / 4,
            spread,
            other_spread,
            (value - mean).square() / (spread.square() + 0.1) / 8,
            (value - other).square() / (other_spread.square() + 0.1) / 8,
            rank[..., None],
            apart_rank,
            (rank[..., None] - (mean_rank + other_rank) / 2) * apart_rank,
            ties[..., None],
            (ties[:, :support].sum(1, keepdim=True) / there.clamp_min(1))[..., None],
            ((shown**3).sum(1, keepdim=True) / there.clamp_min(1) / 3)[..., None],
            (there / support)[..., None],
            (count + 1).log() - 1,
            (rest + 1).log() - 1,
            (known.sum(2, keepdim=True).clamp_min(1).log() / 2 - 1)[..., None],
            (dimensions.clamp_min(1).log() - 1)[:, None, None, None],
            known[..., None],
        )
        return torch.stack([part.expand_as(mean) for part in told], -1), evidence


def _scaled(x: Tensor, support: int) -> tuple[Tensor, Tensor]:
    """Values on the scale of the support, 0 where unknown, and which cells count, 1 or 0; both ``[B, N, F]``.

    Those count that are known, and whose feature varies in the support.
    """
    known = ~x.isnan()
    shown, there = x[:, :support].nan_to_num(), known[:, :support].to(x)
    count = there.sum(1, keepdim=True).clamp_min(1)
    mean = (shown * there).sum(1, keepdim=True) / count
    spread = (((shown - mean).square() * there).sum(1, keepdim=True) / count).sqrt()
    known = (known & (spread > TINY * (mean.abs() + TINY))).to(x)
    z = (x.nan_to_num() - mean) / torch.where(spread > 0, spread, 1.0)
    return z.clamp(-CLIP, CLIP) * known, known


def _ranks(x: Tensor, known: Tensor, support: int) -> tuple[Tensor, Tensor]:
    """The share of the support below a value less that above it, and the share of others with the same value."""
    value, shown, there = x[:, :, None], x[:, None, :support], known[:, None, :support]
    below, same = ((value > shown) * there).sum(2), ((value == shown) * there).sum(2)
    count = there.sum(2)
    itself = F.pad(known[:, :support], (0, 0, 0, x.shape[1] - support))
    rank = ((2 * below + same) / count.clamp_min(1) - 1) * known
    return rank, (same - itself) / (count - itself).clamp_min(1) * known


def _ridges(x: Tensor, known: Tensor, classes: Tensor) -> Tensor:
    """Ridge regressions of classes ``[B, S, C]`` on patients ``x [B, N, F]`` by penalty, ``[B, N, C, RIDGES]``.

    A patient of the support gets what the others say: y_i - a_i / (K + r)^-1_ii with the weights a = (K + r)^-1 y.
    """
    support = classes.shape[1]
    count = known[:, :support].amax(1).sum(1)[:, None, None].clamp_min(1)
    products = x @ x[:, :support].mT / count
    inner, target = products[:, :support], classes - classes.mean(1, keepdim=True)
    size = inner.diagonal(dim1=1, dim2=2).mean(1)[:, None, None].clamp_min(TINY)
    made = []
    for penalty in RIDGES:
        inverse = torch.linalg.inv(inner + penalty * size * torch.eye(support).to(inner))
        weights = inverse @ target
        alone = target - weights / inverse.diagonal(dim1=1, dim2=2)[..., None]
        made.append(torch.cat([alone, products[:, support:] @ weights], 1))
    return torch.stack(made, -1)


def _others(x: Tensor, classes: Tensor, own: Tensor) -> Tensor:
    """Sums of ``x [B, N, F]`` over the support of each class without the patient itself, ``[B, N, F, C]``."""
    sums = x[:, : classes.shape[1]].mT @ classes  # [B, F, C]
    return sums[:, None] - own * x[..., None]


def _against_others(x: Tensor) -> Tensor:
    """Vectors of classes ``[B, N, C, E]`` less their mean over classes."""
    return x - x.mean(2, keepdim=True)
