"""Heads: distributions that agree with torch's, masks that leave no probability, actions that the space holds."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor, nn
from torch.distributions import Categorical, Independent, Normal

from metarl.config import InputError
from metarl.nets.heads import CategoricalHead, GaussianHead, Head, make_head

pytestmark = pytest.mark.usefixtures("weights_from_a_seed")

INPUTS = 5
DISCRETE = spaces.Discrete(4)
SHIFTED = spaces.Discrete(3, start=3)
PARTS = spaces.MultiDiscrete([3, 2, 4], start=[0, -1, 7])
TABLE = spaces.MultiDiscrete(np.array([[2, 3], [4, 2]]), dtype=np.int32)
CATEGORICAL = {"Discrete": DISCRETE, "Discrete from 3": SHIFTED, "MultiDiscrete": PARTS, "two axes": TABLE}
BOX = spaces.Box(np.array([-2.0, 0.0, -np.inf, 1.0], np.float32), np.array([4.0, 1.0, np.inf, np.inf], np.float32))
EVERY = pytest.mark.parametrize("space", CATEGORICAL.values(), ids=CATEGORICAL.keys())


def make(space: spaces.Space[Any]) -> Any:
    """A head far from its uniform beginning."""
    head: Any = make_head(INPUTS, space)
    nn.init.normal_(head.linear.weight)
    nn.init.normal_(head.linear.bias)
    if isinstance(head, GaussianHead):
        nn.init.normal_(head.log_std)
    return head


def inputs(*leading: int, seed: int = 0) -> Tensor:
    return torch.randn(*leading, INPUTS, generator=torch.Generator().manual_seed(seed))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def torch_parts(head: CategoricalHead, y: Tensor) -> list[Categorical]:
    return [Categorical(logits=part) for part in head.linear(y).split(head.sizes, -1)]


def columns(head: CategoricalHead, actions: Tensor) -> list[Tensor]:
    """The action of each part."""
    return list(actions.unbind(-1)) if head.action_shape else [actions]


@EVERY
@pytest.mark.parametrize("leading", [(6,), (7, 6)], ids=["B", "T, B"])
def test_categorical_parts_agree_with_torch(space: Any, leading: tuple[int, ...]) -> None:
    head, y = make(space), inputs(*leading)
    parameters = head(y)
    actions = head.sample(parameters, generator())
    assert actions.shape == (*leading, *head.action_shape)
    assert actions.dtype == head.action_dtype
    parts = torch_parts(head, y)
    log_prob = sum(part.log_prob(a) for part, a in zip(parts, columns(head, actions), strict=True))
    torch.testing.assert_close(head.log_prob(parameters, actions), log_prob)
    torch.testing.assert_close(head.entropy(parameters), sum(part.entropy() for part in parts))
    best = [part.probs.argmax(-1) for part in parts]
    assert all(torch.equal(a, b) for a, b in zip(columns(head, head.best(parameters)), best, strict=True))


@EVERY
def test_categorical_samples_have_the_probabilities(space: Any) -> None:
    head = make(space)
    n = 40_000
    y = inputs(1).expand(n, -1)
    actions = columns(head, head.sample(head(y), generator()))
    for part, column in zip(torch_parts(head, y[:1]), actions, strict=True):
        expected = part.probs[0]
        found = torch.bincount(column, minlength=len(expected)) / n
        assert ((found - expected).abs() < 5 * (expected * (1 - expected) / n).sqrt() + 1e-4).all()


def test_parts_are_drawn_apart_from_each_other() -> None:
    head = make(spaces.MultiDiscrete([2, 2]))
    nn.init.zeros_(head.linear.weight)
    nn.init.zeros_(head.linear.bias)
    first, second = head.sample(head(inputs(40_000)), generator()).unbind(-1)
    assert float((first == second).float().mean()) == pytest.approx(0.5, abs=0.02)


@EVERY
def test_a_new_policy_is_almost_uniform(space: Any) -> None:
    head = make_head(INPUTS, space)
    assert isinstance(head, CategoricalHead)
    uniform = torch.cat([torch.full((n,), 1 / n) for n in head.sizes])
    torch.testing.assert_close(head(inputs(6)).exp(), uniform.expand(6, -1), atol=0.05, rtol=0)


@EVERY
def test_actions_have_the_shape_type_and_start_of_their_space(space: Any) -> None:
    head = make(space)
    given = head.to_env(head.sample(head(inputs(9)), generator()).numpy())
    assert given.shape == (9, *space.shape)
    assert given.dtype == space.dtype
    assert all(space.contains(action) for action in given)
    assert make(SHIFTED).to_env(np.array([0, 2, 1])).tolist() == [3, 5, 4]
    assert make(PARTS).to_env(np.array([[2, 0, 3], [0, 1, 0]])).tolist() == [[2, -1, 10], [0, 0, 7]]


def some_mask(head: CategoricalHead, rows: int, seed: int = 0) -> Tensor:
    """Random masks that leave each part at least one choice."""
    drawn = torch.rand(rows, head.choices, generator=generator(seed))
    parts = [(part > 0.5) | (part == part.amax(-1, keepdim=True)) for part in drawn.split(head.sizes, -1)]
    return torch.cat(parts, -1).float()


@EVERY
def test_a_masked_choice_has_probability_exactly_zero(space: Any) -> None:
    head, y = make(space), inputs(300)
    mask = some_mask(head, 300)
    parameters = head(y, mask)
    assert (parameters.exp()[mask == 0] == 0).all()
    logits = head.linear(y).masked_fill(mask == 0, -torch.inf).split(head.sizes, -1)
    expected = torch.cat([part.softmax(-1) for part in logits], -1)
    torch.testing.assert_close(parameters.exp(), expected)
    shares = [p * p.log().nan_to_num(neginf=0.0) for p in expected.split(head.sizes, -1)]
    torch.testing.assert_close(head.entropy(parameters), -sum(share.sum(-1) for share in shares))
    for seed in range(20):
        for actions in (head.sample(parameters, generator(seed)), head.best(parameters)):
            first = 0
            for size, column in zip(head.sizes, columns(head, actions), strict=True):
                assert (mask[torch.arange(300), first + column] == 1).all()
                first += size


@EVERY
def test_masks_leave_gradients_finite_and_none_on_what_they_forbid(space: Any) -> None:
    """The first choice of each part is forbidden; even its own log probability has a finite gradient."""
    head, y = make(space), inputs(6)
    forbidden = np.cumsum([0, *head.sizes[:-1]])
    mask = torch.ones(6, head.choices)
    mask[:, forbidden] = 0
    for actions in (head.best(head(y, mask)), torch.zeros(6, *head.action_shape, dtype=torch.long)):
        head.zero_grad()
        parameters = head(y, mask)
        log_prob = head.log_prob(parameters, actions)
        assert torch.isfinite(log_prob).all()
        (log_prob + head.entropy(parameters)).sum().backward()
        gradient = head.linear.weight.grad
        assert torch.isfinite(gradient).all()
        assert gradient.any()
        assert not gradient[forbidden].any()


@torch.no_grad()
def test_a_single_choice_that_is_left_is_certain() -> None:
    head = make(PARTS)
    mask = torch.tensor([[0, 1, 0, 1, 0, 0, 0, 0, 1.0]])
    parameters = head(inputs(1), mask)
    assert head.sample(parameters, generator()).tolist() == [[1, 0, 3]]
    assert head.log_prob(parameters, torch.tensor([[1, 0, 3]])).tolist() == [0.0]
    assert head.entropy(parameters).tolist() == [0.0]


def test_rows_without_a_valid_action_are_found() -> None:
    mask = np.array([[0, 0, 0, 0], [0, 0, 1, 0], [1, 1, 1, 1]], np.float32)
    assert make(DISCRETE).no_valid_action(mask).tolist() == [True, False, False]
    mask = np.ones((4, 9), np.float32)
    mask[0, :3] = mask[1, 3] = mask[2, 3:5] = 0
    mask[3, [0, 1, 3, 5, 6, 7]] = 0
    assert make(PARTS).no_valid_action(mask).tolist() == [True, False, True, False]


@pytest.mark.parametrize("leading", [(6,), (7, 6)], ids=["B", "T, B"])
def test_the_gaussian_agrees_with_torch(leading: tuple[int, ...]) -> None:
    head, y = make(BOX), inputs(*leading)
    parameters = head(y)
    actions = head.sample(parameters, generator())
    assert actions.shape == (*leading, 4)
    assert actions.dtype == head.action_dtype
    expected = Independent(Normal(head.linear(y), head.log_std.exp()), 1)
    torch.testing.assert_close(head.log_prob(parameters, actions), expected.log_prob(actions))
    torch.testing.assert_close(head.entropy(parameters), expected.entropy())
    assert torch.equal(head.best(parameters), expected.mean)


def test_gaussian_samples_have_mean_and_deviation() -> None:
    head, n = make(BOX), 40_000
    y = inputs(1).expand(n, -1)
    actions, std = head.sample(head(y), generator()), head.log_std.exp()
    assert ((actions.mean(0) - head(y[0])).abs() < 5 * std / math.sqrt(n)).all()
    torch.testing.assert_close(actions.std(0), std, rtol=0.02, atol=0)


def test_a_new_gaussian_starts_in_the_middle_with_half_the_reach() -> None:
    head = make_head(INPUTS, BOX)
    assert head(inputs(6)).abs().max() < 0.1
    entropy = 4 * (0.5 + 0.5 * math.log(2 * math.pi) + math.log(0.5))
    torch.testing.assert_close(head.entropy(head(inputs(6))), torch.full((6,), entropy))


def test_samples_are_scaled_between_bounds_and_clipped_to_them() -> None:
    """Bounds [-2, 4] and [0, 1] span [-1, 1]; without both bounds the sample is the action."""
    samples = np.array([[0, 0, 0, 2], [-1, 1, 50, 0], [1, -1, -50, 9], [-3, 7, 1e6, 1], [0.5, 0.5, 0.25, 1.5]])
    expected = [[1, 0.5, 0, 2], [-2, 1, 50, 1], [4, 0, -50, 9], [-2, 1, 1e6, 1], [2.5, 0.75, 0.25, 1.5]]
    given = make(BOX).to_env(samples.astype(np.float32))
    assert given.tolist() == expected
    assert given.dtype == np.float32
    assert all(BOX.contains(action) for action in given)


@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(-0.3, 0.7, (2, 3), np.float64),
        spaces.Box(-1, 1, (), np.float32),
        spaces.Box(5.0, 5.0, (2,), np.float32),
        spaces.Box(np.finfo(np.float64).min, np.finfo(np.float64).max, (2,), np.float64),
        spaces.Box(-np.inf, 3.0, (1,), np.float16),
    ],
    ids=["two axes", "no axis", "a point", "as wide as can be", "half a bound"],
)
def test_every_sample_becomes_an_action_of_the_box(space: Any) -> None:
    head = make(space)
    actions = head.to_env(10 * head.sample(head(inputs(50)), generator()).detach().numpy())
    assert actions.shape == (50, *space.shape)
    assert actions.dtype == space.dtype
    assert np.isfinite(actions).all()
    assert ((actions >= space.low) & (actions <= space.high)).all()


@pytest.mark.parametrize("space", [DISCRETE, PARTS, BOX], ids=["Discrete", "MultiDiscrete", "Box"])
def test_samples_come_from_the_generator_alone(space: Any) -> None:
    head = make(space)
    parameters = head(inputs(20))
    before = torch.get_rng_state()
    one, again, other = (head.sample(parameters, generator(seed)) for seed in (0, 0, 1))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    "space", [spaces.MultiBinary(3), spaces.Box(0, 9, (2,), np.int64), spaces.Dict({"a": DISCRETE})], ids=str
)
def test_what_has_no_head_is_refused_with_what_has_one(space: Any) -> None:
    with pytest.raises(InputError) as caught:
        make_head(INPUTS, space)
    assert caught.value.given is space


def test_a_box_takes_no_mask() -> None:
    head: Head = make(BOX)
    assert head.choices is None
    with pytest.raises(TypeError, match="mask"):
        head(inputs(2), torch.ones(2, 4))
    with pytest.raises(TypeError, match="mask"):
        head.no_valid_action(np.ones((2, 4)))
