"""Few-shot learners: supervised learning from a few examples, with the memories that the agents have."""

from metarl.agents.fewshot.classifier import FewShotClassifier

__all__ = ["FewShotClassifier"]
