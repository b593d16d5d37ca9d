"""A linear head that can be given low-rank weights from outside, such as the values of a memory."""

from __future__ import annotations

from torch import Tensor, nn


class LowRankHead(nn.Module):
    """W x + b + U V x, where W and b are learned and U and V come from outside.

    The product of thin matrices is LoRA's (Hu et al. 2022, section 4.1, there with a scale). All of U and V are
    ``size`` numbers, few enough to be a value of a memory: what is kept for a task is then a change of parameters.

    Args:
        input_size: width of x.
        output_size: width of the output.
        rank: columns of U and rows of V.

    Raises:
        ValueError: a rank under 1.
    """

    def __init__(self, input_size: int, output_size: int, rank: int) -> None:
        super().__init__()
        if rank < 1:
            raise ValueError(f"rank is {rank}, expected 1 or more; without such weights use torch.nn.Linear")
        self.linear = nn.Linear(input_size, output_size)
        self.rank = rank
        self.size = rank * (input_size + output_size)

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        """``x`` ``[..., input_size]`` to ``[..., output_size]``, with ``weights`` ``[..., size]`` of its own each.

        The weights are V row by row, then U row by row; all zero is the plain head. Leading axes broadcast.

        Raises:
            ValueError: another number of weights.
        """
        if weights.shape[-1] != self.size:
            raise ValueError(
                f"weights have shape {list(weights.shape)}, expected [..., {self.size}]: rank {self.rank} times "
                f"{self.linear.in_features} inputs and {self.linear.out_features} outputs"
            )
        inner, outer = weights.split([self.rank * self.linear.in_features, self.rank * self.linear.out_features], -1)
        squeezed = inner.unflatten(-1, (self.rank, -1)) @ x[..., None]
        changed: Tensor = (outer.unflatten(-1, (-1, self.rank)) @ squeezed)[..., 0]
        return self.linear(x) + changed
