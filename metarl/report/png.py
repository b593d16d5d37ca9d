"""Arrays as images that are a part of a page."""

from __future__ import annotations

from base64 import b64encode
from io import BytesIO

import numpy as np

from metarl.types import Array


def data_uri(pixels: Array) -> str:
    """An image ``[H, W]``, ``[H, W, 1]`` or ``[H, W, 3]`` of bytes as the address of a PNG that holds itself."""
    from PIL import Image

    array = np.asarray(pixels, np.uint8)
    with BytesIO() as file:
        Image.fromarray(array[..., 0] if array.shape[2:] == (1,) else array).save(file, "PNG")
        return f"data:image/png;base64,{b64encode(file.getvalue()).decode()}"
