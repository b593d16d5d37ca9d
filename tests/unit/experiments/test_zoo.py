"""The zoo: what an entry keeps of a run, what its card promises, and that nothing is written to it."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from command_line import files, run
from experiment_toys import ran, toy, weights

import metarl
from metarl.agents.fewshot.trained import TrainedLearner
from metarl.agents.rl2 import RL2PPO
from metarl.config import InputError, to_plain
from metarl.experiments.run import Run
from metarl.files import write_json
from metarl.runs import entries, provenance
from metarl.runs.folder import RunFolder
from metarl.runs.manifest import CARD
from metarl.training.checkpoint import CheckpointError, read_checkpoint, write_checkpoint
from metarl.zoo import make
from metarl.zoo.card import card_page, card_text, read_card
from metarl.zoo.check import check, opened
from metarl.zoo.make import FILES, make_entry

MOST, ALL = 2.5e6, 12e6  # bytes of an entry, and of all
OURS = entries.entries()
KINDS = ("agent", "classifier", "stream")


class Made(NamedTuple):
    run: Run
    folder: Path


@pytest.fixture(scope="module")
def all_made(tmp_path_factory: pytest.TempPathFactory, undrawn: None) -> dict[str, Made]:
    """A run of each kind, and the entry that was made of it."""
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(provenance, "commit", lambda: provenance.Commit("0" * 40, False))
        for kind in KINDS:
            place = tmp_path_factory.mktemp(kind)
            found[kind] = Made(ran(place / "run", toy(kind)), place / "toy")
            make_entry(place / "run", place / "toy", limits="A toy.", quiet=True)
    return found


@pytest.fixture(params=KINDS)
def made(all_made: dict[str, Made], request: pytest.FixtureRequest) -> Made:
    return all_made[request.param]


@pytest.fixture
def agent(all_made: dict[str, Made]) -> Made:
    return all_made["agent"]


def test_an_entry_is_the_model_in_half_precision_and_opens_like_a_run(made: Made) -> None:
    assert {path.name for path in made.folder.iterdir()} == set(FILES)
    before, after = weights(made.run), weights(metarl.open_run(made.folder))
    for name, one in before.items():
        assert after[name].dtype == one.dtype
        assert torch.equal(after[name], one.half().float()) or torch.equal(after[name], one)
    assert any(not torch.equal(after[name], one) for name, one in before.items())
    _, groups = read_checkpoint(made.folder / "checkpoint.zip")
    assert len(groups) == 1
    model = metarl.load(made.folder)
    assert isinstance(model, RL2PPO if isinstance(made.run.model, RL2PPO) else TrainedLearner)
    for text in files(made.folder).values():
        assert str(made.folder.parent).encode() not in text


def test_the_card_tells_figures_steps_and_limits(made: Made) -> None:
    card, evaluation = read_card(made.folder), to_plain(made.run.evaluation)
    assert (card.name, card.steps, card.precision, card.commit) == ("toy", made.run.steps, "half", "0" * 40)
    assert card.limits.endswith("A toy.")
    told = [one["accuracy"] for one in evaluation.get("cells", ())]
    told += [one["by_instance"][-1] for one in evaluation.get("streams", ())]
    assert [one.trained for one in card.figures] == (told or [evaluation["return_mean"]])
    assert all(abs(one.value - one.trained) <= one.se for one in card.figures)
    assert len(card.curve) >= 1
    assert card.curve[-1][0] == card.steps
    assert "A toy." in card_text(made.folder)
    assert card_page(made.folder).startswith("---\nlicense: mit\n")


def test_a_card_whose_number_no_longer_holds_is_found(made: Made, tmp_path: Path) -> None:
    assert run("zoo", "eval", made.folder, "-n", "12").status == 0
    worse = tmp_path / "worse"
    shutil.copytree(made.folder, worse)
    card = read_card(worse)
    bad = replace(card.figures[-1], value=card.figures[-1].value + 5 + 20 * card.figures[-1].se)
    write_json(worse / CARD, to_plain(replace(card, figures=(*card.figures[:-1], bad))))
    done = run("zoo", "eval", worse, "-n", "12", "--json")
    assert done.status == 1
    assert [one["holds"] for one in json.loads(done.out)["figures"]] == [True] * (len(card.figures) - 1) + [False]


def test_few_tasks_that_are_all_alike_are_not_taken_as_exact(agent: Made) -> None:
    card = read_card(agent.folder)
    (found,) = check(agent.folder, opened(agent.folder), tasks=2)
    least = card.figures[0].se * math.sqrt(card.figures[0].tasks / 2)
    assert found.errors <= abs(found.now.value - found.card.value) / least


def test_other_tasks_are_played_than_those_of_the_card(agent: Made) -> None:
    run = opened(agent.folder)
    (told,) = check(agent.folder, run, tasks=12)
    now, same = (run.evaluate(n=12, seed=seed, alone=True, quiet=True).return_mean for seed in (1, 0))
    assert read_card(agent.folder).seed == 0
    assert told.now.value == now != same


def test_commands_that_use_the_model_leave_an_entry_as_it_is(agent: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entries, "ZOO", agent.folder.parent)
    before = files(agent.folder)
    assert run("zoo", "list").out.splitlines()[1].startswith("toy ")
    assert "A toy." in run("zoo", "show", "toy").out
    assert run("eval", "zoo:toy", "-q").status == 0
    for refused in (["train", "--resume", "zoo:toy"], ["report", "zoo:toy"], ["export", "zoo:toy"]):
        assert run(*refused).status == 2, refused
    assert files(agent.folder) == before


def test_a_name_that_is_not_there_is_told_with_those_that_are() -> None:
    for ask in (lambda: metarl.load("zoo:bandti"), lambda: RunFolder.open("zoo:bandti")):
        with pytest.raises(InputError, match="bandit") as caught:
            ask()
        assert caught.value.given == "bandti"
    assert run("zoo", "show", "bandti").status == 2


def test_weights_stay_as_they_are_where_rounding_changes_a_figure(
    agent: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds: list[bool] = []
    whole = make._changed
    monkeypatch.setattr(make, "_changed", lambda told: whole(told) if rounds else (rounds.append(True), told)[1])
    make_entry(agent.run.folder.path, tmp_path / "single", quiet=True)
    assert read_card(tmp_path / "single").precision == "single"
    after = weights(metarl.open_run(tmp_path / "single"))
    assert all(torch.equal(after[name], one) for name, one in weights(agent.run).items())


def test_a_run_that_nobody_could_make_again_is_refused(
    agent: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = agent.run.folder.path
    with pytest.raises(FileExistsError):
        make_entry(path, agent.folder)
    monkeypatch.setattr(make, "_changed", lambda told: told)
    with pytest.raises(InputError, match="return of a trial"):
        make_entry(path, tmp_path / "a", quiet=True)
    dirty = replace(agent.run.folder.meta, git=provenance.Commit("0" * 40, True))
    monkeypatch.setattr(RunFolder, "meta", dirty)
    with pytest.raises(InputError, match="commit"):
        make_entry(path, tmp_path / "a")
    shutil.copytree(path, tmp_path / "cut")
    status = json.loads((path / "status.json").read_text())
    (tmp_path / "cut" / "status.json").write_text(json.dumps({**status, "status": "interrupted"}))
    with pytest.raises(InputError, match="not finished"):
        make_entry(tmp_path / "cut", tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_weights_alone_act_and_are_nothing_to_go_on_from(agent: Made, tmp_path: Path) -> None:
    path = agent.folder / "checkpoint.zip"
    assert RL2PPO.load(path).num_timesteps == agent.run.steps
    with pytest.raises(CheckpointError) as caught:
        RL2PPO.load(path, env=agent.run.experiment.make_env("train", 4))
    assert caught.value.key == "optimizer"
    meta, groups = read_checkpoint(path)
    halved = {name: one.half() if one.is_floating_point() else one for name, one in groups["policy"].items()}
    write_checkpoint(tmp_path / "agent.zip", meta, {"policy": halved})  # which doesn't say that it was rounded
    with pytest.raises(CheckpointError, match="float16"):
        RL2PPO.load(tmp_path / "agent.zip")


def test_a_figure_that_nothing_measures_is_told(agent: Made, tmp_path: Path) -> None:
    shutil.copytree(agent.folder, tmp_path / "other")
    card = read_card(agent.folder)
    unknown = replace(card, figures=(replace(card.figures[0], name="fame"),))
    write_json(tmp_path / "other" / CARD, to_plain(unknown))
    assert run("zoo", "eval", tmp_path / "other", "-n", "2").status == 2


@pytest.mark.parametrize("text", ["\x1b[2J", "two\nlines"])
def test_a_card_that_steers_the_terminal_is_refused(agent: Made, tmp_path: Path, text: str) -> None:
    card: dict[str, Any] = json.loads((agent.folder / CARD).read_text())
    (tmp_path / CARD).write_text(json.dumps(card | {"limits": text}))
    with pytest.raises(InputError, match="printed"):
        read_card(tmp_path)


def test_the_zoo_is_small_and_its_entries_are_whole() -> None:
    assert {"bandit", "barcode", "mdp"} <= set(OURS)
    sizes = [sum(map(len, files(folder).values())) for folder in OURS.values()]
    assert max(sizes) <= MOST
    assert sum(sizes) <= ALL
    for name, folder in OURS.items():
        card = read_card(folder)
        assert (card.name, card.licence) == (name, "MIT")
        assert {path.name for path in folder.iterdir()} == set(FILES)
        metarl.load(f"zoo:{name}", device="cpu")
