"""Every registered memory learns to recall pairs, in a second or two."""

import numpy as np
import pytest
import torch
from torch.nn.functional import one_hot

from metarl.memory.options import MemoryOptions
from metarl.memory.registry import build_core, matrix
from metarl.nets.sequence import SequenceClassifier, query_accuracy, query_loss
from metarl.types import Boundary, CoreInput

SYMBOLS, PAIRS, BATCH = 8, 3, 32
CHANCE, TARGET, UPDATES = 1 / SYMBOLS, 0.9, 150
MEMORIES = [(store, access) for store, access, refused in matrix() if refused is None]


def episodes(rng: np.random.Generator, batch: int) -> tuple[CoreInput, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Pairs, a key in the observation and its value in the next feedback; then each key again, to be answered."""
    keys = np.argsort(rng.random((batch, SYMBOLS)), 1)[:, :PAIRS].T
    values = rng.integers(SYMBOLS, size=(PAIRS, batch))
    order = np.argsort(rng.random((PAIRS, batch)), 0)
    symbols = np.concatenate([keys, np.take_along_axis(keys, order, 0)])
    now = one_hot(torch.from_numpy(symbols), SYMBOLS).float()
    feedback = torch.zeros(2 * PAIRS, batch, SYMBOLS)
    feedback[1 : PAIRS + 1] = one_hot(torch.from_numpy(values), SYMBOLS)
    boundary = torch.full((2 * PAIRS, batch), int(Boundary.EPISODE))
    boundary[0] = Boundary.TRIAL
    target = torch.from_numpy(np.concatenate([values, np.take_along_axis(values, order, 0)]))
    query_mask = torch.arange(2 * PAIRS)[:, None].expand(-1, batch) >= PAIRS
    return CoreInput(now, feedback), boundary, target, query_mask


@pytest.mark.parametrize(("store", "access"), MEMORIES, ids=["+".join(names) for names in MEMORIES])
def test_each_memory_learns_associative_recall(store: str, access: str) -> None:
    options = MemoryOptions(
        store=store,
        access=access,
        controller_options={"hidden_size": 32},
        store_options={"slots": 16} if store == "lifelong" else {},
        key_size=16,
        value_size=16,
        gate=False,
    )
    rng = np.random.default_rng(0)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = SequenceClassifier(build_core(options, SYMBOLS, SYMBOLS, 2 * PAIRS), SYMBOLS)
    test = episodes(np.random.default_rng(1), 300)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-2)
    accuracy = 0.0
    for update in range(1, UPDATES + 1):
        x, boundary, target, query_mask = episodes(rng, BATCH)
        optimizer.zero_grad()
        query_loss(model(x, boundary), target, query_mask).backward()
        optimizer.step()
        if update % 10 == 0:
            with torch.no_grad():
                accuracy = float(query_accuracy(model(*test[:2]), *test[2:]))
            if accuracy >= TARGET:
                break
    assert accuracy >= TARGET, f"{accuracy:.0%} right, chance is {CHANCE:.0%}"
