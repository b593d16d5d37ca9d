import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from report_runs import bandit, made

from metarl.files import write_json
from metarl.report import html
from metarl.report.adaptation import adaptation_curve
from metarl.report.build import FILM_BYTES, build_report
from metarl.report.draw import draw_run
from metarl.report.movie import write_film
from metarl.runs.folder import RunError, RunFolder
from metarl.runs.provenance import now

VOID = {"meta", "br", "img"}
TEXT = "<script>alert('run')</script> \" & $x_{ \x00"
EVIL = f"{TEXT} \ud800"


class Page(HTMLParser):
    """Reads a page: tags must close in order, and nothing may come from outside."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.figures: list[str] = []
        self.ids: list[str] = []
        self.used: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = dict(attrs)
        assert not {"href", "srcset", "action", "data"} & set(names)
        assert str(names.get("src", "data:image/gif;base64,")).startswith("data:image/gif;base64,")
        assert not [name for name in names if name.startswith("on")]
        link = names.get("xlink:href") or "#"
        assert link.startswith(("#", "data:image/png;base64,"))
        if link.startswith("#"):
            self.used.append(link[1:])
        self.used += re.findall(r"url\(#([^)]*)\)", " ".join(filter(None, names.values())))
        if "id" in names:
            self.ids.append(str(names["id"]))
        if tag == "svg":
            assert names["role"] == "img"
            self.figures.append(str(names["aria-label"]))
        self.seen.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data.strip())


def looked_through(path: Path) -> Page:
    text = path.read_text(encoding="utf-8")
    assert text.startswith("<!DOCTYPE html>\n")
    page = Page(text)
    assert page.open == []
    assert not {"link", "iframe", "object", "a", "base"} & set(page.seen)
    assert page.seen.count("script") == 1
    assert len(page.ids) == len(set(page.ids)), "an id is used twice"
    assert set(page.used) - {""} <= set(page.ids), "a figure uses what is not there"
    head, script = text.split("<script>")
    code = script.split("</script>")[0]
    assert base64.b64encode(hashlib.sha256(code.encode()).digest()).decode() in head.split("</head>")[0]
    bare = re.sub(r"data:image/(?:png|gif);base64,[A-Za-z0-9+/=\s]+", "", head)
    assert not re.search(r"http:|https:|url\((?!#)|@import|[\x00-\x08\x0b-\x1f]", bare)
    assert len(text) < 3_000_000
    return page


def test_a_run_becomes_one_page_with_all_its_images(tmp_path: Path) -> None:
    run = made(tmp_path / "run")
    report = build_report([run])
    assert report.page == run.path / "report.html"
    assert [path.name for path in report.images] == ["adaptation.svg", "learning.svg", "memory.svg", "episodes.svg"]
    assert all(path.is_file() for path in report.images)
    assert report.missing == []
    page = looked_through(report.page)
    assert len(page.figures) == 4
    assert "agent: 0.7 at 1, 0.9 at 100." in page.figures[0], "the alternative text tells values"
    assert "86 % of the way from random to Gittins; with its memory off 0 %" in page.words
    told = {"Adaptation within a trial", "Learning", "Memory", "Single trials", "agent (sampled actions)", "Gittins"}
    assert told | {"80.00 ± 0.20", "memory.store", "torch version", "finished"} <= set(page.words)
    assert "metarl train bandit --set 'a=<b>&'" in page.words
    assert "prefers-color-scheme: dark" in report.page.read_text()


def test_what_lies_in_a_run_cannot_become_part_of_the_page(tmp_path: Path) -> None:
    references = {**bandit().references, TEXT: bandit().references["greedy"]}
    evaluation = bandit(env_options={TEXT: TEXT}, references=references)
    run = made(tmp_path / "<script>alert(1)<", evaluation=evaluation, memory={EVIL: EVIL})
    told = {"command": [TEXT], "platform": TEXT, "versions": {TEXT: TEXT}, "started": now()}
    write_json(run.path / "meta.json", told)
    page = looked_through(build_report([run]).page)
    assert "<script>alert(1)<" in page.words
    other = made(tmp_path / "other", memory={EVIL: "<b>"})
    looked_through(build_report([run, other], tmp_path / "both.html").page)


@pytest.mark.usefixtures("blank")
def test_the_moving_picture_of_a_run_is_in_its_page(tmp_path: Path) -> None:
    run, other = made(tmp_path / "a"), made(tmp_path / "b", 1)
    assert "img" not in looked_through(build_report([run]).page).seen
    write_film([(np.full((8, 8, 3), shade, np.uint8), False) for shade in (0, 99)], run.film, 4)
    page = looked_through(build_report([run]).page)
    assert page.seen.count("img") == 1
    assert "One trial" in page.words
    assert "img" not in looked_through(build_report([run, other], tmp_path / "both.html").page).seen
    for content, told in ((b"<svg onload=alert(1)>", "is no GIF"), (b"GIF89a" + bytes(FILM_BYTES), "no room")):
        run.film.write_bytes(content)
        page = looked_through(build_report([run]).page)
        assert "img" not in page.seen
        assert any(told in text for text in page.words)


@pytest.mark.usefixtures("blank")
def test_several_runs_become_one_page(tmp_path: Path) -> None:
    runs = [made(tmp_path / "a"), made(tmp_path / "b", 1), made(tmp_path / "c", memory={"store": "none"}, played=False)]
    report = build_report(runs)
    assert report.page == runs[0].path / "report.html"
    common = [runs[0].figures / f"compared-{name}.svg" for name in ("adaptation", "learning")]
    assert report.images[-2:] == common
    page = looked_through(report.page)
    assert len(page.figures) == 2 + 4 + 4 + 2
    assert {"store=episodic", "store=none", "0, 1", "85.7 %", "b (seed 1)"} <= set(page.words)
    (missing,) = report.missing
    assert "trials.npz" in missing


@pytest.mark.usefixtures("blank")
def test_out_names_the_page_and_where_common_images_lie(tmp_path: Path) -> None:
    runs = [made(tmp_path / "a"), made(tmp_path / "b", 1)]
    report = build_report(runs, tmp_path / "both.html")
    assert report.page == tmp_path / "both.html"
    files = {path.name for path in tmp_path.iterdir() if path.is_file()}
    assert files == {"both.html", "both-adaptation.svg", "both-learning.svg"}
    assert not (tmp_path / "a" / "report.html").exists()


@pytest.mark.parametrize("out", ["a/checkpoint.zip", "folder.html", "nowhere/page.html"])
def test_a_page_that_cannot_be_is_refused_at_once(tmp_path: Path, out: str) -> None:
    run = made(tmp_path / "a")
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(ValueError, match=out.split("/")[-1]):
        build_report([run], tmp_path / out)
    assert not (run.path / "figures").exists()


@pytest.mark.usefixtures("blank")
def test_what_can_be_drawn_is_drawn_and_the_rest_is_told(tmp_path: Path) -> None:
    run = made(tmp_path / "a", evaluated=False, played=False)
    report = build_report([run])
    assert [path.name for path in report.images] == ["learning.svg"]
    for line, name in zip(report.missing, ("evaluation.json", "trials.npz"), strict=True):
        assert name in line
        assert str(run.path) in line
    assert "Missing" in looked_through(report.page).words
    half = made(tmp_path / "b", learned=False)
    left = half.figures / ".adaptation.png.999999999.tmp"  # of a process that was killed
    left.touch()
    unlearned = draw_run(half)
    assert not left.exists()
    assert set(unlearned.images) == {"adaptation", "memory", "episodes"}
    assert [line.partition(":")[0] for line in unlearned.missing] == ["learning curve"]
    with pytest.raises(RunError, match="nothing"):
        build_report([made(tmp_path / "c", evaluated=False, played=False, learned=False)])
    assert not (tmp_path / "c" / "report.html").exists()


@pytest.mark.usefixtures("blank")
@pytest.mark.parametrize(("trained", "command"), [(False, "train --resume"), (True, "eval")])
def test_what_is_missing_is_made_by_a_command_that_can_make_it(tmp_path: Path, trained: bool, command: str) -> None:
    killed = made(tmp_path / "killed", evaluated=False, played=False)
    bare = made(tmp_path / "bare", evaluated=False, played=False, learned=False)
    for run in (killed, bare):
        run.set_status("running")
        if trained:
            run.checkpoint.touch()
    lines = draw_run(killed).missing
    assert len(lines) == 2
    with pytest.raises(RunError) as caught:
        draw_run(bare)
    for told, run in ((lines[0], killed), (lines[1], killed), (str(caught.value.remedy), bare)):
        assert f"metarl {command} {run.path}" in told


@pytest.mark.usefixtures("blank")
def test_a_run_without_meta_still_makes_a_page(tmp_path: Path) -> None:
    run = made(tmp_path / "a")
    (run.path / "meta.json").unlink()
    with pytest.warns(UserWarning, match=r"has no meta\.json"):
        page = looked_through(build_report([RunFolder.open(run.path)]).page)
    assert any("has no meta.json" in text for text in page.words)


def test_tables_and_images_escape_what_they_hold(tmp_path: Path) -> None:
    evaluation = bandit(20, references={'"<b>': bandit(20).references["random"]})
    image = html.image(adaptation_curve(evaluation, tmp_path / "a.svg"), '"<')
    assert 'aria-label="&quot;&lt;. ' in image
    assert "<b>" not in image
    assert '\\"&lt;b&gt;' in image.replace("&quot;", '"'), "a name of a series"
    assert "<td>&lt;b&gt;</td>" in html.table(("a",), [("<b>",)])
