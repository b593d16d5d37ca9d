"""Named streams from one seed."""

import numpy as np
import pytest
import torch

from metarl.config import ConfigError
from metarl.seeding import STREAMS, numpy_rng, sequence, split_key, torch_rng


def draws(seed: int, stream: str, *key: int) -> tuple[float, ...]:
    return (*numpy_rng(seed, stream, *key).random(2), *torch.rand(2, generator=torch_rng(seed, stream, *key)).tolist())


def test_streams_are_reproducible_and_all_different() -> None:
    seen = {draws(seed, stream, *key) for seed in (0, 1) for stream in STREAMS for key in ((), (0,), (1,), (0, 1))}
    assert len(seen) == 2 * len(STREAMS) * 4
    assert draws(0, "tasks", 2) == draws(0, "tasks", 2)


def test_the_streams_of_a_seed_stay_what_they_are() -> None:
    """Saved runs and published numbers depend on it."""
    first = [int(sequence(0, stream).generate_state(1)[0]) for stream in STREAMS]
    assert first[:4] == [3757552657, 673228719, 3241444873, 3685993406]
    assert first[4:] == [1216546553, 2078861726, 2471122328, 23012616, 3031610183, 2976135721]
    assert sequence(3, "env", 1, 2).generate_state(2).tolist() == [3114215830, 580565716]
    assert torch_rng(0, "policy").initial_seed() == 8226343694796210948


def test_no_global_generator_is_touched() -> None:
    before = torch.get_rng_state(), np.random.get_state()[1].tolist()  # noqa: NPY002 (looked at, not drawn from)
    draws(0, "init")
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]  # noqa: NPY002 (looked at, not drawn from)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        sequence(0, "dice")
    assert (caught.value.given, caught.value.expected) == ("dice", f"one of {', '.join(STREAMS)}")
    with pytest.raises(ConfigError, match="train, validation, test"):
        split_key("dev")  # type: ignore[arg-type]
    assert [split_key(split) for split in ("train", "validation", "test")] == [0, 1, 2]
