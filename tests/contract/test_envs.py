"""What every registered id must do; a new row of the table is tested without a new test."""

import subprocess
import sys

import gymnasium as gym
import pytest
from gymnasium.utils.env_checker import check_env as check_gymnasium
from gymnasium.vector import AutoresetMode
from stable_baselines3.common.env_checker import check_env as check_sb3

import metarl.envs
from metarl.tasks.family.priors import DEPENDENCES
from metarl.tasks.trial.layout import is_trial_space
from metarl.tasks.vector.env import TrialVectorEnv
from metarl.types import SPLITS

IDS = metarl.envs.ids()
VARIANTS = {
    "metarl/BernoulliBandit-v0": [{}, *({"arms": 2, "dependence": name} for name in DEPENDENCES)],
}
"""Options that make other tasks of a family, by its id."""
SAME_STEP = {"autoreset_mode": AutoresetMode.SAME_STEP}


@pytest.mark.filterwarnings("ignore:.*The minimal resolution for an image is 36x36")  # that of SB3's own CNN, not ours
@pytest.mark.parametrize("env_id", IDS)
@pytest.mark.parametrize("reveal", [False, True])
def test_check_env_is_clean(env_id: str, reveal: bool) -> None:
    """Warnings are errors here, so clean means silent."""
    for options in VARIANTS.get(env_id, [{}]):
        check_gymnasium(gym.make(env_id, reveal=reveal, **options).unwrapped)
        check_sb3(gym.make(env_id, reveal=reveal, **options), warn=True)


@pytest.mark.parametrize("env_id", IDS)
def test_three_ways_to_make_it_have_the_same_spaces(env_id: str) -> None:
    single = gym.make(env_id)
    sync = gym.make_vec(env_id, num_envs=3, vectorization_mode="sync", vector_kwargs=SAME_STEP)
    native = gym.make_vec(env_id, num_envs=3)
    explicit = gym.make_vec(env_id, num_envs=3, vectorization_mode="vector_entry_point")
    assert isinstance(native, TrialVectorEnv)
    assert isinstance(explicit, TrialVectorEnv)
    assert is_trial_space(single.observation_space)
    for env in (sync, native):
        assert env.single_observation_space == single.observation_space
        assert env.single_action_space == single.action_space
        assert env.observation_space.contains(env.reset(seed=0)[0])
        assert env.metadata["autoreset_mode"] == AutoresetMode.SAME_STEP


@pytest.mark.parametrize("env_id", IDS)
@pytest.mark.parametrize("split", SPLITS)
def test_the_split_arrives_everywhere(env_id: str, split: str) -> None:
    sync = gym.make_vec(env_id, num_envs=2, split=split, vectorization_mode="sync", vector_kwargs=SAME_STEP)
    assert gym.make(env_id, split=split).get_wrapper_attr("split") == split
    assert sync.get_attr("split") == (split, split)  # type: ignore[attr-defined]
    assert gym.make_vec(env_id, num_envs=2, split=split).split == split  # type: ignore[attr-defined]


@pytest.mark.parametrize("env_id", IDS)
def test_options_rebuild_the_family(env_id: str) -> None:
    for options in VARIANTS.get(env_id, [{}]):
        family = metarl.envs.distribution(env_id, split="test", **options)
        assert metarl.envs.distribution(env_id, **family.options()) == family


def test_options_reach_the_family() -> None:
    env = gym.make("metarl/BernoulliBandit-v0", arms=7, pulls=60, split="test")
    assert env.action_space == gym.spaces.Discrete(7)
    assert env.get_wrapper_attr("trial_steps") == 60


@pytest.mark.parametrize(
    ("env_id", "options", "named"),
    [
        ("metarl/BernouliBandit-v0", {}, "'metarl/BernoulliBandit-v0'"),
        ("nothing", {}, "metarl/BarcodeBandit-v0"),
        ("metarl/BernoulliBandit-v0", {"pull": 3}, "'pull', .*'pulls'"),
        ("metarl/BernoulliBandit-v0", {"zzz": 3}, "'zzz', .*arms, dependence, pulls, reveal, split"),
    ],
)
def test_unknown_names_are_answered_with_known_ones(env_id: str, options: dict[str, int], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        metarl.envs.distribution(env_id, **options)


def test_unknown_option_of_an_id() -> None:
    with pytest.raises(ValueError, match="'arms'"):
        gym.make("metarl/BernoulliBandit-v0", armz=3)


def test_registering_twice_is_silent() -> None:
    metarl.envs.register_all()


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_environments_import_no_torch_and_no_family() -> None:
    code = (
        "import sys, metarl.envs; print([m for m in sys.modules if m in "
        "('torch', 'stable_baselines3', 'scipy', 'metarl.envs.bernoulli_bandit', 'metarl.tasks.trial.env')]);"
        "import gymnasium as gym; gym.make('metarl/BarcodeBandit-v0').reset(seed=0);"
        "gym.make_vec('metarl/BarcodeBandit-v0', num_envs=2).reset(seed=0);"
        "print([m for m in sys.modules if m in ('torch', 'stable_baselines3')])"
    )
    done = python(code)
    assert done.stdout.split("\n")[:2] == ["[]", "[]"], done.stderr
