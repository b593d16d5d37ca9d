"""``metarl bench``."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command_line import run
from killing import left

from metarl.experiments.recall.bench import FILE, read


def test_the_command_measures_prints_and_draws(tmp_path: Path) -> None:
    options = ["--updates", "4", "--batch", "4", "--parameters", "5000", "--out", str(tmp_path / "out")]
    names = ["--tasks", "repeat_first", "--memories", "gru", "feedforward", "--seeds", "0", "1"]
    ran = run("bench", "memory", *names, *options)
    assert ran.status == 0, ran.err
    lines = ran.out.splitlines()
    assert sum(line.startswith("repeat_first") for line in lines) == 4
    table = {line.split()[0]: line for line in lines[4:] if "%" in line and line.split()[0] != "±:"}
    assert {"gru", "feedforward", "chance"} <= set(table)
    assert "25.0 %" in table["chance"]
    assert (tmp_path / "out" / "recall.png").read_bytes().startswith(b"\x89PNG")
    assert len(read(tmp_path / "out" / FILE)) == 4
    again = run("bench", "memory", *names, *options)
    assert again.out.splitlines() == lines[4:]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tasks", "coppy"], "did you mean 'copy'?"),
        (["--memories", "episodic+native"], "--memories is 'episodic+native', expected one of"),
        (["--parameters", "50", "--memories", "dnc+native"], "dnc+native can't have 50 ± 10% parameters on Copy"),
        (["--import", "nothing_like_this"], "cannot import 'nothing_like_this'"),
        (["--updates", "1"], "'1' is not a whole number of at least 2"),
    ],
)
def test_wrong_names_and_numbers_are_one_line(arguments: list[str], message: str, tmp_path: Path) -> None:
    ran = run("bench", "memory", *arguments, "--out", tmp_path)
    assert ran.status == 2
    assert message in ran.err
    assert len(ran.err.splitlines()) == 1


def test_the_command_can_be_interrupted_and_goes_on(tmp_path: Path) -> None:
    given = [sys.executable, "-m", "metarl", "bench", "memory", "--tasks", "repeat_first", "--memories", "delta+native"]
    given += ["lstm", "gru", "dnc+native", "--jobs", "2", "--out", str(tmp_path)]  # the last takes longest by far
    given += ["--updates", "300", "--parameters", "5000"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}

    with subprocess.Popen(given, env=environment, start_new_session=True, **pipes) as ran:
        end = time.monotonic() + 120
        while not (tmp_path / FILE).exists() and time.monotonic() < end:
            time.sleep(0.1)
        ran.send_signal(signal.SIGTERM)
        out, err = ran.communicate(timeout=60)
    assert ran.returncode == 128 + signal.SIGTERM, err
    assert left(ran.pid) == []
    assert "interrupted; finished results are in" in out
    assert "Traceback" not in err
    kept = [r.cell.memory for r in read(tmp_path / FILE)]
    assert kept
    assert "dnc+native" not in kept
