"""The 20 published runs of one-shot classification within an alphabet (Lake et al. 2015), which the package carries."""

from __future__ import annotations

import hashlib
import io
import zipfile
from functools import lru_cache
from importlib import resources
from typing import NamedTuple

import numpy as np

from metarl.data.omniglot.archives import OmniglotError
from metarl.data.omniglot.drawings import ink
from metarl.types import Bytes, Ints

RUNS = 20
WAYS = 20  # characters of a run, and its queries
SHA256 = "437c1eeab0af8484112e1b4cc0f3d541ec727f7c47b9b202da738af9dfd6c325"


class PublishedRuns(NamedTuple):
    """The runs; each is 20 characters of one alphabet by one drawer, and the same by another, who asks.

    They are for the last figure alone: nothing may be trained or chosen on them.

    Args:
        support: ``[20, 20, H, W]`` from 0 (paper) to 255 (ink).
        queries: ``[20, 20, H, W]``
        answers: ``[20, 20]`` the place of each query's character in the support.
    """

    support: Bytes
    queries: Bytes
    answers: Ints


@lru_cache(maxsize=4)
def published_runs(size: int) -> PublishedRuns:
    """The 20 runs at ``size`` by ``size`` pixels, read as all of Omniglot is; read-only and shared within a process.

    Raises:
        OmniglotError: the archive in the package is not the published one.
    """
    from PIL import Image

    content = resources.files("metarl.data.omniglot").joinpath("runs", "all_runs.zip").read_bytes()
    if (found := hashlib.sha256(content).hexdigest()) != SHA256:
        remedy = "install the package again"
        raise OmniglotError(key="all_runs.zip", given=f"sha256 {found}", expected=f"sha256 {SHA256}", remedy=remedy)
    support, queries = np.empty((2, RUNS, WAYS, size, size), np.uint8)
    answers = np.empty((RUNS, WAYS), np.int64)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:

        def read(name: str) -> Bytes:
            with archive.open(name) as file, Image.open(file, formats=["PNG"]) as image:
                return ink(image, size)

        for run in range(RUNS):
            folder = f"run{run + 1:02d}"
            lines = archive.read(f"{folder}/class_labels.txt").decode().split("\n")
            pairs = dict(line.split() for line in lines if line.strip())
            names = [f"{folder}/training/class{place + 1:02d}.png" for place in range(WAYS)]
            for place in range(WAYS):
                query = f"{folder}/test/item{place + 1:02d}.png"
                support[run, place], queries[run, place] = read(names[place]), read(query)
                answers[run, place] = names.index(pairs[query])
    for array in (support, queries, answers):
        array.flags.writeable = False
    return PublishedRuns(support, queries, answers)
