"""The common part of learners that embed examples by one net: the net and checks of inputs."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

from metarl.agents.fewshot.learner import Examples, FewShotLearner
from metarl.config import ConfigError, InputError, build
from metarl.functional.branches import in_graph
from metarl.nets.images import EncoderOptions, ImageEncoder
from metarl.nets.tables import TableEncoder

HIDDEN = 128  # hidden units of the encoder of vectors


class ExampleLearner(FewShotLearner):
    """A learner with an encoder of examples, and checks of its inputs.

    Args:
        observation: shape of one example: a vector ``[D]``, or an image ``[H, W]``, ``[H, W, C]`` or ``[C, H, W]``.
            With the net ``table`` vectors are rows of tables of up to ``D`` columns, NaN where a value is unknown.
        ways: most classes in an episode.
        encoder: the net that embeds examples.
        longest: most examples that are shown with their labels.

    Raises:
        ConfigError: options of the encoder that don't fit.
        InputError: another shape, or fewer than two classes.
    """

    def __init__(
        self, observation: tuple[int, ...], ways: int, encoder: EncoderOptions | Mapping[str, Any] | None, longest: int
    ) -> None:
        super().__init__()
        if ways < 2:
            raise InputError(key="ways", given=ways, expected="2 or more classes")
        self.observation, self.ways, self.longest = tuple(observation), ways, longest
        net = encoder if isinstance(encoder, EncoderOptions) else build(EncoderOptions, encoder or {}, "encoder")
        self.encoder_options = net
        self.encoder = _encoder(self.observation, net, ways)

    def resized(self, ways: int, longest: int) -> Self:
        """See :meth:`metarl.agents.fewshot.learner.FewShotLearner.resized`; it gets room, and loses none."""
        own = self.state_dict()
        made = self
        for key, given, most in (("ways", ways, self.ways), ("examples", longest, self.longest)):
            if given <= most:
                continue
            with torch.random.fork_rng(devices=[]):
                made = self._sized(max(ways, self.ways), self.longest if key == "ways" else max(longest, self.longest))
            own = self._labels_widened(own, made.ways)
            fixed = [name for name, value in made.state_dict().items() if own[name].shape != value.shape]
            if fixed:
                expected = f"at most {most}, for which its weights are made ({fixed[0]})"
                remedy = "train one for more, or one whose memory votes (readout 'votes' or 'mean_votes')"
                raise InputError(key=key, given=given, expected=expected, remedy=remedy)
        if made is not self:
            made.load_state_dict(own)
            made.to(self.device, self.dtype).train(self.training)
        return made

    def _labels_widened(self, state: dict[str, Tensor], ways: int) -> dict[str, Tensor]:
        """A state dict whose stored labels, if there are any, are one-hot among ``ways`` classes."""
        return state

    @abstractmethod
    def _sized(self, ways: int, longest: int) -> Self:
        """An untrained learner like this one for so many classes and examples."""

    @property
    def of_tables(self) -> bool:
        """Whether examples are rows of tables, embedded by what the labelled ones of their episode say."""
        return isinstance(self.encoder, TableEncoder)

    def _embed(self, x: Tensor, support: int | None = None) -> Tensor:
        """Examples ``[B, N, *observation]`` to embeddings ``[B, N, E]`` in the type of the parameters."""
        return self.encoder(x, support).to(self.dtype)

    def _examples(self, x: Examples, name: str) -> Tensor:
        """Examples ``[B, N, *observation]`` on the learner's device."""
        return examples(x, name, self.observation, self.device, unknown=self.of_tables)

    def _shown(self, x: Examples, name: str, shape: tuple[int, ...] | None = None) -> Tensor:
        """Examples of the shape ``observation`` that are shown with their labels, at most ``longest`` in an episode."""
        x = examples(x, name, shape or self.observation, self.device, unknown=self.of_tables)
        if x.shape[1] > self.longest:
            remedy, count = f"make the learner with longest={x.shape[1]}", x.shape[1]
            problem, expected = f"{name} has {count} examples", f"at most longest = {self.longest}"
            raise InputError(problem, key=name, given=count, expected=expected, remedy=remedy)
        return x

    def _queries(self, x: Examples, support: Tensor) -> Tensor:
        return same_episodes(self._examples(x, "query_x"), support)

    def _classes(self, y: Examples, shape: tuple[int, ...], name: str, classes: int | None = None) -> Tensor:
        return class_labels(y, shape, name, self.ways if classes is None else classes, self.device)

    def _described(self) -> dict[str, Any]:
        encoder = self.encoder_options.net if len(self.observation) > 1 or self.of_tables else "vectors"
        return {"observation": self.observation, "ways": self.ways, "encoder": encoder}


LARGEST = 16.0  # images with numbers above this are refused, as they can't be meant to be from 0 to 1


def examples(
    x: Examples, name: str, observation: tuple[int, ...], device: torch.device | None, *, unknown: bool = False
) -> Tensor:
    """Examples as a tensor on ``device``.

    Args:
        x: ``[B, N, *observation]``
        name: the name of the argument, for errors.
        observation: shape of one example.
        device: None: leave them where they are.
        unknown: whether numbers may be NaN, for what is unknown.

    Raises:
        InputError: another shape or no example, numbers that are not finite, or images that are neither bytes nor
            numbers from 0 to 1.
    """
    x = torch.as_tensor(x, device=device)
    if in_graph():  # where numbers aren't known
        return x
    if tuple(x.shape[2:]) != observation or 0 in x.shape:
        expected = ", ".join(str(n) for n in ("B", "S", *observation))
        problem = f"{name} has shape {list(x.shape)}"
        raise InputError(problem, key=name, expected=f"[{expected}] with B and S at least 1")
    if x.dtype == torch.uint8:
        return x
    if x.is_floating_point():
        if not (torch.isfinite(x) | (x.isnan() & unknown)).all():
            raise InputError(f"{name} has numbers that are not finite", key=name, expected="finite ones")
        if len(observation) == 1 or x.max() <= LARGEST:
            return x
    elif len(observation) == 1:
        return x
    problem = f"{name} is {x.dtype} with numbers up to {x.max().item():g}"
    raise InputError(problem, key=name, expected="images of bytes (uint8) or of numbers from 0 to 1")


def same_episodes(queries: Tensor, support: Tensor) -> Tensor:
    """The queries ``[B, Q, ...]``; raises InputError unless the support ``[B, S, ...]`` has as many episodes."""
    if len(queries) != len(support):
        expected = f"{len(support)}, as many as support_x has"
        raise InputError(f"query_x has {len(queries)} episodes", key="query_x", given=len(queries), expected=expected)
    return queries


def class_labels(
    y: Examples, shape: tuple[int, ...], name: str, classes: int | None, device: torch.device | None
) -> Tensor:
    """Labels as a tensor of int64 on ``device``.

    Args:
        y: labels ``[*shape]`` from 0 to ``classes - 1``.
        shape: the expected shape.
        name: the name of the argument, for errors.
        classes: number of classes; None: any.
        device: None: leave them where they are.

    Raises:
        InputError: another shape or type, or other labels.
    """
    y = torch.as_tensor(y, device=device)
    if in_graph():
        return y.long()
    if tuple(y.shape) != tuple(shape) or y.is_floating_point():
        problem = f"{name} is {y.dtype} of shape {list(y.shape)}"
        raise InputError(problem, key=name, expected=f"whole numbers {list(shape)}")
    if y.min() < 0 or (classes is not None and y.max() >= classes):
        expected = "0 or more" if classes is None else f"0 to {classes - 1}, as this learner has {classes} classes"
        raise InputError(f"{name} has labels from {int(y.min())} to {int(y.max())}", key=name, expected=expected)
    return y.long()


class VectorEncoder(nn.Module):
    """One hidden layer and layer norm.

    Args:
        inputs: width of the vectors.
        size: width of the embeddings.
    """

    def __init__(self, inputs: int, size: int) -> None:
        super().__init__()
        self.size = size
        self.net = nn.Sequential(nn.Linear(inputs, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, size), nn.LayerNorm(size))

    def forward(self, x: Tensor, support: int | None = None) -> Tensor:
        """``[B, N, inputs]`` to ``[B, N, size]``, each vector independently; ``support`` has no effect."""
        return self.net(x.to(next(self.parameters())))


def _encoder(shape: tuple[int, ...], options: EncoderOptions, ways: int) -> VectorEncoder | ImageEncoder | TableEncoder:
    if not shape or min(shape) < 1 or len(shape) > 3:
        expected = "the shape of one example: (D,), (H, W), (H, W, C) or (C, H, W)"
        raise InputError(key="observation", given=shape, expected=expected)
    if options.net == "table":
        if len(shape) > 1:
            raise ConfigError(key="encoder.net", given="table", expected="another net for images")
        return TableEncoder(ways, options)
    if len(shape) == 1:
        return VectorEncoder(shape[0], options.embedding_size or HIDDEN)
    return ImageEncoder(shape, options)
