"""Classifies images with a learner that ``metarl export`` wrote beside this file; needs numpy and onnxruntime alone."""

import json
from pathlib import Path
from typing import Any

import numpy as np


class Classifier:
    """Answers from labelled images that it is shown, however many; its weights never change."""

    def __init__(self, folder: str | Path = Path(__file__).parent) -> None:
        import onnxruntime

        self.about = json.loads((Path(folder) / "classifier.json").read_text("utf-8"))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = 1, 3
        self.session = onnxruntime.InferenceSession(Path(folder) / "classifier.onnx", options)

    def predict(self, support: Any, labels: Any, queries: Any) -> Any:
        """Probabilities [Q, classes].

        Args:
            support: labelled images [S, ...].
            labels: their classes [S], from 0.
            queries: images [Q, ...] to be named.
        """
        support, labels, queries = self._images(support), np.asarray(labels, np.int64), self._images(queries)
        (least, most), ways, count = self.about["supports"], self.about["ways"], len(support)
        if labels.shape != (count,) or not least <= count <= most:
            raise ValueError(f"{count} images with {labels.size} labels; this file takes {least} to {most} of each")
        classes = int(labels.max()) + 1
        if labels.min() < 0 or classes > ways or len(np.unique(labels)) < max(2, classes):
            raise ValueError(f"labels must be 0, 1, ... of 2 to {ways} classes, each of them at least once")
        shown, most = {"support": support, "labels": labels}, self.about["queries"][1]
        parts = [queries[first : first + most] for first in range(0, len(queries), most)]
        logits = np.concatenate([self.session.run(["logits"], {**shown, "queries": part})[0] for part in parts])
        shares = np.exp(logits[:, :classes] - logits[:, :classes].max(1, keepdims=True))
        return shares / shares.sum(1, keepdims=True)

    def _images(self, given: Any) -> Any:
        """Images as bytes; anything else is refused, as nobody can know what its numbers mean."""
        images, shape = np.asarray(given), self.about["images"]["shape"]
        if images.dtype != np.uint8 or list(images.shape[1:]) != shape or not len(images):
            raise ValueError(f"images are {images.dtype} {list(images.shape)}, expected uint8 {['N', *shape]}")
        return images
