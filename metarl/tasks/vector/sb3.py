"""Vector environments of trials as Stable-Baselines3 sees them; no other file of the tasks imports it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv
from stable_baselines3.common.env_util import is_wrapped
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv, VecEnvWrapper, VecNormalize

from metarl.config import InputError
from metarl.tasks.family.distribution import TaskDistribution
from metarl.tasks.trial.told import (
    IS_SUCCESS,
    SUCCESS,
    TrialInfos,
    gather,
    names_of,
    numbers,
    reported_names,
    rows_told,
)
from metarl.tasks.vector.env import TrialVectorEnv
from metarl.tasks.vector.foreign import (
    EPISODE_END,
    as_trials,
    check_feedback,
    episode_ends,
    require_trials,
    rows_of,
    with_rows,
)
from metarl.types import PREV_DONE, Array, Bools, StepResult, TrialObservation, TrialVector, is_obs_key

Infos = list[dict[str, Any]]  # a dict for each row


class TrialVecEnv(VecEnv):
    """A Gymnasium vector environment of trials as a ``VecEnv``, for SB3's callbacks and ``evaluate_policy``.

    ``infos[i]`` is filled only where row ``i`` is done, with ``terminal_observation``, ``TimeLimit.truncated`` and
    ``episode`` (``r``, ``l``, ``t``: return, steps, seconds), and in steps that told something, with those numbers;
    elsewhere it is one empty dict for all steps, not to be changed. A void trial
    (:attr:`metarl.types.StepResult.void`) has ``void`` instead of ``episode``, so that it is not counted.
    ``reset_infos[i]`` describes the trial under way in row ``i``.

    Where a trial ends, ``episode`` also holds the mean over its episodes of each number told, as with ``Monitor``'s
    ``info_keywords``, and ``is_success`` is the share of them that succeeded.

    Args:
        env: a vector environment with trial observations, in any autoreset mode.
        worker_timeout: seconds in which each process of an ``AsyncVectorEnv`` must answer.

    Raises:
        ValueError: an unknown autoreset mode, or no trial observations.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any], worker_timeout: float = 60.0) -> None:
        self.env = env
        self.trials: Any = as_trials(env, worker_timeout)
        """What this package itself steps."""
        # One environment for all rows, or one a row.
        self._rows = env.unwrapped if isinstance(env.unwrapped, SyncVectorEnv | AsyncVectorEnv) else None
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)
        if "render_fps" in env.metadata:
            self.metadata["render_fps"] = env.metadata["render_fps"]
        self._empty: Infos = [{} for _ in range(env.num_envs)]
        self._pending_seed: int | None = None
        self._pending_options: dict[str, Any] | None = None
        self._actions: Any = None
        self.last: StepResult | None = None
        """What the last step gave; None before the first."""
        self._returns = np.zeros(env.num_envs)
        self._lengths = np.zeros(env.num_envs, np.int64)
        self._told = TrialInfos(env.num_envs)
        self._start_time = time.perf_counter()

    def seed(self, seed: int | None = None) -> list[int | None]:
        """Seed the next :meth:`reset`; None lets the streams go on. A native environment seeds all rows at once."""
        self._pending_seed = seed
        return [None if seed is None else seed + i for i in range(self.num_envs)]

    def set_options(self, options: list[dict[str, Any]] | dict[str, Any] | None = None) -> None:
        """Options of the next :meth:`reset`, one dict for all rows."""
        if isinstance(options, list):
            raise ValueError("give one dict of options for all rows, not a list")
        self._pending_options = options

    def reset(self) -> TrialObservation:
        """Begin a trial in every row."""
        obs, info = self.trials.reset(seed=self._pending_seed, options=self._pending_options)
        self._pending_seed = self._pending_options = None
        self.reset_infos = [_row(info, i) for i in range(self.num_envs)]
        self._returns[:] = 0
        self._lengths[:] = 0
        self._told = TrialInfos(self.num_envs)
        observation: TrialObservation = obs
        return observation

    def step_async(self, actions: Array) -> None:
        """Keep the actions ``[n, ...]`` for :meth:`step_wait`."""
        self._actions = actions

    def step_wait(self) -> Any:
        """Play them: observations, rewards (float32), done, infos.

        Raises:
            WorkerError: a process of an ``AsyncVectorEnv`` raised, died or did not answer; all of them are ended.
        """
        self.last = result = self.trials.advance(self._actions)
        return result.obs, result.reward.astype(np.float32), result.ended, self.infos(result)

    def infos(self, result: StepResult) -> Infos:
        """SB3's infos of a step that :attr:`trials` has just made; adds its rewards to the running returns."""
        self._returns += result.reward
        self._lengths += 1
        self._told.step(result)
        if result.final_obs is None and result.told is None:
            return self._empty
        infos: Infos = [*rows_told(result)] if result.told else list(self._empty)
        ended = result.ended
        seconds = round(time.perf_counter() - self._start_time, 6)
        for i in np.flatnonzero(ended).tolist():
            assert result.final_obs is not None
            infos[i] = {
                **infos[i],
                "terminal_observation": {k: v[i] for k, v in result.final_obs.items()},
                "TimeLimit.truncated": bool(result.truncated[i]),
            }
            means = self._told.take(i)
            if result.void[i]:
                infos[i]["void"] = True
            else:
                infos[i]["episode"] = {"r": float(self._returns[i]), "l": int(self._lengths[i]), "t": seconds}
                _tell(infos[i], means)
        self._returns[ended] = 0
        self._lengths[ended] = 0
        next_step = self.env.metadata.get("autoreset_mode") == AutoresetMode.NEXT_STEP
        for i in np.flatnonzero(result.void if next_step else ended).tolist():  # rows with a new trial's observation
            self.reset_infos[i] = _row(self.trials.info, i)
        return infos

    def get_images(self) -> list[Any]:
        """A frame of each row, which SB3 renders as one picture."""
        return list(self.env.render() or ())

    def close(self) -> None:
        """Close the vector environment."""
        self.env.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """The attribute of each row; that of the whole where one environment holds all rows."""
        values = rows_of(self.env, attr_name)
        return [values[i] for i in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set an attribute in all rows; Gymnasium's vector environments cannot set it in some.

        Args:
            attr_name: its name.
            value: its new value in every row.
            indices: all rows, or None.

        Raises:
            ValueError: only some rows are asked for.
        """
        if sorted(self._get_indices(indices)) != list(range(self.num_envs)):
            raise ValueError("an attribute can be set in all rows only; leave indices out")
        if self._rows is None:
            setattr(self.env.unwrapped, attr_name, value)
        else:
            self._rows.set_attr(attr_name, [value] * self.num_envs)

    def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
        """Call a method and return what each row answers; called once where one environment holds all rows."""
        rows = list(self._get_indices(indices))
        if self._rows is None:
            return [getattr(self.env.unwrapped, method_name)(*args, **kwargs)] * len(rows)
        values = self._rows.call(method_name, *args, **kwargs)
        return [values[i] for i in rows]

    def env_is_wrapped(self, wrapper_class: type[Any], indices: Any = None) -> list[bool]:
        """Whether each row has the wrapper; true for ``Monitor``, whose ``info["episode"]`` is reported here."""
        rows = list(self._get_indices(indices))
        if issubclass(wrapper_class, Monitor):
            return [True] * len(rows)
        envs = getattr(self._rows, "envs", None)
        return [envs is not None and is_wrapped(envs[i], wrapper_class) for i in rows]

    @property
    def resumable(self) -> bool:
        """Whether the environment can be saved in the middle of a trial."""
        return bool(getattr(self.env, "resumable", False))

    def state_dict(self) -> dict[str, Any]:
        """The environment's own state, or its generators, and the running returns and lengths.

        Raises:
            TypeError: the environment cannot be saved.
        """
        return {"env": self._native().state_dict(), "returns": self._returns.copy(), "lengths": self._lengths.copy()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from what :meth:`state_dict` returned.

        Raises:
            TypeError: the environment cannot be restored.
            ValueError: the state comes from an environment made with other options.
        """
        self._native().load_state_dict(state["env"])
        self._returns, self._lengths = np.array(state["returns"]), np.array(state["lengths"])
        self._pending_seed = None  # else the next reset would begin the streams again

    def load_generators(self, state: Mapping[str, Any]) -> None:
        """Draw on from where :meth:`state_dict` was, from the next :meth:`reset` on.

        Raises:
            TypeError: the environment has no generators of tasks.
            ValueError: the state is of another split.
        """
        self._native().load_generators(state["env"])
        self._pending_seed = None

    def _native(self) -> TrialVectorEnv:
        if not isinstance(self.env, TrialVectorEnv):
            raise TypeError(f"{type(self.env).__name__} has no state_dict; only native vector environments do")
        return self.env


def as_vec_env(env: Any, n_envs: int = 256, worker_timeout: float = 60.0) -> VecEnv:
    """Trials of any kind as a ``VecEnv``; one of those is returned as it is.

    Args:
        env: an id that Gymnasium knows, a :class:`TaskDistribution`, a single environment, a list of functions that
            make one each, a Gymnasium ``VectorEnv`` in any autoreset mode, or an SB3 ``VecEnv``.
        n_envs: rows made for an id or a distribution.
        worker_timeout: seconds in which each process of an ``AsyncVectorEnv`` must answer.

    Raises:
        TypeError: none of these.
        ValueError: no trial observations, an unknown autoreset mode, or a ``VecNormalize`` over flags or masks.
    """
    if isinstance(env, str):
        env = gym.make_vec(env, num_envs=n_envs)
    elif isinstance(env, TaskDistribution):
        env = TrialVectorEnv(env, n_envs)
    elif isinstance(env, list | tuple) and env and all(callable(make) for make in env):
        env = SyncVectorEnv(env, autoreset_mode=AutoresetMode.SAME_STEP)
    elif isinstance(env, gym.Env):  # by hand, because SB3's own wrapping would transpose pictures
        single = env if is_wrapped(env, Monitor) else Monitor(env)
        env = DummyVecEnv([lambda: single])
    if isinstance(env, VecEnv):
        require_trials(env.observation_space)
        check_normalised(env)
        return env
    if isinstance(env, VectorEnv):
        return TrialVecEnv(env, worker_timeout)
    raise TypeError(
        f"expected an id, a task distribution, an environment, a list of functions that make one each, a Gymnasium "
        f"VectorEnv or an SB3 VecEnv, got {type(env).__name__}; make one with gymnasium.make_vec(id, num_envs=...)"
    )


def check_normalised(env: VecEnv) -> None:
    """Refuse a ``VecNormalize`` of parts that are flags, one-hot or a mask, which it would make useless.

    Raises:
        InputError: it normalises more than what the inner environment shows.
    """
    wrapper: VecEnv | None = env
    while isinstance(wrapper, VecEnvWrapper):
        keys = (wrapper.norm_obs_keys or ()) if isinstance(wrapper, VecNormalize) and wrapper.norm_obs else ()
        if wrong := [key for key in keys if not is_obs_key(key)]:
            seen = [key for key in env.observation_space.spaces if is_obs_key(key)]  # type: ignore[attr-defined]  # a Dict
            remedy = f"give norm_obs_keys={seen}: the others are flags, one-hot or a mask"
            raise InputError(key="norm_obs_keys", given=wrong, expected=f"some of {seen}", remedy=remedy)
        wrapper = wrapper.venv


class SB3Trials:
    """A ``VecEnv`` of trials as a :class:`metarl.types.TrialVector`.

    Where inner episodes end is read from the infos, else from ``prev_done``.

    Args:
        env: any ``VecEnv`` with trial observations.
    """

    def __init__(self, env: VecEnv) -> None:
        self.env, self.num_envs = env, env.num_envs
        self._names = reported_names(names_of(env.get_attr("metadata", [0])[0]))
        self._told = TrialInfos(env.num_envs)
        self._infos: Infos = []

    @property
    def trial_steps(self) -> int:
        """See :class:`metarl.types.TrialVector`."""
        return max(self.env.get_attr("trial_steps"))

    @property
    def split(self) -> str:
        """See :class:`metarl.types.TrialVector`."""
        return str(self.env.get_attr("split", [0])[0])

    @property
    def knows_episodes(self) -> bool:
        """See :class:`metarl.types.TrialVector`."""
        inner: Any = self.env.unwrapped
        if isinstance(inner, TrialVecEnv):
            return bool(inner.trials.knows_episodes)
        told = all(EPISODE_END in info for info in inner.reset_infos)
        return told or PREV_DONE in self.env.observation_space.spaces  # type: ignore[attr-defined]  # a Dict

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[TrialObservation, dict[str, Any]]:
        """Begin a trial in every row."""
        if seed is not None:  # for None SB3 would draw one from a global generator
            self.env.seed(seed)
        if options is not None:
            self.env.set_options(options)
        self._told = TrialInfos(self.num_envs)
        obs: Any = self.env.reset()
        return obs, {}

    def advance(self, actions: Any) -> StepResult:
        """Play one step in every row."""
        step: Any = self.env.step(actions)
        obs, reward, ended, self._infos = step
        check_feedback(obs)
        final_obs = None
        if ended.any():
            last = {i: self._infos[i]["terminal_observation"] for i in np.flatnonzero(ended).tolist()}
            final_obs = with_rows(obs, last)
        truncated, void = (self._flags(name) & ended for name in ("TimeLimit.truncated", "void"))
        inner: Any = self.env.unwrapped
        if isinstance(inner, TrialVecEnv):  # whose infos are empty inside a trial
            ends: Any = inner.last.episode_ended if inner.last else None
            told = inner.last.told if inner.last else None
        else:
            ends = self._flags(EPISODE_END) if all(EPISODE_END in info for info in self._infos) else None
            told = gather(enumerate(numbers(info, self._names) for info in self._infos), self.num_envs) or None
        episode_ended = episode_ends(ends, obs, ended, final_obs)
        return StepResult(obs, reward, episode_ended, ended, truncated, void, final_obs, told)

    def infos(self, result: StepResult) -> Infos:
        """The infos of the step that was made last, with what was told by trial, as :class:`TrialVecEnv` has it."""
        self._told.step(result)
        for i in np.flatnonzero(result.ended).tolist():
            means = self._told.take(i)
            if not result.void[i]:
                _tell(self._infos[i], means)
        return self._infos

    def _flags(self, name: str) -> Bools:
        return np.array([info.get(name, False) for info in self._infos], np.bool_)


def stepping(env: VecEnv) -> tuple[TrialVector, Callable[[StepResult], Infos]]:
    """What steps the trials of ``env``, past SB3's interface where it can, and what makes SB3's infos of a step."""
    if isinstance(env, TrialVecEnv):
        return env.trials, env.infos
    trials = SB3Trials(env)
    return trials, trials.infos


def _tell(info: dict[str, Any], means: Mapping[str, float]) -> None:
    """Put what a trial told into the info of its last step."""
    if "episode" in info:
        info["episode"] = {**means, **info["episode"]}
    if SUCCESS in means:
        info[IS_SUCCESS] = means[SUCCESS]


ENDED = ("final_obs", "final_info", "void")
"""The entries of a vector environment's info that belong to the trial that ended."""


def _row(info: Mapping[str, Any], i: int) -> dict[str, Any]:
    """Row ``i`` of a vector environment's info, without the masks and what belongs to the trial before."""
    out = {}
    for key, value in info.items():
        mask = info.get(f"_{key}")
        if not key.startswith("_") and key not in ENDED and (mask is None or mask[i]):
            out[key] = _row(value, i) if isinstance(value, dict) else value[i]
    return out


def check_single(env: Any) -> None:
    """Run Stable-Baselines3's own ``check_env`` over a single environment; what it recommends becomes a warning."""
    from stable_baselines3.common.env_checker import check_env

    check_env(env, warn=True, skip_render_check=True)
