"""MAML, first-order MAML, ANIL and Reptile: few-shot learners that adapt by gradient descent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from metarl.agents.fewshot.adapting import Algorithm, GradientLearner, GradientOptions
from metarl.agents.fewshot.examples import class_labels
from metarl.agents.fewshot.learner import Examples
from metarl.config import build
from metarl.data.episodes import Episodes
from metarl.nets.adaptable import HEAD, head


class MAML(GradientLearner):
    """Model-agnostic meta-learning (Finn et al. 2017, algorithm 2): all parameters are adapted.

    The meta-gradient goes through the steps of the adaptation; ``fomaml`` takes their gradients as constants.
    """

    def adapted(self, support_x: Examples, support_y: Examples) -> dict[str, Tensor]:
        """See :meth:`GradientLearner.adapted`; all parameters of the net."""
        return self._descended(*self._checked_support(support_x, support_y), self.options.eval_steps)

    def _fast(self) -> dict[str, Tensor]:
        return self.net.params()

    def _descended(
        self, support: Tensor, labels: Tensor, steps: int, params: dict[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """The parameters after ``steps`` from ``params``, by default from the learned ones."""
        if params is None:
            params = self._side_by_side(labels, lambda: self.net.features(self.net.params(), support))
            if self.options.head == "one" and steps > 0:
                params |= self._first(support, labels, {name: params[name] for name in HEAD})
                steps -= 1
        return self._adapt(self.net, params, support, labels, steps)

    def _first(self, support: Tensor, labels: Tensor, params: dict[str, Tensor]) -> dict[str, Tensor]:
        """The first step of a head that is the same for all classes; it changes only the head.

        The errors of all classes add up to 0, so that the features have no gradient.
        """
        return self._adapt(head, params, self.net.features(self.net.params(), support), labels, 1)

    def _answers(self, support: Tensor, labels: Tensor, queries: Tensor, steps: int) -> Tensor:
        params = self._descended(support, labels, steps)
        if self.transductive:
            return self.net(params, queries)
        count = support.shape[1]
        return self.net(params, torch.cat([support, queries], 1), count)[:, count:]


class ANIL(GradientLearner):
    """Almost no inner loop (Raghu et al. 2020, section 4): only the head is adapted, to features shared by all tasks.

    The meta-gradient goes through the steps of the adaptation.
    """

    def adapted(self, support_x: Examples, support_y: Examples) -> dict[str, Tensor]:
        """See :meth:`GradientLearner.adapted`; the parameters of the head."""
        support, labels = self._checked_support(support_x, support_y)
        return self._descended(self.net.features(self.net.params(), support), labels, self.options.eval_steps)

    def _fast(self) -> dict[str, Tensor]:
        return {name: p for name, p in self.net.params().items() if name in HEAD}

    def _descended(self, features: Tensor, labels: Tensor, steps: int) -> dict[str, Tensor]:
        return self._adapt(head, self._side_by_side(labels, lambda: features), features, labels, steps)

    def _answers(self, support: Tensor, labels: Tensor, queries: Tensor, steps: int) -> Tensor:
        shared, count = self.net.params(), support.shape[1]
        if self.transductive:
            known, new = self.net.features(shared, support), self.net.features(shared, queries)
        else:
            known, new = self.net.features(shared, torch.cat([support, queries], 1), count).tensor_split([count], 1)
        return head(self._descended(known, labels, steps), new)


class Reptile(MAML):
    """Reptile (Nichol et al. 2018, algorithm 2): the parameters move towards the adapted ones.

    Training adapts to all examples of an episode, support and queries, ``batch`` of them at each step. Prototypes come
    from the support alone, so that there is something to learn from the queries.
    """

    def loss(self, episodes: Episodes) -> Tensor:
        """|phi - phi_adapted|^2 / 2, ``[]``, the mean over episodes; its gradient is phi - phi_adapted (eq. 1)."""
        support, labels, queries = self._checked(episodes.support_x, episodes.support_y, episodes.query_x)
        params = self._side_by_side(labels, lambda: self.net.features(self.net.params(), support))
        answers = class_labels(episodes.query_y, queries.shape[:2], "query_y", self._ways(labels), queries.device)
        end = self._trained(params, torch.cat([support, queries], 1), torch.cat([labels, answers], 1))
        distances = [(p - end[name]).square().sum() for name, p in self._fast().items() if p.numel()]
        return torch.stack(distances).sum() / (2 * len(labels))

    @torch.no_grad()
    def _trained(self, params: dict[str, Tensor], x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """The parameters after ``steps`` from ``params``, each on the next ``batch`` of examples."""
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
    """The learner of ``options.algorithm``.

    Args:
        observation: shape of one example, an image ``[H, W]``, ``[H, W, C]`` or ``[C, H, W]``.
        ways: classes of every episode.
        options: :class:`GradientOptions`, or a mapping of its fields.
        transductive: batch norm of queries takes its statistics from all queries of the episode.

    Raises:
        ConfigError: options that don't fit.
        ValueError: another shape, or fewer than two classes.
    """
    if not isinstance(options, GradientOptions):
        options = build(GradientOptions, options or {}, "options")
    return LEARNERS[options.algorithm](observation, ways, options, transductive=transductive)
