"""Stable-Baselines3's face of a vector environment of trials: the one file of the library's tasks that imports it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv
from stable_baselines3.common.env_util import is_wrapped
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, VecEnv

from metarl.tasks.family.distribution import TaskDistribution
from metarl.tasks.trial.layout import is_trial_space
from metarl.tasks.vector.env import TrialVectorEnv
from metarl.tasks.vector.watch import AsyncWatch
from metarl.tasks.vector.workers import check_timeout
from metarl.types import Array, TrialObservation

__all__ = ["TrialVecEnv", "as_vec_env", "is_trial_space"]


class TrialVecEnv(VecEnv):
    """A Gymnasium vector environment of trials as a ``VecEnv``.

    ``infos[i]`` is filled only where row ``i`` is done, with ``terminal_observation``, ``TimeLimit.truncated`` and
    ``episode`` (``r``, ``l``, ``t``: return, steps, seconds); elsewhere it is an empty dict that is used again, to be
    read and not written. ``reset_infos[i]`` describes the trial under way in row ``i``. A trial that a failing worker
    cut off has ``broken_trial`` instead of ``episode``, so that nobody counts it.

    SAME_STEP and DISABLED look alike: the step that ends a trial returns the first observation of the next. In
    NEXT_STEP it returns the trial's last one, and the action after it is swallowed; that dead step has reward 0, is
    done once more, so that the next input begins a trial, and its info is ``{"dead_step": True,
    "terminal_observation": ...}``: it is to be counted and trained on nowhere.

    Args:
        env: a vector environment with trial observations.
        worker_timeout: seconds in which each process of an ``AsyncVectorEnv`` must answer.

    Raises:
        ValueError: an unknown autoreset mode, or no trial observations.
    """

    def __init__(self, env: VectorEnv[Any, Any, Any], worker_timeout: float = 60.0) -> None:
        check_timeout(worker_timeout)
        self._mode = env.metadata.get("autoreset_mode")
        if not isinstance(self._mode, AutoresetMode):
            raise ValueError(
                f"the vector environment has the autoreset mode {self._mode!r}; its metadata['autoreset_mode'] must be "
                "one of gymnasium.vector.AutoresetMode"
            )
        _require_trials(env.single_observation_space)
        self.env = env
        self._watch = AsyncWatch(env.unwrapped, worker_timeout) if isinstance(env.unwrapped, AsyncVectorEnv) else None
        # One environment for all rows, or one a row.
        self._rows = env.unwrapped if isinstance(env.unwrapped, SyncVectorEnv | AsyncVectorEnv) else None
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)
        self._empty: list[dict[str, Any]] = [{} for _ in range(env.num_envs)]
        self._pending_seed: int | None = None
        self._pending_options: dict[str, Any] | None = None
        self._actions: Array | None = None
        self._dead = np.zeros(env.num_envs, np.bool_)
        self._last: TrialObservation = {}
        self._returns = np.zeros(env.num_envs)
        self._lengths = np.zeros(env.num_envs, np.int64)
        self._start_time = time.perf_counter()

    @property
    def split(self) -> str | None:
        """The split that tasks are drawn from; None where the environment does not say.

        Raises:
            ValueError: the rows draw from different splits.
        """
        if not self.has_attr("split"):
            return None
        splits = sorted(set(self.get_attr("split")))
        if len(splits) > 1:
            raise ValueError(f"the rows draw from the splits {', '.join(splits)}; use one split for all of them")
        return str(splits[0])

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
        obs, info = self._call(self.env.reset, seed=self._pending_seed, options=self._pending_options)
        self._pending_seed = self._pending_options = None
        self.reset_infos = [_row(info, i) for i in range(self.num_envs)]
        self._returns[:] = 0
        self._lengths[:] = 0
        self._dead[:] = False
        return obs

    def step_async(self, actions: Array) -> None:
        """Take note of the actions ``[n, ...]``."""
        self._actions = actions

    def step_wait(self) -> Any:
        """Play them: observations, rewards (float32), done, infos.

        Raises:
            WorkerError: a process of an ``AsyncVectorEnv`` raised, died or did not answer; all of them are ended.
        """
        obs, rewards, terminated, truncated, info = self._call(self.env.step, self._actions)
        done = terminated | truncated
        self._returns += rewards
        self._lengths += 1
        infos = self._empty
        dead = self._dead
        if dead.any():
            infos = list(infos)
            for i in np.flatnonzero(dead).tolist():
                infos[i] = {"dead_step": True, "terminal_observation": _final(self._last, i)}
                self.reset_infos[i] = _row(info, i)
            self._lengths[dead] = 0  # nothing was played, and the return is still 0
        if done.any():
            infos = list(infos)
            final = info["final_obs"] if self._mode == AutoresetMode.SAME_STEP else obs
            broken = info.get("broken_trial")
            seconds = round(time.perf_counter() - self._start_time, 6)
            ended = np.flatnonzero(done).tolist()
            for i in ended:
                infos[i] = {
                    "terminal_observation": _final(final, i),
                    "TimeLimit.truncated": bool(truncated[i] and not terminated[i]),
                }
                if broken is not None and broken[i]:
                    infos[i]["broken_trial"] = True
                else:
                    infos[i]["episode"] = {"r": float(self._returns[i]), "l": int(self._lengths[i]), "t": seconds}
            self._returns[done] = 0
            self._lengths[done] = 0
            if self._mode == AutoresetMode.DISABLED:
                obs, info = self._call(self.env.reset, options={"reset_mask": done.copy()})
            if self._mode != AutoresetMode.NEXT_STEP:
                for i in ended:
                    self.reset_infos[i] = _row(info, i)
        if self._mode == AutoresetMode.NEXT_STEP:
            self._dead, self._last = done, obs
            done = done | dead
        return obs, rewards.astype(np.float32), done, infos

    def _call(self, method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call the environment, watched where it has processes."""
        return method(*args, **kwargs) if self._watch is None else self._watch.call(method, *args, **kwargs)

    def close(self) -> None:
        """Close the vector environment."""
        self.env.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """The attribute of each row; that of the whole where one environment holds all rows."""
        rows = list(self._get_indices(indices))
        if self._rows is None:
            return [getattr(self.env.unwrapped, attr_name)] * len(rows)
        values = self._rows.get_attr(attr_name)
        return [values[i] for i in rows]

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set an attribute in all rows; Gymnasium's vector environments know no single ones.

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
        """Whether :meth:`state_dict` works."""
        return bool(getattr(self.env, "resumable", False))

    def state_dict(self) -> dict[str, Any]:
        """The environment's own state and the running returns and lengths.

        Raises:
            TypeError: the environment cannot be saved.
        """
        save = getattr(self.env, "state_dict", None)
        if save is None:
            raise TypeError(f"{type(self.env).__name__} has no state_dict; only native vector environments do")
        return {"env": save(), "returns": self._returns.copy(), "lengths": self._lengths.copy()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what :meth:`state_dict` returned.

        Raises:
            TypeError: the environment cannot be restored.
            ValueError: the state comes from an environment made otherwise.
        """
        load = getattr(self.env, "load_state_dict", None)
        if load is None:
            raise TypeError(f"{type(self.env).__name__} has no load_state_dict; only native vector environments do")
        load(state["env"])
        self._returns, self._lengths = np.array(state["returns"]), np.array(state["lengths"])


def as_vec_env(env: Any, n_envs: int = 256, worker_timeout: float = 60.0) -> VecEnv:
    """Trials of any kind as a ``VecEnv``; one of trials passes through.

    Args:
        env: an id that Gymnasium knows, a :class:`TaskDistribution`, a single environment, a list of functions that
            make one each, a Gymnasium ``VectorEnv`` in any autoreset mode, or an SB3 ``VecEnv``.
        n_envs: rows made for an id or a distribution.
        worker_timeout: seconds in which each process of an ``AsyncVectorEnv`` must answer.

    Raises:
        TypeError: none of these.
        ValueError: no trial observations, or an unknown autoreset mode.
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
        _require_trials(env.observation_space)
        return env
    if isinstance(env, VectorEnv):
        return TrialVecEnv(env, worker_timeout)
    raise TypeError(
        f"expected an id, a task distribution, an environment, a list of functions that make one each, a Gymnasium "
        f"VectorEnv or an SB3 VecEnv, got {type(env).__name__}; make one with gymnasium.make_vec(id, num_envs=...)"
    )


def _require_trials(space: Any) -> None:
    if not is_trial_space(space):
        raise ValueError(
            f"the environment does not emit trial observations, its space is {space}; give a family, such as "
            "metarl.from_env(id, vary=...), an id of metarl, or environments made as metarl.TrialEnv(family)"
        )


def _final(final_obs: Any, i: int) -> TrialObservation:
    """Row ``i`` of ``final_obs``: ours is a dict of arrays, Gymnasium's an object array of dicts."""
    return {k: v[i] for k, v in final_obs.items()} if isinstance(final_obs, dict) else final_obs[i]


ENDED = ("final_obs", "final_info", "broken_trial")
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
    """Run Stable-Baselines3's own ``check_env`` over a single environment; what it recommends it warns of."""
    from stable_baselines3.common.env_checker import check_env

    check_env(env, warn=True, skip_render_check=True)
