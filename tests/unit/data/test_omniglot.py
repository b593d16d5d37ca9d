"""Omniglot's splits and the source of episodes; what needs the real archives finds them by METARL_DATA."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from metarl.config import InputError
from metarl.data.omniglot import (
    MINIMAL,
    Omniglot,
    OmniglotError,
    Scheme,
    describe,
    found,
    shared_alphabets,
    source,
    split_characters,
)
from metarl.data.omniglot.drawings import Drawings, _shared
from metarl.types import SPLITS, Split

COUNTS = {
    "standard": (1028, 172, 423),
    "lake": (792, 172, 659),
    "lake_small1": (136, 150, 659),
    "lake_small2": (156, 172, 659),
}
WHOLE: tuple[Scheme, ...] = ("standard", "lake")
ALL = sorted(name for split in SPLITS for name in split_characters("standard", split))
VALIDATION = ["Armenian", "Bengali", "Early_Aramaic", "Hebrew", "Mkhedruli_(Georgian)"]


def alphabets(scheme: Scheme, split: Split) -> set[str]:
    return {name.partition("/")[0] for name in split_characters(scheme, split)}


@pytest.mark.parametrize("scheme", WHOLE)
def test_splits_are_disjoint_and_have_all_1623_characters(scheme: Scheme) -> None:
    parts = [split_characters(scheme, split) for split in SPLITS]
    assert tuple(len(part) for part in parts) == COUNTS[scheme]
    together = [name for part in parts for name in part]
    assert len(set(together)) == len(together) == 1623
    assert sorted(together) == ALL
    assert len({name.partition("/")[0] for name in together}) == 50


def test_the_standard_split_divides_one_alphabet_and_lakes_none() -> None:
    assert (shared_alphabets("standard"), shared_alphabets("lake")) == (["Gurmukhi"], [])
    for scheme, counts in (("standard", [33, 5, 13]), ("lake", [25, 5, 20])):
        assert [len(alphabets(scheme, split)) for split in SPLITS] == counts  # type: ignore[arg-type]  # a plain str
        assert sorted(alphabets(scheme, "validation")) == VALIDATION  # type: ignore[arg-type]  # a plain str
    test = [name for name in split_characters("standard", "test") if name.startswith("Gurmukhi")]
    assert test == [f"Gurmukhi/character{number}" for number in range(42, 46)]


@pytest.mark.parametrize("scheme", MINIMAL)
def test_minimal_sets_are_five_background_alphabets_beside_the_same_tests(scheme: Scheme) -> None:
    assert sorted(alphabets(scheme, "train")) == sorted(MINIMAL[scheme])
    assert tuple(len(split_characters(scheme, split)) for split in SPLITS) == COUNTS[scheme]
    assert shared_alphabets(scheme) == []
    assert split_characters(scheme, "test") == split_characters("lake", "test")
    assert set(split_characters(scheme, "validation")) <= set(split_characters("lake", "validation"))


def test_splits_are_those_that_results_were_made_with() -> None:
    digests = {
        f"{scheme} {split}": hashlib.sha256("\n".join(split_characters(scheme, split)).encode()).hexdigest()[:16]
        for scheme in WHOLE
        for split in SPLITS
    }
    assert digests == {
        "standard train": "0e8ee4a657a12d9b",
        "standard validation": "d3f56052fbd17195",
        "standard test": "c4823b72623bcabe",
        "lake train": "5b001e747ef7e8f6",
        "lake validation": "d3f56052fbd17195",
        "lake test": "5cb00895dd8276c2",
    }


def test_a_split_that_does_not_exist() -> None:
    for given, key in ((("standard", "tset"), "split"), (("vinyals", "test"), "scheme")):
        with pytest.raises(InputError) as error:
            split_characters(*given)  # type: ignore[arg-type]  # wrong on purpose
        assert error.value.key == key


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> Drawings:
    """Images of 4 by 4 pixels that show the number of their character and of their drawer."""
    images = np.zeros((1623, 20, 4, 4), np.uint8)
    images[:, :, 0, 0] = np.arange(1623)[:, None] // 256
    images[:, :, 0, 1] = np.arange(1623)[:, None] % 256
    images[:, :, 0, 2] = np.arange(20)
    images[:, :, 0, 3] = 255
    drawings = Drawings(images, tuple(ALL))
    monkeypatch.setattr(source, "load_drawings", lambda *_: drawings)
    return drawings


def who(images: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Character, drawer and number of right angles of images ``[..., 4, 4]`` of ``drawn``."""
    corner = np.stack([images[..., 0, 3], images[..., 0, 0], images[..., 3, 0], images[..., 3, 3]], -1)
    turn = corner.argmax(-1)
    upright = np.stack([np.rot90(images, -r, (-2, -1)) for r in range(4)])
    back = np.take_along_axis(upright, turn[None, ..., None, None], 0)[0]
    return back[..., 0, 0].astype(int) * 256 + back[..., 0, 1], back[..., 0, 2], turn


@pytest.mark.parametrize("scheme", WHOLE)
@pytest.mark.parametrize("rotations", [False, True])
def test_no_character_rotation_or_drawing_is_in_two_splits(drawn: Drawings, scheme: Scheme, rotations: bool) -> None:
    seen: list[set[int]] = []
    for split, count in zip(SPLITS, COUNTS[scheme], strict=True):
        source = Omniglot(split, scheme=scheme, rotations=rotations)
        assert source.examples.shape == (count * (4 if rotations else 1), 20, 4, 4)
        assert source.examples.dtype == np.uint8
        assert type(source.examples) is np.ndarray
        assert not source.examples.flags.writeable
        assert source.classes == len(source.names) == len(source.alphabets) == len(source.examples)
        character, drawer, turn = who(source.examples)
        assert (drawer == np.arange(20)).all()
        named = [f"{ALL[c]}/rot{90 * t:03d}" if t else ALL[c] for c, t in zip(character[:, 0], turn[:, 0], strict=True)]
        assert named == source.names
        assert len(set(named)) == len(named)
        assert [name.partition("/")[0] for name in named] == source.alphabets
        seen.append(set(character.ravel().tolist()))
    assert len(set.union(*seen)) == sum(len(part) for part in seen) == 1623


def test_two_rotations_of_a_character_are_never_in_one_episode(drawn: Drawings) -> None:
    episodes = Omniglot("validation", rotations=True).sample(np.random.default_rng(0), 200, 60, 1, 1)
    assert episodes.support_x.dtype == np.uint8
    character, _, turn = who(episodes.support_x)
    assert all(len(set(row)) == 60 for row in character.tolist())
    assert set(np.unique(turn)) == {0, 1, 2, 3}
    assert all(len(set(row)) == 4 for row in turn.tolist())


@pytest.mark.parametrize("rotations", [False, True])
def test_within_an_alphabet_all_have_the_same_rotation(drawn: Drawings, rotations: bool) -> None:
    source = Omniglot("validation", rotations=rotations, within="one")
    episodes = source.sample(np.random.default_rng(0), 200, 20, 1, 1)
    character, _, turn = who(episodes.support_x)
    names = np.array([name.partition("/")[0] for name in ALL])[character]
    assert (names == names[:, :1]).all()
    assert (turn == turn[:, :1]).all()
    assert set(names[:, 0]) == set(VALIDATION)
    assert set(turn[:, 0]) == ({0, 1, 2, 3} if rotations else {0})


def test_distinct_drawers(drawn: Drawings) -> None:
    episodes = Omniglot("train", distinct_drawers=True).sample(np.random.default_rng(0), 200, 5, 2, 3)
    support, query = who(episodes.support_x)[1], who(episodes.query_x)[1]
    assert not (support[:, :, None] == query[:, None, :]).any()
    anyone = Omniglot("train").sample(np.random.default_rng(0), 200, 5, 2, 3)
    support, query = who(anyone.support_x)[1], who(anyone.query_x)[1]
    assert (support[:, :, None] == query[:, None, :]).any()


def test_more_than_a_split_has(drawn: Drawings) -> None:
    source = Omniglot("validation", within="one")
    for asked, key in (((47, 1, 1), "ways"), ((5, 5, 16), "shots + queries")):
        with pytest.raises(InputError) as error:
            source.sample(np.random.default_rng(0), 1, *asked)
        assert error.value.key == key


def test_without_the_archives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("METARL_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert not found()
    for ask in (lambda: Omniglot("train"), describe):
        with pytest.raises(OmniglotError, match=r"no images_background\.zip"):
            ask()


def test_it_imports_no_torch() -> None:
    code = "import sys, metarl.data.omniglot; assert not {'torch', 'PIL', 'pooch'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The published archives, with a cache of the tests' own."""
    if not os.environ.get("METARL_DATA"):
        pytest.skip("METARL_DATA is not set, so there is no real Omniglot to look at")
    if not found(os.environ["METARL_DATA"]):
        pytest.skip("METARL_DATA names a folder without the Omniglot archives")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield
    _shared.cache_clear()


def test_real_no_two_drawings_are_equal_but_one_dot(real: None) -> None:
    where: dict[bytes, list[str]] = {}
    for split in SPLITS:
        source = Omniglot(split)
        for name, drawings in zip(source.names, source.examples, strict=True):
            for number, drawing in enumerate(drawings, 1):
                where.setdefault(drawing.tobytes(), []).append(f"{split} {name} {number}")
    equal = [drawings for drawings in where.values() if len(drawings) > 1]
    assert equal == [["train Braille/character01 3", "train Braille/character01 19"]]


def test_real_images_are_ink_on_paper_and_loaded_once(real: None) -> None:
    _shared.cache_clear()
    source, *_ = (Omniglot(split) for split in SPLITS)
    assert (_shared.cache_info().misses, _shared.cache_info().hits) == (1, 2)
    assert source.examples.shape == (1028, 20, 28, 28)
    assert source.examples.max() == 255
    assert 0.05 < source.examples.mean() / 255 < 0.15
    assert (source.examples.max((2, 3)) > 60).all()
    turned = Omniglot("train", rotations=True)
    assert np.array_equal(turned.examples[1028:2056], np.rot90(source.examples, 1, (2, 3)))
    assert "1623 characters of 50 alphabets, 20 drawings of each" in describe()
    assert "images_background.zip" in describe()
