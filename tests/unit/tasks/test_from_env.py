import json
import pickle
import subprocess
import sys
from contextlib import nullcontext
from functools import partial
from typing import Any

import family_toys as toys
import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env as check_gymnasium
from stable_baselines3.common.env_checker import check_env as check_sb3

from metarl import Choice, Integers, Normal, TaskDistribution, TrialEnv, TrialVectorEnv, Uniform, from_env
from metarl.tasks.family.distribution import Task
from metarl.tasks.family.env_family import EnvFamily
from metarl.tasks.trial.layout import is_trial_space
from metarl.types import SPLITS, Split

LINE = "family_toys:toys/Line-v0"

FAMILIES: dict[str, dict[str, Any]] = {
    "attribute": {"env": "CartPole-v1", "vary": {"length": Uniform(0.3, 1.0)}},
    "argument": {"env": LINE, "vary": {"size": "1..3"}, "episodes": 3},
    "both": {"env": LINE, "vary": {"size": "1..3", "speed": Normal(1, 0.1), "name": ["a", "b"]}, "steps": 20},
    "ids": {"env": ["toys/Line-v0", "toys/Child-v0"]},
    "ids and more": {"env": ["toys/Line-v0", "toys/Child-v0"], "vary": {"size": Integers(1, 30)}},
    "levels": {"env": "FrozenLake-v1", "levels": range(100), "kwargs": {"is_slippery": False}, "episodes": 2},
    "a list of levels": {"env": "CartPole-v1", "levels": [3, 7, 9], "vary": {"gravity": Uniform(5, 15)}},
    "masks in info": {"env": "Taxi-v4", "levels": "0..99", "steps": 50},
    "masks": {"env": "toys/Masked-v0", "vary": {"size": "1..3"}},
    "continuous": {"env": "Pendulum-v1", "vary": {"g": "5..15"}, "episodes": 1},
}


def family(name: str, split: Split = "train", **options: Any) -> EnvFamily:
    return from_env(**FAMILIES[name], split=split, **options)


def draw(made: TaskDistribution, n: int, seed: int = 0) -> list[Task]:
    batch = made.sample_batch(made.task_rng(seed), n)
    return [made.task(batch, i) for i in range(n)]


# What every family owes


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("reveal", [False, True])
def test_check_env_is_clean(name: str, reveal: bool) -> None:
    for check in (partial(check_gymnasium, skip_render_check=True), check_sb3):
        with pytest.warns(UserWarning, match="symmetric and normalized") if name == "continuous" else nullcontext():
            check(TrialEnv(family(name, reveal=reveal)))


@pytest.mark.parametrize("name", FAMILIES)
def test_splits_share_tasks_only_where_it_is_said(name: str) -> None:
    drawn = {split: {t for seed in range(3) for t in draw(family(name, split), 300, seed)} for split in SPLITS}
    overlap = (drawn["train"] | drawn["validation"]) & drawn["test"] | drawn["train"] & drawn["validation"]
    assert bool(overlap) == family(name).in_distribution == (name == "ids")


@pytest.mark.parametrize("name", FAMILIES)
def test_options_json_and_pickle_rebuild_the_family(name: str) -> None:
    made = family(name, "test")
    assert EnvFamily(**made.options()) == made
    assert EnvFamily(**json.loads(json.dumps(made.options()))) == made
    assert made.with_split("validation") == family(name, "validation")
    copied = pickle.loads(pickle.dumps(made))
    assert copied == made
    assert copied.trial_steps == made.trial_steps
    first, second = (TrialEnv(one).reset(seed=0)[0] for one in (made, copied))
    assert all(np.array_equal(first[k], second[k]) for k in first)


@pytest.mark.parametrize("name", FAMILIES)
def test_a_task_goes_through_json_and_is_played(name: str) -> None:
    made = family(name)
    task = draw(made, 3)[2]
    again = Task.from_json(json.loads(json.dumps(task.to_json())))
    assert again == task
    _, info = TrialEnv(made).reset(seed=0, options={"task": again})
    assert made.task({k: v[None] for k, v in info["task"].items()}, 0) == task


@pytest.mark.parametrize("name", FAMILIES)
def test_single_and_vector_have_the_same_spaces(name: str) -> None:
    made = family(name)
    single, many = TrialEnv(made), TrialVectorEnv(made, 3)
    assert is_trial_space(single.observation_space)
    assert many.single_observation_space == single.observation_space
    assert many.single_action_space == single.action_space
    assert many.observation_space.contains(many.reset(seed=0)[0])
    many.close()


def test_worker_processes_play_the_same_and_know_the_id() -> None:
    """Spawned, they import the module that registers it."""
    made = family("both", "test")
    played = []
    for workers in (0, 2):
        env = TrialVectorEnv(made, 4, workers=workers)
        obs, _ = env.reset(seed=0)
        steps = [env.step(np.array([t % 2, 0, 0, 1])) for t in range(25)]
        played.append([obs["obs"].copy(), *(step[1].copy() for step in steps)])
        assert env.split == "test"
        env.close()
    assert all(np.array_equal(a, b) for a, b in zip(*played, strict=True))


# Where values go


def inner(made: EnvFamily, task: dict[str, Any]) -> Any:
    return made.make({k: np.asarray(v) for k, v in task.items()})


def test_an_argument_goes_to_the_constructor() -> None:
    made = from_env(LINE, vary={"size": Uniform(1, 3), "name": Choice(("a", "b"))})
    env = inner(made, {"size": 2.5, "name": 1})
    assert (env.unwrapped.size, env.unwrapped.twice, env.unwrapped.name) == (2.5, 5.0, "b")
    other = made.remake(env, {"size": np.asarray(1.5), "name": np.asarray(1)})
    assert other is not env
    assert (other.unwrapped.size, other.unwrapped.twice) == (1.5, 3.0)
    assert made.family == "toys/Line-v0"
    child = from_env("toys/Child-v0", vary={"size": Uniform(1, 3), "colour": ["red", "blue"]})
    env = inner(child, {"size": 2.5, "colour": 1})  # only the parent names the size
    assert (env.unwrapped.twice, env.unwrapped.colour) == (5.0, "blue")


def right(env: Any, values: dict[str, Any]) -> None:
    """Puts right what CartPole computes from its length."""
    env.unwrapped.polemass_length = env.unwrapped.masspole * values["length"]


@pytest.mark.parametrize(("apply", "product"), [(None, 0.05), (right, 0.09)], ids=["stale", "put right"])
def test_an_attribute_is_set_on_the_environment_at_hand_and_apply_gets_a_new_one(apply: Any, product: float) -> None:
    made = from_env("CartPole-v1", vary={"length": Uniform(0.3, 1.0)}, apply=apply)
    env = inner(made, {"length": 0.4})
    other: Any = made.remake(env, {"length": np.asarray(0.9)})
    assert (other is env) == (apply is None)
    assert (other.unwrapped.length, other.unwrapped.polemass_length) == (0.9, pytest.approx(product))
    assert "polemass_length" in (EnvFamily.__doc__ or ""), "which says that it gets stale"


def test_apply_may_take_names_that_nobody_else_knows() -> None:
    seen = []
    made = from_env(LINE, vary={"friction": Uniform(0, 1)}, apply=lambda env, values: seen.append(values["friction"]))
    inner(made, {"friction": 0.25})
    assert seen[-1] == 0.25


def test_a_function_takes_what_varies() -> None:
    made = from_env(toys.make_line, vary={"size": Uniform(1, 3), "name": ["a", "b"]}, episodes=2)
    env = inner(made, {"size": 2.0, "name": 1})
    assert (env.unwrapped.size, env.unwrapped.name) == (2.0, "b")
    assert (made.family, made.trial_steps, made.trial_episodes) == ("make_line", 20, 2)
    pickle.loads(pickle.dumps(made))


def test_kwargs_stay_the_same_in_all_tasks() -> None:
    made = from_env(LINE, vary={"size": "1..3"}, kwargs={"name": "k", "max_episode_steps": 7}, episodes=2)
    assert inner(made, {"size": 1.0}).unwrapped.name == "k"
    assert made.trial_steps == 14


def test_each_level_is_one_seed_in_every_episode() -> None:
    made = from_env(LINE, levels=[30, 50, 70], episodes=3)
    env = TrialEnv(made)
    obs, info = env.reset(seed=0)
    starts = [obs["obs"].tolist()] + [env.step(1)[0]["obs"].tolist() for _ in range(2)]
    assert starts[0] == starts[1] == starts[2]
    level = int(info["task"]["level"])
    assert starts[0] == gym.make("toys/Line-v0").reset(seed=[30, 50, 70][level])[0].tolist()
    starts_of = {tuple(env.reset(seed=s)[0]["obs"]) for s in range(20)}
    assert len(starts_of) == 3
    one = from_env(LINE, vary={"size": "1..3"}, levels=[5])  # one seed, while something else varies
    assert set(one.task_space.spaces) == {"size"}
    assert len({tuple(TrialEnv(one).reset(seed=s)[0]["obs"]) for s in range(3)}) == 1


def test_several_ids_are_one_task_each() -> None:
    made = family("ids")
    assert made.task_space == spaces.Dict({"env": spaces.Discrete(2)})
    assert made.family == "toys/Line-v0+toys/Child-v0"
    envs = [inner(made, {"env": i}) for i in (0, 1)]
    assert [type(env.unwrapped) for env in envs] == [toys.Line, toys.Child]
    assert made.remake(envs[0], {"env": np.asarray(0)}) is envs[0]
    assert made.remake(envs[0], {"env": np.asarray(1)}) is not envs[0]


# How long a trial is


@pytest.mark.parametrize(
    ("options", "steps", "episodes"),
    [({}, 50, 5), ({"episodes": 3}, 30, 3), ({"steps": 40}, 40, None), ({"episodes": 3, "steps": 12}, 12, 3)],
)
def test_trials_have_episodes_or_steps(options: dict[str, int], steps: int, episodes: int | None) -> None:
    made = from_env(LINE, vary={"size": "1..3"}, **options)  # type: ignore[arg-type]  # only these two
    assert (made.trial_steps, made.trial_episodes) == (steps, episodes)
    env = TrialEnv(made)
    env.reset(seed=0)
    for ends in (True, False):  # every step ends an episode; none does before the time limit of ten
        count, over = 0, False
        env.reset(seed=0)
        while not over:
            *_, over, _, _ = env.step(int(ends))
            count += 1
        assert count == (episodes or steps if ends else steps)


# Masks


def test_masks_in_info_become_a_part_of_the_observation() -> None:
    env = TrialEnv(family("masks in info"))
    obs, _ = env.reset(seed=0)
    assert obs["action_mask"].shape == (6,)
    for _ in range(20):
        action = int(np.flatnonzero(obs["action_mask"])[0])
        obs, _, _, _, info = env.step(action)
        assert obs["action_mask"].tolist() == info["action_mask"].tolist()


def test_masks_from_a_method_are_there_in_rows_too() -> None:
    env = TrialVectorEnv(family("masks"), 3)
    obs, _ = env.reset(seed=0)
    for _ in range(15):
        assert obs["action_mask"].tolist() == [[1, 0]] * 3
        obs, *_ = env.step(np.zeros(3, int))
    env.close()


# Splits


def test_finite_families_are_parted_alike_in_every_process() -> None:
    code = (
        "import sys, random, numpy as np; random.seed(int(sys.argv[1])); np.random.seed(int(sys.argv[1]));"
        "from metarl import from_env;"
        "f = from_env('CartPole-v1', levels=range(50), split='test');"
        "print(sorted(set(f.sample_batch(np.random.default_rng(), 500)['level'].tolist())))"
    )
    shown = [subprocess.check_output([sys.executable, "-c", code, seed], text=True) for seed in "12"]
    assert shown[0] == shown[1]
    assert len(json.loads(shown[0])) == 5


@pytest.mark.parametrize(
    ("vary", "parted", "alike"),
    [
        ({"size": Integers(1, 20)}, True, False),
        ({"size": Integers(1, 19)}, False, True),
        ({"size": Integers(1, 5), "name": list("abcd")}, True, False),
        ({"size": Integers(1, 5), "speed": Uniform(0, 1)}, False, False),
        ({"size": Integers(1, 20), "speed": Uniform(0, 1)}, True, False),
    ],
)
def test_twenty_combinations_are_enough_to_part(vary: dict[str, Any], parted: bool, alike: bool) -> None:
    made = from_env(LINE, vary=vary)
    assert made.in_distribution == alike
    counted = [name for name in vary if name != "speed"]
    sets = []
    for split in SPLITS:
        part = made.with_split(split)
        batch = part.sample_batch(part.task_rng(0), 2000)
        sets.append(set(zip(*(batch[name].tolist() for name in counted), strict=True)))
    if parted:
        assert [len(s) for s in sets] == [16, 2, 2]
        assert len(set.union(*sets)) == 20
    else:
        assert sets[0] == sets[1] == sets[2]


def test_huge_finite_families_need_no_memory() -> None:
    made = from_env(LINE, vary={"size": Integers(0, 10**9), "speed": Integers(0, 10**9)}, split="test")
    assert len(set(draw(made, 1000))) == 1000
    with pytest.raises(ValueError, match="combinations; narrow them"):
        from_env(LINE, vary={name: Integers(0, 2**50) for name in ("size", "speed")})
