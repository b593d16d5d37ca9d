"""Train an RL² agent with an episodic memory, and see it learn bandits that it has never met.

    python scripts/train_rl2.py --steps 3000000 --save agent.zip

One page, read from top to bottom; `metarl train` does the same with presets, run folders, references and pictures.
"""

import argparse

import gymnasium as gym

from metarl import RL2PPO
from metarl.functional.stats import bootstrap_mean
from metarl.training.evaluate import play

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--env", default="metarl/BernoulliBandit-v0", help="id of a family of tasks")
parser.add_argument("--arms", type=int, default=10)
parser.add_argument("--pulls", type=int, default=100, help="pulls in a trial")
parser.add_argument("--n-envs", type=int, default=512, help="trials played side by side")
parser.add_argument("--steps", type=int, default=3_000_000, help="pulls to train for, over all trials")
parser.add_argument("--trials", type=int, default=10_000, help="held-out tasks to evaluate on")
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--save", help="where to keep the agent")
args = parser.parse_args()

# 1. A family of tasks. To Gymnasium a whole trial is one episode: a bandit drawn afresh and pulled `pulls` times.
#    The observation carries the previous action and reward; only the split says which tasks are drawn.
family = {"arms": args.arms, "pulls": args.pulls}
tasks = gym.make_vec(args.env, num_envs=args.n_envs, split="train", **family)

# 2. A memory: each completed transition becomes a slot of an episodic store, read by attention at every step.
memory = {
    "controller": "feedforward",  # no state of its own: what the agent knows of a task stands in the store
    "store": "episodic",
    "access": "attention",
    "access_options": {"heads": 4},
    "gate": False,  # open from the start: without its memory this agent could not do better than chance
}

# 3. The outer learner: PPO over whole trials, so that what is worth remembering is learned.
agent = RL2PPO("MemoryPolicy", tasks, memory=memory, reward_scale=0.1, seed=args.seed)
agent.learn(args.steps, progress_bar=True)
if args.save:
    agent.save(args.save)

# 4. Held-out tasks: the weights stay as they are, all learning happens in the memory within each trial.
played = play(
    agent.actor(), lambda n: gym.make_vec(args.env, num_envs=n, split="test", **family).unwrapped, args.trials
)
result = bootstrap_mean(played.returns)
print(f"reward per trial of {args.pulls} pulls: {result.mean:.2f} ± {result.half:.2f} (chance {args.pulls / 2:g})")
for pull in sorted({1, 2, 5, 10, 20, 50, args.pulls}):
    if pull <= args.pulls:
        print(f"  pull {pull:>3}: mean reward {played.rewards[:, pull - 1].mean():.3f}")
