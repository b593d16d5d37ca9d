"""Rules that the environments of a family must keep in a trial: each plays, and says what it found."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any

import numpy as np
from gymnasium.utils.env_checker import check_env as check_gymnasium

from metarl.tasks.check.recorder import BrokenRuleError, Log, Trial, equal, first_difference, play, short, watched
from metarl.tasks.family.distribution import TaskDistribution
from metarl.tasks.trial.env import TrialEnv, one_row
from metarl.tasks.trial.layout import TrialInputs, TrialLayout

CUT = 3  # steps after which episodes are cut where time-outs are checked


def supported(family: TaskDistribution, inputs: TrialInputs) -> str:
    """A trial can show the observations, and take the actions."""
    TrialLayout(family, inputs)
    return ""


def gymnasium_rules(family: TaskDistribution, inputs: TrialInputs) -> str:
    """Gymnasium's own check."""
    check_gymnasium(TrialEnv(family, inputs=inputs), skip_render_check=True)
    return ""


def sb3_rules(family: TaskDistribution, inputs: TrialInputs) -> str:
    """Stable-Baselines3's own check."""
    from metarl.tasks.vector.sb3 import check_single

    check_single(TrialEnv(family, inputs=inputs))
    return ""


def inner_spaces(family: TaskDistribution, inputs: TrialInputs) -> str:
    """What environments show lies in their space, and in that of the family."""
    same, log = watched(family)
    with closing(TrialEnv(same, inputs=inputs)) as env:
        for seed in range(3):
            play(env, seed)
            inner = env._inner.env
            for name in ("observation_space", "action_space"):
                if getattr(inner, name) != getattr(family, name):
                    raise BrokenRuleError(
                        f"the {name} is {getattr(inner, name)} in the task {short(log.tasks[-1])}, but the family's "
                        f"is {getattr(family, name)}; give all tasks the same spaces"
                    )
    for step in log.steps:
        if not family.observation_space.contains(step.obs):
            raise BrokenRuleError(
                f"the observation {_brief(step.obs)} ({getattr(step.obs, 'dtype', type(step.obs).__name__)}) does not "
                f"lie in its space {family.observation_space}; change the space, or the dtype and values that the "
                "environment returns"
            )
    return f"{len(log.steps)} observations of 3 tasks"


def finite_numbers(family: TaskDistribution, inputs: TrialInputs) -> str:
    """No NaN and no infinity."""
    *_, log = _watch(family, inputs, seeds=range(3))
    t = 0
    for step in log.steps:
        t = 0 if step.action is None else t + 1
        parts = step.obs if isinstance(step.obs, Mapping) else {"observation": step.obs}
        for name, value in {**parts, "reward": step.reward}.items():
            if not np.isfinite(np.asarray(value, np.float64)).all():
                raise BrokenRuleError(
                    f"the {name} is {_brief(value)} at step {t} of an episode; find where the environment divides by "
                    "zero or overflows, and end the episode before it does"
                )
    return f"{len(log.steps)} steps"


def feedback(family: TaskDistribution, inputs: TrialInputs) -> str:
    """Previous action and reward come one step later, also over the ends of episodes; zeros where a trial begins."""
    layout, trial, log = _watch(family, inputs)
    seen = [step for step in log.steps if step.action is not None]
    if not (len(seen) == len(trial.actions) == len(trial.obs) - 1):
        raise BrokenRuleError(f"{len(trial.actions)} actions were given, but {len(seen)} reached the environment")
    for key in ("prev_action", "prev_reward", "prev_done"):
        if key in trial.obs[0] and trial.obs[0][key].any():
            raise BrokenRuleError(f"{key} is {trial.obs[0][key]} where a trial begins, expected zeros")
    for t, (step, obs) in enumerate(zip(seen, trial.obs[1:], strict=True)):
        given = np.asarray(step.action)[None]
        inner = one_row(step.obs)
        wanted = layout.observe(inner, t + 1, given, np.array([float(step.reward)]), np.array([False]))
        for key in {"prev_action", "prev_reward"} & obs.keys():
            if not np.array_equal(obs[key], wanted[key][0]):
                raise BrokenRuleError(
                    f"{key} is {_brief(obs[key])} after step {t}, expected {_brief(wanted[key][0])}: "
                    "what was done and paid there"
                )
    return f"{len(seen)} steps, {sum(log.ends())} of them the last of an episode"


def boundaries(family: TaskDistribution, inputs: TrialInputs) -> str:
    """The flag is 1 after every end of an episode, by termination and by time-out, and 0 elsewhere."""
    if not inputs.prev_done:
        return "prev_done is switched off"
    counted = []
    for cut in (None, CUT):
        _, trial, log = _watch(family, inputs, cut)
        flags = [bool(obs["prev_done"][0]) for obs in trial.obs[1:]]
        if flags != log.ends():
            t = next(t for t, (a, b) in enumerate(zip(flags, log.ends(), strict=True)) if a != b)
            raise BrokenRuleError(
                f"prev_done is {flags[t]} after step {t}, but the episode {'ended' if log.ends()[t] else 'went on'}"
            )
        counted.append(log)
    ended = sum(step.terminated for log in counted for step in log.steps)
    return f"{ended} terminations, {sum(step.truncated for log in counted for step in log.steps)} time-outs"


def one_task(family: TaskDistribution, inputs: TrialInputs) -> str:
    """A task stays as it is within a trial; another trial has another."""
    same, log = watched(family, CUT)
    trials = 20
    with closing(TrialEnv(same, inputs=inputs)) as env:
        for trial in range(trials):
            told = play(env, 0 if trial == 0 else None, 3 * CUT).task
            if len(log.tasks) != trial + 1 or not equal(log.tasks[-1], told):
                raise BrokenRuleError(
                    f"trial {trial} was told of the task {short(told)}, but plays {short(log.tasks[-1])}"
                )
            if log.drifts:
                name, value = next(iter(log.drifts[0].items()))
                raise BrokenRuleError(
                    f"reset() changes {name!r} to {value!r} within a trial of the task {short(told)}; do not set in "
                    "reset() what varies over tasks, or make it a constructor argument"
                )
    different = len({family.task({k: v[None] for k, v in task.items()}, 0) for task in log.tasks})
    if different == 1:
        raise BrokenRuleError(
            f"{trials} trials had the same task {short(log.tasks[0])}; draw in sample_batch from the rng it gets"
        )
    return f"{different} tasks in {trials} trials"


def seeds(family: TaskDistribution, inputs: TrialInputs) -> str:
    """Seed 0 decides the tasks and all that happens; another seed gives something else."""

    def fresh(seed: int) -> tuple[TrialEnv, Trial]:
        env = TrialEnv(family, inputs=inputs)
        return env, play(env, seed)

    env, first = fresh(0)
    if where := first_difference(first, fresh(0)[1]):
        raise BrokenRuleError(
            f"two environments reset with seed 0 differ {where}; draw all randomness from self.np_random, after "
            "super().reset(seed=seed) in reset()"
        )
    play(env, None)
    if where := first_difference(first, play(env, 0)):
        raise BrokenRuleError(
            f"an environment that has played before and is reset with seed 0 differs {where} from a new one; put back "
            "in reset() all that an episode changes"
        )
    if all(first_difference(first, fresh(seed)[1]) is None for seed in range(1, 21)):
        raise BrokenRuleError("seeds 0 to 20 give the same trial; draw tasks in sample_batch from the rng that it gets")
    return f"{len(first.actions)} steps, twice"


def global_generators(family: TaskDistribution, inputs: TrialInputs) -> str:
    """The global generators of NumPy and Python stay as they are."""
    before = _global_state()
    with closing(TrialEnv(family, inputs=inputs)) as env:
        for seed in (0, None):
            play(env, seed)
    for name, old, new in zip(("numpy.random", "random"), before, _global_state(), strict=True):
        if old != new:
            raise BrokenRuleError(
                f"playing draws from the global generator {name}, which seeds don't reach; draw from self.np_random"
            )
    return ""


def _watch(
    family: TaskDistribution, inputs: TrialInputs, cut: int | None = None, seeds: Sequence[int] = (0,)
) -> tuple[TrialLayout, Trial, Log]:
    """Play a trial for each seed: the last one, and what the inner environments did in all of them."""
    same, log = watched(family, cut)
    with closing(TrialEnv(same, inputs=inputs)) as env:
        return env.layout, [play(env, seed) for seed in seeds][-1], log


def _global_state() -> tuple[Any, Any]:
    """What tells whether a global generator was drawn from."""
    ours = np.random.get_state(legacy=False)["state"]  # noqa: NPY002 (looked at, not drawn from)
    return (ours["pos"], ours["key"].tolist()), random.getstate()


def _brief(value: Any) -> str:
    return str(value) if isinstance(value, dict) else np.array2string(np.asarray(value), threshold=8, separator=", ")
