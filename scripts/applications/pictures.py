"""Pictures that nobody drew by hand, printed characters and clothes; used by ``domain.py``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np
from draw_fonts import CHARACTERS, find_fonts, picture
from PIL import Image

from metarl.data.digits import drawn_side
from metarl.data.idx import fashion
from metarl.data.pool import Pool

FINE = 48  # pixels along a picture before it is made as large as drawings are
EVERY = 10  # of the fonts, which are sorted by family, so that of each family there are few


def pictures(side: int) -> Iterator[tuple[str, Pool]]:
    """Each kind by its name; of one that isn't on this machine it prints what is missing.

    Args:
        side: how large characters are; see :func:`printed`.
    """
    kinds: Mapping[str, Callable[[], Pool]] = {"printed characters": partial(printed, side), "Fashion-MNIST": fashion}
    for name, make in kinds.items():
        try:
            yield name, make()
        except ValueError as error:
            print(f"skipped: {name}: {error}")


def printed(side: int, root: Path = Path("/usr/share/fonts"), *, size: int = 28, every: int = EVERY) -> Pool:
    """Characters of several scripts, an image a font, as bytes ``[size, size]`` from 0 (paper) to 255 (ink).

    Args:
        side: pixels of the larger side of what is drawn, the median over all characters; all are enlarged alike.
        root: the folder of fonts; which ones are taken is told in ``scripts/draw_fonts.py``.
        size: pixels along an image; what is larger is cut at its edges.
        every: how many fonts stand for one.

    Raises:
        MissingFonts: there are too few.
    """
    fonts = find_fonts(root)[::every]
    pictures = [
        picture(font, character, FINE, np.random.default_rng([number, ord(character)]))
        for character in CHARACTERS
        for number, font in enumerate(fonts)
    ]
    whole = round(FINE * side / drawn_side(np.stack([np.asarray(one) for one in pictures])))
    edge = (whole - size) / 2
    scaled = [
        one.resize((whole, whole), Image.Resampling.BOX if whole < FINE else Image.Resampling.BICUBIC)
        for one in pictures
    ]
    x = np.stack([np.asarray(one.crop((edge, edge, edge + size, edge + size))) for one in scaled])
    return Pool(x.reshape(len(CHARACTERS), len(fonts), size, size), names=list(CHARACTERS))
