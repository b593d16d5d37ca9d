"""Checkpoints made on purpose: their checksums are right, what they say is not."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from rl2_toys import ROLLOUT, ROWS, make, vector

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


@pytest.mark.parametrize("size", [10**9, 10**18, 10**38])
@pytest.mark.parametrize("key", ["key_size", "value_size"])
def test_a_size_beyond_memory_is_refused_before_it_is_taken(trained: Path, tmp_path: Path, key: str, size: int) -> None:
    assert refused(trained, tmp_path, lambda meta, _: meta["memory"].update({key: size})).key == "the model"


@pytest.fixture(scope="module")
def inside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An agent saved in the middle of a trial."""
    path = tmp_path_factory.mktemp("stranger") / "agent.zip"
    make(n_steps=5).learn(5 * ROWS).save(path)
    return path


def whole(state: dict[str, Any], arrays: dict[str, Any], path: str, value: Any) -> None:
    """Put ``value`` where ``path`` leads in a training state."""
    *keys, last = path.split("/")
    for key in keys:
        state = state[key]
    state[last] = value


ENV, ARRAY = "env/env", {"tensor": "env.env.steps"}
STATES: list[tuple[str, Any]] = [
    *((path, value) for path in ("env", ENV, "obs", "memory", f"{ENV}/batched") for value in (None, 1, "a", [1], {})),
    *((f"{ENV}/{key}", value) for key in ("tasks_rng", "env_rng") for value in (None, {}, "PCG64", [1])),
    *((f"{ENV}/tasks_rng/state/state", value) for value in (-1, 2**300, "a", None, 1.5)),
    *((f"{ENV}/tasks_rng/bit_generator", value) for value in ("MT19937", 1)),
    *((f"{ENV}/seed", value) for value in ("a", None, [1])),
    *((f"{ENV}/split", value) for value in (1, None, "none such", [1])),
    *((f"{ENV}/{key}", value) for key in ("steps", "episodes") for value in (None, 1, "a", {"tensor": "obs.obs"})),
    *((key, value) for key in ("boundary", "obs/obs") for value in (None, 1, "a", ARRAY | {"tensor": "none such"})),
    *((key, {"tensor": name}) for key in ("env/returns", "env/lengths") for name in ("obs.obs", "memory.2", "a")),
    ("obs/obs", ARRAY),
    ("memory/0", {"tensor": "memory.3"}),
    ("memory/0", {"tensor": ["a"]}),
    ("memory/2", {"tensor": "memory.0"}),
    ("memory/more", {"tensor": "memory.0"}),
    (f"{ENV}/observation", {}),
]


def resumed(tmp_path: Path, meta: Any, groups: Any) -> CheckpointError:
    write_checkpoint(tmp_path / "agent.zip", meta, groups)
    with pytest.raises(CheckpointError) as caught:
        RL2PPO.load(tmp_path / "agent.zip", vector(), device="cpu")
    assert str(tmp_path / "agent.zip") in str(caught.value)
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize(("path", "value"), STATES, ids=str)
def test_a_training_state_that_does_not_fit_is_named(inside: Path, tmp_path: Path, path: str, value: Any) -> None:
    meta, groups = read_checkpoint(inside)
    whole(meta["training_state"], groups["training_state"], path, value)
    resumed(tmp_path, meta, groups)


@pytest.mark.parametrize("name", ["obs.obs", "boundary", "memory.0", "env.env.steps", "env.returns"])
@pytest.mark.parametrize(
    "change",
    [*TENSORS.values(), lambda tensor: tensor[:-1], lambda tensor: tensor - 9],
    ids=[*TENSORS, "shorter", "less"],
)
def test_an_array_of_a_training_state_that_does_not_fit_is_named(
    inside: Path, tmp_path: Path, name: str, change: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    meta, groups = read_checkpoint(inside)
    arrays = groups["training_state"]
    before = arrays[name]
    arrays[name] = change(before)
    plausible = arrays[name].shape == before.shape and arrays[name].dtype == before.dtype
    if plausible and before.dtype.is_floating_point and arrays[name].isfinite().all():
        return  # any number may be observed, remembered or earned
    resumed(tmp_path, meta, groups)


def test_what_is_changed_here_loads_before(inside: Path) -> None:
    RL2PPO.load(inside, vector(), device="cpu").learn(5 * ROWS, reset_num_timesteps=False)
