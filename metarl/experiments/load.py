"""What a run trained, ready to be used."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from metarl.experiments.fewshot.experiment import FewShotExperiment
from metarl.experiments.run import open_run


def load(path: str | Path, *, device: str = "auto", imports: str | Sequence[str] = ()) -> Any:
    """The trained model of a run folder, of any kind of run.

    Data sets are not needed. A folder may come from somebody else: nothing in it is ever unpickled or imported.

    Args:
        path: of the run folder; ``zoo:NAME`` is an entry of the zoo, such as ``zoo:bandit``.
        device: the torch device.
        imports: modules whose code the run may use; they are imported.

    Returns:
        Of a few-shot run, a :class:`metarl.agents.fewshot.trained.TrainedLearner`, to which labelled images are shown,
        or where it is of tables a :class:`metarl.agents.fewshot.cases.CaseMemory`; of an agent's, a
        :class:`metarl.agents.rl2.RL2PPO`; of a recall run, its :class:`metarl.nets.sequence.SequenceClassifier` with
        its options.

    Raises:
        RunError, ConfigError, CheckpointError: the folder holds no run of this version, a file of it is damaged, or it
            names code of modules that are not allowed.
        InputError: a few-shot learner that can't name classes, see
            :class:`metarl.agents.fewshot.trained.TrainedLearner`.
    """
    run = open_run(path, device=device, imports=imports)
    if not isinstance(run.experiment, FewShotExperiment):
        return run.model
    if run.experiment.data.source == "tables":
        from metarl.agents.fewshot.cases import CaseMemory

        return CaseMemory(run.model, run.experiment.data.features)
    from metarl.agents.fewshot.trained import TrainedLearner

    return TrainedLearner(run.model, run.experiment.data.reading)
