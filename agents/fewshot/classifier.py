"""Few-shot classification through a memory: the support is written, the queries are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from metarl.agents.fewshot.context import Context, make_context
from metarl.agents.fewshot.examples import ExampleLearner, class_labels, examples, same_episodes
from metarl.agents.fewshot.learner import Examples
from metarl.agents.fewshot.readers import Reader, SetReader, VotingReader
from metarl.config import ConfigError, InputError, build, choice
from metarl.data.episodes import Episodes
from metarl.memory.options import MemoryOptions
from metarl.nets.images import EncoderOptions
from metarl.nets.tables import TableEncoder

Readout = Literal["linear", "votes", "mean_votes"]


class FewShotClassifier(ExampleLearner):
    """Classifies queries by what it reads from a memory to which the labelled support was written.

    It can be any memory that an agent can have: the labels of the support are written under the embeddings of its
    examples, and all queries are read in parallel. For streams of examples see
    :class:`metarl.agents.fewshot.streams.StreamClassifier`.

    Args:
        observation: shape of one example: a vector ``[D]``, or an image ``[H, W]``, ``[H, W, C]`` or ``[C, H, W]`` of
            bytes or of numbers from 0 to 1.
        ways: most classes in an episode.
        memory: options of the memory; those of the controller are not used.
        readout: where logits come from: ``linear`` by learned maps of keys, values and reads; ``votes`` by the weights
            of slots whose keys are embeddings and whose values are labels (Vinyals et al. 2016, eq. 1); ``mean_votes``
            with one slot for each class, under the mean of its embeddings (Snell et al. 2017, eq. 1-2).
        context: what embeddings see before they are written or read: the whole support (``full``, Vinyals et al. 2016,
            section 2.1.2), or what learned slots return for them (``slots``, Miller et al. 2016).
        encoder: the net that embeds examples.
        longest: most examples in a support; the size of a memory that stores all of them.
        transductive: the encoder's norm takes its statistics from the queries as well.
        rotate_support: the loss uses each example of an episode as support once: first the support, then the first
            queries, and so on, with the others as queries. Examples are embedded only once.
        plda: whether, outside training, class means are compared by probabilistic linear discriminant analysis
            (:class:`metarl.nets.plda.Plda`) in place of Euclidean distance. A run fits it to classes of training at the
            end of training; :meth:`fit_metric` does it in Python. For ``mean_votes`` with the kernel ``euclidean``.

    Raises:
        ConfigError: options that don't fit.
        InputError: another shape, or fewer than two classes.
    """

    def __init__(
        self,
        observation: tuple[int, ...],
        ways: int,
        memory: MemoryOptions | Mapping[str, Any],
        *,
        readout: Readout = "linear",
        context: Context = "none",
        encoder: EncoderOptions | Mapping[str, Any] | None = None,
        longest: int = 128,
        transductive: bool = False,
        rotate_support: bool = False,
        plda: bool = False,
    ) -> None:
        super().__init__(observation, ways, encoder, longest)
        choice(readout, get_args(Readout), "readout")
        choice(context, get_args(Context), "context")
        self.transductive, self.rotate_support = transductive, rotate_support
        self.memory = memory if isinstance(memory, MemoryOptions) else build(MemoryOptions, memory, "memory")
        self.readout = readout
        norm = self.encoder_options.norm
        if transductive and norm != "batch":
            expected = "'batch' with transductive = true, or no query sees another"
            raise ConfigError(key="encoder.norm", given=norm, expected=expected)
        if rotate_support and norm == "batch":
            expected = "'running' or 'group' with rotate_support = true, or embeddings depend on the choice of support"
            raise ConfigError(key="encoder.norm", given=norm, expected=expected)
        if rotate_support and self.of_tables:
            raise ConfigError(key="rotate_support", given=True, expected="false with encoder.net = 'table'")
        self.context_kind, self.plda = context, plda
        if plda:
            self._check_plda()
        self.context = make_context(context, self.encoder.size, longest)
        width = self.context.size
        self.reader: Reader
        if readout == "linear":
            self.reader = SetReader(self.memory, width, ways, longest)
        else:
            self.reader = VotingReader(self.memory, width, ways, longest, averaged=readout == "mean_votes", plda=plda)

    def _check_plda(self) -> None:
        """Refuse a metric for class means of single embeddings where there are none.

        Raises:
            ConfigError: something else is compared.
        """
        norm, kernel = self.encoder_options.norm, self.memory.access_options.get("kernel", "left out")
        for key, given, other, needed in (
            ("readout", self.readout, self.readout != "mean_votes", "'mean_votes'"),
            ("memory.store", self.memory.store, self.memory.store != "episodic", "'episodic'"),
            ("memory.access_options.kernel", kernel, kernel != "euclidean", "'euclidean'"),
            ("context", self.context_kind, self.context_kind != "none", "'none'"),
            ("encoder.norm", norm, norm == "batch", "'running' or 'group'"),
            ("encoder.net", "table", self.of_tables, "a net of single examples"),
        ):
            if other:
                expected = f"{needed} with plda = true, which compares class means of single embeddings"
                raise ConfigError(key=key, given=given, expected=expected, remedy="or leave plda out")

    def forward(self, support_x: Examples, support_y: Examples, query_x: Examples) -> Tensor:
        """See :meth:`metarl.agents.fewshot.learner.FewShotLearner.forward`.

        Raises:
            InputError: shapes that don't fit, a support longer than ``longest``, other labels, or images that are
                neither bytes nor numbers from 0 to 1.
        """
        return self._read(*self._encoded(support_x, support_y, query_x))

    def recall(self, support_x: Examples, support_y: Examples, query_x: Examples) -> tuple[Tensor, Tensor]:
        """The logits of the queries and the weights that they came from.

        Args:
            support_x: ``[B, S, *observation]``
            support_y: ``[B, S]``
            query_x: ``[B, Q, *observation]``

        Returns:
            Logits ``[B, Q, ways]`` and weights ``[B, Q, N]`` of the slots, in the order of the support, or with
            ``mean_votes`` of the classes that are shown.

        Raises:
            InputError: as :meth:`forward`, or the readout is not by votes.
        """
        if not isinstance(self.reader, VotingReader):
            expected = "'votes' or 'mean_votes' to show weights over the support"
            raise InputError(key="readout", given=self.readout, expected=expected)
        logits, weights = self.reader.recall(*self._contextual(*self._encoded(support_x, support_y, query_x)))
        return logits, weights.exp()

    @torch.no_grad()
    def weights(self, support_x: Examples, support_y: Examples, query_x: Examples) -> Tensor | None:
        """See :meth:`metarl.agents.fewshot.learner.FewShotLearner.weights`."""
        if not isinstance(self.reader, VotingReader):
            return None
        return self.reader.weights(*self._contextual(*self._encoded(support_x, support_y, query_x)))

    @torch.no_grad()
    def embed(self, x: Examples) -> Tensor | None:
        """See :meth:`metarl.agents.fewshot.learner.FewShotLearner.embed`; None if it depends on the episode."""
        if self.encoder_options.norm == "batch" or self.of_tables:
            return None
        return self._embed(self._examples(torch.as_tensor(x, device=self.device)[None], "x"))[0]

    def classify(self, support: Examples, support_y: Examples, queries: Examples) -> Tensor:
        """See :meth:`metarl.agents.fewshot.learner.FewShotLearner.classify`."""
        return self._read(*self._embedded(support, support_y, queries))

    @torch.no_grad()
    def support_weights(self, support: Examples, support_y: Examples, queries: Examples) -> Tensor | None:
        """See :meth:`metarl.agents.fewshot.learner.FewShotLearner.support_weights`."""
        return self.reader.weights(*self._contextual(*self._embedded(support, support_y, queries)))

    def loss(self, episodes: Episodes) -> Tensor:
        """See :meth:`metarl.agents.fewshot.learner.FewShotLearner.loss`.

        Raises:
            InputError: as :meth:`forward`, or with ``rotate_support`` unequal numbers of examples of the classes.
        """
        support, classes, queries = self._encoded(episodes.support_x, episodes.support_y, episodes.query_x)
        target = self._classes(episodes.query_y, queries.shape[:2], "query_y")
        if not self.rotate_support:
            return F.cross_entropy(self._read(support, classes, queries).flatten(0, 1), target.flatten())
        x, y = torch.cat([support, queries], 1), torch.cat([classes, target], 1)
        ways, batch = len(classes[0].unique()), torch.arange(len(x), device=x.device)[:, None]
        order = y.argsort(dim=1, stable=True)  # within its class, the support comes first
        if x.shape[1] % ways or not (y[batch, order].unflatten(1, (ways, -1)).diff(dim=2) == 0).all():
            problem = "the classes of an episode have different numbers of examples"
            raise InputError(problem, key="rotate_support", expected="equal numbers, or rotate_support = false")
        x, y = (part[batch, order].unflatten(1, (ways, -1)) for part in (x, y))
        each, shots = x.shape[2], support.shape[1] // ways
        losses = []
        for first in range(0, each - each % shots, shots):
            support, queries = x.roll(-first, 2).tensor_split([shots], 2)
            logits = self._read(support.flatten(1, 2), y[:, :, :shots].flatten(1), queries.flatten(1, 2))
            losses.append(F.cross_entropy(logits.flatten(0, 1), y[:, :, shots:].flatten()))
        return torch.stack(losses).mean()

    @torch.no_grad()
    def accuracy(self, episodes: Episodes) -> float:
        """The share of queries that are classified correctly."""
        return float(self.correct(episodes).double().mean())

    @torch.no_grad()
    def consolidate(self, episodes: Episodes) -> None:
        """Store the supports of a batch for all later episodes, if the memory can; call it after learning from them.

        A label should then mean the same class in all episodes.
        """
        encoded = self._encoded(episodes.support_x, episodes.support_y, episodes.query_x)
        self.reader.consolidate(*self._contextual(*encoded)[:2])

    def fit_metric(self, embedded: Examples, labels: Examples) -> None:
        """See :meth:`metarl.agents.fewshot.learner.FewShotLearner.fit_metric`.

        Raises:
            TypeError: the learner was made without ``plda``.
            InputError: other shapes, numbers that are not finite, or fewer than two classes, or one example of each.
        """
        if not isinstance(self.reader, VotingReader) or self.reader.plda is None:
            raise TypeError("this classifier has no metric to fit; make it with plda=True")
        x = examples(torch.as_tensor(embedded)[None], "embedded", (self.encoder.size,), None)[0]
        number = class_labels(labels, x.shape[:1], "labels", None, None).cpu().unique(return_inverse=True)[1]
        classes = int(number.max()) + 1
        if classes < 2 or classes == len(number):
            given = f"{len(number)} examples of {classes} classes"
            raise InputError(key="labels", given=given, expected="two classes or more, with several examples of each")
        self.reader.plda.fit(x.detach().cpu(), number)

    def drop_metric(self) -> None:
        """Compare class means by Euclidean distance from now on, where ``plda`` was fitted or is to be."""
        self.plda = False
        if isinstance(self.reader, VotingReader):
            self.reader.plda = None

    def _contextual(self, support: Tensor, classes: Tensor, queries: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The arguments of the reader: the support ``[B, S, E]``, its one-hot labels ``[B, S, ways]``, the queries."""
        support, queries = self.context(support, queries)
        return support, F.one_hot(classes, self.ways).to(support), queries

    def _read(self, support: Tensor, classes: Tensor, queries: Tensor) -> Tensor:
        """The logits of embedded queries."""
        return self.reader(*self._contextual(support, classes, queries))

    def _embedded(self, support: Examples, support_y: Examples, queries: Examples) -> tuple[Tensor, Tensor, Tensor]:
        """The same three, of examples that were embedded before."""
        shape = (self.encoder.size,)
        support = self._shown(support, "support", shape)
        queries = same_episodes(examples(queries, "queries", shape, self.device), support)
        return support, self._classes(support_y, support.shape[:2], "support_y"), queries

    def _labels_widened(self, state: dict[str, Tensor], ways: int) -> dict[str, Tensor]:
        name = "reader.memory.store.values"  # slots that are kept for life, or learned
        if self.readout == "linear" or name not in state:
            return state
        return state | {name: F.pad(state[name], (0, ways - state[name].shape[-1]))}

    def _sized(self, ways: int, longest: int) -> Self:
        return type(self)(
            self.observation,
            ways,
            self.memory,
            readout=self.readout,
            context=self.context_kind,
            encoder=self.encoder_options,
            longest=longest,
            transductive=self.transductive,
            rotate_support=self.rotate_support,
            plda=self.plda,
        )

    def _encoded(self, support_x: Examples, support_y: Examples, query_x: Examples) -> tuple[Tensor, Tensor, Tensor]:
        """Embeddings of the support ``[B, S, E]``, its classes ``[B, S]``, and embeddings of the queries."""
        support = self._shown(support_x, "support_x")
        queries = self._queries(query_x, support)
        classes = self._classes(support_y, support.shape[:2], "support_y")
        count = support.shape[1]
        if support.dtype != queries.dtype:
            scale = 255 if len(self.observation) > 1 else 1  # bytes of images go up to 255, those of rows are numbers
            support, queries = (x.float() / scale if x.dtype == torch.uint8 else x for x in (support, queries))
        x = torch.cat([support, queries], 1)
        if isinstance(self.encoder, TableEncoder):
            x = self.encoder(x, count, classes)
        else:
            x = self._embed(x, None if self.transductive else count)
        support, queries = x.tensor_split([count], 1)
        return support, classes, queries

    def _described(self) -> dict[str, Any]:
        return super()._described() | {
            "store": self.memory.store,
            "access": self.memory.access,
            "readout": self.readout,
            **({"plda": "fitted" if self._fitted else "not fitted"} if self.plda else {}),
        }

    @property
    def _fitted(self) -> bool:
        """Whether embeddings are compared by a metric that was fitted."""
        metric = self.reader.plda if isinstance(self.reader, VotingReader) else None
        return metric is not None and bool(metric.noise.any())
