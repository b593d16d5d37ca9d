"""A linear head that takes additional low-rank weights, such as the values of a memory."""

from __future__ import annotations

from torch import Tensor, nn

from metarl.config import InputError


class LowRankHead(nn.Module):
    """W x + b + U V x, where W and b are parameters and U and V are inputs.

    U V is LoRA's product of thin matrices (Hu et al. 2022, section 4.1, without the scale). U and V have ``size``
    numbers in all, few enough to be a value of a memory, which then stores a change of parameters for each task.

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
            raise InputError(key="rank", given=rank, expected="1 or more")
        self.linear = nn.Linear(input_size, output_size)
        self.rank = rank
        self.size = rank * (input_size + output_size)

    def forward(self, x: Tensor, weights: Tensor) -> Tensor:
        """Apply the head; leading axes broadcast.

        Args:
            x: ``[..., input_size]``
            weights: ``[..., size]``, V row by row and then U row by row; zeros give the plain head.

        Returns:
            ``[..., output_size]``

        Raises:
            ValueError: another number of weights.
        """
        if weights.shape[-1] != self.size:
            raise InputError(key="the shape of weights", given=list(weights.shape), expected=f"[..., {self.size}]")
        inner, outer = weights.split([self.rank * self.linear.in_features, self.rank * self.linear.out_features], -1)
        squeezed = inner.unflatten(-1, (self.rank, -1)) @ x[..., None]
        changed: Tensor = (outer.unflatten(-1, (-1, self.rank)) @ squeezed)[..., 0]
        return self.linear(x) + changed
