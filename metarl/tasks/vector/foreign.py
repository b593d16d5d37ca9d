"""Vector environments of Gymnasium's, in any autoreset mode, as trials that are stepped like our own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv

from metarl.config import InputError
from metarl.tasks.family.checks import real_number
from metarl.tasks.trial.layout import is_trial_space
from metarl.tasks.trial.told import names_of, reported_names, told_in
from metarl.tasks.vector.env import TrialVectorEnv
from metarl.tasks.vector.watch import AsyncWatch
from metarl.types import FEEDBACK_KEYS, MASK_KEY, OBS_KEY, PREV_DONE, Bools, StepResult, TrialObservation, TrialVector

EPISODE_END = "episode_end"  # the key of a trial environment's info: whether the step ended an inner episode


class GymnasiumTrials:
    """A Gymnasium vector environment of trials, in any autoreset mode, as a :class:`metarl.types.TrialVector`.

    SAME_STEP and DISABLED look alike. In NEXT_STEP the step that ends a trial returns its last observation, and the
    action after it is not played: that dead step has reward 0 and ends a void trial of its own.

    Where inner episodes end is read from ``info["episode_end"]``, which every ``TrialEnv`` gives, else from
    ``prev_done``.

    Args:
        env: a vector environment with trial observations.
        worker_timeout: seconds in which each process of an ``AsyncVectorEnv`` must answer.

    Raises:
        ValueError: an unknown autoreset mode, or no trial observations.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any], worker_timeout: float = 60.0) -> None:
        real_number("worker_timeout", worker_timeout, above=0)
        self.mode = env.metadata.get("autoreset_mode")
        if not isinstance(self.mode, AutoresetMode):
            raise ValueError(
                f"the vector environment has the autoreset mode {self.mode!r}; its metadata['autoreset_mode'] must be "
                "one of gymnasium.vector.AutoresetMode"
            )
        require_trials(env.single_observation_space)
        self.env, self.num_envs = env, env.num_envs
        self._watch = AsyncWatch(env.unwrapped, worker_timeout) if isinstance(env.unwrapped, AsyncVectorEnv) else None
        self._names = reported_names(names_of(env.metadata))
        self._dead = np.zeros(env.num_envs, np.bool_)
        self._last: TrialObservation = {}
        self.info: dict[str, Any] = {}
        """The info of the last reset or step, in Gymnasium's form."""

    @property
    def trial_steps(self) -> int:
        """See :class:`metarl.types.TrialVector`."""
        return max(rows_of(self.env, "trial_steps"))

    @property
    def split(self) -> str:
        """See :class:`metarl.types.TrialVector`.

        Raises:
            ValueError: the rows draw from different splits.
        """
        splits = sorted(set(rows_of(self.env, "split")))
        if len(splits) > 1:
            raise ValueError(f"the rows draw from the splits {', '.join(splits)}; use one split for all of them")
        return str(splits[0])

    @property
    def knows_episodes(self) -> bool:
        """See :class:`metarl.types.TrialVector`."""
        return EPISODE_END in self.info or PREV_DONE in self.env.single_observation_space.spaces  # type: ignore[attr-defined]  # a Dict

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[TrialObservation, dict[str, Any]]:
        """Begin a trial in every row."""
        obs, self.info = self._call(self.env.reset, seed=seed, options=options)
        check_feedback(obs, begins=True)
        self._dead[:] = False
        return obs, self.info

    def advance(self, actions: Any) -> StepResult:
        """Play one step in every row.

        Raises:
            WorkerError: a process of an ``AsyncVectorEnv`` raised, died or did not answer; all of them are ended.
        """
        obs, reward, terminated, truncated, info = self._call(self.env.step, actions)
        check_feedback(obs)
        done, dead, final_obs = terminated | truncated, self._dead, None
        ended = done | dead
        if self.mode == AutoresetMode.SAME_STEP and done.any():
            given = info["final_obs"]  # ours is a dict of arrays, Gymnasium's an array of dicts
            if isinstance(given, dict):
                final_obs = given
            else:
                final_obs = with_rows(obs, {i: given[i] for i in np.flatnonzero(done).tolist()})
        elif ended.any():
            rows = np.flatnonzero(dead).tolist()
            final_obs = with_rows(obs, {i: {k: v[i] for k, v in self._last.items()} for i in rows})
        end = info.get(EPISODE_END)
        if "final_info" in info and end is not None:
            end = np.where(done, info["final_info"][EPISODE_END], end)
        episode_ended = episode_ends(end, obs, done, final_obs)
        told = told_in(info, self._names, done, dead)
        if self.mode == AutoresetMode.DISABLED and done.any():
            obs, info = self._call(self.env.reset, options={"reset_mask": done.copy()})
        if self.mode == AutoresetMode.NEXT_STEP:
            self._dead, self._last = done, obs
        self.info = info
        void = dead | info["void"] if "void" in info else dead
        return StepResult(obs, reward, episode_ended, ended, truncated & ~terminated, void, final_obs, told)

    def close(self) -> None:
        """Close the vector environment."""
        self.env.close()

    def _call(self, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call the environment, watched where it has processes."""
        return method(*args, **kwargs) if self._watch is None else self._watch.call(method, *args, **kwargs)


def as_trials(env: Any, worker_timeout: float = 60.0) -> TrialVector:
    """Any of Gymnasium's vector environments of trials as a :class:`metarl.types.TrialVector`, our own as it is.

    Args:
        env: the vector environment; anything else is returned as it is.
        worker_timeout: seconds in which each process of an ``AsyncVectorEnv`` must answer.

    Raises:
        ValueError: an unknown autoreset mode, or no trial observations.
    """
    if isinstance(env, VectorEnv) and not isinstance(env, TrialVectorEnv):
        return GymnasiumTrials(env, worker_timeout)
    trials: TrialVector = env
    return trials


def require_trials(space: Any) -> None:
    """Raise ValueError unless ``space`` is that of trial observations."""
    if not is_trial_space(space):
        raise ValueError(
            f"the environment does not emit trial observations, its space is {space}; give a family, such as "
            "metarl.from_env(id, vary=...), an id of metarl, or environments made as metarl.TrialEnv(family)"
        )


def check_feedback(obs: TrialObservation, *, begins: bool = False) -> None:
    """Refuse flags and masks that a wrapper has changed, and feedback at the beginning that is not zero.

    Args:
        obs: ``[n, ...]``
        begins: whether a trial begins in every row.

    Raises:
        InputError: a flag or mask is neither 0 nor 1, or there is feedback before the first step.
    """
    for key in (PREV_DONE, MASK_KEY, *(FEEDBACK_KEYS if begins else ())):
        if key not in obs:
            continue
        part, zero = obs[key], begins and key in FEEDBACK_KEYS
        wrong = part[(part != 0) & (part != (0 if zero else 1)) & (part == part)]  # NaN is told elsewhere
        if wrong.size:
            expected = "0 where a trial begins" if zero else "0 or 1"
            remedy = f"a wrapper changes it; keep it to {OBS_KEY}, or wrap the inner environment"
            raise InputError(key=key, given=wrong[0].item(), expected=expected, remedy=remedy)


def rows_of(env: VectorEnv[Any, Any, Any], name: str) -> list[Any]:
    """The attribute ``name`` of each row, or that of the whole where one environment holds all rows."""
    inner = env.unwrapped
    if isinstance(inner, SyncVectorEnv | AsyncVectorEnv):
        return list(inner.get_attr(name))
    return [getattr(inner, name)] * env.num_envs


def episode_ends(told: Any, obs: TrialObservation, ended: Bools, final_obs: TrialObservation | None) -> Bools:
    """Where inner episodes ended with a step.

    Args:
        told: what the infos said, ``[n]``; None where they said nothing.
        obs: the observations that followed, ``[n, ...]``; their ``prev_done`` is read then.
        ended: the rows whose trial ended with the step, ``[n]``.
        final_obs: the last observations of those rows, ``[n, ...]``.

    Returns:
        ``[n]``
    """
    if told is not None:
        return np.array(told, np.bool_)
    seen = seen_episode_ends(obs, len(ended))
    return seen if final_obs is None else np.where(ended, seen_episode_ends(final_obs, len(ended)), seen)


def seen_episode_ends(obs: Mapping[str, Any], n: int) -> Bools:
    """``[n]``: the step before ``obs`` ended an inner episode, as ``prev_done`` says; nowhere where that is missing."""
    return obs[PREV_DONE][:, 0] > 0.5 if PREV_DONE in obs else np.zeros(n, np.bool_)


def with_rows(obs: TrialObservation, rows: Mapping[int, TrialObservation]) -> TrialObservation:
    """A copy of observations ``[n, ...]`` in which some rows are replaced, each by an observation ``[...]``."""
    out = {key: part.copy() for key, part in obs.items()}
    for i, row in rows.items():
        for key, part in row.items():
            out[key][i] = part
    return out
