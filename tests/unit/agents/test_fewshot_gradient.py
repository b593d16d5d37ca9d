"""Learners of gradient descent: by hand, by finite differences, and what an adaptation may see and leave behind."""

import gc
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from metarl.agents.fewshot.adapting import Algorithm, GradientLearner, cross_entropy
from metarl.agents.fewshot.gradient import gradient_learner
from metarl.data.episodes import Episodes
from metarl.data.pool import Pool
from metarl.functional.inner_loop import adapt

WAYS, SIDE = 3, 6
ALGORITHMS = get_args(Algorithm)
ONE = [{"algorithm": name, "head": "one"} for name in ("maml", "anil", "reptile")]
NEAREST = [{"algorithm": name, "head": "prototypes"} for name in ALGORITHMS]
KINDS: list[dict[str, Any]] = [{"algorithm": name} for name in ALGORITHMS] + ONE + NEAREST
kinds = pytest.mark.parametrize("kind", KINDS, ids=["-".join(kind.values()) for kind in KINDS])


def make(algorithm: Algorithm = "maml", *, transductive: bool = False, ways: int = WAYS, **options: Any):
    given = {"algorithm": algorithm, "width": 4, "inner_lr": 0.1} | options
    return gradient_learner((SIDE, SIDE), ways, given, transductive=transductive)


def pool(noise: int = 60) -> Pool:
    """12 classes of pictures that look alike, 8 of each."""
    rng = np.random.default_rng(0)
    patterns = rng.integers(0, 256 - noise, (12, 1, SIDE, SIDE))
    return Pool((patterns + rng.integers(0, noise, (12, 8, SIDE, SIDE))).astype(np.uint8))


def episodes(n: int = 2, shots: int = 2, queries: int = 2, ways: int = WAYS, seed: int = 0) -> Episodes:
    return pool().sample(np.random.default_rng(seed), n, ways, shots, queries)


def gradients(learner: GradientLearner, given: Episodes) -> dict[str, Tensor]:
    learner.zero_grad()
    learner.loss(given).backward()
    return {name: p.grad.clone() for name, p in learner.named_parameters() if p.grad is not None}


def numbers(x: Any) -> Tensor:
    return torch.as_tensor(x).double() / 255


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in NEAREST], ids=str)
def test_before_adaptation_it_guesses(kind: dict[str, Any]) -> None:
    learner, n = make(**kind, eval_steps=0), 2000
    right = learner.correct(episodes(n, shots=1, queries=2)).float().mean(1)
    deviation = max(float(right.std()), 1e-3) / n**0.5
    assert abs(float(right.mean()) - 1 / WAYS) < 3 * deviation


@pytest.mark.parametrize("kind", NEAREST, ids=str)
def test_before_adaptation_prototypes_tell_the_nearest_mean(kind: dict[str, Any]) -> None:
    learner, (support, labels, queries, _) = make(**kind, eval_steps=0, transductive=True), episodes(shots=2)
    params = learner.net.params()
    known, asked = (learner.net.features(params, numbers(x).float()) for x in (support, queries))
    means = torch.stack([known[b][labels[b] == k].mean(0) for b in range(2) for k in range(WAYS)]).view(2, WAYS, -1)
    expected = -torch.cdist(asked, means).square() / known.shape[-1] ** 0.5
    found = learner(support, labels, queries)
    torch.testing.assert_close(found.log_softmax(-1), expected.log_softmax(-1), atol=1e-4, rtol=1e-4)


@kinds
def test_after_adaptation_it_does_better(kind: dict[str, Any]) -> None:
    learner = make(**kind, eval_steps=5, width=8)
    assert learner.correct(episodes(200, shots=2)).float().mean() > 1 / WAYS + 0.1


@kinds
@pytest.mark.parametrize("transductive", [False, True])
def test_queries_are_answered_alone_unless_transductive(kind: dict[str, Any], transductive: bool) -> None:
    learner = make(**kind, transductive=transductive)
    support, labels, queries, _ = episodes(queries=3)
    together = learner(support, labels, queries)
    alone = torch.cat([learner(support, labels, queries[:, [i]]) for i in range(queries.shape[1])], 1)
    assert together.shape == (2, 9, WAYS)
    assert torch.allclose(alone, together, atol=1e-5) is not transductive


@kinds
def test_nothing_of_test_tasks_is_left(kind: dict[str, Any]) -> None:
    learner, given = make(**kind), episodes()
    before = {name: value.clone() for name, value in learner.state_dict().items()}
    first = learner(*given[:3])
    for transductive in (True, False):
        learner.transductive = transductive
        learner.correct(episodes(4, seed=1))
    assert learner.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in learner.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in learner.parameters())
    assert torch.equal(learner(*given[:3]), first)
    assert not learner.predict(*given[:3]).is_floating_point()


@kinds
def test_tasks_of_a_batch_do_not_see_each_other(kind: dict[str, Any]) -> None:
    learner, (support, labels, queries, _) = make(**kind), episodes(3)
    together = learner(support, labels, queries)
    for task in range(3):
        alone = learner(*(part[task : task + 1] for part in (support, labels, queries)))
        torch.testing.assert_close(alone[0], together[task], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("algorithm", ["maml", "fomaml", "reptile"])
def test_an_adaptation_is_sgd_by_hand(algorithm: Algorithm) -> None:
    learner = make(algorithm, eval_steps=3)
    support, labels, queries, _ = episodes()
    found = learner.adapted(support, labels)
    for task in range(2):
        hand = {name: p.detach().clone().requires_grad_() for name, p in learner.net.params().items()}
        sgd = torch.optim.SGD(hand.values(), 0.1)
        x, y = numbers(support[task : task + 1]).float(), torch.as_tensor(labels[task])
        for _ in range(3):
            sgd.zero_grad()
            F.cross_entropy(learner.net(hand, x)[0], y).backward()
            sgd.step()
        torch.testing.assert_close({name: value[task] for name, value in found.items()}, hand)
        both = torch.cat([x, numbers(queries[task : task + 1]).float()], 1)
        expected = learner.net(hand, both, x.shape[1])[0, x.shape[1] :]
        torch.testing.assert_close(learner(support, labels, queries)[task], expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("head", ["each", "prototypes"])
def test_reptile_moves_to_where_one_step_of_sgd_leads(head: str) -> None:
    learner, given = make("reptile", steps=1, head=head), episodes(1)
    hand = {name: p.detach().clone() for name, p in learner.net.params().items() if p.numel()}
    support, both = (numbers(x).float() for x in (given.support_x, np.concatenate([given.support_x, given.query_x], 1)))
    y = torch.as_tensor(np.concatenate([given.support_y, given.query_y], 1))
    if head == "prototypes":  # those of the support, as in a test, and not of what the step is made on
        known = learner.net.features(learner.net.params(), support)[0].detach()
        means = torch.stack([known[given.support_y[0] == k].mean(0) for k in range(WAYS)])
        size = known.shape[1] ** 0.5
        hand |= {"weight": 2 * means.T / size, "bias": -means.square().sum(1) / size}
    hand = {name: p.requires_grad_() for name, p in hand.items()}
    F.cross_entropy(learner.net(hand, both)[0], y[0]).backward()
    outer = torch.optim.SGD(learner.parameters(), 1.0)
    learner.loss(given).backward()
    outer.step()
    for name, p in learner.net.params().items():
        if p.numel():
            moved = hand[name].grad
            torch.testing.assert_close(p, hand[name] - 0.1 * moved, atol=1e-6, rtol=1e-4)


def test_reptile_goes_through_the_examples_in_turn() -> None:
    learner, given = make("reptile", steps=3, batch=8), episodes(1)
    x = numbers(np.concatenate([given.support_x, given.query_x], 1)).float()
    y = torch.as_tensor(np.concatenate([given.support_y, given.query_y], 1))
    hand = {name: p.detach().clone().requires_grad_() for name, p in learner.net.params().items()}
    sgd = torch.optim.SGD(hand.values(), 0.1)
    for turn in ([*range(8)], [8, 9, 10, 11, 0, 1, 2, 3], [*range(4, 12)]):
        sgd.zero_grad()
        F.cross_entropy(learner.net(hand, x[:, turn])[0], y[0, turn]).backward()
        sgd.step()
    moved = gradients(learner, given)
    for name, p in learner.net.named_parameters():
        torch.testing.assert_close(p - moved[f"net.{name}"], hand[name], atol=1e-5, rtol=1e-4)


@kinds
@pytest.mark.parametrize("transductive", [False, True])
def test_adapted_weights_do_not_see_queries(
    kind: dict[str, Any], transductive: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    learner, (support, labels, queries, _) = make(**kind, transductive=transductive), episodes()
    steps: list[dict[str, Tensor]] = []
    inner = learner._descended
    monkeypatch.setattr(learner, "_descended", lambda *given: steps.append(inner(*given)) or steps[-1])
    learner(support, labels, queries)
    learner(support, labels, 255 - queries)
    torch.testing.assert_close(steps[0], steps[1], rtol=0, atol=0)
    torch.testing.assert_close(learner.adapted(support, labels), steps[0], rtol=1e-5, atol=1e-6)


def slope(learner: GradientLearner, given: Episodes, way: dict[str, Tensor], size: float = 1e-6) -> float:
    """The loss's derivative along ``way``, by central differences."""
    losses = []
    for sign in (1, -1):
        with torch.no_grad():
            for name, p in learner.named_parameters():
                p += sign * size * way[name]
            losses.append(float(learner.loss(given)))
            for name, p in learner.named_parameters():
                p -= sign * size * way[name]
    return (losses[0] - losses[1]) / (2 * size)


@pytest.mark.parametrize(
    "options",
    [
        {"algorithm": "maml"},
        {"algorithm": "maml", "steps": 3, "learned_lr": True},
        {"algorithm": "maml", "steps": 2, "head": "one", "transductive": True},
        {"algorithm": "anil", "steps": 3},
        {"algorithm": "maml", "steps": 2, "head": "prototypes", "learned_lr": True},
        {"algorithm": "anil", "steps": 2, "head": "prototypes"},
        {"algorithm": "anil", "steps": 2, "head": "one", "learned_lr": True, "transductive": True},
        {"algorithm": "fomaml"},
    ],
    ids=str,
)
def test_the_meta_gradient_is_that_of_finite_differences_unless_first_order(options: dict[str, Any]) -> None:
    learner = make(**{"inner_lr": 0.5, **options}).double()
    given = Episodes(*(numbers(part) if part.dtype == np.uint8 else torch.as_tensor(part) for part in episodes()))
    found = gradients(learner, given)
    exact = []
    for _ in range(3):
        way = {name: torch.randn_like(p) for name, p in learner.named_parameters()}
        along = sum(float((gradient * way[name]).sum()) for name, gradient in found.items())
        exact.append(along == pytest.approx(slope(learner, given, way), rel=1e-3, abs=1e-6))
    assert all(exact) is not learner.first_order


def test_first_order_is_the_gradient_at_the_end_of_the_adaptation() -> None:
    learner, given = make("fomaml", steps=2, eval_steps=2), episodes()
    end = {name: p.detach().requires_grad_() for name, p in learner.adapted(*given[:2]).items()}
    both = numbers(np.concatenate([given.support_x, given.query_x], 1)).float()
    logits = learner.net(end, both, given.support_x.shape[1])[:, given.support_x.shape[1] :]
    F.cross_entropy(logits.flatten(0, 1), torch.as_tensor(given.query_y).flatten()).backward()
    found = gradients(learner, given)
    for name, p in end.items():
        torch.testing.assert_close(found[f"net.{name}"], p.grad.sum(0), atol=1e-5, rtol=1e-4)


def test_anil_adapts_the_head_alone_but_learns_all() -> None:
    learner, given = make("anil"), episodes()
    assert learner.adapted(*given[:2]).keys() == {"weight", "bias"}
    assert all(gradient.abs().sum() > 0 for gradient in gradients(learner, given).values())


@pytest.mark.parametrize("algorithm", ["maml", "fomaml", "anil"])
def test_step_sizes_are_learned(algorithm: Algorithm) -> None:
    learner, given = make(algorithm, learned_lr=True, steps=2), episodes()
    same = make(algorithm, steps=2)
    same.net.load_state_dict(learner.net.state_dict())
    torch.testing.assert_close(learner.loss(given), same.loss(given))
    found = gradients(learner, given)
    assert {name for name in found if name.startswith("step_sizes")} == {
        f"step_sizes.{name}" for name in learner.adapted(*given[:2])
    }
    assert found["step_sizes.weight"].abs().sum() > 0


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("head", ["one", "prototypes"])
def test_with_these_heads_labels_are_symmetric_and_ways_are_any(algorithm: Algorithm, head: str) -> None:
    learner = make(algorithm, head=head, steps=2)
    support, labels, queries, _ = episodes(ways=5)
    logits = learner(support, labels, queries)
    assert logits.shape == (2, 10, 5)
    to = np.array([3, 0, 4, 1, 2])
    torch.testing.assert_close(learner(support, to[labels], queries)[..., to], logits, atol=1e-5, rtol=1e-4)
    assert learner.loss(episodes(ways=4)).ndim == 0


@pytest.mark.parametrize("options", [{"algorithm": "maml"}, {"algorithm": "maml", "learned_lr": True}], ids=str)
def test_the_first_step_of_one_head_is_that_of_the_whole_net(options: dict[str, Any]) -> None:
    learner, (support, labels, *_) = make(**options, head="one", eval_steps=2), episodes()
    whole = learner._side_by_side(torch.as_tensor(labels), lambda: torch.empty(0))
    lr = dict(learner.step_sizes) or 0.1
    data = (numbers(support).float(), torch.as_tensor(labels))
    expected = adapt(learner.net, whole, data, steps=2, lr=lr, second_order=True, loss=cross_entropy)
    found = learner.adapted(support, labels)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    wanted, got = (
        torch.autograd.grad(sum(p.square().sum() for p in end.values()), list(learner.parameters()))
        for end in (expected, found)
    )
    torch.testing.assert_close(got, wanted, atol=1e-4, rtol=1e-3)


@kinds
def test_memory_stays_flat_over_meta_steps(kind: dict[str, Any]) -> None:
    learner, given = make(**kind, steps=2), episodes()
    adam = torch.optim.Adam(learner.parameters())

    def tensors_after(updates: int) -> int:
        for _ in range(updates):
            adam.zero_grad()
            learner.loss(given).backward()
            adam.step()
        return sum(issubclass(type(thing), Tensor) for thing in gc.get_objects())

    tensors_after(2)
    gc.collect()
    gc.disable()  # or a cycle that holds a graph would be found only now and then
    try:
        assert tensors_after(1) == tensors_after(10)
    finally:
        gc.enable()


@kinds
def test_it_learns(kind: dict[str, Any]) -> None:
    learner = make(**kind, steps=2, eval_steps=2, width=8)
    rate = 3e-3 if kind.get("head") == "prototypes" else 1e-2  # that head is near its best from the start
    adam = torch.optim.Adam(learner.parameters(), rate)
    support, labels, queries, answers = episodes(200, shots=1, queries=2, seed=10_000)

    @torch.no_grad()
    def surprise() -> float:
        logits = learner(support, labels, queries).flatten(0, 1)
        return float(F.cross_entropy(logits, torch.as_tensor(answers).flatten()))

    before = surprise()
    for update in range(60):
        adam.zero_grad()
        learner.loss(episodes(8, shots=1, queries=3, seed=update)).backward()
        torch.nn.utils.clip_grad_norm_(learner.parameters(), 10.0)  # as the presets do; some second-order ones are huge
        adam.step()
    after = surprise()
    assert after < 0.9 * before
