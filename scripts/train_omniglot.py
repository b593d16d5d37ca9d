"""Train a classifier with a memory, and see it tell characters apart that it has never met, from a drawing of each.

    python scripts/train_omniglot.py --data FOLDER --save learner.zip
    python scripts/train_omniglot.py --ways 20 --shots 5 --updates 2000

One page, read from top to bottom; `metarl train` does the same with presets, run folders and pictures.
"""

import argparse

import numpy as np
import torch

from metarl import FewShotClassifier
from metarl.data.omniglot import Omniglot, found
from metarl.data.pool import Glyphs
from metarl.functional.stats import bootstrap_mean
from metarl.seeding import numpy_rng
from metarl.training.checkpoint import write_checkpoint
from metarl.training.supervised import SupervisedOptions, fit
from metarl.types import SPLITS

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--data", help="folder of Omniglot's archives (default METARL_DATA or the user's cache)")
parser.add_argument("--ways", type=int, default=5, help="characters in an episode of a test; four times in training")
parser.add_argument("--shots", type=int, default=1, help="labelled drawings of each")
parser.add_argument("--updates", type=int, default=4000, help="episodes to train on")
parser.add_argument("--episodes", type=int, default=1000, help="episodes to test on")
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--save", help="where to keep what was learned")
args = parser.parse_args()
torch.manual_seed(args.seed)

# 1. Drawings. No character is in two splits; in training, a character that is turned is a character of its own.
real = args.data is not None or found()
print("drawings:", "Omniglot" if real else "glyphs of a generator, because Omniglot was not found")
sources = [Omniglot(s, rotations=s == "train", folder=args.data) if real else Glyphs(s) for s in SPLITS]
(train, validation, test), rngs = sources, [numpy_rng(args.seed, "data", split) for split in range(3)]

# 2. A memory: each labelled drawing becomes a slot, its key what a net makes of it, its value the label. A query is
#    read by attention, with weights that fall with the squared distance to a key; by these the slots vote for labels.
attention = {"kernel": "euclidean", "temperature": 0.0625, "empty_slot": False}
memory = {"store": "episodic", "access": "attention", "access_options": attention}
net, most = {"net": "strided", "norm": "running", "embedding_size": 0}, 4 * args.ways
learner = FewShotClassifier((28, 28), most, memory, readout="votes", encoder=net, longest=most * args.shots)

# 3. Training of the net, over many episodes, each with characters of its own; what memory holds is gone with each.
episodes = (train.sample(rngs[0], 1, most, args.shots, 5) for _ in range(args.updates))
options = SupervisedOptions(updates=args.updates, learning_rate=2e-3, learning_rate_end=0.0, validate_every=250)
held = validation.sample(rngs[1], 100, args.ways, args.shots, 5)
fit(learner, FewShotClassifier.loss, episodes, options, validate=lambda model: model.accuracy(held), progress=print)

# 4. Characters never met: the weights stay as they are, and all that is learned of them is in the memory.
learner.eval()
right = [learner.accuracy(test.sample(rngs[2], 1, args.ways, args.shots, 5)) for _ in range(args.episodes)]
result = bootstrap_mean(np.array(right))
print(f"{args.ways}-way {args.shots}-shot, {args.episodes} test episodes: {result.mean:.2%} ± {result.half:.2%}")
if args.save:
    write_checkpoint(args.save, vars(args), {"learner": learner.state_dict()})
