"""Diagnosis from few cases: meet 1, 5 or 10 patients of each class of a disease never seen before, and diagnose others.

    python scripts/applications/diagnosis.py
    python scripts/applications/diagnosis.py --seeds 0 --episodes 20
    python scripts/applications/diagnosis.py --keep      # write docs/results/medical.json and the picture

One page, to be read from top to bottom. It needs the extra apps: pip install 'metarl-memory[apps]'.

RESEARCH ONLY. No clinical tool: tables are small and old, classes are drawn equally often, nothing was validated.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from diagnosis_kept import DRAWN, draw, write_rows
from diagnosis_rivals import STRENGTHS, answers, logistic, rivals

from metarl.agents.fewshot.cases import CaseMemory
from metarl.data.diseases import DISEASES, cohorts
from metarl.data.random_tables import RandomTables
from metarl.data.tables import Tables
from metarl.evaluation.accuracy import parts
from metarl.evaluation.diagnosis import Scores, scores
from metarl.experiments.fewshot.experiment import FewShotExperiment
from metarl.experiments.run import open_run, train
from metarl.functional.stats import bootstrap_mean
from metarl.runs.progress import Progress
from metarl.seeding import numpy_rng

CAVEAT = "Research only, no clinical tool: small old cohorts, balanced classes, nothing validated on patients."
SHOTS, QUERIES, OURS, PEER = (1, 5, 10), 10, "metarl", "logistic regression"

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--out", type=Path, default=Path("runs/diagnosis"), help="of run folders; those there are taken")
parser.add_argument("--episodes", type=int, default=60, help="of each disease and number of patients (default 60)")
parser.add_argument("--shots", type=int, nargs="+", default=SHOTS, help="labelled patients of a class (default 1 5 10)")
parser.add_argument("--updates", type=int, help="of the training (default: the preset's)")
parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="of trainings, one each (default 0 1 2)")
parser.add_argument("--keep", action="store_true", help="write the rows of the documentation and its picture")
args = parser.parse_args()
print(CAVEAT)

# 1. Learn to diagnose, from random tables alone: no patient of any real disease is met, so each of them is held out.
settings = {"threads": 1, **({"fit.updates": args.updates, "eval.episodes": 2} if args.updates else {})}
folders = {seed: args.out / f"seed{seed}" for seed in args.seeds}
for seed, folder in folders.items():
    if not folder.is_dir():
        train("diagnosis", seed=seed, settings=settings, folder=folder)
runs = [open_run(folder) for folder in folders.values()]
learners, experiment = [run.model.eval() for run in runs], runs[0].experiment
assert isinstance(experiment, FewShotExperiment)
features = experiment.data.features

# 2. What one would use instead. How strong a penalty logistic regression needs is found out on random tables as well.
tried = RandomTables(features).sample(numpy_rng(0, "baseline"), args.episodes, 2, 5, QUERIES)
areas = {c: scores(answers(logistic(c), tried), tried.query_y).auroc.mean() for c in STRENGTHS}
strength = max(areas, key=lambda c: areas[c])
print(
    f"logistic regression with C = {strength:g}, the best of {', '.join(f'{c:g}' for c in STRENGTHS)} on random tables"
)
others = rivals(strength)

# 3. Diagnose. In an episode some patients of one disease are written to the memory with their diagnosis; each query
#    reads them by attention, and the weights are votes. All rivals get the same patients and the same queries.
said: dict[tuple[int, str], dict[str, np.ndarray]] = {}  # probabilities, by shots and disease
truth: dict[tuple[int, str], np.ndarray] = {}
with Progress("diagnosing", len(args.shots) * len(DISEASES), "disease") as progress, torch.no_grad():
    for shots in args.shots:
        for number, disease in enumerate(DISEASES):
            source = Tables(cohorts((disease,)), features)
            rng = numpy_rng(0, "evaluation", shots, number)
            drawn = source.sample(rng, args.episodes, 2, shots, QUERIES)
            few = list(parts(drawn, 10))
            ours = [torch.cat([learner(*one[:3]) for one in few]).softmax(-1)[..., 1].numpy() for learner in learners]
            said[shots, disease] = {OURS: np.stack(ours)}  # [trainings, episodes, Q]
            said[shots, disease] |= {name: answers(rival, drawn)[None] for name, rival in others.items()}
            truth[shots, disease] = drawn.query_y
            progress.add()

# 4. Compare: AUROC, and its difference to logistic regression's over the same episodes with a 95 % interval.
measured = {
    key: {name: Scores(*np.mean([scores(p, truth[key]) for p in each], 0)) for name, each in by.items()}
    for key, by in said.items()
}
methods = [OURS, *others]
for shots in args.shots:
    print(f"\nAUROC, labelled patients of a class: {shots}, {args.episodes} episodes a disease")
    print(f"{'':22}" + "".join(f"{name:>21}" for name in methods) + f"{'minus logistic':>18}")
    differences = []
    for disease in DISEASES:
        by = measured[shots, disease]
        differences.append(by[OURS].auroc - by[PEER].auroc)
        gap = bootstrap_mean(differences[-1])
        row = "".join(f"{by[name].auroc.mean():21.3f}" for name in methods)
        print(f"{disease:22}{row}{gap.mean:+11.3f} ± {gap.half:.3f}")
    gap = bootstrap_mean(np.mean(differences, 0))
    row = "".join(f"{np.mean([measured[shots, d][name].auroc.mean() for d in DISEASES]):21.3f}" for name in methods)
    print(f"{'mean of diseases':22}{row}{gap.mean:+11.3f} ± {gap.half:.3f}")

# 5. Which patients were read for a new one, with their weights: the answer can be traced to single cases.
memory, one = CaseMemory(learners[0], features), cohorts(("heart disease",))[0]
order = numpy_rng(0, "evaluation").permutation(len(one.ill))
sick, well = order[one.ill[order]], order[~one.ill[order]]
memory.remember({"ill": one.x[sick[:5]], "well": one.x[well[:5]]})
asked = one.x[sick[5]]
answer = memory.predict(asked)[0]
print(f"\na patient with heart disease: {answer.name} with probability {answer.probability:.0%}; read were")
print(", ".join(f"{read.name} {read.example}: {read.weight:.0%}" for read in memory.recalled(asked)))
if args.keep:
    write_rows(list(folders.values()), said, truth, measured, strength)
    if DRAWN in args.shots:
        draw(measured, memory, asked, one, {"ill": sick[:5], "well": well[:5]})
print(f"\n{CAVEAT}")
