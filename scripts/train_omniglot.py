"""Train a classifier with a memory, and test it on characters it has never met, from one image of each.

    python scripts/train_omniglot.py --data FOLDER --save learner.zip
    python scripts/train_omniglot.py --ways 20 --shots 5 --updates 2000

One page, to be read from top to bottom; `metarl train` does the same with presets, run folders and images.
"""

import argparse

import numpy as np
import torch

from metarl.data.omniglot import found
from metarl.fewshot import FewShotClassifier, Glyphs, Omniglot, SupervisedOptions, fit
from metarl.functional import bootstrap_mean
from metarl.seeding import numpy_rng
from metarl.training.checkpoint import write_checkpoint
from metarl.types import SPLITS

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--data", help="folder of Omniglot's archives (default METARL_DATA or the user's cache)")
parser.add_argument("--ways", type=int, default=5, help="classes in a test episode; four times as many in training")
parser.add_argument("--shots", type=int, default=1, help="labelled images of each")
parser.add_argument("--updates", type=int, default=4000, help="episodes to train on")
parser.add_argument("--episodes", type=int, default=1000, help="episodes to test on")
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--save", help="where to save the trained learner")
args = parser.parse_args()
torch.manual_seed(args.seed)

# 1. Images. No character is in two splits; in training, each rotation of a character counts as a class of its own.
real = args.data is not None or found()
print("images:", "Omniglot" if real else "generated glyphs, because Omniglot was not found")
sources = [Omniglot(s, rotations=s == "train", folder=args.data) if real else Glyphs(s) for s in SPLITS]
(train, validation, test), rngs = sources, [numpy_rng(args.seed, "data", split) for split in range(3)]

# 2. A memory. Each labelled image becomes a slot: its key is the net's embedding, its value the label. A query reads by
#    attention, with weights that fall with the squared distance to a key; these weights are the votes for the labels.
attention = {"kernel": "euclidean", "temperature": 0.0625, "empty_slot": False}
memory = {"store": "episodic", "access": "attention", "access_options": attention}
net, most = {"net": "strided", "norm": "running", "embedding_size": 0}, 4 * args.ways
learner = FewShotClassifier((28, 28), most, memory, readout="votes", encoder=net, longest=most * args.shots)

# 3. Train the net on many episodes, each with its own characters. Memory is emptied after each of them.
episodes = (train.sample(rngs[0], 1, most, args.shots, 5) for _ in range(args.updates))
options = SupervisedOptions(updates=args.updates, learning_rate=2e-3, learning_rate_end=0.0, validate_every=250)
held = validation.sample(rngs[1], 100, args.ways, args.shots, 5)
fit(learner, FewShotClassifier.loss, episodes, options, validate=lambda model: model.accuracy(held), progress=print)

# 4. Test on new characters: the weights stay fixed, and everything learned about them is in the memory.
learner.eval()
correct = [learner.accuracy(test.sample(rngs[2], 1, args.ways, args.shots, 5)) for _ in range(args.episodes)]
result = bootstrap_mean(np.array(correct))
print(f"{args.ways}-way {args.shots}-shot, {args.episodes} test episodes: {result.mean:.2%} ± {result.half:.2%}")
if args.save:
    write_checkpoint(args.save, vars(args), {"learner": learner.state_dict()})
