"""The controls of the published runs, the rows of both tests, and characters drawn in many fonts."""

import importlib
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import draw_fonts
import lake_controls
import matplotlib
import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from lake_controls import ALPHABETS, CHARACTERS, DRAWERS, RANDOM, Found, draws
from PIL import Image
from results.rows import Row

from metarl.config import apply, load_toml, parse_assignment
from metarl.data.images import images_by_class
from metarl.data.pictures import Reading
from metarl.data.pool import Glyphs, Pool
from metarl.evaluation.lake import error_rate
from metarl.experiments.presets import from_config, preset_path
from metarl.runs.folder import RunFolder

REPRODUCE = Path(__file__).resolve().parents[3] / "scripts" / "reproduce"
NAMES = [f"{alphabet}/character{number:02d}" for alphabet in ("A", "B", "C") for number in range(30)]


class Evaluation(Pool):
    """Three alphabets of 30 characters by 6 people, whose pixels are character and drawer."""

    def __init__(self) -> None:
        images = np.stack(np.meshgrid(np.arange(90), np.arange(6), indexing="ij"), -1).astype(np.uint8)
        super().__init__(images, superclass=np.arange(90) // 30, within="one", shared_examples=True)
        self.names, self.alphabets = NAMES, [name[0] for name in NAMES]


def test_each_control_keeps_what_it_says() -> None:
    runs = [NAMES[5:25], NAMES[60:80]]
    found = Found(runs, np.array([[0, 2], [2, 3]]))
    assert found.alphabets == ["A", "C"]
    pool: Any = Evaluation()
    drawn = {name: draw(pool, 300) for name, draw in draws(found, pool, seed=0).items()}
    theirs = [set(range(5, 25)), set(range(60, 80))]
    seen: dict[str, tuple[set[int], set[int]]] = {}
    for name, episodes in drawn.items():
        character, drawer = episodes.support_x[..., 0].astype(int), episodes.support_x[..., 1]
        asks = episodes.query_x[..., 1]
        assert all(len(set(row)) == 20 for row in character), name
        assert (character // 30 == character[:, :1] // 30).all(), "one alphabet"
        assert (drawer == drawer[:, :1]).all()
        assert (asks == asks[:, :1]).all()
        assert (asks[:, 0] != drawer[:, 0]).all()
        order = np.take_along_axis(character, episodes.support_y.argsort(-1), 1)
        assert (np.take_along_axis(order, episodes.query_y, 1) == episodes.query_x[..., 0]).all(), "labels"
        seen[name] = set(character.ravel().tolist()), {*drawer.ravel().tolist(), *asks.ravel().tolist()}
        if name == CHARACTERS:
            assert all(set(row) in theirs for row in character.tolist())
    alphabets = {*range(30), *range(60, 90)}
    assert seen[RANDOM] == (set(range(90)), set(range(6)))
    assert seen[ALPHABETS] == (alphabets, set(range(6)))
    assert seen[DRAWERS] == (alphabets, {0, 2, 3})
    assert seen[CHARACTERS] == (theirs[0] | theirs[1], set(range(6)))


def fake_runs(broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One run of 20 characters by drawers 4 and 2, with something wrong in it."""
    images = np.stack(np.meshgrid(np.arange(90), np.arange(6), indexing="ij"), -1).astype(np.uint8)
    support, queries = images[None, 30:50, 4].copy(), images[None, 30:50, 2][:, ::-1].copy()
    if broken == "foreign":
        queries[0, 3] = 200
    if broken == "drawers":
        support[0, 3] = images[33, 5]
    monkeypatch.setattr(lake_controls, "find_archives", lambda _: ["background", "evaluation"])
    monkeypatch.setattr(lake_controls, "check_published", lambda _: None)
    monkeypatch.setattr(lake_controls, "read_drawings", lambda *_: (images, NAMES))
    monkeypatch.setattr(lake_controls, "published_runs", lambda _: SimpleNamespace(support=support, queries=queries))


def test_the_runs_are_looked_up_pixel_by_pixel(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_runs("", monkeypatch)
    found = lake_controls.look_up()
    assert found.characters == [NAMES[30:50]]
    assert found.drawers.tolist() == [[4, 2]]


@pytest.mark.parametrize(("broken", "message"), [("foreign", "not in the evaluation set"), ("drawers", "one drawer")])
def test_runs_that_are_not_what_they_should_be_are_told(
    broken: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_runs(broken, monkeypatch)
    with pytest.raises(ValueError, match=message):
        lake_controls.look_up()


def load(name: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A script as a module, with those beside it importable."""
    monkeypatch.syspath_prepend(str(REPRODUCE))
    monkeypatch.delitem(sys.modules, name, raising=False)
    return importlib.import_module(name)


class Reproduction:
    """scripts/reproduce/lake.py without training: the seed says how many of 40 trials fail."""

    def __init__(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.module = load("lake", monkeypatch)
        self.rows: dict[tuple[str, ...], Row] = {}
        self.trained: dict[str, tuple[int, ...]] = {}
        self.made: dict[str, Any] = {}
        self.monkeypatch, self.place = monkeypatch, place
        fakes = {"train": self.train, "measure": self.measure, "look_up": lambda _: None, "trained_at": lambda _: "c"}
        fakes |= {"save": lambda _, *made: self.rows.update({row.key: row for row in made})}
        for name, fake in (fakes | {"KEPT": place / "kept"}).items():
            monkeypatch.setattr(self.module, name, fake)

    def train(self, preset: str, name: str, seeds: list[int], settings: Any, *_: Any) -> Any:
        config = apply(load_toml(preset_path(preset)), [parse_assignment(text) for text in settings])
        self.trained[name], self.made[name] = tuple(seeds), from_config(config, name)
        for seed in seeds:
            RunFolder.create_at(self.place / f"{name}-s{seed}").start({**config, "name": preset, "seed": seed})
        return [SimpleNamespace(train_seconds=float(seed), train_steps=7, parameters=3) for seed in seeds]

    def measure(self, found: object, folders: list[Path], tests: Any, **_: Any) -> Any:
        (folder,) = folders
        hits = np.arange(40).reshape(2, 20) > int(folder.name[-1])
        return {test: [error_rate(hits)] for test in tests}

    def run(self, *options: str) -> None:
        self.trained.clear()
        self.monkeypatch.setattr("sys.argv", ["lake.py", "--out", str(self.place), *options])
        self.module.main()


@pytest.fixture
def reproduction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Reproduction:
    return Reproduction(tmp_path, monkeypatch)


def test_a_reproduction_writes_a_row_for_each_control(reproduction: Reproduction) -> None:
    reproduction.run()
    assert reproduction.trained == {"lake": (0, 1, 2, 3, 4), "small1": (0, 1), "small2": (0, 1)}
    for name, scheme in (("lake", "lake"), ("small1", "lake_small1"), ("small2", "lake_small2")):
        made = reproduction.made[name]
        assert made.data.scheme == scheme
        assert made.data.trainval is (name == "lake"), "a minimal set is all that may be trained on"
        assert made.fit.keep == "last", "nothing is chosen"
    rows = list(reproduction.rows.values())
    assert len(rows) == len(lake_controls.CONTROLS) + 2 + 2
    assert {row.goal[1] for row in rows if "the 20 published runs" in row.where} == {3.3, 15.0}
    assert rows[0].ours == pytest.approx(100 * 3 / 40)
    assert rows[0].references["BPL"] == 3.3
    assert rows[-1].references == {"seed 0": 2.5, "seed 1": 5.0}


def test_seeds_are_trained_one_by_one_and_kept_with_their_settings(reproduction: Reproduction) -> None:
    reproduction.run("--only", "lake", "--seeds", "3")
    shutil.rmtree(reproduction.place / "lake-s3")
    reproduction.run("--only", "lake", "--seeds", "1", "3")
    assert reproduction.trained == {"lake": (1,)}, "the other is kept, though its run is gone"
    first = next(iter(reproduction.rows.values()))
    assert first.seeds == (1, 3)
    assert first.ours == pytest.approx(100 * 3 / 40)
    assert (first.train_seconds, first.references["seed 3"]) == (3.0, 10.0)
    kept = reproduction.place / "kept" / "lake-s3.json"
    kept.write_text(kept.read_text().replace('"updates": 4000', '"updates": 4001'))
    reproduction.run("--only", "lake", "--seeds", "1")
    assert reproduction.trained == {}
    assert next(iter(reproduction.rows.values())).seeds == (1,), "one of other settings doesn't count"


def test_principal_components_and_discriminants_meet_the_same_episodes(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sklearn", reason="scikit-learn is in the dev extra")
    module = load("fonts", monkeypatch)
    known, new = Glyphs("train", 30, 8), Glyphs("test", 12, 8)
    hits = module.Discriminants(known, 20).correct(new, 60, seed=0)
    assert hits.shape == (60, 25)
    assert 0.3 < hits.mean() < 1, "better than by chance"
    drawn = module.sample(new, 60, 0)
    near = np.square(drawn.query_x[:, :, None].astype(float) - drawn.support_x[:, None]).sum((3, 4)).argmin(-1)
    same = (np.take_along_axis(drawn.support_y, near, 1) == drawn.query_y) == hits
    assert same.mean() > 0.5, "what the nearest pictures get right is mostly the same"


def test_fonts_with_all_characters_are_drawn_and_missing_packages_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fonts = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    with pytest.raises(draw_fonts.MissingFonts, match=r"apt-get install .*fonts-cmu .*fonts-urw-base35"):
        draw_fonts.draw(tmp_path / "none", fonts)
    assert not (tmp_path / "none").exists()
    monkeypatch.setattr(draw_fonts, "PACKAGES", {"both": "DejaVuSans.ttf", "greek is missing": "cmr10.ttf"})
    monkeypatch.setattr(draw_fonts, "LEAST", 1)
    assert draw_fonts.draw(tmp_path / "made", fonts, size=24) == (len(draw_fonts.CHARACTERS), 1)
    before = (tmp_path / "made" / "U0041" / "000-DejaVuSans.png").read_bytes()
    assert draw_fonts.draw(tmp_path / "made", fonts, size=24).fonts == 1, "what is there is taken"
    with pytest.raises(ValueError, match="something else"):
        draw_fonts.draw(tmp_path / "made", fonts, size=25)
    draw_fonts.draw(tmp_path / "again", fonts, size=24)
    assert (tmp_path / "again" / "U0041" / "000-DejaVuSans.png").read_bytes() == before
    assert len(set(draw_fonts.CHARACTERS)) == len(draw_fonts.CHARACTERS) >= 200
    made, _ = images_by_class(tmp_path / "made", Reading(24, True))
    assert {path.name for paths in made.values() for path in paths} == {"000-DejaVuSans.png"}
    assert all(len(paths) == 1 for paths in made.values())
    shown = {name: np.asarray(Image.open(paths[0])) for name, paths in made.items()}
    assert all(image.shape == (24, 24) and image.max() > 60 for image in shown.values()), "a picture is empty"
    assert len({image.tobytes() for image in shown.values()}) == len(shown), "two characters look alike"
    assert np.median([image.mean() for image in shown.values()]) < 60, "paper is black"


@pytest.mark.parametrize("ink", [True, False])
def test_a_font_whose_pictures_are_empty_has_not_every_character(ink: bool, tmp_path: Path) -> None:
    pen = TTGlyphPen(None)
    if ink:
        for draw, place in ((pen.moveTo, (0, 0)), (pen.lineTo, (0, 800)), (pen.lineTo, (500, 0))):
            draw(place)
        pen.closePath()
    font = FontBuilder(1000)
    font.setupGlyphOrder([".notdef", "all"])
    font.setupCharacterMap(dict.fromkeys(map(ord, draw_fonts.CHARACTERS), "all"))
    font.setupGlyf(dict.fromkeys((".notdef", "all"), pen.glyph()))
    font.setupHorizontalMetrics(dict.fromkeys((".notdef", "all"), (600, 0)))
    font.setupHorizontalHeader(ascent=800, descent=-200)
    font.setupNameTable({"familyName": "Toy", "styleName": "Regular"})
    font.setupOS2()
    font.setupPost()
    font.save(tmp_path / "toy.ttf")
    assert draw_fonts.has_all(tmp_path / "toy.ttf") is ink
