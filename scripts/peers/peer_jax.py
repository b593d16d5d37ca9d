"""Recurrent PPO in one jitted JAX program, of PureJaxRL's structure; see serve.py.

Observation, recurrent net of 128 units, linear heads. Rate, entropy weight and discount run linearly to their ends
over ``--schedule`` steps where that is given.
"""

from __future__ import annotations

import argparse
import os
from typing import Any

import numpy as np
from bandit import ARMS, PULLS, WIDTH
from serve import PPO, Learner, main

UNITS = 128
CLIP, VALUE_WEIGHT, GRAD_NORM = 0.2, 0.5, 0.5


def make(args: argparse.Namespace) -> Learner:
    """The learner of the command line, compiled."""
    threads = f"--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads={args.threads}" if args.threads else ""
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {threads}"
    os.environ["JAX_PLATFORMS"] = "cpu"
    import flax
    import jax
    import jax.numpy as jnp
    import optax
    from flax import linen as nn
    from flax.training.train_state import TrainState

    rows, steps = args.envs, args.envs * PULLS
    cell = {"gru": nn.GRUCell, "lstm": nn.OptimizedLSTMCell}[args.cell]
    zeros = jnp.zeros((rows, UNITS))
    empty = zeros if args.cell == "gru" else (zeros, zeros)

    class Net(nn.Module):
        """Logits ``[T, B, A]`` and values ``[T, B]`` of observations ``[T, B, D]``, and the state after them."""

        @nn.compact
        def __call__(self, carry: Any, obs: Any) -> Any:
            scan = nn.scan(cell, variable_broadcast="params", in_axes=0, out_axes=0, split_rngs={"params": False})
            carry, y = scan(features=UNITS)(carry, obs)
            logits = nn.Dense(ARMS, kernel_init=nn.initializers.orthogonal(0.01))(y)
            values = nn.Dense(1, kernel_init=nn.initializers.orthogonal(1.0))(y)
            return carry, logits, values[..., 0]

    net = Net()

    def linear(begin: float, end: float | None, progress: Any) -> Any:
        return begin if end is None or not args.schedule else begin + (end - begin) * jnp.minimum(progress, 1.0)

    def log_probs(logits: Any, actions: Any) -> tuple[Any, Any]:
        """Of the actions, and of all: ``[T, B]`` and ``[T, B, A]``."""
        every = jax.nn.log_softmax(logits)
        return jnp.take_along_axis(every, actions[..., None], -1)[..., 0], every

    def play(params: Any, key: Any) -> Any:
        """One whole trial of each row, from the empty state."""
        key, arms = jax.random.split(key)
        p = jax.random.uniform(arms, (rows, ARMS))

        def body(now: Any, t: Any) -> Any:
            carry, obs, key = now
            key, act, pay = jax.random.split(key, 3)
            carry, logits, values = net.apply(params, carry, obs[None])
            actions = jax.random.categorical(act, logits[0])
            chosen = log_probs(logits, actions[None])[0][0]
            mean = jnp.take_along_axis(p, actions[:, None], 1)[:, 0]
            rewards = (jax.random.uniform(pay, (rows,)) < mean).astype(jnp.float32)
            clock = jnp.full((rows, 1), (t + 1) / PULLS)
            seen = [jax.nn.one_hot(actions, ARMS), rewards[:, None], jnp.ones((rows, 1)), clock]
            kept = {"obs": obs, "actions": actions, "log_probs": chosen, "values": values[0], "rewards": rewards}
            return (carry, jnp.concatenate(seen, 1), key), kept

        (_, _, key), kept = jax.lax.scan(body, (empty, jnp.zeros((rows, WIDTH)), key), jnp.arange(PULLS))
        return kept, key

    def advantages(kept: Any, gamma: Any) -> Any:
        """Generalised advantage estimates ``[T, B]``; the rollout ends where the trials do."""

        def back(now: Any, step: Any) -> Any:
            following, estimate = now
            reward, value = step
            estimate = args.reward_scale * reward + gamma * following - value + gamma * args.lam * estimate
            return (value, estimate), estimate

        nothing = jnp.zeros(rows), jnp.zeros(rows)
        return jax.lax.scan(back, nothing, (kept["rewards"], kept["values"]), reverse=True, unroll=16)[1]

    def loss(params: Any, batch: Any, ent: Any) -> Any:
        start = jax.tree_util.tree_map(lambda x: x[: rows // args.minibatches], empty)
        _, logits, values = net.apply(params, start, batch["obs"])
        chosen, every = log_probs(logits, batch["actions"])
        moved = batch["values"] + (values - batch["values"]).clip(-CLIP, CLIP)
        targets = batch["advantages"] + batch["values"]
        value_loss = 0.5 * jnp.maximum((values - targets) ** 2, (moved - targets) ** 2).mean()
        ratio = jnp.exp(chosen - batch["log_probs"])
        gain = (batch["advantages"] - batch["advantages"].mean()) / (batch["advantages"].std() + 1e-8)
        policy_loss = -jnp.minimum(ratio * gain, ratio.clip(1 - CLIP, 1 + CLIP) * gain).mean()
        return policy_loss + VALUE_WEIGHT * value_loss + ent * (jnp.exp(every) * every).sum(-1).mean()

    def update(state: Any, kept: Any, key: Any, progress: Any) -> Any:
        kept = {**kept, "advantages": advantages(kept, linear(args.gamma, args.gamma_end, progress))}
        ent = linear(args.ent, args.ent_end, progress)

        def minibatch(state: Any, batch: Any) -> Any:
            return state.apply_gradients(grads=jax.grad(loss)(state.params, batch, ent)), None

        def epoch(now: Any, _: Any) -> Any:
            state, key = now
            key, shuffle = jax.random.split(key)
            order = jax.random.permutation(shuffle, rows)

            def parts(x: Any) -> Any:
                x = jnp.take(x, order, axis=1).reshape((PULLS, args.minibatches, -1, *x.shape[2:]))
                return jnp.swapaxes(x, 0, 1)

            return (jax.lax.scan(minibatch, state, jax.tree_util.tree_map(parts, kept))[0], key), None

        (state, key), _ = jax.lax.scan(epoch, (state, key), None, args.epochs)
        return state, key

    @jax.jit
    def one(state: Any, key: Any, count: Any) -> Any:
        """A rollout with its update; returns ``[B]``."""
        kept, key = play(state.params, key)
        state, key = update(state, kept, key, count * steps / max(args.schedule, 1))
        return state, key, kept["rewards"].sum(0)

    key, first = jax.random.split(jax.random.PRNGKey(args.seed))
    params = net.init(first, empty, jnp.zeros((1, rows, WIDTH)))
    updates = args.schedule / steps * args.epochs * args.minibatches
    rate = optax.linear_schedule(args.lr, args.lr_end, int(updates)) if args.schedule else args.lr
    optimizer = optax.chain(optax.clip_by_global_norm(GRAD_NORM), optax.adam(rate, eps=1e-5))
    begin = TrainState.create(apply_fn=net.apply, params=params, tx=optimizer)
    compiled = one.lower(begin, key, jnp.zeros(())).compile()

    now = [begin, key, 0]

    def rollout() -> tuple[int, Any]:
        state, key, count = now
        state, key, returns = compiled(state, key, jnp.asarray(float(count)))
        now[:] = state, key, count + 1
        return steps, np.asarray(returns)

    facts = {
        "versions": {"jax": jax.__version__, "flax": flax.__version__, "optax": optax.__version__},
        "parameters": int(sum(x.size for x in jax.tree_util.tree_leaves(params))),
    }
    return Learner(facts, rollout)


if __name__ == "__main__":
    schedule = {"type": float, "default": 0.0, "help": "steps until rate, entropy and discount are at their ends"}
    ends = {name: {"type": float, "default": None} for name in ("ent_end", "gamma_end")}
    cell = {"choices": ["gru", "lstm"], "default": "gru"}
    main(make, cell=cell, schedule=schedule, lr_end={"type": float, "default": 0.0}, **ends, **PPO)
