"""A delayed response to an image: the shape shown first decides which action pays later."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from metarl.config import InputError
from metarl.envs.single import SingleEnv
from metarl.tasks.family.distribution import BatchedEnv, TaskBatch, TaskDistribution
from metarl.types import Array, Bools, Floats, Ints

if TYPE_CHECKING:
    from metarl.envs.picture import Picture

Pixels = npt.NDArray[np.uint8]

_DRAWN = (  # one shape a line, six rows each; strokes are wide, to stay clear between pixels
    "..##.. ..##.. ###### ###### ..##.. ..##..",  # plus
    "###### #....# #....# #....# #....# ######",  # square
    "##..## ###### .####. .####. ###### ##..##",  # cross
    "###### ###### ...... ...... ###### ######",  # two lines across
    "#..... ##.... ###... ####.. #####. ######",  # triangle
    "##..## ##..## ##..## ##..## ##..## ##..##",  # two lines down
    "###### ###### ..##.. ..##.. ..##.. ..##..",  # T
    "##.... ###... .###.. ..###. ...### ....##",  # diagonal
)
SHAPES: Floats = np.array([[[c == "#" for c in row] for row in shape.split()] for shape in _DRAWN], np.float64)
"""``[8, 6, 6]``: what can be shown; a family of ``cues`` uses the first ones."""
SIDE = SHAPES.shape[-1]
NOISE = 64  # pixels are random below this, and :data:`INK` brighter where something is drawn
INK = 255 - NOISE


@dataclass(frozen=True, kw_only=True)
class ImageCue(TaskDistribution):
    """One of ``cues`` shapes, shown in the first observation of a trial alone, says which action pays in all of it.

    An inner episode has ``delay + 2`` observations: the cue (from the second episode on, noise), ``delay`` of noise,
    and a bright frame around the image, at which the action with the number of the shape pays 1 and any other 0.
    Nothing else pays. So the first reward needs a memory of the image; later ones can also be had by remembering which
    action paid. Guessing makes ``1 / cues`` an episode on average, perfect memory 1. A task is the shape and its
    place, which need not be whole pixels: held-out images differ from those of training.

    Args:
        cues: shapes, and actions.
        delay: observations between the cue and the frame.
        episodes: inner episodes in a trial.
        size: height and width of the image, in pixels.

    Raises:
        ValueError: a number that is too small, or more cues than there are shapes.
    """

    cues: int = 4
    delay: int = 6
    episodes: int = 3
    size: int = 12

    family: ClassVar[str] = "ImageCue"
    counts: ClassVar[Mapping[str, int]] = {"cues": 2, "delay": 0, "episodes": 1, "size": SIDE + 2}

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.cues > len(SHAPES):
            raise InputError(key="cues", given=self.cues, expected=f"at most {len(SHAPES)}, the shapes there are")

    @property
    def episode_steps(self) -> int:
        """Steps in an inner episode."""
        return self.delay + 2

    @property
    def trial_steps(self) -> int:
        """The steps of all episodes."""
        return self.episodes * self.episode_steps

    @property
    def observation_space(self) -> spaces.Box:
        """A grey image ``[size, size, 1]``."""
        return spaces.Box(0, 255, (self.size, self.size, 1), np.uint8)

    @property
    def action_space(self) -> spaces.Discrete:
        """Which cue it was."""
        return spaces.Discrete(self.cues)

    @property
    def task_space(self) -> spaces.Dict:
        """``cue``, and its ``place``: down and across, from 0 to 1."""
        return spaces.Dict({"cue": spaces.Discrete(self.cues), "place": spaces.Box(0.0, 1.0, (2,), np.float32)})

    def sample_batch(self, rng: np.random.Generator, n: int) -> TaskBatch:
        """``cue`` ``[n]`` and ``place`` ``[n, 2]``, independent and uniform."""
        return {"cue": rng.integers(self.cues, size=n), "place": rng.random((n, 2), dtype=np.float32)}

    def make(self, task: Mapping[str, Array]) -> ImageCueEnv:
        """The episodes of one trial; ``task`` as :meth:`sample_batch` draws it, without the axis ``n``."""
        return ImageCueEnv(self, task)

    def batched(self, n: int) -> BatchedImageCue:
        """``n`` trials as arrays."""
        return BatchedImageCue(self)


def draw(cue: Ints, place: Array, size: int) -> Floats:
    """Images of shapes; one that lies between pixels is spread over them by linear interpolation.

    Args:
        cue: which of :data:`SHAPES`, ``[n]``.
        place: down and across, from 0 to 1, ``[n, 2]``.
        size: pixels of each side.

    Returns:
        Ink from 0 to 1, ``[n, size, size, 1]``.
    """
    corner = place.astype(np.float64) * (size - SIDE)
    offset = np.arange(size)[:, None] - np.arange(SIDE) - corner[:, :, None, None]  # [n, 2, size, SIDE]
    weight = np.maximum(0.0, 1.0 - np.abs(offset))
    down, across = weight[:, 0], weight[:, 1]
    return (down @ SHAPES[cue] @ across.swapaxes(1, 2))[..., None]


def frame(size: int) -> Floats:
    """The sign to act: ink around the edge, ``[1, size, size, 1]``."""
    ink = np.ones((1, size, size, 1))
    ink[:, 1:-1, 1:-1] = 0.0
    return ink


def noise(rng: np.random.Generator, n: int, size: int) -> Pixels:
    """Images of nothing.

    Args:
        rng: draws the pixels.
        n: how many images.
        size: pixels of each side.

    Returns:
        ``[n, size, size, 1]`` uint8
    """
    return rng.integers(NOISE, size=(n, size, size, 1), dtype=np.uint8)


def _bright(ink: Floats) -> Pixels:
    return (INK * ink).astype(np.uint8)


class ImageCueEnv(SingleEnv[ImageCue]):
    """The episodes of one task.

    The first ``reset``, and every one with a seed, begins the trial anew and shows the cue; others begin its next
    episode.
    """

    def __init__(self, family: ImageCue, task: Mapping[str, Array]) -> None:
        super().__init__(family, task)
        self._cue = int(task["cue"])
        self._image = _bright(draw(np.array([self._cue]), np.asarray(task["place"])[None], family.size)[0])
        self._frame = _bright(frame(family.size)[0])
        self._begun = False

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode, with a seed the first one of the trial."""
        self._begun = self._begun and seed is None
        return super().reset(seed=seed)

    def begin(self) -> Array:
        """Show the cue where a trial begins, else noise: ``[size, size, 1]`` uint8."""
        self._step = 0
        self._seen = self._noise() if self._begun else self._noise() + self._image
        self._begun = True
        return self._seen

    def step(self, action: np.int64) -> tuple[Array, float, bool, bool, dict[str, Any]]:
        """Answer to what is shown: at the frame, reward 1 for the cue. Images are ``[size, size, 1]``."""
        last = self._family.episode_steps - 1
        reward = float(self._step == last and int(action) == self._cue)
        self._note(self._step, int(action), reward)
        if self._step == last:
            return np.zeros_like(self._image), reward, True, False, {}
        self._step += 1
        seen = self._noise()
        self._seen = seen + self._frame if self._step == last else seen
        return self._seen, 0.0, False, False, {}

    def draw(self, picture: Picture) -> None:
        """What the agent sees, the shapes that it may name, and its last answer."""
        from metarl.envs.frames import LEFT, heading
        from metarl.envs.picture import GREEN, INK, ORANGE, RED, SOFT

        family, moves = self._family, self._moves
        episode, last = min(len(moves) // family.episode_steps + 1, family.episodes), family.episode_steps - 1
        heading(picture, f"episode {episode} of {family.episodes}, step {self._step + 1}", moves)
        picture.image((LEFT, 62), (240, 240), self._seen)
        picture.box((LEFT, 62), (240, 240), edge=SOFT)
        told = "answer now" if self._step == last else "remember" if len(moves) == 0 else "wait"
        picture.text((LEFT + 120, 316), told, 14, INK, "ma")
        answers = [move for move in moves if move.where == last]
        picture.text((300, 62), "which shape was it?", 13, SOFT)
        for cue in range(family.cues):
            x, y = 300 + 78 * (cue % 2), 92 + 62 * (cue // 2)
            edge = SOFT
            if answers and answers[-1].action == cue:
                edge = GREEN if answers[-1].reward else RED
            picture.image((x, y), (44, 44), 255 * (1 - SHAPES[cue]))
            picture.box((x - 4, y - 4), (52, 52), edge=edge, wide=1 if edge == SOFT else 3)
            known = self.truth and cue == self._cue
            picture.text((x + 52, y + 18), str(cue), 13, ORANGE if known else INK)

    def _noise(self) -> Pixels:
        return noise(self.np_random, 1, self._family.size)[0]


class BatchedImageCue(BatchedEnv):
    """``n`` trials, in step with each other."""

    saved = ("cue", "episode_step")

    def __init__(self, family: ImageCue) -> None:
        self._family = family
        self._frame = _bright(frame(family.size))

    def start(self, tasks: TaskBatch, rng: np.random.Generator, rows: Ints | None = None) -> Array:
        """See :meth:`metarl.tasks.family.distribution.BatchedEnv.start`."""
        self.cue: Ints = tasks["cue"].astype(np.int64)
        self.episode_step = 0
        return self._noise(rng) + _bright(draw(self.cue, tasks["place"], self._family.size))

    def step(self, actions: Array, rng: np.random.Generator) -> tuple[Array, Array, Bools]:
        """Answer in every row to what is shown: ``[n]`` actions, images ``[n, size, size, 1]``, rewards ``[n]``."""
        last = self._family.episode_steps - 1
        if self.episode_step == last:
            self.episode_step = 0
            return self._noise(rng), (actions == self.cue).astype(np.float64), np.ones(len(self.cue), np.bool_)
        self.episode_step += 1
        seen = self._noise(rng)
        if self.episode_step == last:
            seen = seen + self._frame
        return seen, np.zeros(len(self.cue)), np.zeros(len(self.cue), np.bool_)

    def _noise(self, rng: np.random.Generator) -> Pixels:
        return noise(rng, len(self.cue), self._family.size)
