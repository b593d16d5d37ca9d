"""One function for every run folder: what it returns, and that it is what was trained."""

from pathlib import Path

import pytest
from experiment_toys import TOYS, ran, same, toy

import metarl
from metarl.agents.fewshot.trained import TrainedLearner
from metarl.runs.folder import RunError


@pytest.mark.parametrize("kind", TOYS)
def test_a_run_of_every_kind_is_loaded(kind: str, tmp_path: Path) -> None:
    done = ran(tmp_path / "run", toy(kind).check())
    loaded = metarl.load(tmp_path / "run", device="cpu")
    if done.experiment.kind == "fewshot":
        assert isinstance(loaded, TrainedLearner)
        assert not loaded.learner.training
        assert same(loaded.learner.state_dict(), done.model.state_dict())
        assert loaded.reading.shape == done.experiment.data.shape  # type: ignore[attr-defined]
    else:
        assert type(loaded) is type(done.model)


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError):
        metarl.load(tmp_path)
