import re
from typing import Any

import family_toys as toys
import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from metarl.envs import distribution, ids
from metarl.envs.bandit import BatchedBandit
from metarl.envs.bernoulli_bandit import BernoulliBandit
from metarl.tasks.check.check_env import RULES, Finding, check_env
from metarl.tasks.check.recorder import play, watched
from metarl.tasks.family.distribution import TaskBatch, TaskDistribution
from metarl.tasks.family.priors import DEPENDENCES
from metarl.tasks.family.ranges import Uniform
from metarl.tasks.family.split_family import from_env
from metarl.tasks.trial.env import TrialEnv
from metarl.tasks.trial.layout import TrialInputs, TrialLayout


def told(findings: list[Finding], level: str = "broken") -> dict[str, str]:
    return {finding.name: finding.message for finding in findings if finding.level == level}


def line(made: type[gym.Env[Any, Any]] = toys.Line, **vary: Any) -> TaskDistribution:
    return from_env(f"toys/{made.__name__}-v0", vary=vary or {"size": Uniform(0, 1)})


@pytest.mark.parametrize("env_id", ids())
def test_every_id_of_the_package_keeps_the_rules(env_id: str) -> None:
    findings = check_env(distribution(env_id))
    assert told(findings) == {}
    assert [finding.name for finding in findings] == list(RULES)


@pytest.mark.parametrize("dependence", DEPENDENCES[1:])
def test_dependent_arms_keep_the_rules(dependence: str) -> None:
    assert told(check_env(BernoulliBandit(arms=2, dependence=dependence))) == {}


@pytest.mark.parametrize(
    "family",
    [
        {"env": "CartPole-v1", "vary": {"length": "0.3..1.0"}},
        {"env": "Taxi-v4", "levels": range(100), "episodes": 2},
        {"env": "Pendulum-v1", "vary": {"g": "5..15"}},
        {"env": ["toys/Line-v0", "toys/Child-v0"]},
        {"env": "toys/Masked-v0", "vary": {"speed": "0..1"}},
    ],
    ids=lambda family: str(family["env"]),
)
def test_gymnasiums_environments_keep_the_rules(family: dict[str, Any]) -> None:
    assert told(check_env(from_env(**family))) == {}


def test_rules_hold_with_parts_switched_off() -> None:
    assert told(check_env(line(), TrialInputs(prev_reward=False, prev_done=False, time=False))) == {}


def test_recommendations_of_gymnasium_are_told_without_colours() -> None:
    said = {finding.name: finding.message for finding in check_env(from_env("Pendulum-v1", vary={"g": "5..15"}))}
    assert "symmetric and normalized" in said["Gymnasium's check_env"]
    assert "\x1b" not in said["Gymnasium's check_env"]


def test_what_training_lives_with_is_advice() -> None:
    global_draws = check_env(line(toys.UsesGlobal))
    assert set(told(global_draws, "advice")) >= {"global generators", "seeds"}
    wide = check_env(line(toys.WrongType))
    assert set(told(wide, "advice")) == {"spaces"}
    assert all(finding.ok for finding in (*global_draws, *wide))


def test_a_level_that_differs_each_time_is_no_task() -> None:
    assert set(told(check_env(from_env("toys/IgnoresSeeds-v0", levels=range(30))))) == {"seeds"}


def test_what_is_left_of_another_trial_is_advice_only_where_it_is_little() -> None:
    assert "seeds" in told(check_env(line(toys.NeverForgets, speed=Uniform(0, 1))))
    assert "seeds" in told(check_env(line(toys.HardlyForgets, speed=Uniform(0, 1))), "advice")


def test_a_broken_rule_does_not_break_the_others() -> None:
    findings = check_env(line(toys.Redraws, speed=Uniform(0, 1)))
    assert set(told(findings)) == {"one task a trial"}
    assert set(told(findings, "advice")) == {"what varies"}
    assert [finding.name for finding in findings] == list(RULES)


def test_infos_that_share_an_object_are_advice() -> None:
    (rule,) = told(check_env(line(toys.SharesInfo)), "advice")
    assert rule == "Gymnasium's check_env"


@pytest.mark.parametrize("made", [toys.Raises, toys.GivesNaN, toys.PaysNaN, toys.EndsFirst])
def test_one_fault_is_told_once(made: type[gym.Env[Any, Any]]) -> None:
    first, *others = told(check_env(line(made))).values()
    assert all(message == others[0] and len(message) < 30 for message in others), others
    assert len(first) > 30


class Ticks:
    """A clock on which each look takes a second."""

    now = 0.0

    def monotonic(self) -> float:
        self.now += 1
        return self.now


def test_a_slow_environment_is_played_as_long_as_there_is_time(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("recorder", "subject"):
        monkeypatch.setattr(f"metarl.tasks.check.{module}.time", Ticks())
    findings = check_env(line(), seconds=12)
    assert told(findings) == {}
    assert [finding.name for finding in findings] == list(RULES)
    assert sum("stopped after 12 s" in finding.message for finding in findings) >= 3


# What harms learning without a word


@pytest.mark.parametrize(
    ("space", "value", "advised"),
    [
        (spaces.Box(0, 255, (7, 7, 3), np.uint8), 10, True),
        (spaces.Box(0, 255, (7, 7, 3), np.uint8), 200, False),
        (spaces.Box(-1, 1, (2,), np.float32), 500, True),
        (spaces.Box(-1, 1, (2,), np.float32), 5, False),
        (spaces.Box(-1000, 1000, (2,), np.float32), 500, False),
        (spaces.Box(-np.inf, np.inf, (2,), np.float32), 500, False),
    ],
)
def test_observations_that_are_hard_to_learn_from_are_advised_against(
    space: spaces.Box, value: float, advised: bool
) -> None:
    family = from_env(lambda size: toys.Shows(space, value, size), {"size": Uniform(0, 1)}, steps=10)
    findings = check_env(family)
    assert told(findings) == {}
    assert ("observations" in told(findings, "advice")) is advised


# Families that break rules themselves


class SameTask(BernoulliBandit):
    def sample_batch(self, rng: np.random.Generator, n: int) -> TaskBatch:
        return {"rates": np.full((n, self.arms), 0.5, np.float32)}


class OwnGenerator(BernoulliBandit):
    def sample_batch(self, rng: np.random.Generator, n: int) -> TaskBatch:
        return super().sample_batch(np.random.default_rng(), n)


class OneStream(BernoulliBandit):
    """Draws for all splits alike."""

    def task_rng(self, seed: int, *key: int) -> np.random.Generator:
        return np.random.default_rng(seed)


class OutsideItsSpace(BernoulliBandit):
    def sample_batch(self, rng: np.random.Generator, n: int) -> TaskBatch:
        return {"rates": super().sample_batch(rng, n)["rates"] + np.float32(2)}


class Generous(BatchedBandit):
    def step(self, actions: Any, rng: np.random.Generator) -> Any:
        obs, rewards, done = super().step(actions, rng)
        return obs, rewards + 1, done


class OtherArrays(BernoulliBandit):
    def batched(self, n: int) -> Generous:
        return Generous(self, n)


@pytest.mark.parametrize(
    ("family", "rule", "named"),
    [
        (line(toys.GivesNaN), "finite numbers", "observation is .nan, nan. at step 1"),
        (line(toys.PaysNaN), "finite numbers", "reward is nan at step 1"),
        (line(toys.LacksPart), "spaces", "no part 'b'.*step 1 of an episode.*{size="),
        (line(toys.PaysTwo), "spaces", r"reward is \(1.0, 2.0\).*step 1 of an episode"),
        (line(toys.ChangesShape), "spaces", r"shape \(3,\).*step 1 of an episode"),
        (line(toys.Redraws, speed=Uniform(0, 1)), "one task a trial", "'speed' to 0.*{'speed': "),
        (line(toys.RedrawsArgument), "one task a trial", "'size' to 0"),
        (line(toys.Raises), "spaces", r"the motor is off .*family_toys.py:\d+.*step 1 .*{size=0.*}, seed \d+"),
        (line(toys.ChangesSpaces), "spaces", "observation space .* changes between tasks"),
        (SameTask(arms=2), "one task a trial", "{'rates': .0.5, 0.5.}"),
        (OwnGenerator(arms=2), "drawing tasks", "equal generator"),
        (OneStream(arms=2), "splits", "for train and for validation"),
        (OutsideItsSpace(arms=2), "drawing tasks", "task space"),
        (OtherArrays(arms=2), "vector environment", "arrays pay .* single environments"),
    ],
    ids=lambda value: value if isinstance(value, str) and value in RULES else getattr(value, "family", ""),
)
def test_what_is_broken_is_said(family: TaskDistribution, rule: str, named: str) -> None:
    wrong = told(check_env(family))
    assert re.search(named, wrong[rule]), wrong[rule]


# The rules on trials see a trial that breaks them


@pytest.mark.parametrize(
    ("what", "rule", "named"),
    [
        ("prev_reward", "previous action and reward", r"\[0.\] after step \d+, expected \[1."),
        ("prev_action", "previous action and reward", r"\[0., 0.\] after step \d+, expected \[0., 1.\]"),
        ("prev_done", "ends of episodes", r"False after step \d+"),
    ],
)
def test_feedback_that_is_lost_is_found(what: str, rule: str, named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trials show no feedback where an episode begins, as in other implementations of RL²."""
    observe = TrialLayout.observe

    def wrong(self: TrialLayout, *given: Any, **more: Any) -> Any:
        seen = observe(self, *given, **more)
        done = given[4] if len(given) > 4 else None
        if done is not None and done.any():
            seen[what][:] = 0
        return seen

    monkeypatch.setattr(TrialLayout, "observe", wrong)
    assert re.search(f"{what} is {named}", told(check_env(line(size=Uniform(1, 2))))[rule])


def test_the_recorder_changes_nothing_but_cuts_when_told() -> None:
    family = line()
    plain = play(TrialEnv(family), 0)
    same, log = watched(family)
    noted = play(TrialEnv(same), 0)
    assert [o["obs"].tolist() for o in plain.obs] == [o["obs"].tolist() for o in noted.obs]
    assert log.ends() == [bool(o["prev_done"][0]) for o in plain.obs[1:]]
    cut, log = watched(family, cut=1)
    play(TrialEnv(cut), 0)
    assert all(log.ends())
    assert all(step.truncated for step in log.steps if step.action is not None)
    assert family.make is not same.make
