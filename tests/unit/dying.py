"""An environment whose process dies once; imported by worker processes, so it imports little."""

import os
from pathlib import Path
from typing import Any

import gymnasium as gym

ORDER = Path("die")  # where the process works


class DiesOnce(gym.Wrapper[Any, Any, Any, Any]):
    """At its seventh step, where the file :data:`ORDER` is there; that is gone then."""

    steps = 0

    def step(self, action: Any) -> Any:
        self.steps += 1
        if self.steps == 7:
            try:
                ORDER.unlink()
            except FileNotFoundError:
                pass
            else:
                os._exit(3)
        return self.env.step(action)
