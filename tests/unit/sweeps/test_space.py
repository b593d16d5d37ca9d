import pytest
from sweep_toys import BANDIT, of

from metarl.config import ConfigError
from metarl.sweeps.space import Between, Choices, Space, parse_space


def test_values_are_read_as_with_set() -> None:
    space = parse_space("grid", ["eval_free.x=1,[2, 3],'a,b'", "memory.store=none,delta"], "rl2")
    assert space.points == 6
    points = [dict(space.assignments(point)) for point in space.grid()]
    assert points[0] == {("eval_free", "x"): 1, ("memory", "store"): "none"}
    assert [point["eval_free", "x"] for point in points] == [1, 1, [2, 3], [2, 3], "a,b", "a,b"]
    assert len(list(space.borders())) == 4


def test_a_range_is_whole_where_the_setting_is() -> None:
    texts = ["train.n_envs=8..64", "ppo.learning_rate=1..2", "ppo.gamma=0.9..0.99:log"]
    space = parse_space("random", texts, "rl2")
    assert space.dimensions == (
        Between("train.n_envs", 8, 64),
        Between("ppo.learning_rate", 1.0, 2.0),
        Between("ppo.gamma", 0.9, 0.99, log=True),
    )
    assert [type(one.low) for one in space.dimensions if isinstance(one, Between)] == [int, float, float]
    assert str(space.dimensions[2]) == "0.9..0.99:log"
    assert parse_space("tpe", ["memory.store=none,delta"], "rl2") == Space(
        (Choices("memory.store", ("none", "delta")),)
    )


@pytest.mark.parametrize(
    ("method", "text", "said"),
    [
        ("grid", "ppo.learning_rate=1e-4..1e-2", "a range is for --random or --tpe"),
        ("grid", "ppo.learning_rate", "expected key=value"),
        ("grid", "ppo.learning_rate=1,,2", "each value once"),
        ("grid", "ppo.learning_rate=1,1", "each value once"),
        ("random", "ppo.learning_rate=2..1", "the lower end first"),
        ("random", "ppo.learning_rate=0..1:log", "ends above 0"),
        ("random", "ppo.learning_rate=1..2:lin", "expected values a,b,c, or a range"),
        ("grid", "eval.trials=1,2", "use --set for it"),
        ("grid", "device=cpu,cuda", "use --set for it"),
    ],
)
def test_what_can_t_be_searched_is_refused(method: str, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse_space(method, [text], "rl2")  # type: ignore[arg-type]  # one of three


def test_settings_that_change_the_tasks_are_told() -> None:
    words = [*BANDIT, "--grid", "env.pulls=5,6", "--grid", "env.time=true,false", "--grid", "ppo.gamma=0.9,1.0"]
    (told,) = of(words).warnings()
    assert "env.pulls changes the tasks" in told


def test_a_key_is_given_once() -> None:
    with pytest.raises(ConfigError, match="twice"):
        parse_space("grid", ["ppo.gamma=0.9", "ppo.gamma=0.8"], "rl2")
