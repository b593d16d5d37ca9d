"""Few-shot learning in one place: the learners, the sources of examples, and the training loop."""

from metarl.agents.fewshot.classifier import FewShotClassifier
from metarl.agents.fewshot.ensemble import Ensemble
from metarl.agents.fewshot.gradient import ANIL, MAML, GradientOptions, Reptile
from metarl.agents.fewshot.learner import FewShotLearner
from metarl.agents.fewshot.streams import StreamClassifier
from metarl.agents.fewshot.trained import TrainedLearner
from metarl.data.episodes import Episodes, Streams
from metarl.data.images import Images
from metarl.data.omniglot.source import Omniglot
from metarl.data.pool import Glyphs, Pool
from metarl.data.sources import FewShotSource
from metarl.nets.images import EncoderOptions
from metarl.training.supervised import SupervisedOptions, fit

__all__ = [
    "ANIL",
    "MAML",
    "EncoderOptions",
    "Ensemble",
    "Episodes",
    "FewShotClassifier",
    "FewShotLearner",
    "FewShotSource",
    "Glyphs",
    "GradientOptions",
    "Images",
    "Omniglot",
    "Pool",
    "Reptile",
    "StreamClassifier",
    "Streams",
    "SupervisedOptions",
    "TrainedLearner",
    "fit",
]
