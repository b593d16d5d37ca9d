"""Train an RL² agent with an episodic memory, and see it learn tasks that it has never met.

    python scripts/train_rl2.py --steps 3000000 --save agent.zip
    python scripts/train_rl2.py --env CartPole-v1 --vary length=0.3..1.0 --set episodes=3 --n-envs 64

One page, read from top to bottom; `metarl train` does the same with presets, run folders, references and pictures.
"""

import argparse
import sys

from metarl import RL2PPO, TrialVectorEnv
from metarl.agents.baselines import Random
from metarl.config import parse_assignment
from metarl.evaluation.play import rollout_trials
from metarl.experiments.rl.experiment import make_family
from metarl.functional.stats import bootstrap_mean
from metarl.tasks.family.reading import parse_vary

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--env", default="metarl/BernoulliBandit-v0", help="a family of tasks, or module:ID of any kind")
parser.add_argument("--vary", action="append", default=[], help="what differs over tasks: length=0.3..1.0 (repeatable)")
parser.add_argument(
    "--set", action="append", default=[], help="an option of the family: arms=5, episodes=3 (repeatable)"
)
parser.add_argument("--n-envs", type=int, default=512, help="trials played side by side")
parser.add_argument("--steps", type=int, default=3_000_000, help="steps to train for, over all trials")
parser.add_argument("--trials", type=int, default=10_000, help="held-out tasks to evaluate on")
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--save", help="where to keep the agent")
args = parser.parse_args()
sys.path.append(".")  # where a module of your own may lie

# 1. A family of tasks. The agent plays trials: several episodes of one task, which is drawn afresh for each trial.
#    The observation carries the previous action and reward; only the split says which tasks are drawn.
options = {key[0]: value for key, value in map(parse_assignment, args.set)}
if args.vary:
    options["vary"] = dict(map(parse_vary, args.vary))
family = make_family({"id": args.env, **options}, split="train")

# 2. A memory: each completed transition becomes a slot of an episodic store, read by attention at every step.
memory = {"controller": "feedforward", "store": "episodic", "access": "attention", "gate": False}

# 3. The outer learner: PPO over whole trials, so that what is worth remembering is learned.
agent = RL2PPO("MemoryPolicy", family, n_envs=args.n_envs, memory=memory, reward_scale=0.1, seed=args.seed)
agent.learn(args.steps, progress_bar=True)
if args.save:
    agent.save(args.save)

# 4. Held-out tasks: the weights stay as they are, all learning happens in the memory within each trial.
test = family.with_split("test")
actors = agent.actor(), Random(test.action_space)
played, chance = (rollout_trials(actor, lambda n: TrialVectorEnv(test, n), args.trials) for actor in actors)
result = bootstrap_mean(played.returns)
print(f"return per trial: {result.mean:.2f} ± {result.half:.2f} (random actions {chance.returns.mean():.2f})")
means = played.by_episode().mean(0)
for episode in sorted({1, 2, 5, 10, 20, 50, len(means)} & set(range(1, len(means) + 1))):
    print(f"  episode {episode:>3}: mean return {means[episode - 1]:.3f}")
