"""The encoder of trial observations and its pictures, and what a policy makes of a mask."""

from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor

from metarl.memory.options import MemoryOptions
from metarl.nets.encoders import TrialEncoder
from metarl.nets.observations import PictureEncoder
from metarl.nets.policy import MemoryPolicy

pytestmark = pytest.mark.usefixtures("weights_from_a_seed")

PLAIN = MemoryOptions(controller="gru", store="none", access="none", controller_options={"hidden_size": 4})


def vector(size: int) -> spaces.Box:
    return spaces.Box(-10, 10, (size,), np.float32)


def picture(*shape: int) -> spaces.Box:
    return spaces.Box(0, 255, shape, np.uint8)


SEEN = spaces.Dict(
    {
        "obs.eye": picture(9, 6, 3),
        "obs.place": vector(2),
        "prev_action": vector(3),
        "prev_reward": vector(1),
        "time": vector(1),
        "action_mask": vector(3),
    }
)


def drawn(*leading: int, space: spaces.Dict = SEEN, seed: int = 0) -> dict[str, Tensor]:
    """Random observations with the given leading axes."""
    generator = torch.Generator().manual_seed(seed)
    return {
        key: torch.randint(0, 256, (*leading, *part.shape), generator=generator, dtype=torch.uint8)
        if part.dtype == np.uint8
        else torch.randn(*leading, *part.shape, generator=generator)
        for key, part in space.items()
    }


@pytest.mark.parametrize("shape", [(9, 6, 3), (64, 48, 1), (2, 2, 1), (4, 4, 4), (3, 10, 12)], ids=str)
def test_pictures_of_any_size_become_vectors_of_unit_variance(shape: tuple[int, ...]) -> None:
    encoder = PictureEncoder(shape, size=16)
    given = drawn(7, space=spaces.Dict({"x": picture(*shape)}))["x"]
    out = encoder(given)
    assert out.shape == (7, 16)
    torch.testing.assert_close(out.mean(-1), torch.zeros(7), atol=1e-5, rtol=0)
    torch.testing.assert_close(out.var(-1, correction=0), torch.ones(7), atol=0.05, rtol=0)
    assert not torch.allclose(out[0], out[1]), "it tells pictures apart"


def test_pixels_are_scaled_by_their_bounds() -> None:
    bytes_, ten, centred = PictureEncoder((9, 6, 3)), PictureEncoder((9, 6, 3), 0, 10), PictureEncoder((9, 6, 3), -1, 1)
    for other in (ten, centred):
        other.load_state_dict(bytes_.state_dict())
    given = drawn(5, space=spaces.Dict({"x": picture(9, 6, 3)}))["x"].float()
    torch.testing.assert_close(ten(given / 25.5), bytes_(given))
    torch.testing.assert_close(centred(given / 127.5 - 1), bytes_(given))


def test_the_parts_stand_side_by_side_and_the_mask_in_none() -> None:
    encoder = TrialEncoder(SEEN)
    (eye,) = encoder.parts.values()
    assert (encoder.now_size, encoder.feedback_size) == (64 + 2, 3 + 1 + 1 + 3)
    obs = drawn(5)
    now, feedback, allowed = encoder(obs)
    torch.testing.assert_close(now, torch.cat([eye(obs["obs.eye"]), obs["obs.place"]], -1))
    product = obs["prev_action"] * obs["prev_reward"]
    assert torch.equal(feedback, torch.cat([obs["prev_action"], obs["prev_reward"], obs["time"], product], -1))
    masked = encoder({**obs, "action_mask": obs["action_mask"] + 1})
    assert torch.equal(masked.now, now)
    assert torch.equal(masked.feedback, feedback)
    assert allowed is obs["action_mask"]


def test_leading_axes_are_kept_also_without_pictures_or_feedback() -> None:
    encoder, obs = TrialEncoder(SEEN), drawn(4, 5)
    whole = encoder(obs)
    assert whole.now.shape == (4, 5, encoder.now_size)
    assert whole.feedback.shape == (4, 5, encoder.feedback_size)
    for at in ((3,), (3, 2)):
        step = encoder({key: part[at] for key, part in obs.items()})
        torch.testing.assert_close(step.now, whole.now[at])
        assert torch.equal(step.feedback, whole.feedback[at])
    now, feedback, allowed = TrialEncoder(spaces.Dict({"obs": vector(2)}))({"obs": torch.ones(3, 4, 2)})
    assert torch.equal(now, torch.ones(3, 4, 2))
    assert feedback.shape == (3, 4, 0)
    assert allowed is None


def test_gradients_reach_the_pictures_net() -> None:
    encoder = TrialEncoder(SEEN)
    encoder(drawn(5)).now.square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in encoder.parameters())
    assert any(p.grad.any() for p in encoder.parameters() if p.grad is not None)


@pytest.mark.parametrize(
    ("parts", "named"),
    [
        ({}, "no parts"),
        ({"obs": vector(2), "image": vector(2)}, "image, obs"),
        ({"prev_reward": vector(1)}, "not a trial observation"),
        ({"obs": spaces.Box(0, 1, (4, 4), np.float32)}, "obs: .*picture"),
        ({"obs": spaces.Discrete(3)}, r"obs: Discrete\(3\)"),
        ({"obs": vector(2), "action_mask": picture(4, 4, 3)}, "action_mask: "),
        ({"obs.depth": spaces.Box(0, np.inf, (8, 8, 1), np.float32)}, "'depth' has pixels from 0 to inf"),
        ({"obs": spaces.Box(-np.inf, np.inf, (8, 8, 1), np.float32)}, "'obs' has pixels from -inf to inf"),
    ],
)
def test_other_spaces_are_refused(parts: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        TrialEncoder(spaces.Dict(parts))


@pytest.mark.parametrize("leading", [(), (5,), (4, 5)], ids=["single", "B", "T, B"])
@pytest.mark.parametrize("kind", ["tensors", "arrays"])
def test_check_tells_the_leading_axes(leading: tuple[int, ...], kind: str) -> None:
    obs: Any = drawn(*leading)
    given = obs if kind == "tensors" else {key: part.numpy() for key, part in obs.items()}
    assert TrialEncoder(SEEN).check(given) == leading


@pytest.mark.parametrize(
    ("change", "error", "named"),
    [
        ({"obs.eye": torch.zeros(5, 9, 6, 3)}, TypeError, "'obs.eye' .*float32.*uint8"),
        ({"obs.eye": np.zeros((5, 9, 6, 3))}, TypeError, "'obs.eye' .*float64.*uint8"),
        ({"obs.eye": np.zeros((5, 3, 9, 6), np.uint8)}, ValueError, r"\(5, 3, 9, 6\).*9, 6, 3"),
        ({"obs.eye": np.zeros((6, 3), np.uint8)}, ValueError, r"\(6, 3\).*9, 6, 3"),
        ({"obs.eye": np.zeros((4, 9, 6, 3), np.uint8)}, ValueError, "leading axes"),
        ({"action_mask": np.ones((5, 2))}, ValueError, r"'action_mask' .*\(5, 2\)"),
        ({"obs.place": np.full((5, 2), "a")}, TypeError, "'obs.place' .*<U1"),
        ({"obs.nose": np.zeros((5, 2))}, ValueError, "obs.nose"),
    ],
)
def test_check_refuses_what_does_not_fit(change: dict[str, Any], error: type[Exception], named: str) -> None:
    with pytest.raises(error, match=named):
        TrialEncoder(SEEN).check({**drawn(5), **change})


def test_the_mask_reaches_the_head_in_acting_and_in_evaluation() -> None:
    policy = MemoryPolicy(SEEN, spaces.Discrete(3), PLAIN, trial_steps=4)
    obs = drawn(4, 200)
    obs["action_mask"] = torch.tensor([0.0, 1.0, 1.0]).roll(1).expand(4, 200, 3).clone()
    first = {key: part[0] for key, part in obs.items()}
    begin = torch.zeros(4, 200, dtype=torch.long)
    with torch.no_grad():
        step, _ = policy(first, policy.initial_state(200), begin[0], generator=torch.Generator().manual_seed(0))
        forbidden = policy.evaluate(obs, policy.initial_state(200), begin, torch.ones(4, 200, dtype=torch.long))
    assert set(step.action.tolist()) == {0, 2}
    assert (forbidden.log_prob.exp() == 0).all()
    assert torch.isfinite(forbidden.log_prob).all()
    assert (forbidden.entropy <= np.log(2) + 1e-6).all()


@pytest.mark.parametrize("space", [spaces.Discrete(4), spaces.MultiDiscrete([2, 2]), vector(3)], ids=str)
def test_a_mask_that_does_not_fit_the_actions_is_refused(space: Any) -> None:
    with pytest.raises(ValueError, match="action_mask"):
        MemoryPolicy(SEEN, space, PLAIN, trial_steps=4)
