"""What is said of errors of a user's code."""

import family_toys as toys
import gymnasium as gym
import pytest

from metarl import from_env
from metarl.config import InputError
from metarl.tasks.family.errors import told


class Picky(toys.Line):
    def __init__(self, size: float) -> None:
        raise AssertionError


def test_an_error_without_words_is_told_with_its_place() -> None:
    with pytest.raises(ValueError, match=r"AssertionError \(tasks/test_told.py:\d+\)$"):
        from_env(Picky, {"size": "0..1"}, steps=5)


def test_an_error_that_was_never_raised_has_no_place() -> None:
    assert told(ValueError("a\n b")) == "ValueError: a b"


@pytest.mark.parametrize("entry", ["nowhere.at_all:Env", "family_toys:Missing"])
def test_an_id_whose_code_cannot_be_had_is_refused(entry: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = gym.envs.registration.EnvSpec("told/Env-v0", entry_point=entry)
    monkeypatch.setitem(gym.registry, "told/Env-v0", spec)
    with pytest.raises(InputError) as error:
        from_env("told/Env-v0", levels=range(5))
    assert (error.value.key, error.value.given) == ("id", "told/Env-v0")
    assert error.value.remedy == ("pip install nowhere" if "nowhere" in entry else None)
