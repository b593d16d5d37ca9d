"""Trials of held-out tasks, step by step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from metarl.functional.stats import BYTES
from metarl.limits import check_count
from metarl.seeding import numpy_rng, sequence
from metarl.tasks.trial.told import SUCCESS, EpisodeInfos
from metarl.tasks.vector.foreign import as_trials
from metarl.training.collect import check_finite
from metarl.types import Actor, Bools, Boundary, Floats, Ints, TrialObservation, TrialVector, is_obs_key


class VoidTrial(RuntimeError):
    """The environment of a trial failed, so that the trial is not whole."""


class TrialBatch(NamedTuple):
    """Trials as they went; after its last step a trial has rewards of 0, no ends and exposures of 0.

    Args:
        rewards: ``[n, T]``
        ends: ``[n, T]``: an inner episode ended with this step.
        exposure: ``[n, T]``: how often the trial had shown this episode's first observation when the step was made,
            from 1.
        lengths: ``[n]`` steps of each trial.
        told: what environments told, by name, ``[n, T]``: at the end of each episode its number, see
            :class:`metarl.tasks.trial.told.EpisodeInfos`; NaN elsewhere.
    """

    rewards: Floats
    ends: Bools
    exposure: Ints
    lengths: Ints
    told: Mapping[str, Floats] = MappingProxyType({})

    @property
    def equal_lengths(self) -> bool:
        """Whether all trials have the same number of steps."""
        return bool((self.lengths == self.rewards.shape[1]).all())

    @property
    def returns(self) -> Floats:
        """``[n]`` total reward of each trial."""
        return self.rewards.sum(1)

    @property
    def finished(self) -> Ints:
        """``[n]`` inner episodes that each trial finished."""
        return self.ends.sum(1)

    @property
    def cut(self) -> Bools:
        """``[n]``: the trial's steps were over inside an episode, which counts in its return and in nothing else."""
        return ~self.ends[np.arange(len(self.ends)), self.lengths - 1]

    def by_episode(self) -> Floats:
        """``[n, E]`` return of each inner episode that all trials finished."""
        episodes = int(self.finished.min())
        index = np.minimum(self._episode, episodes)  # one more takes all that comes after them
        flat = (np.arange(len(index))[:, None] * (episodes + 1) + index).ravel()
        total = np.bincount(flat, self.rewards.ravel(), len(index) * (episodes + 1)).astype(float)
        return total.reshape(-1, episodes + 1)[:, :episodes]

    def told_by_episode(self) -> dict[str, Floats]:
        """``[n, E]`` what each of the episodes told that all trials finished; NaN where it told nothing.

        Of a trial that finished none, the episode that it was cut in counts.
        """
        ends, none = self.ends.copy(), np.flatnonzero(self.finished == 0)
        ends[none, self.lengths[none] - 1] = True
        steps = np.argsort(~ends, axis=1, kind="stable")[:, : ends.sum(1).min()]
        out = {name: np.take_along_axis(numbers, steps, 1) for name, numbers in self.told.items()}
        if SUCCESS in out:  # what ended before it was first told was no success
            out[SUCCESS] = np.nan_to_num(out[SUCCESS])
        return out

    def by_exposure(self) -> Floats | None:
        """``[X]`` mean return of an episode by how often its context had been met; None where none is met again.

        None as well where all episodes have one context, and exposure is no more than a count of episodes.
        """
        most = int(self.exposure[self.ends].max(initial=1))  # what the end of a trial cut off is no episode
        if most == 1 or most == int(self.finished.max()):
            return None
        exposure = np.where(self._episode < self.finished[:, None], self.exposure, 0)
        total = np.bincount(exposure.ravel(), self.rewards.ravel())[1:]
        return total / np.bincount(self.exposure[self.ends])[1:]

    @property
    def _episode(self) -> Ints:
        """``[n, T]`` the number of the episode that each step belongs to, from 0."""
        return np.concatenate([np.zeros((len(self.ends), 1), int), self.ends[:, :-1].cumsum(1)], 1)


def rollout_trials(
    actor: Actor,
    make_env: Callable[[int], Any],
    trials: int,
    *,
    seed: int = 0,
    rows: int = 1000,
    on_batch: Callable[[int], None] = lambda done: None,
) -> TrialBatch:
    """Play ``trials`` trials of held-out tasks.

    The tasks and the random numbers of their dynamics depend on ``seed`` and ``rows`` alone, so actors meet the same
    tasks with common random numbers.

    Args:
        actor: who plays.
        make_env: makes a vector environment of trials with the given number of rows: a
            :class:`metarl.types.TrialVector`, or any of Gymnasium's.
        trials: how many.
        seed: of tasks, dynamics and the actor's own randomness (three separate streams).
        rows: trials played side by side.
        on_batch: told after each batch how many trials are done.

    Raises:
        ValueError: no trials, more than memory can hold, or an environment that draws training tasks.
        VoidTrial: an environment failed.
    """
    if trials < 1:
        raise ValueError(f"trials is {trials}, expected at least 1")
    batches: list[TrialBatch] = []
    for batch, first in enumerate(range(0, trials, rows)):
        env = as_trials(make_env(min(rows, trials - first)))
        if env.split == "train":
            raise ValueError("refusing to evaluate on training tasks; make the environment with split='test'")
        check_trials(trials, env.trial_steps)
        obs, _ = env.reset(seed=int(sequence(seed, "evaluation", batch).generate_state(1)[0]))
        actor.reset(env.num_envs, numpy_rng(seed, "policy", batch))
        batches.append(_rollout_batch(actor, env, obs))
        on_batch(first + env.num_envs)
    return _joined(batches)


def check_trials(trials: int, steps: int, key: str = "trials") -> None:
    """Refuse more trials of so many steps than memory can hold: rewards, ends and exposures of each step, and means.

    Args:
        trials: how many.
        steps: of each.
        key: the name of the option, for the error.

    Raises:
        InputError: there are fewer bytes than needed.
    """
    check_count(trials, 13 * steps + BYTES, key=key)


def _joined(batches: Sequence[TrialBatch]) -> TrialBatch:
    """One batch of several; of a batch that told nothing of a name, all is NaN."""
    told: dict[str, Floats] = {}
    for name in sorted({name for batch in batches for name in batch.told}):
        each = [batch.told.get(name, np.full(batch.rewards.shape, np.nan)) for batch in batches]
        told[name] = np.concatenate(each)
    rewards, ends, exposure, lengths = (np.concatenate(part) for part in zip(*(b[:4] for b in batches), strict=True))
    return TrialBatch(rewards, ends, exposure, lengths, told)


def _rollout_batch(actor: Actor, env: TrialVector, obs: TrialObservation) -> TrialBatch:
    """One trial in every row of ``env``, which has just been reset; rows that end sooner go on unrecorded."""
    rows, steps = env.num_envs, env.trial_steps
    total, exposure = np.zeros((rows, steps), np.float32), np.zeros((rows, steps), int)
    ends, lengths = np.zeros((rows, steps), bool), np.zeros(rows, int)
    boundary = np.full(rows, Boundary.TRIAL)
    contexts = Contexts(rows, steps)
    under_way, episodes = np.ones(rows, bool), EpisodeInfos(rows)
    told: dict[str, Floats] = {}
    for t in range(steps):
        exposure[:, t] = contexts.met(obs, (boundary > 0) & under_way) * under_way
        result = env.advance(actor.act(obs, boundary))
        obs, boundary = result.obs, result.boundary
        check_finite(obs, result.reward, "the environment", t)
        if (result.void & under_way).any():
            row = int((result.void & under_way).argmax())
            raise VoidTrial(f"the environment of row {row} failed at step {t}; an evaluation needs whole trials")
        total[under_way, t] = result.reward[under_way]
        ends[:, t] = result.episode_ended & under_way
        for name, numbers in episodes.step(result).items():
            told.setdefault(name, np.full((rows, steps), np.nan))[under_way, t] = numbers[under_way]
        lengths += under_way
        under_way = under_way & ~result.ended
        if not under_way.any():
            break
    return TrialBatch(total, ends, exposure, lengths, told)


class Contexts:
    """Counts in each row how often an episode has started with the same observation."""

    def __init__(self, rows: int, episodes: int) -> None:
        self.marks = np.full((rows, episodes), np.nan)  # of contexts, in the order in which they were met first
        self.often, self.known = np.zeros((rows, episodes), int), np.zeros(rows, int)
        self.current = np.zeros(rows, int)

    def met(self, obs: TrialObservation, starts: Bools) -> Ints:
        """``[n]`` exposures of the running episode's context; ``starts`` ``[n]``: an episode starts with ``obs``."""
        if starts.any():
            rows = np.flatnonzero(starts)
            seen = np.concatenate([v.reshape(len(v), -1) for k, v in obs.items() if is_obs_key(k)], 1)[rows]
            mark = seen.astype(float) @ np.sin(np.arange(1.0, seen.shape[1] + 1))  # one number an observation
            same = np.abs(self.marks[rows, : int(self.known.max()) + 1] - mark[:, None]) < 1e-9
            again = same.any(1)
            context = np.where(again, same.argmax(1), self.known[rows])
            self.marks[rows, context] = mark
            self.known[rows] += ~again
            self.often[rows, context] += 1
            self.current[rows] = self.often[rows, context]
        return self.current


def steps_to_adapt(rewards: Floats, share: float = 0.9) -> int | None:
    """Speed of adaptation: the first step at which the mean reward reaches ``share`` of its final rate.

    The final rate is the mean over tasks of the last tenth of the steps. A step's rate is the mean over tasks of that
    step and its neighbours within one hundredth of the trial, which keeps a lucky step from counting.

    Args:
        rewards: ``[n, T]``
        share: of the final rate.

    Returns:
        A step counted from 1, the last one where the rate is reached nowhere; None where the first step reaches it, so
        that nothing is adapted to, and where the final rate is not positive, because a share of a cost says nothing.
    """
    curve = rewards.mean(0)
    final = curve[-max(1, len(curve) // 10) :].mean()
    if final <= 0:
        return None
    reach = max(1, len(curve) // 100)
    padded = np.pad(curve, reach, mode="edge")
    smooth = np.convolve(padded, np.full(2 * reach + 1, 1 / (2 * reach + 1)), "valid")
    reached = np.flatnonzero(smooth >= share * final)
    if not len(reached):
        return len(curve)
    return int(reached[0]) + 1 if reached[0] else None
