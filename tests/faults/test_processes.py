"""Whole processes that are killed, signalled, starved or run twice: what is left, and that it goes on.

What goes on does so in the process of the tests, which has imported everything already.
"""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command_line import run
from killing import DIE, IN_SAVES, differences, left, members, metarl, outcome, process

from metarl.runs.folder import RunFolder

pytestmark = pytest.mark.usefixtures("undrawn")
SETTINGS = [
    *("env.arms=3", "env.pulls=6", "memory.key_size=12", "memory.value_size=12", "threads=1", "train.n_envs=4"),
    *("memory.controller_options.hidden_size=8", "train.total_timesteps=96", "checkpoint_seconds=0"),
    *("eval.trials=8", "eval.tuning_trials=4"),
]
TRAIN = ["train", "bandit", *(word for setting in SETTINGS for word in ("--set", setting))]
AT_ROW = f"""
from metarl.runs.tracking import Tracker
log = Tracker.log
def counted(self, *given, **options):
    log(self, *given, **options)
    if self.rows == 3: {DIE}
Tracker.log = counted
"""
IN_CHECKPOINT = IN_SAVES.format(number=40, happen=DIE)
STARVED = """
import resource
sys.dont_write_bytecode = True  # half of a file of it would be left for other processes
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
"""
HANGS = """
import time
from metarl.tasks.vector.env import TrialVectorEnv
advance = TrialVectorEnv.advance
def hang(self, actions):
    if self.num_envs == 4:
        print("hangs", flush=True)
        while True: time.sleep(60)
    return advance(self, actions)
TrialVectorEnv.advance = hang
"""
DIES_ONCE = """
import os, signal, sys
from metarl.training import ppo
step, steps = ppo.optimizer_step, []
def counted(*given, **options):
    steps.append(1)
    if (os.environ["RANK"], os.environ["TORCHELASTIC_RESTART_COUNT"], len(steps)) == ("1", "0", 14):
        os.kill(os.getpid(), signal.SIGKILL)
    return step(*given, **options)
ppo.optimizer_step = counted
from metarl.cli.main import main
if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """The run that was never cut off."""
    folder = RunFolder(tmp_path_factory.mktemp("whole") / "run")
    assert run(*TRAIN, "--out", folder.path).status == 0
    return folder


@pytest.mark.parametrize("fault", [AT_ROW, IN_CHECKPOINT], ids=["at a row", "in a checkpoint"])
def test_a_killed_run_ends_as_if_it_never_was(fault: str, whole: RunFolder, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    assert metarl(*TRAIN, "--out", folder.path, before=fault)[0] == -signal.SIGKILL
    assert folder.status["status"] == "running"
    ran = run("train", "--resume", folder.path)
    assert (ran.status, ran.err) == (0, "")
    assert "run folder" in ran.out
    assert differences(folder, whole) == []
    assert list(folder.path.rglob(".*.tmp")) == []


@pytest.mark.filterwarnings("ignore:.* starts anew")
def test_a_file_that_finds_no_room_leaves_a_run_that_goes_on(whole: RunFolder, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    status, _, err = metarl(*TRAIN, "--out", folder.path, before=STARVED)
    assert status == 1
    assert len(err.splitlines()) == 1
    assert f"metarl train --resume {folder.path}" in err
    assert folder.status["status"] == "failed"
    assert run("train", "--resume", folder.path).status == 0
    assert outcome(folder)[1] == outcome(whole)[1]


def test_a_second_signal_ends_what_hangs(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    started = process(*TRAIN, "--out", folder.path, before=HANGS)
    assert started.stdout is not None
    while started.stdout.readline().strip() != "hangs":
        assert started.poll() is None
    while started.poll() is None:  # two at once may arrive as one
        started.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            started.wait(0.2)
    started.communicate()
    assert started.returncode == 128 + signal.SIGINT
    assert folder.status["status"] == "interrupted"


def test_a_second_process_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    started = process(*TRAIN, "--out", folder.path, before=HANGS)
    assert started.stdout is not None
    try:
        while started.stdout.readline().strip() != "hangs":
            assert started.poll() is None
        before = {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}
        ran = run("train", "--resume", folder.path)
        assert ran.status == 2
        assert "another process" in ran.err
        assert {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()} == before
    finally:
        started.kill()
        started.communicate()


def test_processes_that_train_together_go_on_when_one_was_killed(tmp_path: Path) -> None:
    script, folder = tmp_path / "train.py", RunFolder(tmp_path / "run")
    script.write_text(DIES_ONCE)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--max-restarts", "1"]
    shared = ["--set", "ppo.n_minibatches=2", "--set", "ppo.n_epochs=2"]
    started = subprocess.run(
        [sys.executable, *launcher, script, *TRAIN, *shared, "--quiet", "--out", folder.path],
        capture_output=True,
        text=True,
        timeout=250,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert started.returncode == 0, started.stderr
    assert started.stdout.split() == [str(folder.path)]  # of the first process alone
    assert folder.status["status"] == "finished"
    assert len(folder.meta.resumed) == 1
    assert [row["env_steps"] for row in folder.metrics()] == [24, 48, 72, 96]
    assert RunFolder.open(folder.path).evaluation.is_file()


def test_a_killed_benchmark_leaves_no_process(tmp_path: Path) -> None:
    cells = ["--tasks", "repeat_first", "--memories", "lstm", "gru", "--jobs", "2"]
    started = process("bench", "memory", *cells, "--out", tmp_path)
    while len(members(started.pid)) < 4:  # itself, two workers, and what tracks their resources
        assert started.poll() is None
        time.sleep(0.05)
    started.kill()
    assert left(started.pid) == []
    started.communicate()
