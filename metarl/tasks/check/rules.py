"""Rules that the environments of a family must keep in a trial: each plays, and says what it found.

A warning is advice: training works, but could be better. :class:`BrokenRuleError` is for what makes training fail, or
learn something else than is meant.
"""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Callable
from contextlib import closing
from typing import Any

import numpy as np
from gymnasium.utils.env_checker import check_env as check_gymnasium

from metarl.tasks.check.recorder import (
    BrokenRuleError,
    Trial,
    equal,
    first_difference,
    kind,
    parts,
    short,
    slight,
    watched,
)
from metarl.tasks.check.subject import Subject
from metarl.tasks.trial.env import TrialEnv, one_row
from metarl.tasks.trial.layout import TrialLayout

CUT = 3  # steps after which episodes are cut where time-outs are checked
TRIALS = 20  # how many trials must have more than one task between them


def inner_spaces(subject: Subject) -> str:
    """A trial can show the observations, and take the actions; what environments show lies in their space."""
    family = subject.family
    try:
        TrialLayout(family, subject.inputs)
    except ValueError as error:
        raise BrokenRuleError(str(error)) from error
    for shown, task in zip(subject.played.shown, subject.played.log.tasks, strict=True):
        for name, space in zip(("observation_space", "action_space"), shown, strict=True):
            if space != getattr(family, name):
                raise BrokenRuleError(
                    f"the {name} is {space} in the task {short(task)}, but the family's is {getattr(family, name)}; "
                    "give all tasks the same spaces"
                )
    steps = subject.played.log.steps
    outside = {}
    for step in steps:
        for what, space, value in parts(family.observation_space, step.obs):
            if what not in outside and not space.contains(value):
                outside[what] = f"the {what} {_brief(value)} ({kind(value)}) does not lie in its space {space}"
    for problem in outside.values():
        warnings.warn(f"{problem}; it is converted, but better change the space or what is returned", stacklevel=1)
    return f"{len(steps)} observations of {len(subject.played.trials)} tasks"


def gymnasium_rules(subject: Subject) -> str:
    """Gymnasium's own check; what matters for training is among the other rules, so that all it says is advice."""
    with closing(subject.env()) as env:
        _advise(lambda: check_gymnasium(env, skip_render_check=True))
    return ""


def sb3_rules(subject: Subject) -> str:
    """Stable-Baselines3's own check; what it recommends beyond is for its own nets, and is left out."""
    from metarl.tasks.vector.sb3 import check_single

    def quietly() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            check_single(env)

    with closing(subject.env()) as env:
        _advise(quietly)
    return ""


def finite_numbers(subject: Subject) -> str:
    """No NaN and no infinity."""
    steps, t = subject.played.log.steps, 0
    for step in steps:
        t = 0 if step.action is None else t + 1
        seen = [(what, value) for what, _, value in parts(subject.family.observation_space, step.obs)]
        for what, value in [*seen, ("reward", step.reward)]:
            numbers = np.asarray(value)
            if numbers.dtype.kind in "fc" and not np.isfinite(numbers).all():
                raise BrokenRuleError(
                    f"the {what} is {_brief(value)} at step {t} of an episode; find where the environment divides by "
                    "zero or overflows, and end the episode before it does"
                )
    return f"{len(steps)} steps"


def feedback(subject: Subject) -> str:
    """Previous action and reward come one step later, also over the ends of episodes; zeros where a trial begins."""
    played = subject.played
    seen, given = played.log.played(), sum(len(trial.actions) for trial in played.trials)
    if len(seen) != given:
        raise BrokenRuleError(f"{given} actions were given, but {len(seen)} reached the environment")
    steps = iter(seen)
    for trial in played.trials:
        for key in ("prev_action", "prev_reward", "prev_done"):
            if key in trial.obs[0] and trial.obs[0][key].any():
                raise BrokenRuleError(f"{key} is {trial.obs[0][key]} where a trial begins, expected zeros")
        for t, obs in enumerate(trial.obs[1:]):
            step = next(steps)
            action, reward = np.asarray(step.action)[None], np.array([float(step.reward)])
            wanted = played.layout.observe(one_row(step.obs), t + 1, action, reward, np.array([False]))
            for key in {"prev_action", "prev_reward"} & obs.keys():
                if not np.array_equal(obs[key], wanted[key][0], equal_nan=True):
                    raise BrokenRuleError(
                        f"{key} is {_brief(obs[key])} after step {t}, expected {_brief(wanted[key][0])}: "
                        "what was done and paid there"
                    )
    return f"{len(seen)} steps, {sum(played.log.ends())} of them the last of an episode"


def boundaries(subject: Subject) -> str:
    """The flag is 1 after every end of an episode, by termination and by time-out, and 0 elsewhere."""
    if not subject.inputs.prev_done:
        return "prev_done is switched off"
    counted = []
    for played in (subject.played, subject.watch([0], CUT)):
        flags = [bool(obs["prev_done"][0]) for trial in played.trials for obs in trial.obs[1:]]
        ends = played.log.ends()
        if flags != ends:
            t = next(t for t, (a, b) in enumerate(zip(flags, ends, strict=True)) if a != b)
            raise BrokenRuleError(
                f"prev_done is {flags[t]} after step {t}, but the episode {'ended' if ends[t] else 'went on'}"
            )
        counted += played.log.steps
    ended, cut = sum(step.terminated for step in counted), sum(step.truncated for step in counted)
    return f"{ended} terminations, {cut} time-outs"


def one_task(subject: Subject) -> str:
    """A task stays as it is within a trial; another trial has another."""
    family = subject.family
    same, log = watched(family, CUT)
    with closing(TrialEnv(same, inputs=subject.inputs)) as env:
        for trial in range(TRIALS):
            if trial > 1 and subject.late():
                break
            told = subject.play(env, 0 if trial == 0 else None, most=3 * CUT).task
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
    trials = len(log.tasks)
    different = len({family.task({k: v[None] for k, v in task.items()}, 0) for task in log.tasks})
    if different == 1 and family.task_space.spaces and not subject.stopped:
        raise BrokenRuleError(
            f"{trials} trials had the same task {short(log.tasks[0])}; draw in sample_batch from the rng it gets"
        )
    return f"{different} tasks in {trials} trials"


def seeds(subject: Subject) -> str:
    """Seed 0 decides the tasks and all that happens; another seed gives something else."""

    def fresh(seed: int) -> tuple[TrialEnv, Trial]:
        env = subject.env()
        return env, subject.play(env, seed, share=0.25)

    env, first = fresh(0)
    second = fresh(0)[1]
    if where := first_difference(first, second):
        problem = (
            f"two environments reset with seed 0 differ {where}; draw all randomness from self.np_random, after "
            "super().reset(seed=seed) in reset()"
        )
        if getattr(subject.family, "levels", None) is not None and not slight(first, second):
            raise BrokenRuleError(f"a level is not the same each time: {problem}")
        warnings.warn(f"runs cannot be repeated: {problem}", stacklevel=1)
        return ""
    subject.play(env, None, share=0.25)
    again = subject.play(env, 0, share=0.25)
    if where := first_difference(first, again):
        problem = (
            f"an environment that has played before and is reset with seed 0 differs {where} from a new one; put back "
            "in reset() all that an episode changes"
        )
        if not slight(first, again):
            raise BrokenRuleError(problem)
        warnings.warn(f"runs cannot be repeated exactly: {problem}", stacklevel=1)
        return ""
    for seed in range(1, TRIALS + 1):
        if subject.late() or first_difference(first, fresh(seed)[1]) is not None:
            break
    else:
        warnings.warn(
            f"seeds 0 to {TRIALS} give the same trial: there is nothing to tell tasks apart by; vary what changes what "
            "is seen or paid",
            stacklevel=1,
        )
    return f"{len(first.actions)} steps, twice"


def global_generators(subject: Subject) -> str:
    """The global generators of NumPy and Python stay as they are."""
    if names := subject.played.drawn_from:
        warnings.warn(
            f"playing draws from the global generator {' and '.join(names)}, which seeds don't reach, so that runs "
            "cannot be repeated; draw from self.np_random",
            stacklevel=1,
        )
    return ""


def _advise(check: Callable[[], object]) -> None:
    """Warn of what a checker of another library objects to; what the environment itself raises is raised."""
    try:
        check()
    except AssertionError as error:
        if "env_checker" not in traceback.extract_tb(error.__traceback__)[-1].filename:
            raise
        warnings.warn(str(error), stacklevel=1)


def _brief(value: Any) -> str:
    return value if isinstance(value, str) else np.array2string(np.asarray(value), threshold=8, separator=", ")
