"""TorchRL's recurrent PPO, its recurrent net unrolled by the scan backend; see serve.py."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
from bandit import ARMS, PULLS, WIDTH, Bandits
from serve import PPO, Learner, main

UNITS = 128
GRAD_NORM = 0.5


def make(args: argparse.Namespace) -> Learner:
    """The learner of the command line."""
    import tensordict
    import torch
    import torchrl
    from tensordict import TensorDict
    from tensordict.nn import (
        ProbabilisticTensorDictModule,
        ProbabilisticTensorDictSequential,
        TensorDictModule,
        TensorDictSequential,
    )
    from torch import nn
    from torchrl.collectors import Collector
    from torchrl.data import Categorical, Composite, Unbounded
    from torchrl.envs import Compose, EnvBase, InitTracker, TransformedEnv
    from torchrl.modules import GRUModule, LSTMModule, ValueOperator, set_recurrent_mode
    from torchrl.objectives import ClipPPOLoss
    from torchrl.objectives.value import GAE

    torch.set_num_threads(args.threads or torch.get_num_threads())
    torch.manual_seed(args.seed)
    rows, size = args.envs, args.envs * PULLS
    finished: list[Any] = []

    class Trials(EnvBase):
        """The bandits as a batched environment."""

        def __init__(self) -> None:
            super().__init__(device="cpu", batch_size=[rows])
            self.bandit = Bandits(rows, args.seed)
            flag = Categorical(2, shape=(rows, 1), dtype=torch.bool)
            self.observation_spec = Composite(observation=Unbounded((rows, WIDTH)), shape=(rows,))
            self.action_spec = Categorical(ARMS, shape=(rows,))
            self.reward_spec = Unbounded((rows, 1))
            self.done_spec = Composite(done=flag, terminated=flag.clone(), shape=(rows,))

        def _reset(self, tensordict: Any = None, **options: Any) -> Any:
            return self._told(self.bandit.reset(), False)

        def _step(self, tensordict: Any) -> Any:
            obs, rewards, over = self.bandit.step(tensordict["action"].numpy())
            if over:
                finished.append(self.bandit.returns)
            return self._told(obs, over).set("reward", args.reward_scale * torch.from_numpy(rewards)[:, None])

        def _told(self, obs: Any, over: bool) -> Any:
            done = torch.full((rows, 1), over)
            told = {"observation": torch.from_numpy(obs), "done": done, "terminated": done.clone()}
            return TensorDict(told, [rows])

        def _set_seed(self, seed: int | None) -> None:
            pass

    module = {"gru": GRUModule, "lstm": LSTMModule}[args.cell]
    net = module(
        input_size=WIDTH,
        hidden_size=UNITS,
        in_key="observation",
        out_key="feature",
        recurrent_backend=args.backend,
        device="cpu",
    )
    env = TransformedEnv(Trials(), Compose(InitTracker(), net.make_tensordict_primer()))
    actor = ProbabilisticTensorDictSequential(
        net,
        TensorDictModule(nn.Linear(UNITS, ARMS), in_keys=["feature"], out_keys=["logits"]),
        ProbabilisticTensorDictModule(
            in_keys=["logits"],
            out_keys=["action"],
            distribution_class=torch.distributions.Categorical,
            return_log_prob=True,
        ),
    )
    critic = TensorDictSequential(net, ValueOperator(nn.Linear(UNITS, 1), in_keys=["feature"]))
    parameters = list({id(p): p for part in (actor, critic) for p in part.parameters()}.values())
    collector = Collector(env, actor, frames_per_batch=size, total_frames=-1, device="cpu")
    batches = iter(collector)
    estimate = GAE(gamma=args.gamma, lmbda=args.lam, value_network=critic, shifted=True)
    loss = ClipPPOLoss(
        actor,
        critic,
        clip_epsilon=0.2,
        entropy_coeff=args.ent,
        critic_coeff=0.5,
        normalize_advantage=True,
        loss_critic_type="l2",
    )
    optimizer = torch.optim.Adam(parameters, lr=args.lr, eps=1e-5)

    def total(batch: Any) -> Any:
        parts = loss(batch)
        return parts["loss_objective"] + parts["loss_critic"] + parts["loss_entropy"]

    compiled = torch.compile(total) if args.backend == "scan" else total

    def rollout() -> tuple[int, Any]:
        finished.clear()
        batch = next(batches)
        with set_recurrent_mode(True):
            for _ in range(args.epochs):
                with torch.no_grad():
                    estimate(batch)
                for part in torch.randperm(rows).chunk(args.minibatches):
                    optimizer.zero_grad(set_to_none=True)
                    compiled(batch[part]).backward()
                    nn.utils.clip_grad_norm_(parameters, GRAD_NORM)
                    optimizer.step()
        collector.update_policy_weights_()
        return size, np.concatenate(finished)

    facts = {
        "versions": {name.__name__: name.__version__ for name in (torch, torchrl, tensordict)},
        "parameters": sum(p.numel() for p in parameters),
    }
    return Learner(facts, rollout)


if __name__ == "__main__":
    cell = {"choices": ["gru", "lstm"], "default": "lstm"}
    backend = {"choices": ["scan", "pad"], "default": "scan"}
    main(make, cell=cell, backend=backend, **PPO)
