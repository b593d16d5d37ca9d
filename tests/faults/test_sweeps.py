"""A sweep on two processes, one of which is killed in the middle of a trial."""

import signal
import time
from pathlib import Path

import pytest
from killing import DIE, process
from sweep_toys import BANDIT, table

from metarl.runs.folder import RunFolder
from metarl.sweeps import table as tables

DIES = f"""
import time
from pathlib import Path
from metarl.runs.tracking import Tracker
log = Tracker.log
def counted(self, *given, **options):
    log(self, *given, **options)
    if self.rows == 4:
        while not Path(sys.argv[-1], "trial-001-s0", "checkpoint.zip").exists(): time.sleep(0.02)
        {DIE}
Tracker.log = counted
"""
WORDS = [*BANDIT, "--set", "checkpoint_seconds=0", "--random", "ppo.learning_rate=1e-4..1e-2:log", "--trials", "4"]


@pytest.mark.usefixtures("undrawn")
def test_the_trials_of_a_killed_process_are_done_by_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "report", lambda found, folder: None)
    killed = process("sweep", *WORDS, "--out", tmp_path / "two", before=DIES)
    while not (tmp_path / "two" / "trial-000-s0" / "metrics.jsonl").exists():
        assert killed.poll() is None, killed.communicate()
        time.sleep(0.05)
    rows = table(*WORDS, "--out", tmp_path / "two")["results"]  # it does the others, waits, and goes on with that one
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    assert sorted((row["trial"], row["state"]) for row in rows) == [(number, "done") for number in range(4)]
    again = [len(RunFolder.open(row["runs"][0]).meta.resumed) for row in sorted(rows, key=lambda row: row["trial"])]
    assert again == [1, 0, 0, 0]
    assert len(list((tmp_path / "two").glob("trial-*"))) == 4

    alone = table(*WORDS, "--out", tmp_path / "one")["results"]
    values = [[(row["trial"], row["settings"], row["values"]) for row in one] for one in (rows, alone)]
    assert values[0] == values[1], "as if nothing had happened"
