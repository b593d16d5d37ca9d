"""What an agent makes of observations: normalisation, and encoders of a user's own."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor, nn

from metarl import RL2PPO, from_env, rollout_trials
from metarl.config import InputError
from metarl.nets.observations import RunningNorm
from metarl.tasks.vector.env import TrialVectorEnv

SMALL: dict[str, Any] = {"n_envs": 8, "memory": {"controller": "gru"}, "n_epochs": 1, "n_minibatches": 1}


class Sized(gym.Env[Any, Any]):
    """Shows numbers of the size ``scale`` around ``offset``, one-hot numbers, and a flag of its own."""

    action_space = spaces.Discrete(2)

    def __init__(self, goal: int = 0, scale: float = 1e4, bound: float = np.inf) -> None:
        self.goal, self.scale = goal, scale
        self.observation_space = spaces.Dict(
            {
                "far": spaces.Box(-bound, bound, (3,), np.float64),
                "near": spaces.Box(-5, 5, (2,), np.float64),
                "kind": spaces.Discrete(4),
            }
        )

    def look(self) -> dict[str, Any]:
        return {
            "far": self.np_random.normal(3 * self.scale, self.scale, 3),
            "near": self.np_random.uniform(-5, 5, 2),
            "kind": self.np_random.integers(4),
        }

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        return self.look(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        return self.look(), float(action == self.goal), False, False, {}


def family(**kwargs: Any) -> Any:
    return from_env(Sized, {"goal": [0, 1]}, steps=10, kwargs=kwargs)


def test_mean_and_variance_are_those_of_all_that_was_seen() -> None:
    drawn = torch.randn(7, 50, 3, generator=torch.Generator().manual_seed(0)) * 1e4 + 1e6
    norm = RunningNorm(3)
    for batch in drawn:
        norm.learn(batch)
    whole = drawn.flatten(0, 1).double()
    torch.testing.assert_close(norm.mean, whole.mean(0))
    torch.testing.assert_close(norm.var, whole.var(0, correction=0))
    scaled = norm(drawn)
    assert scaled.dtype == torch.float32
    assert float(scaled.abs().max()) <= 10
    torch.testing.assert_close(scaled.flatten(0, 1).mean(0), torch.zeros(3), atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("normalise", "bound", "parts"),
    [("auto", np.inf, {"far"}), ("auto", 1e6, {"far"}), (True, np.inf, {"far", "near"}), (False, np.inf, set())],
)
def test_wide_numbers_are_normalised_and_flags_never(normalise: Any, bound: float, parts: set[str]) -> None:
    agent = RL2PPO("MemoryPolicy", family(bound=bound), normalise=normalise, **SMALL).learn(160)
    obs = TrialVectorEnv(family(), 200).reset(seed=5)[0]
    seen = agent.policy.prepare(obs)
    for key, part in obs.items():
        if key.removeprefix("obs.") in parts:
            assert float(seen[key].abs().max()) <= 10
            torch.testing.assert_close(seen[key].mean(0), torch.zeros(part.shape[1]), atol=0.35, rtol=0)
        else:
            assert torch.equal(seen[key], torch.as_tensor(part))


def test_what_was_learned_is_frozen_outside_training_and_saved(tmp_path: Path) -> None:
    agent = RL2PPO("MemoryPolicy", family(), **SMALL).learn(160)
    state = {name: tensor.clone() for name, tensor in agent.policy.state_dict().items()}
    assert any(name.endswith("var") for name in state)
    rollout_trials(agent.actor(), lambda rows: TrialVectorEnv(family().with_split("test"), rows), 5, seed=0)
    agent.predict({key: part[0] for key, part in TrialVectorEnv(family(), 1).reset(seed=0)[0].items()})
    agent.save(tmp_path / "agent")
    for held in (agent, RL2PPO.load(tmp_path / "agent")):
        assert all(torch.equal(held.policy.state_dict()[name], tensor) for name, tensor in state.items())


def test_updates_see_what_acting_saw() -> None:
    agent = RL2PPO("MemoryPolicy", family(), **SMALL)
    for _ in range(3):
        agent.learn(80, log_interval=None, reset_num_timesteps=False)
        assert dict(agent.logger.name_to_value)["train/ratio_error"] < 1e-5


class Own(nn.Module):
    """An encoder of a Dict's parts by the names of the environment."""

    def __init__(self, space: spaces.Dict) -> None:
        super().__init__()
        self.net = nn.Linear(sum(int(np.prod(space[name].shape or ())) for name in ("far", "kind")), 6)

    def forward(self, obs: dict[str, Tensor]) -> Tensor:
        return torch.tanh(self.net(torch.cat([obs["far"], obs["kind"]], -1)))


def test_an_encoder_of_ones_own_is_trained_saved_and_loaded(tmp_path: Path) -> None:
    agent = RL2PPO("MemoryPolicy", family(), encoder=Own, **SMALL)
    assert agent.policy.encoder.now_size == 6
    before = agent.policy.encoder.own.net.weight.clone()  # type: ignore[union-attr]  # an Own
    agent.learn(160)
    assert not torch.equal(before, agent.policy.encoder.own.net.weight)  # type: ignore[union-attr]  # an Own
    agent.save(tmp_path / "agent")
    obs = {key: part[0] for key, part in TrialVectorEnv(family(), 1).reset(seed=0)[0].items()}
    again = RL2PPO.load(tmp_path / "agent", encoder=Own)
    assert again.predict(obs, deterministic=True)[0] == agent.predict(obs, deterministic=True)[0]
    with pytest.raises(InputError) as error:
        RL2PPO.load(tmp_path / "agent")
    assert error.value.key == "encoder"


def test_a_module_may_be_given_and_gets_the_only_part() -> None:
    made = from_env("CartPole-v1", {"length": "0.3..1"}, steps=10)
    module = nn.Sequential(nn.LazyLinear(5), nn.ReLU())
    agent = RL2PPO("MemoryPolicy", made, encoder=module, **SMALL).learn(80)
    assert agent.policy.encoder.now_size == 5


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"encoder": lambda space: "net"}, "encoder"),
        ({"encoder": lambda space: nn.Flatten(0)}, "what the encoder makes of 2 observations"),
        ({"normalise": "yes"}, "normalise"),
    ],
)
def test_what_does_not_fit_is_refused(options: dict[str, Any], key: str) -> None:
    made = from_env("CartPole-v1", {"length": "0.3..1"}, steps=10)
    with pytest.raises(InputError) as error:
        RL2PPO("MemoryPolicy", made, **options, **SMALL)
    assert error.value.key == key
