"""What a family of tasks owes to its users: pure draws, disjoint splits, arrays that play as single environments do."""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import closing
from typing import Any

import numpy as np

from metarl.tasks.check.recorder import BrokenRuleError, Trial, equal, first_difference, short
from metarl.tasks.check.subject import Subject
from metarl.tasks.vector.env import TrialVectorEnv
from metarl.types import SPLITS, Floats, TrialObservation

ROWS = 64  # the rows over which rewards of array dynamics are compared with those of single environments


def sampling(subject: Subject) -> str:
    """Tasks are drawn from the generator that is given, and lie in their space."""
    family = subject.family
    batches = [family.sample_batch(family.task_rng(0), 50) for _ in range(2)]
    if not equal(*batches):
        raise BrokenRuleError("sample_batch draws other tasks from an equal generator; use the rng that it gets alone")
    for i in range(50):
        task = {name: np.asarray(values[i]) for name, values in batches[0].items()}
        if not family.task_space.contains(task):
            raise BrokenRuleError(f"the task {short(task)} does not lie in the task space {family.task_space}")
    return "50 tasks, twice"


def splits(subject: Subject) -> str:
    """No split has a task of another."""
    family = subject.family
    if family.in_distribution:
        return "in distribution: no tasks are held out, all splits play the same"
    drawn: dict[Any, str] = {}
    for split in SPLITS:
        part = family.with_split(split)
        for seed in range(3):
            batch = part.sample_batch(part.task_rng(seed), 200)
            for i in range(200):
                task = part.task(batch, i)
                if drawn.setdefault(task, split) != split:
                    raise BrokenRuleError(
                        f"the task {task.to_json()['values']} is drawn for {drawn[task]} and for {split}; part the "
                        "members in sample_batch by self.split, or say so with in_distribution"
                    )
    return f"{len(drawn)} different tasks"


def vector(subject: Subject) -> str:
    """A row of the vector environment plays as the single environment does."""
    family, inputs = subject.family, subject.inputs
    if family.batched(1) is not None:
        return _compare_rewards(subject)
    single, again = (_single(subject) for _ in range(2))
    if first_difference(single, again):
        return "not compared: an environment is not even equal to itself, see the rule on seeds"
    shown = (part for obs in single.obs for part in obs.values())
    if not np.isfinite(single.rewards).all() or not all(np.isfinite(part).all() for part in shown):
        return "not compared: a number is not finite, see the other rules"
    many = TrialVectorEnv(family, 1, inputs=inputs, max_restarts=0)
    with closing(many):
        obs, info = many.reset(seed=0)
        told: list[TrialObservation] = [{k: v[0].copy() for k, v in obs.items()}]
        for action, reward in zip(single.actions, single.rewards, strict=True):
            if len(told) > 1 and subject.late():
                break
            obs, rewards, _, _, step_info = many.step(np.asarray(action)[None])
            if not np.isclose(rewards[0], reward, equal_nan=True):
                raise BrokenRuleError(
                    f"a row of the vector environment got the reward {rewards[0]}, the single one {reward}"
                )
            told.append({k: v[0].copy() for k, v in step_info.get("final_obs", obs).items()})
    task = {name: values[0] for name, values in info["task"].items()}
    cut = len(told) < len(single.obs)
    if where := first_difference(single, single._replace(obs=told, task=task, late=cut)):
        raise BrokenRuleError(f"a row of the vector environment and the single environment differ {where}")
    return f"{len(told) - 1} steps, equal"


def _single(subject: Subject) -> Trial:
    with closing(subject.env()) as env:
        return subject.play(env, 0, share=0.25)


def _compare_rewards(subject: Subject) -> str:
    """Dynamics as arrays have random numbers of their own: the rewards of a task must agree on average."""
    family, inputs = subject.family, subject.inputs
    batch = family.sample_batch(family.task_rng(0), 1)
    task = family.task(batch, 0)
    steps = min(family.trial_steps, 50)
    many = TrialVectorEnv(family, ROWS, inputs=inputs)
    actions = copy.deepcopy(many.single_action_space)
    actions.seed(0)
    played = [np.asarray(actions.sample()) for _ in range(steps)]
    with closing(many), closing(subject.env()) as env:
        many.reset(seed=0, options={"tasks": {name: np.repeat(v, ROWS, 0) for name, v in batch.items()}})
        arrays = _first_trial(lambda action: many.step(np.stack([action] * ROWS)), played, ROWS)
        single = []
        for row in range(ROWS):
            env.reset(seed=row, options={"task": task})
            single.append(_first_trial(lambda action: _row_of(env.step(action)), played, 1)[0])
    difference = arrays.mean() - np.mean(single)
    error = np.sqrt((arrays.var() + np.var(single)) / ROWS)
    if abs(difference) > 5 * error + 1e-3 * (1 + abs(np.mean(single))):
        raise BrokenRuleError(
            f"over {steps} steps of one task, arrays pay {arrays.mean():.3g} and single environments "
            f"{np.mean(single):.3g} (standard error {error:.2g}); batched(n) and make(task) must be the same dynamics"
        )
    return f"rewards of {ROWS} trials agree"


def _row_of(step: tuple[Any, ...]) -> tuple[Any, ...]:
    return (step[0], np.array([step[1]]), np.array([step[2]]))


def _first_trial(step: Callable[[Any], tuple[Any, ...]], actions: list[Any], rows: int) -> Floats:
    """The rewards ``[rows]`` of the first trial of each row."""
    total, alive = np.zeros(rows), np.ones(rows, bool)
    for action in actions:
        if not alive.any():
            break
        _, rewards, over, *_ = step(action)
        total += np.where(alive, rewards, 0)
        alive &= ~over
    return total
