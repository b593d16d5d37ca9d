"""How time and memory of training grow: the same experiment with longer trials, more environments, slots or width."""

from __future__ import annotations

import dataclasses
import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

from metarl.config import InputError
from metarl.evaluation.products import SIZES, product_rates
from metarl.evaluation.throughput import Operations, Throughput, count, measure
from metarl.experiments.base import pick_device, torch_threads
from metarl.experiments.rl.experiment import RL2Experiment, close
from metarl.memory.registry import CONTROLLERS, STORES
from metarl.tasks.vector.process import end_with_parent

if TYPE_CHECKING:
    from metarl.agents.rl2 import RL2PPO

Measured = TypeVar("Measured")

LENGTHS = ("episodes", "repeats", "pulls", "max_steps", "steps")
"""Options of families that the length of a trial may be in proportion to; the first that it is, is changed."""
PRELOADED = [__name__, "metarl.agents.rl2", "torch._dynamo"]
"""Modules that every training imports; the last one by torch's optimizers, in their first step."""
SLOTS = ("capacity", "slots")
"""What the number of slots is called in the options of stores."""


class NotHere(InputError):
    """An experiment has nothing that could be enlarged so."""


@dataclass(frozen=True)
class Grown:
    """An experiment with something enlarged, and what its training costs.

    Args:
        what: was enlarged.
        factor: by how much.
        changed: the settings that differ, by name.
        cost: of training.
        reason: why it could not be measured, if so.
    """

    what: str
    factor: int
    changed: dict[str, int]
    cost: Throughput | None
    reason: str = ""


def longer(experiment: RL2Experiment, factor: int) -> tuple[RL2Experiment, dict[str, int]]:
    """``experiment`` with trials ``factor`` times as long, and rollouts, where they are no whole trials.

    Raises:
        NotHere: no option of the family makes trials longer.
    """
    family = experiment.make_distribution("train")
    steps = experiment.train.n_steps
    more = {} if steps is None else {"train.n_steps": factor * steps}
    for name in LENGTHS:
        now = experiment.env.get(name, getattr(family, name, None))
        if not isinstance(now, int):
            continue
        grown = replace(experiment, env={**experiment.env, name: factor * now})
        try:
            reached = grown.make_distribution("train").trial_steps
        except InputError:  # it is bounded
            continue
        if reached == factor * family.trial_steps:
            grown = replace(grown, train=replace(grown.train, n_steps=more.get("train.n_steps")))
            return grown, {f"env.{name}": factor * now, **more}
    raise NotHere(f"no option of {experiment.env_name} lengthens its trials ({', '.join(LENGTHS)} are known)")


def wider_batch(experiment: RL2Experiment, factor: int) -> tuple[RL2Experiment, dict[str, int]]:
    """``experiment`` with ``factor`` times as many environments."""
    count = factor * experiment.train.n_envs
    return replace(experiment, train=replace(experiment.train, n_envs=count)), {"train.n_envs": count}


def more_slots(experiment: RL2Experiment, factor: int) -> tuple[RL2Experiment, dict[str, int]]:
    """``experiment`` with ``factor`` times as many slots in its store.

    Raises:
        NotHere: it has no slots that are counted.
    """
    memory = experiment.memory
    if memory.store == "none":
        raise NotHere("there is no store")
    if memory.store_options.get("merge"):
        raise NotHere("merged slots are as many as there are different keys")
    kind = STORES[memory.store].load()[1]
    fields = {field.name: field.default for field in dataclasses.fields(kind)}
    name = next((name for name in SLOTS if name in fields), None)
    if name is None:
        raise NotHere(f"{memory.store} has no slots")
    now = memory.store_options.get(name, fields[name])
    if now is None:  # as many as a trial has steps
        now = experiment.make_distribution("train").trial_steps
    options = {**memory.store_options, name: factor * now}
    return replace(experiment, memory=replace(memory, store_options=options)), {
        f"memory.store_options.{name}": factor * now
    }


def wider(experiment: RL2Experiment, factor: int) -> tuple[RL2Experiment, dict[str, int]]:
    """``experiment`` with ``factor`` times the width: of the controller, and of keys and values in a store."""
    memory = experiment.memory
    sizes = {} if memory.store == "none" else {"key_size": memory.key_size}
    if memory.store != "none" and memory.store_options.get("holds") != "state":  # which is as wide as the cell
        sizes["value_size"] = memory.value_size or 64
    if memory.per_action:
        sizes["action_size"] = memory.action_size
    sizes = {name: factor * size for name, size in sizes.items()}
    changed = {f"memory.{name}": size for name, size in sizes.items()}
    grown: dict[str, Any] = dict(sizes)
    kind = CONTROLLERS[memory.controller].load()[1]
    hidden = next((f.default for f in dataclasses.fields(kind) if f.name == "hidden_size"), None)
    hidden = memory.controller_options.get("hidden_size", hidden)
    if isinstance(hidden, int):
        grown["controller_options"] = {**memory.controller_options, "hidden_size": factor * hidden}
        changed = {"memory.controller_options.hidden_size": factor * hidden, **changed}
    return replace(experiment, memory=replace(memory, **grown)), changed


GROWTH: dict[str, Callable[[RL2Experiment, int], tuple[RL2Experiment, dict[str, int]]]] = {
    "trial length": longer,
    "environments": wider_batch,
    "slots": more_slots,
    "width": wider,
}


def growth(
    experiment: RL2Experiment, factors: Iterable[int], rollouts: int, imports: Sequence[str] = ()
) -> Iterator[Grown]:
    """Measure ``experiment`` with each of :data:`GROWTH` enlarged, each by each factor.

    Args:
        experiment: checked.
        factors: by which things are enlarged.
        rollouts: that are timed of each.
        imports: modules that register parts of memories or environments.
    """
    factors = tuple(factors)
    for what, enlarge in GROWTH.items():
        for factor in factors:
            changed: dict[str, int] = {}
            try:
                grown, changed = enlarge(experiment, factor)
                yield Grown(what, factor, changed, alone(grown.check(), rollouts, imports))
            except NotHere as error:
                yield Grown(what, factor, changed, None, str(error))
                break  # whatever the factor
            except InputError as error:
                yield Grown(what, factor, changed, None, str(error))


def alone(experiment: RL2Experiment, rollouts: int, imports: Sequence[str] = ()) -> Throughput:
    """What training costs, measured in a process of its own, whose peak of memory is that of this training.

    Args:
        experiment: checked.
        rollouts: that are timed.
        imports: modules that register parts of memories or environments.

    Raises:
        InputError: the process was killed, as systems do where memory runs out.
    """
    return _apart(partial(measure, rollouts=rollouts), experiment, imports)


def operations(experiment: RL2Experiment, imports: Sequence[str] = ()) -> Operations:
    """The operations of a rollout and its update, counted in a process of its own; see :func:`alone`."""
    return _apart(count, experiment, imports)


def _apart(what: Callable[[RL2PPO], Measured], experiment: RL2Experiment, imports: Sequence[str]) -> Measured:
    # A server that has imported everything forks each process: it begins with as much memory, and at once.
    kinds = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in kinds else "spawn")
    if "forkserver" in kinds:
        context.set_forkserver_preload(PRELOADED)
    others = multiprocessing.active_children()
    pool = ProcessPoolExecutor(1, context, _prepare)
    try:
        return pool.submit(_with_agent, what, experiment, tuple(imports)).result()
    except BrokenProcessPool:
        problem = f"the process that trained in {experiment.env_name} was killed"
        remedy = "the likely reason is memory: give fewer environments, steps or slots"
        raise InputError(problem, remedy=remedy) from None
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in set(multiprocessing.active_children()).difference(others):
            process.terminate()  # that of an experiment under way, where this one is interrupted


def rates(experiment: RL2Experiment, sizes: Sequence[int] = SIZES, seconds: float = 0.02) -> dict[int, float]:
    """The rate of matrix products with the experiment's device and threads: see :func:`product_rates`.

    Args:
        experiment: says which device, and how many threads.
        sizes: sides of the matrices.
        seconds: of a measurement.
    """
    with torch_threads(experiment.threads):
        return product_rates(pick_device(experiment.device), sizes, seconds)


def _with_agent(what: Callable[[RL2PPO], Measured], experiment: RL2Experiment, imports: Sequence[str]) -> Measured:
    for module in imports:
        import_module(module)
    with torch_threads(experiment.threads):
        agent = experiment.build(0, pick_device(experiment.device))
        try:
            return what(agent)
        finally:
            close(agent)


def _prepare() -> None:
    """Set up a process; only the parent handles an interrupt, and without it nothing goes on."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=end_with_parent, daemon=True).start()
