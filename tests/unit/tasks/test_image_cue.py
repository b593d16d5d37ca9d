"""The image cue: what is shown when, what pays, batched equal to single, pictures that can be told apart."""

from typing import Any

import numpy as np
import pytest

from metarl.envs.image_cue import INK, NOISE, SHAPES, ImageCue, draw
from metarl.types import Array


def recognise(pictures: Any, cues: int) -> Array:
    """The shape of the nearest noiseless picture, out of all shapes at places two fifths of a pixel apart."""
    size = pictures.shape[1]
    steps = np.linspace(0, 1, (size - 6) * 5 // 2 + 1)
    down, across = (x.ravel() for x in np.meshgrid(steps, steps))
    place = np.tile(np.stack([down, across], 1), (cues, 1))
    cue = np.arange(cues).repeat(len(down))
    known = NOISE / 2 + INK * draw(cue, place, size).reshape(len(cue), -1)
    likeness = pictures.reshape(len(pictures), -1) @ known.T - (known**2).sum(1) / 2
    return cue[likeness.argmax(1)]


def play(family: ImageCue, n: int, actions: Any, seed: int = 0) -> tuple[list[Any], list[Any], list[Any], Any]:
    """A trial of ``n`` rows; ``actions(t, tasks)`` answers the observation of step ``t``."""
    rng = np.random.default_rng(seed)
    tasks = family.sample_batch(rng, n)
    batched = family.batched(n)
    first = batched.start(tasks, rng)
    steps = [batched.step(actions(t, tasks), rng) for t in range(family.trial_steps)]
    seen, rewards, dones = (list(part) for part in zip(*steps, strict=True))
    return [first, *seen], rewards, dones, tasks


def test_the_cue_is_shown_once_and_the_frame_ends_every_episode() -> None:
    family = ImageCue(delay=2, episodes=3)
    seen, rewards, dones, _ = play(family, 5, lambda t, tasks: tasks["cue"])
    assert family.trial_steps == 12
    assert family.trial_episodes is None
    brightest = np.array([picture.reshape(5, -1).max(1) for picture in seen])
    assert (brightest[0] > 2 * NOISE).all()
    for t in range(12):
        assert seen[t].shape == (5, 12, 12, 1)
        assert seen[t].dtype == np.uint8
        edges = np.concatenate([seen[t][:, 0].reshape(5, -1), seen[t][:, :, -1].reshape(5, -1)], axis=1)
        at_frame = t % 4 == 3
        if t > 0:
            assert ((brightest[t] > 2 * NOISE) == at_frame).all()
            assert ((edges.min(1) > 2 * NOISE) == at_frame).all()
        assert (dones[t] == at_frame).all()
        assert (rewards[t] == at_frame).all()
    assert (brightest[12] < NOISE).all()


def test_noise_tells_nothing() -> None:
    """Frames without ink have the same distribution whatever the cue, in every pixel."""
    family = ImageCue(delay=3, episodes=2)
    seen, _, _, tasks = play(family, 4000, lambda t, tasks: tasks["cue"])
    for t in (1, 5, 8):
        means = [seen[t][tasks["cue"] == cue].mean() for cue in range(4)]
        assert np.ptp(means) < 0.3
        assert abs(np.mean(means) - (NOISE - 1) / 2) < 0.2


def test_only_the_answer_at_the_frame_counts() -> None:
    family = ImageCue(delay=1, episodes=2)

    def wrong_at_the_frame(t: int, tasks: Any) -> Array:
        return (tasks["cue"] + (t % 3 == 2)) % 4

    assert sum(r.sum() for r in play(family, 8, wrong_at_the_frame)[1]) == 0
    right = play(family, 8, lambda t, tasks: (tasks["cue"] + (t % 3 != 2)) % 4)[1]
    assert sum(r.sum() for r in right) == 8 * family.episodes


def test_guessing_is_at_chance() -> None:
    rng = np.random.default_rng(5)
    _, rewards, _, _ = play(ImageCue(), 4000, lambda t, tasks: rng.integers(4, size=4000))
    assert abs(np.sum(rewards) / (4000 * 3) - 0.25) < 0.02


@pytest.mark.parametrize("cues", [4, len(SHAPES)])
def test_pictures_can_be_told_apart(cues: int) -> None:
    """By one linear layer and a maximum, for every one of many."""
    family = ImageCue(cues=cues)
    rng = np.random.default_rng(0)
    tasks = family.sample_batch(rng, 4000)
    pictures = family.batched(4000).start(tasks, rng)
    assert np.array_equal(recognise(pictures, cues), tasks["cue"])


def test_the_place_moves_the_picture() -> None:
    family = ImageCue(size=12)
    places = np.array([[0, 0], [1, 1], [0, 1]], np.float32)
    rng = np.random.default_rng(0)
    pictures = family.batched(3).start({"cue": np.ones(3, np.int64), "place": places}, rng)[..., 0]
    square = SHAPES[1].astype(bool)
    for picture, (down, across) in zip(pictures, places.astype(int) * 6, strict=True):
        inked = picture >= NOISE
        assert np.array_equal(inked[down : down + 6, across : across + 6], square)
        assert inked.sum() == square.sum()


def test_tasks_show_different_pictures() -> None:
    family = ImageCue()
    tasks = family.sample_batch(np.random.default_rng(0), 500)
    envs = [family.make({k: v[i] for k, v in tasks.items()}) for i in range(500)]
    assert len({env.reset(seed=0)[0].tobytes() for env in envs}) == 500  # equal noise


def test_a_seed_begins_the_trial_anew() -> None:
    env = ImageCue().make({"cue": np.array(2), "place": np.zeros(2, np.float32)})
    first, _ = env.reset(seed=3)
    second, _ = env.reset()
    again, _ = env.reset(seed=3)
    assert first.max() > 2 * NOISE > second.max()
    assert np.array_equal(first, again)
