"""The update: its minibatches, its schedules, and what it does with numbers that are not finite."""

import gc
import weakref
from collections import defaultdict
from dataclasses import replace
from itertools import chain
from typing import Any

import pytest
import torch
from torch import nn
from training_toys import PLAIN, ToyEnv, generator, make_policy, random_rollout

from metarl import tree
from metarl.memory.options import MemoryOptions
from metarl.memory.registry import runnable
from metarl.nets.policy import MemoryPolicy
from metarl.training import ppo
from metarl.training.collect import Rollout
from metarl.training.ppo import PPOOptions, in_parts, minibatch, parts_of, ppo_loss, scaled, update
from metarl.types import Boundary, NonFiniteError

ENV = ToyEnv([4] * 10)


def setup(rows: int = 10, steps: int = 4) -> tuple[MemoryPolicy, torch.optim.Optimizer, Rollout]:
    env = ToyEnv([4] * rows)
    policy = make_policy(env)
    return policy, torch.optim.Adam(policy.parameters()), random_rollout(policy, env, steps)


def run(policy: Any, optimizer: Any, rollout: Rollout, progress: float = 0.0, **options: Any) -> dict[str, float]:
    more = {name: options.pop(name) for name in ("name", "step", "go_on") if name in options}
    return update(policy, optimizer, rollout, PPOOptions(**options), progress=progress, generator=generator(), **more)


def snapshot(policy: nn.Module) -> list[torch.Tensor]:
    return [p.detach().clone() for p in policy.parameters()]


def unchanged(policy: nn.Module, before: list[torch.Tensor]) -> bool:
    return all(torch.equal(p, q) for p, q in zip(policy.parameters(), before, strict=True))


def test_the_loss_by_hand() -> None:
    policy, _, rollout = setup()
    options = PPOOptions(clip_range=0.2, vf_coef=0.25)
    loss, report = ppo_loss(policy, scaled(rollout), options, ent_coef=0.1)
    with torch.no_grad():
        result = policy.evaluate(rollout.obs, rollout.state, rollout.boundary, rollout.actions)
    total, clipped, count = 0.0, 0, rollout.actions.numel()
    advantages = (rollout.advantages - rollout.advantages.mean()) / rollout.advantages.std()
    for t in range(4):
        for b in range(10):
            ratio = float((result.log_prob - rollout.log_probs).exp()[t, b])
            a = float(advantages[t, b])
            bound = min(ratio, 1.2) if a > 0 else max(ratio, 0.8)
            total -= bound * a / count
            clipped += abs(ratio - 1) > 0.2
            total += 0.25 * 0.5 * float((result.value - rollout.returns)[t, b]) ** 2 / count
            total -= 0.1 * float(result.entropy[t, b]) / count
    assert float(loss.detach()) == pytest.approx(total, abs=1e-5)
    assert float(report["clip_fraction"]) == pytest.approx(clipped / count)


@pytest.mark.parametrize(
    "memory",
    [replace(options, controller_options={"hidden_size": 8}, key_size=4) for _, options in runnable()],
    ids=[name for name, _ in runnable()],
)
def test_other_sequences_change_nothing_of_a_row(memory: MemoryOptions) -> None:
    """Garbage beside a row leaves its outputs, its state and the gradients that it causes as they are."""
    policy = make_policy(ENV, memory)
    gate = getattr(policy.core, "gate", None)
    if gate is not None:
        nn.init.ones_(gate)
    rollout = random_rollout(policy, ENV, 8)
    for part in rollout.obs.values():
        part[:, 4:] *= 1e3
    alone = minibatch(rollout, torch.arange(4))
    found = []
    for batch in (alone, rollout):
        policy.zero_grad()
        result = policy.evaluate(batch.obs, batch.state, batch.boundary, batch.actions)
        _, state = policy.core.unroll(policy.encoder(batch.obs), batch.state, batch.boundary)
        rows = [part[:, :4] for part in result[:3]]
        sum((part * torch.linspace(0.5, 1.5, part.numel()).view_as(part)).sum() for part in rows).backward()
        grads = [p.grad.clone() for p in policy.parameters() if p.grad is not None]
        found.append((rows, list(tree.leaves(tree.index(state, slice(0, 4)))), grads))
    for (some, full), tolerance in zip(zip(*found, strict=True), (1e-6, 1e-6, 1e-5), strict=True):
        for left, right in zip(some, full, strict=True):
            torch.testing.assert_close(left, right, atol=tolerance, rtol=1e-5)


@pytest.mark.parametrize(("rows", "steps"), [(1, 1), (1, 4), (3, 1)])
def test_a_batch_of_one_is_finite(rows: int, steps: int) -> None:
    policy, optimizer, rollout = setup(rows, steps)
    before = snapshot(policy)
    report = run(policy, optimizer, rollout, n_minibatches=8)
    assert all(torch.isfinite(torch.tensor(number)) for number in report.values())
    assert all(torch.isfinite(p).all() for p in policy.parameters())
    assert not unchanged(policy, before)


def test_an_update_makes_nothing_on_another_device_than_the_rollouts() -> None:
    """With another default device, a tensor that does not follow the rollout's own would fail."""
    reports = []
    for device in ("cpu", "meta"):
        policy, optimizer, rollout = setup()
        with torch.device(device):
            reports.append(run(policy, optimizer, rollout))
    assert reports[0] == reports[1]


def sizes(monkeypatch: pytest.MonkeyPatch, rows: int, **options: Any) -> list[list[int]]:
    """The rows in each minibatch of an update, recognised by marks in the values."""
    policy, optimizer, rollout = setup(rows)
    rollout = rollout._replace(values=torch.arange(float(rows)).expand(4, -1))
    seen: list[list[int]] = []

    def spy(policy: Any, batch: Rollout, *rest: Any) -> Any:
        seen.append(batch.values[0].int().tolist())
        return ppo_loss(policy, batch, *rest)

    monkeypatch.setattr(ppo, "ppo_loss", spy)
    run(policy, optimizer, rollout, **options)
    return seen


def test_an_uneven_remainder_is_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = sizes(monkeypatch, 10, n_epochs=2, n_minibatches=4)
    assert [len(part) for part in seen] == [3, 3, 2, 2] * 2
    for epoch in (seen[:4], seen[4:]):
        assert sorted(chain.from_iterable(epoch)) == list(range(10)), "every sequence once an epoch"
    assert seen[:4] != seen[4:], "shuffled anew"
    assert [len(part) for part in sizes(monkeypatch, 3, n_epochs=1, n_minibatches=16)] == [1, 1, 1]


def steps_taken(optimizer: torch.optim.Optimizer) -> int:
    return int(next(iter(optimizer.state.values()))["step"])


def test_target_kl_ends_the_update_early() -> None:
    for target, epochs in ((1e-9, 1), (1e9, 5), (None, 5)):
        policy, optimizer, rollout = setup()
        run(policy, optimizer, rollout, n_epochs=5, n_minibatches=2, target_kl=target, learning_rate=1e-2)
        assert steps_taken(optimizer) == 2 * epochs


def test_an_update_can_be_ended_after_any_minibatch() -> None:
    policy, optimizer, rollout = setup()
    run(policy, optimizer, rollout, n_epochs=5, n_minibatches=2, go_on=lambda: steps_taken(optimizer) < 3)
    assert steps_taken(optimizer) == 3


def test_schedules_run_straight_to_their_ends_and_stay_there() -> None:
    options = PPOOptions(learning_rate=1e-2, learning_rate_end=2e-3, ent_coef=0.1, ent_coef_end=0.0)
    assert options.at(0.0) == (1e-2, 0.1)
    assert options.at(0.5) == pytest.approx((6e-3, 0.05))
    assert options.at(1.0) == options.at(3.0) == pytest.approx((2e-3, 0.0))
    policy, optimizer, rollout = setup()
    report = update(policy, optimizer, rollout, options, progress=0.5, generator=generator())
    assert optimizer.param_groups[0]["lr"] == report["learning_rate"] == pytest.approx(6e-3)
    assert report["ent_coef"] == pytest.approx(0.05)
    assert PPOOptions(gamma=0.9).gamma_at(0.7) == 0.9
    growing = PPOOptions(gamma=0.9, gamma_end=1.0)
    assert [growing.gamma_at(p) for p in (0.0, 0.5, 1.0, 2.0)] == pytest.approx([0.9, 0.95, 1.0, 1.0])


def test_gradients_are_scaled_down_to_the_norm(monkeypatch: pytest.MonkeyPatch) -> None:
    policy, _, rollout = setup()
    norms = []

    class Watching(torch.optim.SGD):
        def step(self, closure: Any = None) -> None:
            norms.append(float(nn.utils.get_total_norm([p.grad for p in policy.parameters() if p.grad is not None])))

    report = run(policy, Watching(policy.parameters()), rollout, n_epochs=1, n_minibatches=2, max_grad_norm=0.01)
    assert norms == pytest.approx([0.01, 0.01], rel=1e-3)
    assert report["grad_norm"] > 0.01, "what is reported is the norm before"


def test_what_an_update_reports() -> None:
    policy, optimizer, rollout = setup()
    with torch.no_grad():
        log_probs = policy.evaluate(rollout.obs, rollout.state, rollout.boundary, rollout.actions).log_prob
    rollout = rollout._replace(log_probs=log_probs, values=rollout.returns)
    report = run(policy, optimizer, rollout)
    assert report["ratio_error"] < 1e-6
    assert report["explained_variance"] == 1.0
    assert set(report) == {
        *("policy_gradient_loss", "value_loss", "entropy", "approx_kl", "clip_fraction", "ratio_error", "grad_norm"),
        *("explained_variance", "learning_rate", "ent_coef"),
    }
    still = run(policy, optimizer, rollout._replace(returns=torch.ones(4, 10)))
    assert still["explained_variance"] == 0.0


def test_a_loss_that_is_not_finite_leaves_the_parameters() -> None:
    policy, optimizer, rollout = setup()
    rollout.returns[2, 3] = torch.nan
    before = snapshot(policy)
    with pytest.raises(NonFiniteError, match=r"the PPO loss.* Toy at step 7"):
        run(policy, optimizer, rollout, n_minibatches=1, name="Toy", step=7)
    assert unchanged(policy, before)
    assert not optimizer.state


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_gradient_that_is_not_finite_is_named_and_leaves_the_parameters(bad: float) -> None:
    policy, optimizer, rollout = setup()
    policy.critic.bias.register_hook(lambda grad: torch.full_like(grad, bad))
    before = snapshot(policy)
    with pytest.raises(NonFiniteError, match=r"gradient .*critic\.bias"):
        run(policy, optimizer, rollout)
    assert unchanged(policy, before)
    assert not optimizer.state


# Steps that do not count


def gradients(
    policy: MemoryPolicy, rollout: Rollout
) -> tuple[torch.Tensor, dict[str, torch.Tensor], list[torch.Tensor]]:
    policy.zero_grad()
    loss, report = ppo_loss(policy, scaled(rollout), PPOOptions(), ent_coef=0.1)
    loss.backward()
    return loss.detach(), report, [p.grad.clone() for p in policy.parameters() if p.grad is not None]


def assert_same(one: Any, other: Any, tolerance: float = 1e-6) -> None:
    torch.testing.assert_close(one[0], other[0], atol=tolerance, rtol=tolerance)
    assert one[1].keys() == other[1].keys()
    for name, number in one[1].items():
        torch.testing.assert_close(number, other[1][name], atol=tolerance, rtol=tolerance)
    for left, right in zip(one[2], other[2], strict=True):
        torch.testing.assert_close(left, right, atol=tolerance, rtol=tolerance)


def without(rollout: Rollout, steps: list[int]) -> Rollout:
    """The rollout without these steps."""
    kept = [t for t in range(len(rollout.boundary)) if t not in steps]
    parts = {k: v[kept] for k, v in rollout._asdict().items() if isinstance(v, torch.Tensor) and k != "valid"}
    return Rollout(obs={k: v[kept] for k, v in rollout.obs.items()}, state=rollout.state, **parts)


def with_dead_steps(rollout: Rollout, dead: list[int]) -> Rollout:
    """The rollout with trials of one step that do not count."""
    for t in dead:
        rollout.boundary[t : t + 2] = Boundary.TRIAL
    valid = torch.ones_like(rollout.boundary, dtype=torch.bool)
    valid[dead] = False
    return rollout._replace(valid=valid)


EPISODIC = MemoryOptions(controller="lstm", controller_options={"hidden_size": 4}, key_size=4, value_size=4, gate=False)
STATES = replace(EPISODIC, value_size=None, store_options={"write": "episode", "holds": "state"})


@pytest.mark.parametrize("memory", [PLAIN, EPISODIC, STATES], ids=["alone", "episodic", "states"])
def test_steps_that_do_not_count_are_as_if_they_were_not_there(memory: MemoryOptions) -> None:
    """Loss, what is reported, the scaling of advantages and all gradients, whatever garbage stands in them."""
    policy = make_policy(ENV, memory)
    rollout = with_dead_steps(random_rollout(policy, ENV, 9), [3, 6])
    expected = gradients(policy, without(rollout, [3, 6]))
    for part in (rollout.log_probs, rollout.values, rollout.advantages, rollout.returns):
        part[[3, 6]] = torch.nan
    rollout.actions[[3, 6]] = (rollout.actions[[3, 6]] + 1) % 3
    for part in rollout.obs.values():
        part[[3, 6]] = 1e6
    assert_same(gradients(policy, rollout), expected)


def test_a_minibatch_without_a_step_that_counts_is_left_out() -> None:
    policy, optimizer, rollout = setup(rows=5)
    valid = torch.ones(4, 5, dtype=torch.bool)
    valid[:, [0, 3]] = False
    rollout.returns[:, [0, 3]] = torch.nan
    report = run(policy, optimizer, rollout._replace(valid=valid), n_epochs=3, n_minibatches=5, target_kl=1e9)
    assert steps_taken(optimizer) == 3 * 3
    assert all(torch.isfinite(torch.tensor(number)) for number in report.values())


def test_a_minibatch_with_a_single_step_that_counts_is_finite() -> None:
    policy, optimizer, rollout = setup(rows=2)
    valid = torch.zeros(4, 2, dtype=torch.bool)
    valid[1, 0] = True
    report = run(policy, optimizer, rollout._replace(valid=valid), n_epochs=2, n_minibatches=1)
    assert all(torch.isfinite(torch.tensor(number)) for number in report.values())
    assert steps_taken(optimizer) == 2


def test_a_rollout_without_a_step_that_counts_changes_nothing() -> None:
    policy, optimizer, rollout = setup()
    before = snapshot(policy)
    report = run(policy, optimizer, rollout._replace(valid=torch.zeros(4, 10, dtype=torch.bool)), target_kl=0.1)
    assert unchanged(policy, before)
    assert not optimizer.state
    assert set(report) == {"learning_rate", "ent_coef"}


# Minibatches in parts


def in_double(policy: MemoryPolicy, rollout: Rollout) -> tuple[MemoryPolicy, Rollout]:
    def double(part: Any) -> Any:
        return part.double() if isinstance(part, torch.Tensor) and part.is_floating_point() else part

    parts = {name: double(part) for name, part in rollout._asdict().items()}
    parts |= {"obs": {k: double(v) for k, v in rollout.obs.items()}, "state": tree.map_tensors(double, rollout.state)}
    return policy.double(), Rollout(**parts)


def full(rows: int, steps: int) -> Rollout:
    """A rollout with steps that do not count, unequally many a row, and an expert who is imitated in some."""
    env = ToyEnv([4] * rows)
    rollout = random_rollout(make_policy(env), env, steps)
    valid = torch.rand(steps, rows, generator=generator(1)) < torch.linspace(0.2, 1.0, rows)
    expert = torch.randint(0, 3, (steps, rows), generator=generator(2))
    weights = 0.5 * (torch.rand(steps, rows, generator=generator(3)) < torch.linspace(0.8, 0.1, rows)).float()
    return rollout._replace(valid=valid, expert=expert, imitation=weights)


@pytest.mark.parametrize(("double", "tolerance"), [(False, 1e-6), (True, 1e-12)])
@pytest.mark.parametrize("memory", [PLAIN, "episodic"])
@pytest.mark.parametrize("steps_at_once", [1, 16, 17, 31])
def test_the_gradients_of_parts_add_up_to_those_of_the_whole(
    memory: Any, double: bool, tolerance: float, steps_at_once: int
) -> None:
    """Also where parts have unequally many rows, steps that count, and steps in which an expert is imitated."""
    memory = EPISODIC if memory == "episodic" else memory
    found = []
    for most in (None, steps_at_once):
        policy, rollout = make_policy(ENV, memory), full(rows=10, steps=8)
        rollout = rollout._replace(state=policy.initial_state(10))
        if double:
            policy, rollout = in_double(policy, rollout)
        optimizer = torch.optim.SGD(policy.parameters(), lr=0.0)
        report = run(policy, optimizer, rollout, n_epochs=1, n_minibatches=1, steps_at_once=most, learning_rate=0.0)
        found.append((report, [p.grad for p in policy.parameters() if p.grad is not None]))
    (whole, one), (parts, other) = found
    assert any(grad.any() for grad in one)
    for left, right in zip(one, other, strict=True):
        torch.testing.assert_close(left, right, atol=tolerance, rtol=tolerance)
    assert parts == pytest.approx(whole, abs=10 * tolerance, rel=10 * tolerance)


def test_parts_hold_no_more_steps_than_they_may_and_whole_sequences(monkeypatch: pytest.MonkeyPatch) -> None:
    for most, rows in ((None, [10]), (40, [10]), (39, [5, 5]), (13, [3, 3, 2, 2]), (1, [1] * 10)):
        seen = sizes(monkeypatch, 10, n_epochs=1, n_minibatches=1, steps_at_once=most)
        assert [len(part) for part in seen] == rows
        assert sorted(chain.from_iterable(seen)) == list(range(10))


def test_parts_without_a_step_that_counts_are_left_out() -> None:
    policy, optimizer, rollout = setup(rows=5)
    valid = torch.ones(4, 5, dtype=torch.bool)
    valid[:, [0, 3]] = False
    rollout.returns[:, [0, 3]] = torch.nan
    report = run(policy, optimizer, rollout._replace(valid=valid), n_epochs=3, n_minibatches=1, steps_at_once=1)
    assert steps_taken(optimizer) == 3
    assert all(torch.isfinite(torch.tensor(number)) for number in report.values())


def test_what_backpropagation_holds_does_not_grow_with_the_minibatch() -> None:
    """Counted at each term: the tensors of the parts before it are gone."""
    policy, _, rollout = setup(rows=16, steps=16)
    rollout = scaled(rollout)

    def held(batch: Rollout, most: int | None) -> list[int]:
        alive: set[int] = set()
        counts = []

        def pack(x: torch.Tensor) -> Any:
            kept = x.detach().clone()
            alive.add(id(kept))
            weakref.finalize(kept, alive.discard, id(kept))
            return kept

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            for term in in_parts(policy, batch, PPOOptions(steps_at_once=most), 0.1, defaultdict(list)):
                counts.append(len(alive))
                term.backward()
                del term
                gc.collect()
        return counts

    parts = list(parts_of(rollout, 32))
    assert len(parts) == 8
    assert held(rollout, 32) == [held(part, None)[0] for part in parts]
