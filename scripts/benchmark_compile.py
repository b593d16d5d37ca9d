"""What torch.compile would make of an update: ``python scripts/benchmark_compile.py [--preset NAME]``.

Two equal agents learn from the same rollouts in turn, one of them with ``policy.evaluate`` compiled. It prints how many
times as fast that one is, and the seconds that compiling took. Nothing is written. A few minutes on an idle core.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import torch
from gpu_check import rollout

from metarl.experiments.presets import load_experiment
from metarl.training.ppo import update


def seconds(agent: Any, batch: Any) -> float:
    """Of an update, made with the same minibatches each time."""
    generator = torch.Generator().manual_seed(0)
    began = time.process_time()
    update(agent.policy, agent.optimizer, batch, agent.options, progress=0.0, generator=generator)
    return time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--preset", default="bandit", help="of an agent (default bandit)")
    parser.add_argument("--n-envs", type=int, default=64, help="environments (default 64)")
    parser.add_argument("--rounds", type=int, default=3, help="updates of each (default 3)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    experiment: Any = load_experiment(args.preset, {"train.n_envs": args.n_envs, "device": "cpu"})
    plain, compiled = (experiment.build(0, torch.device("cpu")) for _ in range(2))
    batch = rollout(plain)
    seconds(plain, batch)
    compiled.policy.evaluate = torch.compile(compiled.policy.evaluate)
    first = seconds(compiled, batch)
    pairs = [(seconds(plain, batch), seconds(compiled, batch)) for _ in range(args.rounds)]
    ratio = statistics.median(one / other for one, other in pairs)
    usual = statistics.median(other for _, other in pairs)
    print(f"{args.preset}: compiled {ratio:.2f} times as fast, after {first - usual:.0f} s of compiling")
    print(f"an update takes {statistics.median(one for one, _ in pairs):.2f} s as it is")


if __name__ == "__main__":
    main()
