"""How fast few-shot training is: ``python scripts/benchmark_fewshot.py [--data DIR]``, on an idle machine.

A training of the preset ``prototypical`` with the net of the paper (60 ways, 1 shot, 5 queries, conv-4 of 64 channels,
28 by 28 pixels), as `metarl train` runs it, beside the forward and backward pass of the same net alone, on
random tensors that are there already, in the fastest layout and number type of those tried; and beside the plainest
loop in PyTorch. All take turns, one thread.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from results.pages import write_markdown
from results.rows import Row, commit, upsert
from torch import nn
from torch.nn import functional as F

from metarl.data.pool import Pool
from metarl.experiments.fewshot.build import described, make_learner, training_source
from metarl.experiments.fewshot.experiment import FewShotExperiment
from metarl.experiments.presets import load_experiment
from metarl.training.supervised import SupervisedOptions, fit

DOCS = Path(__file__).resolve().parents[1] / "docs"
COMMAND = "python scripts/benchmark_fewshot.py"
CONV4: list[Any] = [(("classifier", "encoder", "net"), "pooled"), (("data", "size"), 28)]
"""What makes the preset's net that of the paper."""
LAYOUTS = {
    "float32": (torch.contiguous_format, False),
    "float32, channels last": (torch.channels_last, False),
    "bfloat16": (torch.contiguous_format, True),
    "bfloat16, channels last": (torch.channels_last, True),
}


def conv4() -> nn.Sequential:
    """The net by itself: four blocks of a 3 by 3 convolution of 64 channels, batch norm, ReLU and max-pooling."""
    blocks: list[nn.Module] = []
    for channels in (1, 64, 64, 64):
        blocks += [nn.Conv2d(channels, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*blocks, nn.Flatten())


def alone(images: int, layout: str) -> Callable[[], object]:
    """Forward and backward of the net on random images."""
    memory_format, reduced = LAYOUTS[layout]
    net = conv4().to(memory_format=memory_format)  # type: ignore[call-overload]  # missing from torch's stubs
    x = torch.rand(images, 1, 28, 28).contiguous(memory_format=memory_format)
    gradient = torch.rand(images, 64)

    def step() -> None:
        for p in net.parameters():
            p.grad = None
        with torch.autocast("cpu", torch.bfloat16, enabled=reduced):
            y = net(x)
        y.float().backward(gradient)

    return step


def training(experiment: FewShotExperiment) -> Callable[[], object]:
    """One update of the preset's training."""
    source, rng = training_source(experiment.data, experiment.train), np.random.default_rng(0)
    learner = make_learner(experiment, seed=0)
    options = SupervisedOptions(
        updates=1, max_grad_norm=experiment.fit.max_grad_norm, weight_decay=experiment.fit.weight_decay
    )

    def step() -> None:
        batch = experiment.train_shape.sample(source, rng, experiment.train.batch, experiment.train.labels)
        fit(learner, lambda model, episodes: model.loss(episodes), [batch], options)

    return step


def plainest(pool: Pool, ways: int, shots: int, queries: int) -> Callable[[], object]:
    """One update of what one would write first: images picked one by one, distances by cdist, Adam."""
    net, rng = conv4(), np.random.default_rng(0)
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    examples = torch.from_numpy(np.asarray(pool.examples).astype(np.float32) / 255)

    def step() -> None:
        support, asked = [], []
        for number in rng.choice(len(examples), ways, replace=False):
            order = rng.permutation(examples.shape[1])
            support += [examples[number, i][None] for i in order[:shots]]
            asked += [examples[number, i][None] for i in order[shots : shots + queries]]
        embedded = net(torch.stack(support + asked))
        prototypes = embedded[: ways * shots].view(ways, shots, -1).mean(1)
        distances = torch.cdist(embedded[ways * shots :], prototypes) ** 2
        loss = F.cross_entropy(-distances, torch.arange(ways).repeat_interleave(queries))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()

    return step


def main() -> None:
    """Measure and keep."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", help="folder of Omniglot's archives (default METARL_DATA, the cache, or drawn glyphs)"
    )
    parser.add_argument("--rounds", type=int, default=15, help="turns of each (default 15)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    place = [] if args.data is None else [(("data", "source"), "omniglot"), (("data", "folder"), args.data)]
    experiment = load_experiment("prototypical", [*CONV4, *place])
    assert isinstance(experiment, FewShotExperiment)
    train = experiment.train
    images = train.ways * (train.shots + train.queries)
    pool = training_source(experiment.data, experiment.train)
    pool = getattr(pool, "source", pool)
    assert isinstance(pool, Pool)
    steps = {
        "training": training(experiment),
        "plainest": plainest(pool, train.ways, train.shots, train.queries),
        **{layout: alone(images, layout) for layout in LAYOUTS},
    }
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(args.rounds + 2):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if number >= 2:
                seconds[name].append(time.perf_counter() - start)
    rates = {name: images / statistics.median(times) for name, times in seconds.items()}
    best = max(LAYOUTS, key=lambda layout: rates[layout])

    def ratio(other: str) -> float:
        return statistics.median(b / a for a, b in zip(seconds["training"], seconds[other], strict=True))

    shared: dict[str, Any] = {
        "setting": "training of prototypical, 60-way 1-shot 5 queries, conv-4 of 64 channels, 28 by 28, one thread; "
        + described(experiment.data),
        "method": "prototypical",
        "se": None,
        "n_tasks": 0,
        "seeds": (0,),
        "train_seconds": 0.0,
        "train_steps": 0,
        "command": COMMAND,
        "commit": commit(),
        "references": {f"{name}, images/s": round(rate) for name, rate in rates.items()} | {"turns": args.rounds},
    }
    rows = [
        Row(
            metric="images/s, share of the net alone in its fastest layout and type",
            ours=ratio(best),
            goal=(0.85, None),
            **shared,
        ),
        Row(
            metric="images/s, times those of the plainest PyTorch loop",
            ours=ratio("plainest"),
            goal=(1.5, None),
            **shared,
        ),
    ]
    upsert(DOCS / "results" / "omniglot.json", *rows, alone=True)
    for row in rows:
        print(f"{row.metric}: {row.ours:.3g}")
    print(", ".join(f"{name} {rate:,.0f}/s" for name, rate in rates.items()))
    write_markdown(DOCS)


if __name__ == "__main__":
    main()
