"""Environments of other packages: an id of each kind of space trains as it is; scripts/try_ids.py tries all of them."""

import minigrid  # noqa: F401  (registers its ids)
import numpy as np
import popgym  # noqa: F401  (registers its ids)
import pytest

from metarl import RL2PPO, from_env
from metarl.tasks.vector.env import TrialVectorEnv

IDS = [
    "MiniGrid-MemoryS7-v0",
    "MiniGrid-Empty-5x5-v0",
    "BabyAI-GoToObj-v0",
    "BabyAI-BossLevel-v0",
    "popgym-AutoencodeEasy-v0",
    "popgym-BattleshipEasy-v0",
    "popgym-ConcentrationEasy-v0",
    "popgym-CountRecallEasy-v0",
    "popgym-HigherLowerEasy-v0",
    "popgym-MineSweeperEasy-v0",
    "popgym-MultiarmedBanditEasy-v0",
    "popgym-NoisyPositionOnlyCartPoleEasy-v0",
    "popgym-NoisyPositionOnlyPendulumEasy-v0",
    "popgym-RepeatPreviousEasy-v0",
    "Blackjack-v1",
    "Taxi-v4",
    "FrozenLake-v1",
    "CliffWalking-v1",
]


@pytest.mark.parametrize("name", IDS)
@pytest.mark.filterwarnings("ignore:the picture image has no number above")
def test_an_agent_trains_a_few_steps(name: str) -> None:
    family = from_env(name, levels=range(30), steps=8)
    agent = RL2PPO("MemoryPolicy", family, n_envs=2, n_epochs=1, n_minibatches=1)
    before = [p.clone() for p in agent.policy.parameters()]
    agent.learn(16)
    assert agent.num_timesteps == 16
    assert any((a != b).any() for a, b in zip(before, agent.policy.parameters(), strict=True))


def test_minigrids_views_are_told_to_be_symbols() -> None:
    family = from_env("MiniGrid-Empty-5x5-v0", levels=range(30), steps=8)
    with pytest.warns(UserWarning, match="--observe image=symbols"):
        RL2PPO("MemoryPolicy", family, n_envs=2, n_epochs=1, n_minibatches=1).learn(16)


def test_the_limits_of_their_own_are_known() -> None:
    limits = {"MiniGrid-MemoryS7-v0": 5 * 7**2, "popgym-RepeatPreviousEasy-v0": 51}
    for name, limit in limits.items():
        family = from_env(name, levels=range(30), episodes=2)
        assert family.trial_steps == 2 * limit
        env = TrialVectorEnv(family, 1)
        env.reset(seed=0)
        ends = [env.advance(np.zeros(1, int)).ended[0] for _ in range(2 * limit)]
        assert ends.index(True) == 2 * limit - 1, "standing still uses all of the time"
