"""One training on two hosts, which are network namespaces; scripts/several_hosts.py lets their link fail."""

import os
from pathlib import Path

import pytest
from hosts import Hosts, unavailable
from killed_ranks import ranks_of
from several_hosts import job

from metarl.runs.folder import RunFolder

TOY = """kind = "rl2"
threads = 1
env = { id = "metarl/BernoulliBandit-v0", arms = 3, pulls = 6 }
memory = { key_size = 8, value_size = 8, controller_options = { hidden_size = 8 } }
ppo = { n_minibatches = 2, n_epochs = 1 }
train = { total_timesteps = 96, n_envs = 4 }
eval = { trials = 4, tuning_trials = 2, rows = 4 }
"""
REASON = unavailable()


@pytest.mark.skipif(REASON is not None, reason=str(REASON))
def test_two_hosts_train_together(tmp_path: Path) -> None:
    preset = tmp_path / "toy.toml"
    preset.write_text(TOY)
    with Hosts(2) as hosts, job(hosts, preset, tmp_path / "run") as made:
        assert made.wait(200) == [0, 0], made.log()[-3000:]
        carried = hosts.carried
    folder = RunFolder.open(tmp_path / "run")
    assert folder.status["status"] == "finished"
    assert [row["env_steps"] for row in folder.metrics()] == [24, 48, 72, 96]
    assert carried > 4 * 2 * 4 * 500, "the gradients of each minibatch went over the link"


def test_a_process_that_torchrun_did_not_start_has_no_rank() -> None:
    assert ranks_of(os.getpid()) == {}
