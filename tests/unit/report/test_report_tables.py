import re
from typing import Any

import pytest
from report_evaluations import bandit, barcode

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
    assert rows(table)["agent (greedy actions)"] == ["81.00", "88.6 %", "-"]
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


def test_greedy_actions_show_what_was_measured_of_them() -> None:
    more = {"greedy_return_interval": [80.9, 81.1], "greedy_steps_to_adapt": 21}
    assert rows(evaluation_table(bandit() | more))["agent (greedy actions)"] == ["81.00 ± 0.10", "88.6 %", "21"]


@pytest.mark.parametrize("make", [bandit, barcode])
def test_aligned_narrow_and_plain(make: Any) -> None:
    evaluation = make()
    evaluation["env_options"] = {f"a_long_option_{i}": i for i in range(9)}
    evaluation["references"]["a reference with a very long name that goes on and on"] = evaluation["references"][
        "random"
    ]
    evaluation["ceilings"] = {f"a ceiling with a long name {i}": 1.0 for i in range(9)}
    table = evaluation_table(evaluation)
    assert max(map(len, table.splitlines())) <= WIDTH
    assert (
        len({len(line) for line in table.split("\n\n")[1].splitlines() if line.startswith(("agent", "random  ", "--"))})
        == 1
    )
    assert "\x1b" not in table
    for encoding in ("utf-8", "cp1252", "cp437"):
        table.encode(encoding)


def test_without_references_there_is_no_share() -> None:
    evaluation = bandit()
    del evaluation["references"]
    assert rows(evaluation_table(evaluation))["agent (sampled actions)"] == ["80.00 ± 0.20", "-", "23"]
    evaluation["references"] = {"random": {"return_mean": 50.0}}  # random is the best there is: no way to go
    assert rows(evaluation_table(evaluation))["agent (sampled actions)"][1] == "-"


def test_other_references_share_by_the_best_of_them_and_the_stated_random_return() -> None:
    evaluation = bandit()
    evaluation["references"] = {name: evaluation["references"][name] for name in ("greedy", "UCB1")}
    table = evaluation_table(evaluation)
    assert "random to UCB1" in table
    assert rows(table)["agent (sampled actions)"][1] == f"{100 * 30 / 33:.1f} %"


def test_what_is_no_evaluation_is_an_error() -> None:
    with pytest.raises(
        ValueError, match=r"the evaluation lacks env, split, trials, .*; make it again with `metarl eval"
    ):
        evaluation_table({"return_mean": 3})


def test_trials_of_different_lengths_have_no_speed_of_adaptation() -> None:
    evaluation = bandit()
    for result in (evaluation, *evaluation["references"].values(), *evaluation["ablations"].values()):
        del result["steps_to_adapt"]
    table = evaluation_table(evaluation)
    assert "pulls to 90 %: not told of trials that have different lengths" in table
    assert all(line.endswith(" -") for line in table.splitlines() if "±" in line and "half" not in line)


def test_random_actions_alone_are_no_scale() -> None:
    evaluation = bandit()
    evaluation["references"] = {"random": evaluation["references"]["random"]}
    assert "random to" not in evaluation_table(evaluation)


def test_tasks_that_training_draws_too_are_named_so() -> None:
    table = " ".join(evaluation_table({**bandit(), "in_distribution": True}).split())
    assert "10,000 trials in distribution (too few tasks to hold any out)" in table
