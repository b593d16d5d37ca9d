"""Which tasks are for training, which for validation and which for testing; and how likely each is."""

import pickle
from typing import Any

import numpy as np
import pytest
from gymnasium.wrappers import OrderEnforcing

from metarl import (
    RL2PPO,
    InputError,
    Integers,
    TaskDistribution,
    TrialEnv,
    TrialVectorEnv,
    Uniform,
    from_env,
    rollout_trials,
)
from metarl.agents.baselines import Random
from metarl.envs import distribution
from metarl.experiments.presets import load_experiment
from metarl.tasks.check.check_env import check_env
from metarl.tasks.family import splits as finite
from metarl.tasks.family.checks import SpacesError
from metarl.tasks.family.env_family import EnvFamily
from metarl.tasks.family.split_family import SplitFamily
from metarl.types import SPLITS, Split

LINE = "family_toys:toys/Line-v0"


def played(family: TaskDistribution, split: Split) -> set[Any]:
    """The seeds, sizes and names of the tasks that a split draws."""
    part = family.with_split(split)
    batch = part.sample_batch(part.task_rng(0), 4000)
    now: Any = part.now if isinstance(part, SplitFamily) else part
    rows = {part.task(batch, i) for i in range(4000)}
    return {tuple(now.parts[name].value(np.asarray(v)) for name, v in row.values) for row in rows}


def seeds(*ranges: range) -> set[Any]:
    return {(seed,) for one in ranges for seed in one}


# Held out of one family


@pytest.mark.parametrize(
    ("hold_out", "sizes"),
    [
        (["validation", "test"], (32, 4, 4)),
        (["validation"], (36, 4, 36)),
        (["test"], (36, 36, 4)),
        ([], (40, 40, 40)),
    ],
)
def test_members_are_held_out_for_some_splits(hold_out: list[Split], sizes: tuple[int, int, int]) -> None:
    family = from_env(LINE, levels=range(40), hold_out=hold_out)
    drawn = {split: played(family, split) for split in SPLITS}
    assert tuple(map(len, drawn.values())) == sizes
    for split in SPLITS:
        shares = any(drawn[split] & drawn[other] for other in SPLITS if "train" in (split, other) and other != split)
        assert family.with_split(split).in_distribution == shares
    assert EnvFamily(**family.options()) == family
    assert not from_env(LINE, {"size": "1..2"}, levels=range(40), hold_out=()).in_distribution


@pytest.mark.parametrize("total", [20, 29, 103])
@pytest.mark.parametrize("hold_out", [(), ("validation",), ("test",), ("validation", "test")])
def test_a_member_belongs_where_it_is_drawn(total: int, hold_out: Any) -> None:
    parts: dict[Split, set[int]] = {}
    for split in SPLITS:
        index = np.arange(finite.count(total, split, hold_out))
        parts[split] = set(finite.members(index, total, split, hold_out).tolist())
        assert len(parts[split]) == len(index)
        assert parts[split] == {i for i in range(total) if finite.belongs(i, total, split, hold_out)}
    held: set[int] = set().union(*(parts[split] for split in hold_out))
    assert parts["train"] == set(range(total)) - held


# Lists of one's own


def test_all_levels_that_are_given_are_played() -> None:
    family = from_env(LINE, levels=range(40), validation=range(500, 510), test=range(1000, 1025))
    assert isinstance(family, SplitFamily)
    assert (family.split, family.trial_steps, family.trial_episodes) == ("train", 50, 5)
    assert (family.family, family.with_split("test").family) == ("toys/Line-v0", "toys/Line-v0 (test)")
    assert [played(family, split) for split in SPLITS] == [
        *(seeds(range(40)), seeds(range(500, 510)), seeds(range(1000, 1025)))
    ]
    assert not any(family.with_split(split).in_distribution for split in SPLITS)


def test_splits_without_a_list_share_the_rest() -> None:
    family = from_env(LINE, levels=range(40), test="1000..1024")
    train, validation = played(family, "train"), played(family, "validation")
    assert (len(train), len(validation), train | validation) == (36, 4, seeds(range(40)))
    family = from_env(LINE, levels=range(40), train=range(100, 150))
    validation, test = played(family, "validation"), played(family, "test")
    assert (len(validation), len(test), validation | test) == (4, 36, seeds(range(40)))
    assert played(family, "train") == seeds(range(100, 150))
    few = from_env(LINE, levels=range(10), test=range(1000, 1025))
    assert [few.with_split(split).in_distribution for split in SPLITS] == [True, True, False]
    with pytest.raises(InputError, match="validation"):
        from_env(LINE, train=range(9), test=range(10, 20))


def test_other_ranges_ids_and_arguments() -> None:
    family = from_env(LINE, {"size": Uniform(1, 2)}, test={"vary": {"size": Uniform(3, 4)}}, steps=5)
    assert all(1 <= size <= 2 for (size,) in played(family, "validation"))
    assert all(3 <= size <= 4 for (size,) in played(family, "test"))
    family = from_env(
        LINE,
        levels=range(30),
        validation={"id": "toys/Child-v0"},
        test={"kwargs": {"size": 9}, "wrap": ()},
    )
    env: Any = TrialEnv(family.with_split("test"))
    env.reset(seed=0)
    assert env._inner.env.unwrapped.size == 9
    assert len(played(family, "test")) == len(played(family, "validation")) == 30
    longer = from_env(LINE, levels=range(30), test={"episodes": 7})
    assert (len(played(longer, "test")), longer.trial_episodes, longer.trial_steps) == (3, 5, 70)
    assert longer.with_split("test").trial_episodes == 7
    shorter = from_env(LINE, levels=range(30), test={"steps": 12})
    assert (shorter.trial_steps, shorter.with_split("test").trial_steps) == (50, 12)
    given = from_env(LINE, levels=range(30), test=from_env("toys/Child-v0", {"size": "1..3"}))
    assert given.with_split("test").task_space["size"].shape == ()


@pytest.mark.parametrize(
    ("test", "levels"),
    [(range(20, 50), range(20, 40)), ({"levels": [77, 3]}, [3]), ({"env": LINE}, range(40))],
)
def test_a_task_of_training_and_of_testing_is_refused(test: Any, levels: Any) -> None:
    with pytest.raises(InputError) as error:
        from_env(LINE, levels=range(40), validation=range(500, 510), test=test)
    assert error.value.key == "test"
    assert error.value.given["env"] == LINE
    assert error.value.given["level"] in levels


def test_a_task_of_one_split_is_none_of_another() -> None:
    family = from_env(LINE, levels=range(40), test=range(1000, 1025))
    batch = family.sample_batch(family.task_rng(0), 1)
    with pytest.raises(ValueError, match="belongs to"):
        TrialEnv(family.with_split("test")).reset(options={"task": family.task(batch, 0)})


def test_what_no_task_has_in_common_is_accepted() -> None:
    options: dict[str, Any] = {"validation": {"levels": range(500, 600)}}
    sizes = {"size": Integers(0, 2**50), "speed": [1, 2]}
    others: list[Any] = [{"kwargs": {"size": 2}}, {"wrap": OrderEnforcing}, {"env": "toys/Child-v0"}]
    for test in others:
        from_env(LINE, levels=range(40), **options, test=test)
    from_env(LINE, sizes, validation={"vary": {"size": [-1, -2]}}, test={"vary": {"size": [-3, -4]}})
    overlaps = {"size": [-3, 4], "speed": [2, 3]}
    with pytest.raises(InputError) as error:
        from_env(LINE, sizes, validation={"vary": {"size": [-1, -2]}}, test={"vary": overlaps})
    assert error.value.given == {"env": LINE, "size": 4, "speed": 2}
    with pytest.raises(InputError) as error:
        from_env(
            LINE,
            sizes,
            validation={"vary": {"size": [-1, -2]}},
            test={"vary": {"size": [-3.0, 4.0], "speed": [2.0, 3.0]}},
        )
    assert error.value.given == {"env": LINE, "size": 4, "speed": 2}


@pytest.mark.parametrize(
    ("options", "kind", "key"),
    [
        ({"test": {"kwargs": {"seen": 3}}}, SpacesError, None),
        ({"test": {"level": [1]}}, InputError, "test.level"),
        ({"test": {"split": "test"}}, InputError, "test.split"),
        ({"test": "a"}, InputError, "levels"),
        ({"test": 3}, InputError, "levels"),
        ({"test": {"vary": {"sise": "1..2"}}}, InputError, "sise"),
        ({"hold_out": ["train"]}, InputError, "hold_out"),
        ({"hold_out": "tset", "test": [1, 2]}, InputError, "hold_out"),
        ({"lewels": 3, "test": [1, 2]}, InputError, "lewels"),
    ],
)
def test_lists_that_do_not_fit(options: Any, kind: type[InputError], key: str | None) -> None:
    with pytest.raises(kind) as error:
        from_env(LINE, levels=range(100, 140), **options)
    assert error.value.key == key
    assert "\n" not in str(error.value)


def test_three_families_of_any_kind_are_one() -> None:
    parts = {split: distribution("metarl/BernoulliBandit-v0", arms=3, pulls=20) for split in SPLITS}
    family = SplitFamily(**parts)  # type: ignore[arg-type]  # the names of three fields
    assert family.prior == parts["train"].prior
    assert family.batched(2) is not None
    assert family.now.split == "train"
    with pytest.raises(SpacesError):
        SplitFamily(**{**parts, "test": distribution("metarl/BernoulliBandit-v0", arms=4, pulls=20)})  # type: ignore[arg-type]  # as above
    with pytest.raises(InputError) as error:
        SplitFamily(**{**parts, "test": 3})  # type: ignore[arg-type]  # the mistake itself
    assert error.value.key == "test"


def test_it_is_trained_checked_sent_and_evaluated() -> None:
    family = from_env(LINE, levels=range(40), test=range(1000, 1025), episodes=2)
    copied = pickle.loads(pickle.dumps(family))
    assert copied.with_split("test").in_distribution is False
    assert played(copied, "test") == seeds(range(1000, 1025))
    assert all(finding.ok for finding in check_env(family))
    agent = RL2PPO("MemoryPolicy", family, n_envs=2, n_epochs=1, n_minibatches=1)
    agent.learn(40)
    with pytest.raises(ValueError, match="refusing"):
        rollout_trials(agent.actor(), lambda n: TrialVectorEnv(family, n), 2)
    test = family.with_split("test")
    rewards = rollout_trials(Random(test.action_space), lambda n: TrialVectorEnv(test, n), 4).rewards
    assert rewards.shape == (4, 20)
    assert family.options()["test"]["levels"] == "1000..1024"


def test_presets_have_tables(tmp_path: Any) -> None:
    (tmp_path / "mine.toml").write_text(
        f'kind = "rl2"\n[env]\nid = "{LINE}"\nlevels = "0..39"\ntest = "1000..1024"\n'
        '[env.validation]\nid = "toys/Child-v0"\nkwargs = { size = 2 }\n[train]\ntotal_timesteps = 8\n'
    )
    experiment: Any = load_experiment(tmp_path / "mine.toml")
    family = experiment.make_distribution("test")
    assert (family.split, played(family, "test")) == ("test", seeds(range(1000, 1025)))
    assert experiment.config()["env"]["validation"] == {"id": "toys/Child-v0", "kwargs": {"size": 2}}


# Weights


def test_tasks_are_drawn_as_they_are_weighed() -> None:
    family = from_env(LINE, {"name": list("abc"), "size": Uniform(0, 1)}, levels=range(5)).with_weights(
        {"level": [0, 1, 2, 0, 5], "name": [1, 0, 3]}
    )
    drawn = family.sample_batch(family.task_rng(0), 40_000)
    wanted = np.outer([0, 1, 2, 0, 5], [1, 0, 3]) / 32
    found = np.histogram2d(drawn["level"], drawn["name"], [range(6), range(4)])[0] / 40_000
    assert found == pytest.approx(wanted, abs=0.01)
    assert not found[wanted == 0].any()
    assert family.options()["weights"] == {"level": (0, 1, 2, 0, 5), "name": (1, 0, 3)}
    assert EnvFamily(**family.options()) == family
    assert not family.with_weights({}).options()["weights"]


def test_weights_stay_within_the_split() -> None:
    family = from_env(LINE, levels=range(40))
    mine = sorted(level for (level,) in played(family, "train"))[:3]
    others = sorted(level for (level,) in played(family, "test"))
    weights = np.zeros(40)
    weights[[*mine, *others]] = [1, 2, 1, *[7] * len(others)]
    weighed = family.with_weights({"level": weights.tolist()})
    assert played(weighed, "train") == {(level,) for level in mine}
    assert played(weighed, "test") == {(level,) for level in others}
    assert len(played(family, "train")) == 32, "the family itself stays as it was"
    only = np.zeros(40)
    only[others] = 1
    with pytest.raises(InputError) as error:
        family.with_weights({"level": only.tolist()})
    assert error.value.key == "weights"
    split = from_env(LINE, levels=range(40), test=range(50, 60)).with_weights({"level": [1] + [0] * 38 + [1]})
    assert len(played(split, "train")) == 2
    assert len(played(split, "test")) == 10


@pytest.mark.parametrize(
    ("weights", "key"),
    [
        ({"level": [1, 2]}, "weights.level"),
        ({"level": ["a"] * 30}, "weights.level"),
        ({"level": 3}, "weights.level"),
        ({"level": [1] * 29 + [-1]}, "weights.level"),
        ({"level": [1] * 29 + [float("nan")]}, "weights.level"),
        ({"level": [1] * 29 + [float("inf")]}, "weights.level"),
        ({"level": [0] * 30}, "weights"),
        ({"size": [1, 2]}, "weights"),
        ({"nix": [1, 2]}, "weights"),
    ],
)
def test_weights_that_are_none(weights: Any, key: str) -> None:
    with pytest.raises(InputError) as error:
        from_env(LINE, {"size": Uniform(1, 2)}, levels=range(30)).with_weights(weights)
    assert error.value.key == key


@pytest.mark.parametrize("workers", [0, 1])
def test_a_callback_may_change_the_weights_in_training(workers: int) -> None:
    family = from_env(LINE, levels=range(10), episodes=1)
    env = TrialVectorEnv(family, 4, workers=workers)
    agent = RL2PPO("MemoryPolicy", env, n_steps=10, n_epochs=1, n_minibatches=1)
    levels: list[list[int]] = []

    def on_step(local: Any, _: Any) -> bool:
        if agent.num_timesteps == 200:
            now = agent.get_env().get_attr("distribution")[0]  # type: ignore[union-attr]  # it has one
            agent.get_env().set_attr("distribution", now.with_weights({"level": [0, 0, 0, 1] + [0] * 6}))  # type: ignore[union-attr]  # as above
        if agent.num_timesteps >= 200 and "task" in env.info:
            levels.append(env.info["task"]["level"][env.info["_task"]].tolist())
        return True

    agent.learn(400, callback=on_step)
    env.close()
    assert {level for step in levels[1:] for level in step} == {3}
