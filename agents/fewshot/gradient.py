"""MAML, first-order MAML, ANIL and Reptile: few-shot learners that learn how to adapt by gradient descent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from metarl.agents.fewshot.adapting import Algorithm, GradientLearner, GradientOptions, cross_entropy
from metarl.config import build
from metarl.data.episodes import Episodes
from metarl.functional.inner_loop import adapt
from metarl.nets.adaptable import HEAD, Params, head
from metarl.types import Array


class MAML(GradientLearner):
    """Model-agnostic meta-learning (Finn et al. 2017, algorithm 2): all parameters are adapted.

    The meta-gradient goes through the steps of the adaptation, or with ``fomaml`` takes their gradients as constants.
    """

    def adapted(self, support_x: Tensor | Array, support_y: Tensor | Array) -> dict[str, Tensor]:
        """All parameters of the net; see :meth:`GradientLearner.adapted`."""
        return self._descended(*self._checked_support(support_x, support_y), self.options.eval_steps)

    def _fast(self) -> dict[str, Tensor]:
        return self.net.params()

    def _descended(
        self, support: Tensor, labels: Tensor, steps: int, params: dict[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Where so many steps lead from ``params``, or else from what is learned."""
        if params is None:
            params = self._side_by_side(labels, lambda: self.net.features(self.net.params(), support))
            if self.options.head == "one" and steps > 0:
                params |= self._first(support, labels, {name: params[name] for name in HEAD})
                steps -= 1
        return self._adapt(self.net, params, support, labels, steps, self._lr())

    def _first(self, support: Tensor, labels: Tensor, params: dict[str, Tensor]) -> dict[str, Tensor]:
        """The first step of one head, which adapts nothing else: the errors of all classes add up to 0.

        So the features need no gradients of their own, nor those that gradients of these would have.
        """
        lr = {name: size for name, size in self.step_sizes.items() if name in HEAD} or self.options.inner_lr
        return self._adapt(head, params, self.net.features(self.net.params(), support), labels, 1, lr)

    def _adapt(
        self,
        fn: Callable[[Params, Tensor], Tensor],
        params: dict[str, Tensor],
        x: Tensor,
        labels: Tensor,
        steps: int,
        lr: float | dict[str, Tensor],
    ) -> dict[str, Tensor]:
        second = self.options.algorithm == "maml"
        return adapt(fn, params, (x, labels), steps=steps, lr=lr, second_order=second, loss=cross_entropy)

    def _answers(self, support: Tensor, labels: Tensor, queries: Tensor, steps: int) -> Tensor:
        params = self._descended(support, labels, steps)
        if self.transductive:
            return self.net(params, queries)
        count = support.shape[1]
        return self.net(params, torch.cat([support, queries], 1), count)[:, count:]


class ANIL(GradientLearner):
    """Almost no inner loop (Raghu et al. 2020, section 4): the head alone is adapted, to features that all tasks share.

    The meta-gradient goes through the steps.
    """

    def adapted(self, support_x: Tensor | Array, support_y: Tensor | Array) -> dict[str, Tensor]:
        """The parameters of the head; see :meth:`GradientLearner.adapted`."""
        support, labels = self._checked_support(support_x, support_y)
        return self._descended(self.net.features(self.net.params(), support), labels, self.options.eval_steps)

    def _fast(self) -> dict[str, Tensor]:
        return {name: p for name, p in self.net.params().items() if name in HEAD}

    def _descended(self, features: Tensor, labels: Tensor, steps: int) -> dict[str, Tensor]:
        return adapt(
            head,
            self._side_by_side(labels, lambda: features),
            (features, labels),
            steps=steps,
            lr=self._lr(),
            second_order=True,
            loss=cross_entropy,
        )

    def _answers(self, support: Tensor, labels: Tensor, queries: Tensor, steps: int) -> Tensor:
        shared, count = self.net.params(), support.shape[1]
        if self.transductive:
            known, asked = self.net.features(shared, support), self.net.features(shared, queries)
        else:
            known, asked = self.net.features(shared, torch.cat([support, queries], 1), count).tensor_split([count], 1)
        return head(self._descended(known, labels, steps), asked)


class Reptile(MAML):
    """Reptile (Nichol et al. 2018, algorithm 2): the parameters move to where adaptation to a task has led.

    Training adapts to all examples of an episode, its queries with the support, ``batch`` of them at each step; a head
    of prototypes is that of the support alone, so that its queries have something to teach.
    """

    def loss(self, episodes: Episodes) -> Tensor:
        """|phi - phi_adapted|^2 / 2, the mean over episodes, whose gradient is phi - phi_adapted (their equation 1)."""
        support, labels, queries = self._checked(episodes.support_x, episodes.support_y, episodes.query_x)
        params = self._side_by_side(labels, lambda: self.net.features(self.net.params(), support))
        answers = self._labels(episodes.query_y, queries, "query_y", self._ways(labels))
        there = self._trained(params, torch.cat([support, queries], 1), torch.cat([labels, answers], 1))
        ways = [(p - there[name]).square().sum() for name, p in self._fast().items() if p.numel()]
        return torch.stack(ways).sum() / (2 * len(labels))

    @torch.no_grad()
    def _trained(self, params: dict[str, Tensor], x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Where ``steps`` lead from ``params``, each on the examples that are next in turn."""
        count = x.shape[1]
        batch = min(self.options.batch or count, count)
        for step in range(self.options.steps):
            turn = torch.arange(step * batch, (step + 1) * batch, device=x.device) % count
            params = self._descended(x[:, turn], y[:, turn], 1, params)
        return params


LEARNERS: dict[Algorithm, type[GradientLearner]] = {"maml": MAML, "fomaml": MAML, "anil": ANIL, "reptile": Reptile}


def gradient_learner(
    observation: tuple[int, ...],
    ways: int,
    options: GradientOptions | Mapping[str, Any] | None = None,
    *,
    transductive: bool = False,
) -> GradientLearner:
    """The learner of ``options.algorithm``; arguments and errors are those of :class:`GradientLearner`.

    Raises:
        ConfigError: options that don't fit.
    """
    if not isinstance(options, GradientOptions):
        options = build(GradientOptions, options or {}, "options")
    return LEARNERS[options.algorithm](observation, ways, options, transductive=transductive)
