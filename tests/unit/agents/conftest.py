"""What all tests of agents share."""

from collections.abc import Iterator

import pytest
import torch


@pytest.fixture(autouse=True)
def weights_from_a_seed() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield
