from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_fewshot_runs import evaluation, made, mann, sets, stream, streams
from report_runs import made as made_by_rl2
from test_report_page import TEXT, looked_through

from metarl.files import write_json
from metarl.report.build import build_report
from metarl.report.draw import draw_run
from metarl.runs.folder import RunError
from metarl.runs.provenance import now


def test_a_run_becomes_one_page_with_all_its_images(tmp_path: Path) -> None:
    run = made(tmp_path / "run")
    report = build_report([run])
    assert report.page == run.path / "report.html"
    assert [path.name for path in report.images] == ["learning.svg", "drawings.svg", "confusions.svg", "recall.svg"]
    assert report.missing == []
    page = looked_through(report.page)
    assert len(page.figures) == 4
    told = {"Single episodes", "What was recalled", "Learning", "96.70 ± 0.10", "96.0", "finished", "fit.updates"}
    assert told <= set(page.words)
    assert "metarl train prototypical --set 'a=<b>&'" in page.words


def test_every_kind_of_episodes_is_drawn(tmp_path: Path) -> None:
    run = made(tmp_path / "streams", mann(), kept=streams())
    report = build_report([run])
    assert [path.stem for path in report.images] == ["instances", "learning", "streams"]
    assert report.missing == []
    assert {"Accuracy by instance", "instance 10", "98.1"} <= set(looked_through(report.page).words)
    both = made(tmp_path / "both", evaluation(streams=(stream(),)), kept=sets() | streams())
    assert list(draw_run(both).images) == ["instances", "learning", "drawings", "confusions", "streams", "recall"]


@pytest.mark.usefixtures("blank")
def test_what_is_missing_is_told(tmp_path: Path) -> None:
    arrays = sets()
    flat = {name: arrays[name].reshape(*arrays[name].shape[:2], 64) for name in ("support_x", "query_x")}
    cases: list[tuple[dict[str, Any], list[str], list[str]]] = [
        ({"evaluated": False, "kept": {}}, ["learning"], ["evaluation.json", "episodes.npz"]),
        ({"learned": False, "kept": sets(weights=None)}, ["drawings", "confusions"], ["learning"]),
        ({"kept": arrays | flat}, ["learning"], ["no images"]),
    ]
    for number, (options, images, named) in enumerate(cases):
        run = made(tmp_path / str(number), **options)
        drawn = draw_run(run)
        assert list(drawn.images) == images
        assert all(name in line for name, line in zip(named, drawn.missing, strict=True))
    assert "Missing" in looked_through(build_report([run]).page).words


def test_what_lies_in_a_run_cannot_become_part_of_the_page(tmp_path: Path) -> None:
    names = {"preset": TEXT, "data": f"images of {TEXT}", "norm": TEXT, "learner": TEXT}
    run = made(tmp_path / "<script>alert(1)<", evaluation(**names, streams=(stream(),)))
    told = {"command": [TEXT], "platform": TEXT, "versions": {TEXT: TEXT}, "started": now()}
    write_json(run.path / "meta.json", told)
    assert "<script>alert(1)<" in looked_through(build_report([run]).page).words
    others = [made(tmp_path / "a"), made(tmp_path / "b")]
    page = looked_through(build_report([run, *others], tmp_path / "both.html").page)
    assert {"prototypical, seed 0 (a)", "prototypical, seed 0 (b)"} <= set(page.words), "one name, told apart"


@pytest.mark.usefixtures("blank")
def test_several_runs_become_one_page(tmp_path: Path) -> None:
    runs = [
        made(tmp_path / "a"),
        made(tmp_path / "b", evaluation(train_seed=1, cells=evaluation().cells[:2])),
        made(tmp_path / "c", mann(), kept=streams()),
        made(tmp_path / "d", evaluated=False, kept={}),
    ]
    report = build_report(runs)
    common = [runs[0].figures / f"compared-{name}.svg" for name in ("instances", "learning")]
    assert report.images[-2:] == common
    page = looked_through(report.page)
    assert len(page.figures) == 2 + 4 + 4 + 3 + 1
    told = {"prototypical, seed 0", "prototypical, seed 1", "mann, seed 0", "(d)", "99.70 ± 0.10 (99.7)", "12.2 min"}
    assert told | {"82.00 ± 1.00 (82.8)"} <= set(page.words)
    assert len(report.missing) == 2


def test_runs_of_different_kinds_are_refused(tmp_path: Path) -> None:
    few, trials = made(tmp_path / "a"), made_by_rl2(tmp_path / "b")
    for runs in ([few, trials], [trials, few], [few, few]):
        with pytest.raises(RunError):
            build_report(runs)
    assert not (few.path / "figures").exists()


def test_images_of_paper_are_not_inverted(tmp_path: Path) -> None:
    """Omniglot's bytes are ink; those of an image are light."""
    from matplotlib.image import imread

    arrays = sets(n=1, weights=None)
    arrays |= {name: np.zeros_like(arrays[name]) for name in ("support_x", "query_x")}
    shares = {}
    for name, data in {"ink": "Omniglot (standard split)", "light": "images of x"}.items():
        picture = imread(draw_run(made(tmp_path / name, evaluation(data=data), kept=arrays)).images["drawings"])
        shares[name] = float((picture[..., :3].sum(2) < 0.1).mean())
    assert shares["light"] > 0.1 > shares["ink"]
