"""The table of environment ids: a family is one row here and one file beside it, imported when first used."""

from __future__ import annotations

import gymnasium as gym

FAMILIES: dict[str, str] = {
    "metarl/BernoulliBandit-v0": "metarl.envs.bernoulli_bandit:BernoulliBandit",
    "metarl/GaussianBandit-v0": "metarl.envs.gaussian_bandit:GaussianBandit",
    "metarl/BarcodeBandit-v0": "metarl.envs.barcode_bandit:BarcodeBandit",
    "metarl/CartPolePhysics-v0": "metarl.envs.cartpole_physics:CartPolePhysics",
    "metarl/PendulumGoal-v0": "metarl.envs.pendulum_goal:PendulumGoal",
    "metarl/ImageCue-v0": "metarl.envs.image_cue:ImageCue",
    "metarl/TabularMDP-v0": "metarl.envs.tabular_mdp:TabularMDP",
}
"""Id to ``"module:Class"`` of its :class:`metarl.tasks.family.distribution.TaskDistribution`."""


def register_all() -> None:
    """Tell Gymnasium every id of :data:`FAMILIES`; an id that is registered already stays as it is."""
    for env_id, family in FAMILIES.items():
        if env_id not in gym.registry:
            gym.register(
                env_id,
                entry_point="metarl.tasks.trial.env:make_trial",
                vector_entry_point="metarl.tasks.vector.env:make_trial_vector",
                kwargs={"family": family},
            )
