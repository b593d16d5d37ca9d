"""Does an environment keep the rules of a trial? Each rule is one function that plays and says what it found."""

from __future__ import annotations

import copy
import random
import warnings
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any, NamedTuple

import numpy as np
from gymnasium.utils.env_checker import check_env as check_gymnasium

from metarl.tasks.distribution import TaskDistribution
from metarl.tasks.layout import TrialInputs, TrialLayout
from metarl.tasks.recorder import Log, Trial, equal, first_difference, play, watched
from metarl.tasks.trial import TrialEnv
from metarl.tasks.vector import TrialVectorEnv
from metarl.types import SPLITS, Floats, TrialObservation

CUT = 3
"""Where time-outs are looked at, episodes are cut after so many steps."""
ROWS = 64
"""The rows over which rewards of array dynamics are compared with those of single environments."""


class Finding(NamedTuple):
    """What came of one rule."""

    name: str
    ok: bool
    message: str


class BrokenRuleError(Exception):
    """A rule is broken; the message says how, and what to do."""


def check_env(family: TaskDistribution, inputs: TrialInputs | None = None) -> list[Finding]:
    """Check the environments of a family as trials, and the family itself.

    Runs the ``check_env`` of Gymnasium and of Stable-Baselines3, and plays trials with random actions.

    Args:
        family: any split of it.
        inputs: the parts that travel beside the inner observation.

    Returns:
        One finding a rule, in the order of :data:`RULES`; where one is broken, its message says what to do.
    """
    inputs = inputs or TrialInputs()
    shown = _find("spaces", supported, family, inputs)
    return [_find(name, rule, family, inputs) for name, rule in RULES.items()] if shown.ok else [shown]


def _find(name: str, rule: Rule, family: TaskDistribution, inputs: TrialInputs) -> Finding:
    with warnings.catch_warnings(record=True) as noted:
        warnings.simplefilter("always")
        try:
            message = rule(family, inputs)
        except BrokenRuleError as broken:
            return Finding(name, False, str(broken))
        except Exception as error:  # whatever a user's environment may raise
            notes = "; ".join(getattr(error, "__notes__", []))
            return Finding(name, False, f"{type(error).__name__}: {error}{f' ({notes})' if notes else ''}")
    said = dict.fromkeys(_plain(str(warning.message)) for warning in noted)
    return Finding(name, True, "; ".join(filter(None, [message, *said])))


def _plain(text: str) -> str:
    """Without the colours and the first words that Gymnasium gives its warnings."""
    return " ".join(text.replace("\x1b[33m", "").replace("\x1b[0m", "").removeprefix("WARN: ").split())


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
    from metarl.tasks.sb3 import check_single

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
                        f"the {name} is {getattr(inner, name)} in the task {_short(log.tasks[-1])}, but the family's "
                        f"is {getattr(family, name)}; give all tasks the same spaces"
                    )
    for step in log.steps:
        if not family.observation_space.contains(step.obs):
            raise BrokenRuleError(
                f"the observation {_brief(step.obs)} ({_dtype(step.obs)}) does not lie in its space "
                f"{family.observation_space}; change the space, or the dtype and values that the environment returns"
            )
    return f"{len(log.steps)} observations of 3 tasks"


def finite_numbers(family: TaskDistribution, inputs: TrialInputs) -> str:
    """No NaN and no infinity."""
    same, log = watched(family)
    with closing(TrialEnv(same, inputs=inputs)) as env:
        for seed in range(3):
            play(env, seed)
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
        inner = (
            {k: np.asarray(v)[None] for k, v in step.obs.items()}
            if isinstance(step.obs, dict)
            else np.asarray(step.obs)[None]
        )
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
                    f"trial {trial} was told of the task {_short(told)}, but plays {_short(log.tasks[-1])}"
                )
            if log.drifts:
                name, value = next(iter(log.drifts[0].items()))
                raise BrokenRuleError(
                    f"reset() changes {name!r} to {value!r} within a trial of the task {_short(told)}; do not set in "
                    "reset() what varies over tasks, or make it a constructor argument"
                )
    different = len({family.task({k: v[None] for k, v in task.items()}, 0) for task in log.tasks})
    if different == 1:
        raise BrokenRuleError(
            f"{trials} trials had the same task {_short(log.tasks[0])}; draw in sample_batch from the rng it gets"
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


def sampling(family: TaskDistribution, inputs: TrialInputs) -> str:
    """Tasks are drawn from the generator that is given, and lie in their space."""
    batches = [family.sample_batch(family.task_rng(0), 50) for _ in range(2)]
    if not equal(*batches):
        raise BrokenRuleError("sample_batch draws other tasks from an equal generator; use the rng that it gets alone")
    for i in range(50):
        task = {name: np.asarray(values[i]) for name, values in batches[0].items()}
        if not family.task_space.contains(task):
            raise BrokenRuleError(f"the task {_short(task)} does not lie in the task space {family.task_space}")
    return "50 tasks, twice"


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


def splits(family: TaskDistribution, inputs: TrialInputs) -> str:
    """No split has a task of another."""
    if family.in_distribution:
        return "in distribution: there are too few tasks to hold any out, all splits play the same"
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


def vector(family: TaskDistribution, inputs: TrialInputs) -> str:
    """A row of the vector environment plays as the single environment does."""
    if family.batched(1) is not None:
        return _compare_rewards(family, inputs)
    with closing(TrialEnv(family, inputs=inputs)) as env:
        single = play(env, 0)
    many = TrialVectorEnv(family, 1, inputs=inputs)
    with closing(many):
        obs, info = many.reset(seed=0)
        told: list[TrialObservation] = [{k: v[0].copy() for k, v in obs.items()}]
        for action, reward in zip(single.actions, single.rewards, strict=True):
            obs, rewards, _, _, step_info = many.step(np.asarray(action)[None])
            if not np.isclose(rewards[0], reward, equal_nan=True):
                raise BrokenRuleError(
                    f"a row of the vector environment got the reward {rewards[0]}, the single one {reward}"
                )
            told.append({k: v[0].copy() for k, v in step_info.get("final_obs", obs).items()})
    task = {name: values[0] for name, values in info["task"].items()}
    if where := first_difference(single, single._replace(obs=told, task=task)):
        raise BrokenRuleError(f"a row of the vector environment and the single environment differ {where}")
    return f"{len(single.actions)} steps, equal"


def _compare_rewards(family: TaskDistribution, inputs: TrialInputs) -> str:
    """Dynamics as arrays have random numbers of their own: the rewards of a task must agree on average."""
    batch = family.sample_batch(family.task_rng(0), 1)
    task = family.task(batch, 0)
    steps = min(family.trial_steps, 50)
    many = TrialVectorEnv(family, ROWS, inputs=inputs)
    actions = copy.deepcopy(many.single_action_space)
    actions.seed(0)
    played = [np.asarray(actions.sample()) for _ in range(steps)]
    with closing(many), closing(TrialEnv(family, inputs=inputs)) as env:
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


def _global_state() -> tuple[Any, Any]:
    """What tells whether a global generator was drawn from."""
    ours = np.random.get_state(legacy=False)["state"]  # noqa: NPY002
    return (ours["pos"], ours["key"].tolist()), random.getstate()


def _watch(family: TaskDistribution, inputs: TrialInputs, cut: int | None = None) -> tuple[TrialLayout, Trial, Log]:
    """One trial, and what its inner environment did."""
    same, log = watched(family, cut)
    with closing(TrialEnv(same, inputs=inputs)) as env:
        return env.layout, play(env, 0), log


def _dtype(obs: Any) -> str:
    return "a dict" if isinstance(obs, Mapping) else str(np.asarray(obs).dtype)


def _short(task: Mapping[str, Any]) -> str:
    return str({name: np.asarray(value).tolist() for name, value in task.items()})


def _brief(value: Any) -> str:
    return (
        np.array2string(np.asarray(value), threshold=8, separator=", ") if not isinstance(value, dict) else str(value)
    )


Rule = Callable[[TaskDistribution, TrialInputs], str]
RULES: dict[str, Rule] = {
    "Gymnasium's check_env": gymnasium_rules,
    "Stable-Baselines3's check_env": sb3_rules,
    "spaces": inner_spaces,
    "finite numbers": finite_numbers,
    "previous action and reward": feedback,
    "ends of episodes": boundaries,
    "one task a trial": one_task,
    "drawing tasks": sampling,
    "seeds": seeds,
    "global generators": global_generators,
    "splits": splits,
    "vector environment": vector,
}
"""What is checked."""
