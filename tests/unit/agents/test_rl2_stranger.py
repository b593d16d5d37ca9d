"""Checkpoints made on purpose: their checksums are right, what they say is not."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from rl2_toys import ROLLOUT, make

from metarl.agents.rl2 import RL2PPO
from metarl.training.checkpoint import CheckpointError, read_checkpoint, write_checkpoint

Parts = tuple[dict[str, Any], dict[str, dict[str, Any]]]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("stranger") / "agent.zip"
    make().learn(ROLLOUT).save(path)
    return path


def refused(trained: Path, tmp_path: Path, change: Callable[..., Any]) -> CheckpointError:
    """What loading says of the checkpoint that ``change`` was made to."""
    meta, groups = read_checkpoint(trained)
    change(meta, groups)
    write_checkpoint(tmp_path / "agent.zip", meta, groups)
    with pytest.raises(CheckpointError) as caught:
        RL2PPO.load(tmp_path / "agent.zip", device="cpu")
    assert str(tmp_path / "agent.zip") in str(caught.value)
    return caught.value


KEYS = ("ppo", "memory", "settings", "counters", "observation_space", "action_space")


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("value", [None, 1, "text", [], [1]], ids=str)
def test_a_key_of_another_type_is_named(trained: Path, tmp_path: Path, key: str, value: Any) -> None:
    assert refused(trained, tmp_path, lambda meta, _: meta.update({key: value})).key == key


@pytest.mark.parametrize("key", KEYS)
def test_a_missing_key_is_named(trained: Path, tmp_path: Path, key: str) -> None:
    assert refused(trained, tmp_path, lambda meta, _: meta.pop(key)).key == key


@pytest.mark.parametrize(
    ("table", "key", "value"),
    [
        ("ppo", "tensorboard_log", "/tmp/stranger"),
        ("ppo", "seed", 1),
        ("ppo", "gamma", 2.0),
        ("ppo", "n_epochs", "4"),
        ("memory", "key_size", 0),
        ("memory", "key_size", "big"),
        ("memory", "import", "evil"),
        ("settings", "n_envs", -1),
        ("settings", "seed", True),
        ("settings", "trial_steps", 1.5),
        ("settings", "device", "cpu"),
        ("counters", "num_timesteps", -5),
        ("counters", "n_updates", None),
    ],
)
def test_an_entry_that_does_not_belong_is_named(
    trained: Path, tmp_path: Path, table: str, key: str, value: Any
) -> None:
    assert refused(trained, tmp_path, lambda meta, _: meta[table].update({key: value})).key == f"{table}.{key}"


@pytest.mark.parametrize("store", ["evil:Store", "none of these"])
def test_a_memory_that_does_not_exist_is_refused(trained: Path, tmp_path: Path, store: str) -> None:
    assert refused(trained, tmp_path, lambda meta, _: meta["memory"].update(store=store)).given == store


@pytest.mark.parametrize("group", ["policy", "optimizer", "generators", "training_state"])
def test_a_missing_group_is_named(trained: Path, tmp_path: Path, group: str) -> None:
    assert refused(trained, tmp_path, lambda _, groups: groups.pop(group)).key == group


TENSORS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "nan": lambda tensor: tensor * torch.nan,
    "infinite": lambda tensor: tensor + torch.inf,
    "double": lambda tensor: tensor.double(),
    "bytes": lambda tensor: tensor.to(torch.uint8),
    "longer": lambda tensor: torch.stack([tensor, tensor]),
}


@pytest.mark.parametrize("group", ["policy", "optimizer"])
@pytest.mark.parametrize("change", TENSORS.values(), ids=TENSORS)
def test_a_tensor_that_does_not_fit_is_named(
    trained: Path, tmp_path: Path, group: str, change: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    for name in list(read_checkpoint(trained)[1][group])[:3]:
        error = refused(
            trained, tmp_path, lambda _, groups, name=name: groups[group].update({name: change(groups[group][name])})
        )
        assert error.key == name


@pytest.mark.parametrize("group", ["policy", "optimizer", "generators"])
def test_tensors_too_few_and_too_many_are_named(trained: Path, tmp_path: Path, group: str) -> None:
    name = next(iter(read_checkpoint(trained)[1][group]))
    assert refused(trained, tmp_path, lambda _, groups: groups[group].pop(name)).key == name or group == "optimizer"
    assert refused(trained, tmp_path, lambda _, groups: groups[group].update(more=torch.zeros(1))).key == "more"


@pytest.mark.parametrize(
    "state", [torch.zeros(3, dtype=torch.uint8), torch.zeros(16), torch.zeros(5056, dtype=torch.uint8)]
)
def test_a_generator_of_garbage_is_named(trained: Path, tmp_path: Path, state: torch.Tensor) -> None:
    assert refused(trained, tmp_path, lambda _, groups: groups["generators"].update(policy=state)).key == "policy"


@pytest.mark.parametrize("size", [10**9, 10**18, 10**300])
@pytest.mark.parametrize("key", ["key_size", "value_size"])
def test_a_size_beyond_memory_is_refused_before_it_is_taken(trained: Path, tmp_path: Path, key: str, size: int) -> None:
    assert refused(trained, tmp_path, lambda meta, _: meta["memory"].update({key: size})).key == "the model"
