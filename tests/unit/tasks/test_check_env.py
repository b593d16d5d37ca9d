import re
from dataclasses import dataclass
from typing import Any

import family_toys as toys
import gymnasium as gym
import numpy as np
import pytest

from metarl.envs import distribution, ids
from metarl.envs.bandit import BatchedBandit
from metarl.envs.bernoulli_bandit import BernoulliBandit
from metarl.tasks.check.check_env import RULES, Finding, check_env
from metarl.tasks.check.recorder import play, watched
from metarl.tasks.family.distribution import TaskBatch, TaskDistribution
from metarl.tasks.family.env_family import from_env
from metarl.tasks.family.ranges import Uniform
from metarl.tasks.trial.env import TrialEnv
from metarl.tasks.trial.layout import TrialInputs, TrialLayout


def broken(findings: list[Finding]) -> dict[str, str]:
    return {finding.name: finding.message for finding in findings if not finding.ok}


def line(made: type[gym.Env[Any, Any]] = toys.Line, **vary: Any) -> TaskDistribution:
    return from_env(f"toys/{made.__name__}-v0", vary=vary or {"size": Uniform(0, 1)})


@pytest.mark.parametrize("env_id", ids())
def test_every_id_of_the_package_keeps_the_rules(env_id: str) -> None:
    findings = check_env(distribution(env_id))
    assert broken(findings) == {}
    assert [finding.name for finding in findings] == list(RULES)


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
@pytest.mark.parametrize("inputs", [None, TrialInputs(prev_reward=False, prev_done=False, time=False)])
def test_gymnasiums_environments_keep_the_rules(family: dict[str, Any], inputs: TrialInputs | None) -> None:
    assert broken(check_env(from_env(**family), inputs)) == {}


def test_findings_say_what_was_seen_and_what_is_recommended() -> None:
    said = {finding.name: finding.message for finding in check_env(from_env("Pendulum-v1", vary={"g": "5..15"}))}
    assert "symmetric and normalized" in said["Gymnasium's check_env"]
    assert "\x1b" not in said["Gymnasium's check_env"]
    assert said["ends of episodes"].endswith(" time-outs")
    assert said["splits"] == "1800 different tasks"
    said = {finding.name: finding.message for finding in check_env(from_env(["toys/Line-v0", "toys/Child-v0"]))}
    assert said["splits"].startswith("in distribution: there are too few tasks")


@pytest.mark.parametrize(
    ("family", "rule", "message"),
    [
        (line(toys.IgnoresSeeds), "seeds", r"reset with seed 0 differ in the observation at step 0 \(obs\); draw all"),
        (line(toys.UsesGlobal), "global generators", r"the global generator numpy.random, which seeds don't reach"),
        (line(toys.GivesNaN), "finite numbers", "the observation is .nan, nan. at step 1 of an episode; find where"),
        (line(toys.PaysNaN), "finite numbers", "the reward is nan at step 1 of an episode"),
        (line(toys.LeavesSpace), "spaces", r"\(float32\) does not lie in its space Box"),
        (line(toys.WrongType), "spaces", r"\(float64\) does not lie in its space Box"),
        (
            line(toys.Redraws, speed=Uniform(0, 1)),
            "one task a trial",
            r"reset\(\) changes 'speed' to 0.* within a trial of the task {'speed': .*}; do not set in reset\(\)",
        ),
        (line(toys.RedrawsArgument), "one task a trial", r"reset\(\) changes 'size' to 0.* within a trial of the task"),
        (line(toys.NeverForgets, speed=Uniform(0, 1)), "seeds", "that has played before .* differs in the observation"),
        (line(toys.Raises), "vector environment", r"RuntimeError: the motor is off \(in task {size=0.*}, seed \d+\)"),
        (line(toys.ChangesSpaces), "spaces", "SpacesError: the observation space .* changes between tasks"),
        (from_env("Blackjack-v1", levels=range(3), steps=5), "spaces", "Tuple.*, which a trial cannot show"),
    ],
    ids=lambda value: value if isinstance(value, str) and value in RULES else getattr(value, "family", ""),
)
def test_what_an_environment_breaks_is_said(family: TaskDistribution, rule: str, message: str) -> None:
    wrong = broken(check_env(family))
    assert rule in wrong
    assert re.search(message, wrong[rule]), wrong[rule]


def test_a_broken_rule_does_not_break_the_others() -> None:
    assert set(broken(check_env(line(toys.UsesGlobal)))) >= {"global generators", "seeds"}
    assert set(broken(check_env(line(toys.WrongType)))) == {"spaces"}
    assert set(broken(check_env(line(toys.Redraws, speed=Uniform(0, 1))))) == {"one task a trial"}


# Families that break rules themselves


@dataclass(frozen=True, kw_only=True)
class SameTask(BernoulliBandit):
    def sample_batch(self, rng: np.random.Generator, n: int) -> TaskBatch:
        return {"rates": np.full((n, self.arms), 0.5, np.float32)}


@dataclass(frozen=True, kw_only=True)
class OwnGenerator(BernoulliBandit):
    def sample_batch(self, rng: np.random.Generator, n: int) -> TaskBatch:
        return super().sample_batch(np.random.default_rng(), n)


@dataclass(frozen=True, kw_only=True)
class OneStream(BernoulliBandit):
    """Draws for all splits alike."""

    def task_rng(self, seed: int, *key: int) -> np.random.Generator:
        return np.random.default_rng(seed)


@dataclass(frozen=True, kw_only=True)
class OutsideItsSpace(BernoulliBandit):
    def sample_batch(self, rng: np.random.Generator, n: int) -> TaskBatch:
        return {"rates": super().sample_batch(rng, n)["rates"] + np.float32(2)}


class Generous(BatchedBandit):
    def step(self, actions: Any, rng: np.random.Generator) -> Any:
        obs, rewards, done = super().step(actions, rng)
        return obs, rewards + 1, done


@dataclass(frozen=True, kw_only=True)
class OtherArrays(BernoulliBandit):
    def batched(self, n: int) -> Generous:
        return Generous(self, n)


@pytest.mark.parametrize(
    ("family", "rule", "message"),
    [
        (
            SameTask(arms=2),
            "one task a trial",
            "20 trials had the same task {'rates': .0.5, 0.5.}; draw in sample_batch",
        ),
        (OwnGenerator(arms=2), "drawing tasks", "other tasks from an equal generator; use the rng that it gets alone"),
        (OneStream(arms=2), "splits", "is drawn for train and for validation; part the members"),
        (OutsideItsSpace(arms=2), "drawing tasks", "does not lie in the task space"),
        (
            OtherArrays(arms=2),
            "vector environment",
            "arrays pay .* and single environments .* must be the same dynamics",
        ),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, TaskDistribution) else "",
)
def test_what_a_family_breaks_is_said(family: TaskDistribution, rule: str, message: str) -> None:
    wrong = broken(check_env(family))
    assert re.search(message, wrong[rule]), wrong[rule]


# The rules on trials see a trial that breaks them


def shifted(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trials show no feedback where an episode begins, as in other implementations of RL²."""
    observe = TrialLayout.observe

    def wrong(self: TrialLayout, *given: Any, **more: Any) -> Any:
        seen = observe(self, *given, **more)
        done = given[4] if len(given) > 4 else None
        if done is not None and done.any():
            seen[what][:] = 0
        return seen

    monkeypatch.setattr(TrialLayout, "observe", wrong)


@pytest.mark.parametrize(
    ("what", "rule", "message"),
    [
        ("prev_reward", "previous action and reward", r"prev_reward is \[0.\] after step \d+, expected \[1."),
        ("prev_action", "previous action and reward", r"prev_action is \[0., 0.\] after step \d+, expected \[0., 1.\]"),
        ("prev_done", "ends of episodes", r"prev_done is False after step \d+, but the episode ended"),
    ],
)
def test_feedback_that_is_lost_is_found(what: str, rule: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shifted(what, monkeypatch)
    assert re.search(message, broken(check_env(line(size=Uniform(1, 2))))[rule])


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
