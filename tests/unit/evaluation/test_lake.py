"""The test of Lake et al. 2015: every query alone, errors by episode, and nothing of it in training."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from metarl.agents.fewshot.learner import Examples, FewShotLearner
from metarl.data.omniglot import MINIMAL, published_runs, split_characters
from metarl.data.omniglot.archives import OmniglotError
from metarl.data.pool import Pool
from metarl.evaluation.lake import (
    chosen_episodes,
    error_rate,
    on_episodes,
    on_published_runs,
    over_seeds,
    random_episodes,
)


class Pixels(FewShotLearner):
    """The nearest image of the support; if it is transductive, no two queries get the same."""

    def __init__(self, transductive: bool = False) -> None:
        super().__init__()
        self.transductive = transductive

    def forward(self, support_x: Examples, support_y: Examples, query_x: Examples) -> Tensor:
        support, queries = (torch.as_tensor(np.array(x)).flatten(2).float() for x in (support_x, query_x))
        near = -torch.cdist(queries, support)
        if self.transductive:
            near = near - near.logsumexp(1, keepdim=True)
        labels = torch.as_tensor(support_y).long()
        return torch.full(near.shape, -1e9).scatter(2, labels[:, None].expand_as(near), near)


def test_the_published_runs_are_what_they_should_be() -> None:
    runs = published_runs(28)
    assert runs.support.shape == runs.queries.shape == (20, 20, 28, 28)
    assert (np.sort(runs.answers, 1) == np.arange(20)).all(), "each character is asked once"
    assert not runs.support.flags.writeable
    shown = np.concatenate([runs.support, runs.queries], 1).reshape(800, -1)
    assert len(np.unique(shown, axis=0)) == 800, "no drawing is shown twice"
    assert (shown.max(1) > 0).all()
    assert shown.mean() < 40, "ink is 255 and paper 0"
    error = on_published_runs(Pixels().eval(), runs)
    assert error.trials == 400
    assert 0.5 < error.error < 0.9, "answers fit the queries: far better than by chance, and far worse than people"


def test_another_archive_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metarl.data.omniglot.runs.SHA256", "0" * 64)
    with pytest.raises(OmniglotError, match="sha256"):
        published_runs.__wrapped__(28)


def test_a_query_is_answered_alone_even_by_a_transductive_learner() -> None:
    runs = published_runs(28)
    alone = on_published_runs(Pixels().eval(), runs)
    assert on_published_runs(Pixels(transductive=True).eval(), runs) == alone
    single = [
        on_published_runs(
            Pixels().eval(), runs._replace(queries=runs.queries[:, k, None], answers=runs.answers[:, k, None])
        )
        for k in range(20)
    ]
    assert np.mean([one.by_episode for one in single], 0) == pytest.approx(alone.by_episode)


def test_the_error_is_over_episodes() -> None:
    hits = np.array([[True] * 4, [False] * 4, [True, True, False, False]])
    rate = error_rate(hits)
    assert (rate.error, rate.trials, rate.by_episode) == (0.5, 12, (0.0, 1.0, 0.5))
    assert rate.se == pytest.approx(0.5 / 3**0.5)
    assert over_seeds([rate]) == (0.5, pytest.approx(rate.se))
    same = over_seeds([rate, rate, rate])
    assert same == (0.5, pytest.approx(rate.se)), "more seeds on the same trials are no more trials"
    other = error_rate(~hits)
    assert over_seeds([rate, other])[1] == pytest.approx(0), "errors of the mean over learners"
    with pytest.raises(ValueError, match="inhomogeneous"):
        over_seeds([rate, error_rate(hits[:2])])


def alphabets(**options: Any) -> Pool:
    """Two alphabets of 24 characters by 6 people, and one of 5; pixels are character and drawer."""
    images = np.stack(np.meshgrid(np.arange(53), np.arange(6), indexing="ij"), -1).astype(np.uint8)
    superclass = np.repeat([0, 1, 2], [24, 24, 5])
    return Pool(images, superclass=superclass, within="one", shared_examples=True, **options)


def test_episodes_are_of_one_alphabet_with_one_drawer_for_support_and_another_for_queries() -> None:
    seen: list[Any] = []

    def draw(pool: Pool, n: int) -> Any:
        seen.append(random_episodes(np.random.default_rng(len(seen)))(pool, n))
        return seen[-1]

    rate = on_episodes(Pixels().eval(), alphabets(), {"random": draw}, 130)["random"]
    assert (rate.trials, len(rate.by_episode)) == (2600, 130)
    for drawn in seen:
        alphabet = drawn.support_x[..., 0] // 24
        assert (alphabet == alphabet[:, :1]).all()
        assert alphabet.max() == 1, "an alphabet with fewer than 20 characters is left out"
        by, asks = drawn.support_x[..., 1], drawn.query_x[..., 1]
        assert (by == by[:, :1]).all()
        assert (asks == asks[:, :1]).all()
        assert (by[:, 0] != asks[:, 0]).all()
    made = chosen_episodes(alphabets(), np.stack([np.arange(20), np.arange(24, 44)]), np.array([[3, 1], [0, 5]]))
    assert made.support_x[1, 2].tolist() == [26, 0]
    assert made.query_x[0, 4].tolist() == [4, 1]
    assert made.query_y[0, 4] == made.support_y[0, 4] == 4


def test_no_scheme_of_lake_trains_or_validates_on_a_character_of_the_test() -> None:
    test = set(split_characters("lake", "test"))
    for scheme in ("lake", *MINIMAL):
        assert not test & {name for split in ("train", "validation") for name in split_characters(scheme, split)}
