"""The barcode bandit (Ritter et al. 2018): a context shown again means an arm to be remembered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from gymnasium import spaces

from metarl.config import InputError
from metarl.envs.single import SingleEnv
from metarl.tasks.family.checks import true_or_false, whole_number
from metarl.tasks.family.distribution import BatchedEnv, TaskBatch, TaskDistribution
from metarl.tasks.family.priors import BarcodePrior
from metarl.types import Array, Bools, Ints

if TYPE_CHECKING:
    from metarl.envs.picture import Picture


@dataclass(frozen=True, kw_only=True)
class BarcodeBandit(TaskDistribution):
    """Bandit episodes under a barcode: the arm that pays ``high`` belongs to the barcode shown, all others pay ``low``.

    A trial has ``contexts`` distinct barcodes of ``bits`` random bits, each met in ``repeats`` episodes of ``pulls``
    pulls, in random order. The best arms are independent and uniform; with ``each_arm_best_once`` they are a
    permutation of the arms instead. The observation is the barcode of the current episode; past the last episode the
    order begins again, which shows only in the observation that ends a trial.

    With ``flips``, that many different bits of the barcode, drawn anew for each episode, are shown flipped throughout
    the episode: a context then looks a little different each time it is met. The flips are part of the task.

    With ``gap``, contexts are met in rounds instead: each round meets every context once, in an order of its own, and
    at least ``gap`` episodes of other contexts lie between two encounters of one. All such orders are equally likely.

    Args:
        arms: the actions.
        contexts: barcodes of a task.
        repeats: episodes under each barcode.
        pulls: steps of an episode.
        bits: length of a barcode, at most 62.
        high: the rate of the best arm.
        low: the rate of all others.
        each_arm_best_once: whether each arm is the best under exactly one barcode.
        flips: bits that are shown flipped in each episode.
        gap: least number of other episodes between two encounters of a context; None: any, in random order.

    Raises:
        ValueError: a count below its least value, ``low`` above or equal to ``high``, more contexts than barcodes,
            more flips than bits, or a gap as large as the number of contexts.
    """

    arms: int = 10
    contexts: int = 10
    repeats: int = 10
    pulls: int = 10
    bits: int = 20
    high: float = 0.9
    low: float = 0.1
    each_arm_best_once: bool = False
    flips: int = 0
    gap: int | None = None

    family: ClassVar[str] = "BarcodeBandit"
    counts: ClassVar[Mapping[str, int]] = {"arms": 2, "contexts": 1, "repeats": 1, "pulls": 1, "bits": 1, "flips": 0}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.bits > 62:
            raise InputError(key="bits", given=self.bits, expected="at most 62")
        if not 0 <= self.low < self.high <= 1:
            raise InputError(key="(low, high)", given=(self.low, self.high), expected="0 <= low < high <= 1")
        if self.contexts > 2**self.bits:
            most = f"at most {2**self.bits}, as many as {self.bits} bits can tell apart"
            raise InputError(key="contexts", given=self.contexts, expected=most)
        true_or_false("each_arm_best_once", self.each_arm_best_once)
        if self.each_arm_best_once and self.contexts != self.arms:
            same = f"{self.arms}, the number of arms, with each_arm_best_once"
            raise InputError(key="contexts", given=self.contexts, expected=same)
        if self.flips > self.bits:
            raise InputError(key="flips", given=self.flips, expected=f"at most {self.bits}, the number of bits")
        if self.gap is not None:
            whole_number("gap", self.gap, at_least=0)
            if self.gap >= self.contexts:
                most = f"at most {self.contexts - 1}, as there are {self.contexts} contexts"
                raise InputError(key="gap", given=self.gap, expected=most)

    @property
    def trial_steps(self) -> int:
        """All pulls of all episodes."""
        return self.episodes * self.pulls

    @property
    def episodes(self) -> int:
        """Inner episodes in a trial."""
        return self.contexts * self.repeats

    @property
    def observation_space(self) -> spaces.Box:
        """The barcode, as it is shown."""
        return spaces.Box(0.0, 1.0, (self.bits,), np.float32)

    @property
    def action_space(self) -> spaces.Discrete:
        """Which arm to pull."""
        return spaces.Discrete(self.arms)

    @property
    def task_space(self) -> spaces.Dict:
        """``contexts`` (their bits), ``best`` (the best arm of each), ``order`` (the context of each episode).

        With ``flips`` also ``flipped``: which bits each episode shows flipped.
        """
        flipped = {"flipped": spaces.Box(0, 1, (self.episodes, self.bits), np.int8)} if self.flips else {}
        return spaces.Dict(
            {
                "contexts": spaces.Box(0, 1, (self.contexts, self.bits), np.int8),
                "best": spaces.MultiDiscrete([self.arms] * self.contexts),
                "order": spaces.MultiDiscrete([self.contexts] * self.episodes),
                **flipped,
            }
        )

    @property
    def looks_change(self) -> bool:
        """See :attr:`metarl.tasks.family.distribution.TaskDistribution.looks_change`: with ``flips``."""
        return self.flips > 0

    @property
    def prior(self) -> BarcodePrior:
        """The numbers that the ceilings are computed from."""
        return BarcodePrior(**{field.name: getattr(self, field.name) for field in fields(BarcodePrior)})

    def sample_batch(self, rng: np.random.Generator, n: int) -> TaskBatch:
        """``contexts`` ``[n, contexts, bits]``, ``best`` ``[n, contexts]``, ``order`` ``[n, episodes]``.

        With ``flips`` also ``flipped`` ``[n, episodes, bits]``.
        """
        codes = _distinct(rng, n, self.contexts, 2**self.bits)
        if self.each_arm_best_once:
            best = rng.permuted(np.tile(np.arange(self.arms), (n, 1)), axis=1)
        else:
            best = rng.integers(self.arms, size=(n, self.contexts))
        tasks = {
            "contexts": ((codes[:, :, None] >> np.arange(self.bits)) & 1).astype(np.int8),
            "best": best,
            "order": self._order(rng, n),
        }
        if self.flips:  # drawn last, so that all else is as without them
            first = (np.arange(self.bits) < self.flips).astype(np.int8)
            tasks["flipped"] = rng.permuted(np.tile(first, (n, self.episodes, 1)), axis=2)
        return tasks

    def _order(self, rng: np.random.Generator, n: int) -> Ints:
        """The context of each episode ``[n, episodes]``."""
        if self.gap is None:
            order = np.tile(np.repeat(np.arange(self.contexts), self.repeats), (n, 1))
            return rng.permuted(order, axis=1)
        rounds = [rng.permuted(np.tile(np.arange(self.contexts), (n, 1)), axis=1)]
        while len(rounds) < self.repeats:
            rounds.append(_next_round(rng, rounds[-1], self.contexts - 1 - self.gap))
        return np.concatenate(rounds, axis=1)

    def make(self, task: Mapping[str, Array]) -> BarcodeEnv:
        """The bandits of one trial; ``task`` as :meth:`sample_batch` draws it, without the axis ``n``."""
        return BarcodeEnv(self, task)

    def batched(self, n: int) -> BatchedBarcode:
        """``n`` trials as arrays."""
        return BatchedFlips(self, n) if self.flips else BatchedBarcode(self, n)


def _distinct(rng: np.random.Generator, n: int, k: int, total: int) -> Ints:
    """``n`` uniform samples of ``k`` different numbers below ``total``, in random order (Floyd's algorithm)."""
    chosen = np.empty((n, k), np.int64)
    for j in range(k):
        top = total - k + j
        draw = rng.integers(top + 1, size=n)
        seen = (chosen[:, :j] == draw[:, None]).any(axis=1)
        chosen[:, j] = np.where(seen, top, draw)
    return rng.permuted(chosen, axis=1)


def _next_round(rng: np.random.Generator, last: Ints, sooner: int) -> Ints:
    """The rows of ``last`` ``[n, k]`` in new orders, in which nothing comes more than ``sooner`` places sooner.

    Each place takes one of those that may come so soon and are not placed yet. How many these are depends on the place
    alone, so all orders are equally likely.
    """
    left, rows = last.copy(), np.arange(len(last))
    for place in range(left.shape[1]):
        drawn = rng.integers(place, min(left.shape[1], place + sooner + 1), size=len(left))
        left[rows, place], left[rows, drawn] = left[rows, drawn], left[rows, place]
    return left


class BarcodeEnv(SingleEnv[BarcodeBandit]):
    """The episodes of one task; each ``reset`` moves on to the next context of its order."""

    def __init__(self, family: BarcodeBandit, task: Mapping[str, Array]) -> None:
        super().__init__(family, task)
        shown = np.asarray(task["contexts"])[task["order"]]
        self._shown = (shown ^ task["flipped"] if family.flips else shown).astype(np.float32)
        self._episode = -1

    def begin(self) -> Array:
        """Show the next barcode ``[bits]``."""
        self._episode, self._pull = (self._episode + 1) % self._family.episodes, 0
        self._context = int(self._task["order"][self._episode])
        return self._shown[self._episode].copy()

    def step(self, action: np.int64) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """Pull an arm: the barcode ``[bits]``, and reward 1 with the rate of the arm, else 0."""
        best = int(action) == int(self._task["best"][self._context])
        reward = float(self.np_random.random() < (self._family.high if best else self._family.low))
        self._note(self._context, int(action), reward)
        self._pull += 1
        return self._shown[self._episode].copy(), reward, self._pull == self._family.pulls, False, {}

    def draw(self, picture: Picture) -> None:
        """The barcode, and the arms with all that was paid under it."""
        from metarl.envs.frames import LEFT, RIGHT, arms, heading
        from metarl.envs.picture import INK, SOFT

        heading(picture, f"episode {self._episode + 1} of {self._family.episodes}, pull {self._pull}", self._moves)
        wide = (RIGHT - LEFT) / self._family.bits
        for bit, black in enumerate(self._shown[self._episode]):
            if black:
                picture.box((LEFT + wide * bit, 50), (wide, 56), INK)
        picture.box((LEFT, 50), (RIGHT - LEFT, 56), edge=SOFT)
        here = [move for move in self._moves if move.where == self._context]
        worth = np.full(self._family.arms, self._family.low)
        worth[self._task["best"][self._context]] = self._family.high
        truth, last = worth if self.truth else None, here[-1] if self._pull else None
        arms(picture, here, self._family.arms, truth, counted=True, top=142, last=last)


class BatchedBarcode(BatchedEnv):
    """``n`` trials of barcode episodes, in step with each other."""

    saved: ClassVar[tuple[str, ...]] = ("contexts", "best", "order", "pull")

    def __init__(self, family: BarcodeBandit, n: int) -> None:
        self._family = family
        self._rows = np.arange(n)
        self._rates = np.array([family.low, family.high], np.float32)

    def start(self, tasks: TaskBatch, rng: np.random.Generator, rows: Ints | None = None) -> Array:
        """See :meth:`metarl.tasks.family.distribution.BatchedEnv.start`."""
        self.contexts, self.best, self.order = (tasks[name].copy() for name in ("contexts", "best", "order"))
        self._show(0)
        return self._barcode

    def step(self, actions: Array, rng: np.random.Generator) -> tuple[Array, Array, Bools]:
        """Pull one arm a row: ``[n]`` actions, barcodes ``[n, bits]``, rewards ``[n]``."""
        rates = self._rates.take(actions == self._best_now)
        rewards = rng.random(len(rates), dtype=np.float32) < rates
        self.pull += 1
        done = self.pull % self._family.pulls == 0
        if done:
            self._show(self.pull)
        return self._barcode, rewards, np.full(len(rates), done)

    def _show(self, pull: int) -> None:
        """Show the episode that ``pull`` belongs to."""
        context = self.order[:, pull // self._family.pulls % self._family.episodes]
        self._barcode = self.contexts[self._rows, context].astype(np.float32)
        self._best_now = self.best[self._rows, context]
        self.pull = pull

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue at the saved pull."""
        super().load_state_dict(state)
        self._show(self.pull)


class BatchedFlips(BatchedBarcode):
    """``n`` trials whose barcodes are shown with some bits flipped."""

    saved = (*BatchedBarcode.saved, "flipped")

    def start(self, tasks: TaskBatch, rng: np.random.Generator, rows: Ints | None = None) -> Array:
        """See :meth:`metarl.tasks.family.distribution.BatchedEnv.start`."""
        self.flipped = tasks["flipped"].copy()
        return super().start(tasks, rng, rows)

    def _show(self, pull: int) -> None:
        super()._show(pull)
        self._barcode = np.abs(self._barcode - self.flipped[:, pull // self._family.pulls % self._family.episodes])
