"""Few-shot episodes: a few labelled examples of unseen classes, and queries to classify from them.

Images stay bytes from here to the net: 0 is paper, 255 is ink.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np

from metarl.types import Array, Ints

Labels = Literal["one_hot", "letters"]
LETTERS = 5  # the number of different letters, and of letters in a label


class Episodes(NamedTuple):
    """``B`` episodes of ``ways`` classes each: ``S = ways * shots`` support and ``Q = ways * queries`` query examples.

    Every episode assigns labels to classes at random, and shuffles support and queries separately.

    Examples are ``[B, S, ...]`` and ``[B, Q, ...]``, uint8 or float32; labels ``[B, S]`` and ``[B, Q]`` go from 0 to
    ``ways - 1``.
    """

    support_x: Array
    support_y: Ints
    query_x: Array
    query_y: Ints


class Streams(NamedTuple):
    """``B`` streams of ``T = ways * per_class`` examples in random order (Santoro et al. 2016, section 2.1).

    Each label belongs to the example of its own step; a learner sees it one step later.

    Args:
        x: ``[B, T, ...]`` uint8 or float32
        y: ``[B, T, L]`` the digits of each label: one from 0 to ``ways - 1``, or five from 0 to 4 for five letters.
    """

    x: Array
    y: Ints


def class_positions(y: Ints) -> Ints:
    """The position of each step's example among those of its class: 1 for the first, 2 for the second, and so on.

    Args:
        y: labels of streams ``[B, T, L]``.

    Returns:
        ``[B, T]``
    """
    label = y @ (y.max() + 1) ** np.arange(y.shape[-1])
    same = label[:, :, None] == label[:, None]  # [B, T, T]
    return np.tril(same).sum(2)
