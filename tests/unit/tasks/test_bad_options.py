"""Options that a family or a trial refuses: the error names the option, what was given, and what is expected."""

from functools import partial
from typing import Any

import pytest
from vector_toys import Walk

from metarl.config import InputError
from metarl.envs.barcode_bandit import BarcodeBandit
from metarl.envs.bernoulli_bandit import BernoulliBandit
from metarl.envs.cartpole_physics import CartPolePhysics
from metarl.envs.gaussian_bandit import GaussianBandit
from metarl.envs.image_cue import ImageCue
from metarl.envs.pendulum_goal import PendulumGoal
from metarl.envs.tabular_mdp import TabularMDP
from metarl.tasks.trial.layout import TrialInputs
from metarl.tasks.vector.env import TrialVectorEnv

WALKS = partial(TrialVectorEnv, Walk(), 3)


@pytest.mark.parametrize(
    ("made", "options", "key"),
    [
        (BernoulliBandit, {"arms": 1}, "arms"),
        (BernoulliBandit, {"pulls": 0}, "pulls"),
        (BernoulliBandit, {"pulls": "9"}, "pulls"),
        (BernoulliBandit, {"dependence": "eazy", "arms": 2}, "dependence"),
        (BernoulliBandit, {"dependence": "easy"}, "arms"),
        (BernoulliBandit, {"split": "dev"}, "split"),
        (BarcodeBandit, {"arms": True}, "arms"),
        (BarcodeBandit, {"contexts": 0}, "contexts"),
        (BarcodeBandit, {"repeats": 1.5}, "repeats"),
        (BarcodeBandit, {"bits": 63}, "bits"),
        (BarcodeBandit, {"bits": 3, "contexts": 9}, "contexts"),
        (BarcodeBandit, {"low": 0.9, "high": 0.9}, "(low, high)"),
        (BarcodeBandit, {"high": float("nan")}, "(low, high)"),
        (BarcodeBandit, {"each_arm_best_once": True, "contexts": 9}, "contexts"),
        (BarcodeBandit, {"each_arm_best_once": 1}, "each_arm_best_once"),
        (BarcodeBandit, {"bits": 5, "flips": 6}, "flips"),
        (BarcodeBandit, {"flips": -1}, "flips"),
        (BarcodeBandit, {"flips": True}, "flips"),
        (BarcodeBandit, {"gap": -1}, "gap"),
        (BarcodeBandit, {"contexts": 5, "gap": 5}, "gap"),
        (BarcodeBandit, {"gap": 1.5}, "gap"),
        (GaussianBandit, {"arms": 1}, "arms"),
        (GaussianBandit, {"pulls": 0}, "pulls"),
        (GaussianBandit, {"noise": -0.1}, "noise"),
        (GaussianBandit, {"noise": float("inf")}, "noise"),
        (GaussianBandit, {"noise": None}, "noise"),
        (CartPolePhysics, {"episodes": 0}, "episodes"),
        (CartPolePhysics, {"max_steps": 1.5}, "max_steps"),
        (CartPolePhysics, {"length": (1.0, 0.5)}, "length"),
        (CartPolePhysics, {"gravity": 9.8}, "gravity"),
        (CartPolePhysics, {"force": [5, float("nan")]}, "force"),
        (CartPolePhysics, {"masscart": (0, 1)}, "masscart"),
        (CartPolePhysics, {"reverse_probability": 1.5}, "reverse_probability"),
        (CartPolePhysics, {"reverse_probability": True}, "reverse_probability"),
        (ImageCue, {"cues": 1}, "cues"),
        (ImageCue, {"cues": 9}, "cues"),
        (ImageCue, {"delay": -1}, "delay"),
        (ImageCue, {"episodes": 0}, "episodes"),
        (ImageCue, {"size": 7}, "size"),
        (PendulumGoal, {"episodes": 0}, "episodes"),
        (PendulumGoal, {"max_steps": True}, "max_steps"),
        (PendulumGoal, {"gravity": -1.0}, "gravity"),
        (PendulumGoal, {"gravity": "10"}, "gravity"),
        (PendulumGoal, {"gravity": float("inf")}, "gravity"),
        (TabularMDP, {"states": 1}, "states"),
        (TabularMDP, {"actions": 2.0}, "actions"),
        (TabularMDP, {"horizon": 0}, "horizon"),
        (TabularMDP, {"episodes": True}, "episodes"),
        (TabularMDP, {"noise": -1}, "noise"),
        (TabularMDP, {"noise": float("nan")}, "noise"),
        (TabularMDP, {"noise": "1"}, "noise"),
        (BernoulliBandit, {"reveal": 1}, "reveal"),
        (TrialInputs, {"time": 1}, "time"),
        (WALKS, {"workers": 4}, "workers"),  # for 3 rows
        (WALKS, {"workers": -1}, "workers"),
        (WALKS, {"workers": 1.5}, "workers"),
        (WALKS, {"workers": 1, "max_restarts": -1}, "max_restarts"),
        (WALKS, {"workers": 1, "worker_timeout": 0.0}, "worker_timeout"),
        *((TrialInputs, {"prev_reward_scale": x}, "prev_reward_scale") for x in (0, -1.0, True, "1", float("inf"))),
    ],
)
def test_a_bad_option_is_named_with_what_is_expected(made: Any, options: dict[str, Any], key: str) -> None:
    with pytest.raises(InputError) as error:
        made(**options)
    assert error.value.key == key
    assert error.value.expected
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("num_envs", [0, -1, 2.0, True])
def test_a_bad_number_of_rows(num_envs: Any) -> None:
    with pytest.raises(InputError) as error:
        TrialVectorEnv(BernoulliBandit(), num_envs)
    assert (error.value.key, error.value.given) == ("num_envs", num_envs)
