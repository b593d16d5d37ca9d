import re
from dataclasses import replace
from typing import Any

import pytest
from report_runs import bandit, barcode, reference

from metarl.report.tables import WIDTH, evaluation_table


def rows(table: str) -> dict[str, list[str]]:
    """The cells of each row by its name."""
    body = table.split("\n\n")[1].splitlines()
    return {cells[0]: cells[1:] for cells in (re.split(r" {2,}", line.strip()) for line in body) if len(cells) > 2}


def test_rows_in_order_with_their_numbers() -> None:
    table = evaluation_table(bandit())
    assert list(rows(table)) == [
        "reward per trial",
        "agent (sampled actions)",
        "agent (greedy actions)",
        "memory off",
        "keys shuffled",
        *("random", "greedy", "epsilon-greedy", "UCB1", "Thompson", "Gittins"),
    ]
    assert rows(table)["reward per trial"] == ["random to Gittins", "pulls to 90 %"]
    assert rows(table)["agent (sampled actions)"] == ["80.00 ± 0.20", "85.7 %", "23"]
    assert rows(table)["agent (greedy actions)"] == ["81.00 ± 0.20", "88.6 %", "21"]
    assert rows(table)["memory off"] == ["50.00 ± 0.20", "0.0 %", "23"]
    assert rows(table)["Gittins"] == ["85.00 ± 0.20", "100.0 %", "23"]
    assert table.startswith("metarl/BernoulliBandit-v0 (arms=10, pulls=100): 10,000 trials of test tasks, seed 0\n")
    assert "known values per trial: best arm known 90.91" in table


def test_longer_episodes_give_the_reward_per_episode() -> None:
    table = evaluation_table(barcode())
    assert rows(table)["reward per episode"] == ["random to ideal memory", "pulls to 90 %"]
    assert rows(table)["agent (sampled actions)"][0] == "8.00 ± 0.00"
    assert rows(table)["ideal memory"] == ["8.45 ± 0.00", "100.0 %", "23"]
    assert "keys shuffled" not in rows(table)
    assert "known values per episode: ideal memory 8.44, oracle 9.00" in table


@pytest.mark.parametrize("make", [bandit, barcode])
def test_aligned_narrow_and_plain(make: Any) -> None:
    long = {"a reference with a very long name that goes on and on": make().references["random"]}
    evaluation = make(
        env_options={f"a_long_option_{i}": i for i in range(9)},
        references=make().references | long,
        ceilings={f"a ceiling with a long name {i}": 1.0 for i in range(9)},
    )
    table = evaluation_table(evaluation)
    assert max(map(len, table.splitlines())) <= WIDTH
    body = table.split("\n\n")[1].splitlines()
    assert len({len(line) for line in body if line.startswith(("agent", "random  ", "--"))}) == 1
    assert "\x1b" not in table
    for encoding in ("utf-8", "cp1252", "cp437"):
        table.encode(encoding)


def test_without_references_there_is_no_share() -> None:
    for references in ({}, {"random": reference([0.5] * 100)}, {"greedy": reference([0.9] * 100)}):
        table = evaluation_table(bandit(references=references))
        assert rows(table)["agent (sampled actions)"] == ["80.00 ± 0.20", "-", "23"]
        assert ("random to" in table) == ("greedy" in references)


def test_other_references_share_by_the_best_of_them() -> None:
    references = {name: bandit().references[name] for name in ("random", "greedy", "UCB1")}
    table = evaluation_table(bandit(references=references))
    assert "random to UCB1" in table
    assert rows(table)["agent (sampled actions)"][1] == f"{100 * 30 / 33:.1f} %"


def test_trials_of_different_lengths_have_no_speed_of_adaptation() -> None:
    table = evaluation_table(bandit(steps_to_adapt=None))
    assert "pulls to 90 %: n/a" in table
    assert rows(table)["agent (sampled actions)"][2] == "-"


def test_tasks_that_training_draws_too_are_named_so() -> None:
    assert "in distribution" in evaluation_table(bandit(in_distribution=True))
    assert "in distribution" not in evaluation_table(bandit())


def test_what_environments_told_is_shown_by_episode_for_every_actor() -> None:
    def told(rise: float, episodes: int) -> dict[str, Any]:
        means = tuple(rise * i for i in range(episodes))
        return {"infos": {"success": means, "x" * 50: (None, *means[1:])}, "infos_se": {"success": (0.1,) * episodes}}

    evaluation = bandit(**told(0.01, 100))
    references = {name: replace(one, **told(0.005, 50)) for name, one in evaluation.references.items()}
    table = evaluation_table(replace(evaluation, references={**references, "r" * 60: references["random"]}))
    assert max(map(len, table.splitlines())) <= WIDTH
    after = table.split("\nsuccess\n")[1]
    lines = [re.split(r" {2,}", line.strip()) for line in after.splitlines()]
    episodes = [int(cell.removeprefix("episode ")) for cell in lines[0]]
    assert (episodes[0], episodes[-1]) == (1, 100)
    assert lines[1] == ["agent (sampled actions)", *(f"{0.01 * (i - 1):.2f} ± 0.20" for i in episodes)]
    assert lines[2] == ["agent (greedy actions)", *"-" * len(episodes)], "it was told nothing"
    random = next(line for line in lines if line[0] == "random")
    assert [cell == "-" for cell in random[1:]] == [i > 50 for i in episodes]
