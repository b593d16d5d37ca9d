"""An agent that plays trials one step at a time, while one looks at what it reads and what its slots hold."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from metarl import tree
from metarl.evaluation.trace import asked_for, recorded_reads
from metarl.memory.ops import Content
from metarl.nets.policy import MemoryPolicy
from metarl.seeding import numpy_rng, sequence
from metarl.tasks.family.distribution import TaskDistribution
from metarl.tasks.trial.env import TrialEnv
from metarl.tasks.trial.layout import TrialInputs
from metarl.training.actor import PolicyActor
from metarl.types import Boundary, Floats, TrialObservation

SAME = 1e-5  # numbers that differ by less are the same
CELLS = 400  # numbers of a state that are kept


class Held(NamedTuple):
    """What a slot holds, as far as it can be told from outside.

    Args:
        action: the one whose outcome was written.
        times: outcomes that were put together in the slot.
        mean: their mean reward.
    """

    action: Any
    times: int
    mean: float


class Seen(NamedTuple):
    """A step of a trial, as one saw it.

    Args:
        step: its number in the trial, from 1.
        episode: the inner episode that it belongs to, from 1.
        observation: ``{key: [...]}`` that the action answers to.
        action: that was taken.
        reward: that it paid.
        episode_ended: whether an inner episode ended with it.
        ended: whether the trial did.
        weights: how much of each slot was read for it, ``[N]``; None where the memory tells none, or was not read.
        held: what the slots hold; None where it isn't known.
        written: the slots that were written since the step before.
        state: numbers of the memory's state, for memories without slots; None otherwise.
    """

    step: int
    episode: int
    observation: TrialObservation
    action: Any
    reward: float
    episode_ended: bool
    ended: bool
    weights: Floats | None
    held: tuple[Held | None, ...]
    written: tuple[int, ...]
    state: Floats | None


def trial_seed(seed: int, number: int) -> int:
    """The seed of trial ``number`` of those that are watched with ``seed``."""
    return int(sequence(seed, "evaluation", number).generate_state(1)[0])


class Watched:
    """A policy in trials of held-out tasks.

    Args:
        policy: with room for the trials of ``family``.
        family: the tasks; with a render mode, :attr:`env` gives frames.
        inputs: what the policy sees beside the observation.
        seed: of tasks, dynamics and the policy's own randomness.
        deterministic: take the most probable actions instead of sampling.
    """

    def __init__(
        self,
        policy: MemoryPolicy,
        family: TaskDistribution,
        inputs: TrialInputs,
        *,
        seed: int = 0,
        deterministic: bool = False,
    ) -> None:
        self.env, self.seed = TrialEnv(family, inputs=inputs), seed
        self._policy, self._actor = policy, PolicyActor(policy, deterministic)
        self.over = True

    def begin(self, number: int) -> None:
        """Begin trial ``number``, from 0; it depends on that and the seed alone."""
        self._obs, _ = self.env.reset(seed=trial_seed(self.seed, number))
        self._actor.reset(1, numpy_rng(self.seed, "policy", number))
        self._boundary, self._step, self._episode = Boundary.TRIAL, 0, 1
        self._held: list[Held | None] = []
        self._before: Seen | None = None
        self.over = False

    def step(self) -> Seen:
        """Play a step of the trial under way."""
        old = self._content()
        with recorded_reads(self._policy.core) as reads:
            batch = {key: np.asarray(part)[None] for key, part in self._obs.items()}
            action = self._actor.act(batch, np.array([self._boundary]))[0]
        new = self._content()
        written = self._note_writes(old, new) if self._before else ()
        obs, (self._obs, reward, self.over, _, info) = self._obs, self.env.step(action)
        self._step += 1
        ended = bool(info["episode_end"])
        self._before = Seen(
            self._step,
            self._episode,
            obs,
            action,
            float(reward),
            ended,
            self.over,
            self._weights(reads, action),
            tuple(self._held),
            written,
            self._numbers() if new is None else None,
        )
        self._boundary = Boundary.EPISODE if ended else Boundary.INSIDE
        self._episode += ended
        return self._before

    def _weights(self, reads: list[Tensor | None], action: Any) -> Floats | None:
        """What was read for ``action``; of several reads in a step, the last one."""
        if not reads or reads[-1] is None:
            return None
        start = getattr(self.env.action_space, "start", 0)
        (which,) = asked_for(self._policy.core, np.asarray(action)[None] - start)
        weights: Floats = reads[-1][which].mean(0).double().numpy()
        return weights

    def _content(self) -> Content | None:
        """A copy of the slots, if the memory has any; acting may change them in place."""
        memory = getattr(self._policy.core, "memory", None)
        if memory is None or memory.access is None:
            return None
        content: Content = memory.store.content(self._actor.state.store)
        counts = None if content.counts is None else content.counts.clone()
        return Content(content.keys.clone(), content.values.clone(), content.valid.clone(), counts=counts)

    def _note_writes(self, old: Content | None, new: Content | None) -> tuple[int, ...]:
        """Note what the slots hold that changed between two steps; where several did, it isn't known."""
        if old is None or new is None or self._before is None:
            return ()
        self._held += [None] * (new.valid.shape[1] - len(self._held))
        kept = min(old.valid.shape[1], new.valid.shape[1])
        fresh = new.valid[0].clone()
        fresh[:kept] &= ~old.valid[0, :kept] | _differ(old.keys, new.keys, kept)
        more = fresh.clone()
        more[:kept] |= new.valid[0, :kept] & _differ(old.values, new.values, kept)
        if old.counts is not None and new.counts is not None:
            more[:kept] |= _differ(old.counts[..., None], new.counts[..., None], kept)
        written = more.nonzero().flatten().tolist()
        action, reward = self._before.action, self._before.reward
        for slot in written:
            known = None if fresh[slot] else self._held[slot]
            if len(written) > 1 or (known is None and not fresh[slot]):
                self._held[slot] = None
            elif known is None:
                self._held[slot] = Held(action, 1, reward)
            else:
                times = known.times + 1
                self._held[slot] = Held(action, times, known.mean + (reward - known.mean) / times)
        return tuple(written)

    @torch.no_grad()
    def _numbers(self) -> Floats:
        leaves = [leaf[0].flatten() for leaf in tree.leaves(self._actor.state) if leaf.is_floating_point()]
        numbers: Floats = torch.cat(leaves)[:CELLS].double().cpu().numpy() if leaves else np.zeros(0)
        return numbers


def _differ(old: Tensor, new: Tensor, kept: int) -> Tensor:
    """``[kept]``: in which of the first slots of ``[1, N, D]`` numbers differ."""
    a, b = old[0, :kept], new[0, :kept]
    return ((a - b).abs() > SAME * (1 + a.abs())).any(-1)
