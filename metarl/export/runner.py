"""Plays an agent that ``metarl export`` wrote beside this file; needs numpy and onnxruntime alone."""

import json
from pathlib import Path
from typing import Any

import numpy as np


class Agent:
    """An agent and its memory; without a seed it takes the most probable actions, with one it draws them."""

    def __init__(self, folder: str | Path = Path(__file__).parent, seed: int | None = None) -> None:
        import onnxruntime

        self.about = about = json.loads((Path(folder) / "agent.json").read_text("utf-8"))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = 1, 3
        self.session = onnxruntime.InferenceSession(Path(folder) / "agent.onnx", options)
        self.rng = None if seed is None else np.random.default_rng(seed)
        self.state = {part["name"]: np.zeros(part["shape"], part["dtype"]) for part in about["state"]}
        self.fresh = np.ones(about["batch"], bool)

    def step(self, observation: dict[str, Any], start: Any = False) -> Any:
        """Actions [batch, ...] for trial observations {name: [batch, ...]}; start [batch]: where a trial begins."""
        made, state = self.about["observation"], self.about["state"]
        given = {p["name"]: np.asarray(observation[p["name"]], p["dtype"]).reshape(p["shape"]) for p in made}
        given["start"], self.fresh = self.fresh | start, np.zeros_like(self.fresh)
        names = [part["name"] for part in self.about["outputs"]] + [part["next"] for part in state]
        out = dict(zip(names, self.session.run(names, given | self.state), strict=True))
        self.state = {part["name"]: out[part["next"]] for part in state}
        return out["action"] if self.rng is None else self._draw(out, self.rng, self.about["actions"])

    def _draw(self, out: dict[str, Any], rng: Any, actions: dict[str, Any]) -> Any:
        """Actions drawn from what the agent put out."""
        if "mean" in out:
            return rng.normal(out["mean"], out["std"]).clip(actions["low"], actions["high"]).astype(out["mean"].dtype)
        parts = np.split(out["log_probs"], np.cumsum(actions["choices"])[:-1], axis=-1)
        drawn = np.stack([(part + rng.gumbel(size=part.shape)).argmax(-1) for part in parts], axis=-1)
        return drawn.reshape(out["action"].shape) + np.array(actions["first"])
