"""What is said of an error that foreign code raised."""

from __future__ import annotations

import traceback
from pathlib import Path


def told(error: BaseException) -> str:
    """``Type: message (folder/file.py:12)``: what was raised, and the line that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({'/'.join(Path(frames[-1].filename).parts[-2:])}:{frames[-1].lineno})" if frames else ""
    return ": ".join(filter(None, [type(error).__name__, " ".join(str(error).split())])) + place
