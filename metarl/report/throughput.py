"""What training costs, as plain text for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from metarl.evaluation.throughput import Operations, Throughput
from metarl.report.tables import Cells, aligned


def throughput_table(cost: Throughput, operations: Operations, rates: Mapping[int, float]) -> str:
    """Speed, share of the limit, and memory.

    Args:
        cost: of training.
        operations: of a rollout with its update.
        rates: of matrix products, in operations a second, by size; the largest is the limit.
    """
    limit = max(rates.values())
    rows: list[Cells] = [("", "steps/s", "seconds", "GFLOP", "GFLOP/s", "of the limit")]
    for name, seconds, flops in (
        ("collecting", cost.collect_seconds, operations.collect),
        ("updating", cost.update_seconds, operations.update),
        ("training", cost.seconds, operations.total),
    ):
        rate = flops / seconds
        numbers = f"{cost.steps / seconds:,.0f}", f"{seconds:.3f}", f"{flops / 1e9:.3g}", f"{rate / 1e9:.3g}"
        rows.append((name, *numbers, f"{rate / limit:.1%}"))
    products = ", ".join(f"{size} x {size}: {rate / 1e9:.0f}" for size, rate in rates.items())
    trial = "trials of several lengths" if cost.trial_steps is None else f"trials of {cost.trial_steps:,} steps"
    return "\n".join(
        [
            f"{cost.n_envs:,} environments x {cost.n_steps:,} steps, {trial}, {cost.parameters:,} parameters, "
            f"{cost.device}, {_counted(cost.threads, 'thread')}; median of {_counted(cost.rollouts, 'rollout')}",
            f"matrix products, float32, GFLOP/s: {products}; the largest is the limit",
            "",
            *aligned(rows),
            "",
            f"memory: {_mega(cost.peak_bytes)} MB resident at most, {_mega(cost.start_bytes)} before learning; tensors "
            f"of an update {_mega(cost.update_bytes)} MB at most",
        ]
    )


GROWTH_HEAD: Cells = ("growth", "x", "steps/s", "collect s", "update s", "resident MB", "update MB", "time", "memory")


def growth_table(base: Throughput, grown: Sequence[tuple[str, int, Throughput | None, str]]) -> str:
    """A row for each experiment with something enlarged.

    Args:
        base: what the experiment as it is costs; time and memory of an update are shown as multiples of its own.
        grown: what was enlarged, by how much, what that costs (None: it was not measured), and what else to say.
    """
    rows = [GROWTH_HEAD, _grown("as it is", 1, base, base)]
    notes = []
    for what, factor, cost, more in grown:
        if cost is None:
            notes.append(f"{what} x {factor} not measured: {more}")
        else:
            rows.append(_grown(what, factor, cost, base))
            notes.append(f"{what} x {factor}: {more}")
    notes.append("time: of a rollout with its update; memory: of an update's tensors; both as multiples of 'as it is'")
    return "\n".join([*aligned(rows), "", *notes])


def _grown(what: str, factor: int, cost: Throughput, base: Throughput) -> Cells:
    return (
        what,
        str(factor),
        f"{cost.steps_per_second:,.0f}",
        f"{cost.collect_seconds:.3f}",
        f"{cost.update_seconds:.3f}",
        _mega(cost.peak_bytes),
        _mega(cost.update_bytes),
        f"{cost.seconds / base.seconds:.2f}",
        f"{cost.update_bytes / base.update_bytes:.2f}",
    )


def _mega(count: int | None) -> str:
    return "-" if count is None else f"{count / 1e6:,.3g}" if count < 1e8 else f"{count / 1e6:,.0f}"


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' * (count != 1)}"
