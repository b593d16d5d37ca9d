"""``metarl watch`` and ``metarl play``: what is shown of a trained model, and who may ask the page."""

import http.client
import json
import threading
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from command_line import CLASSIFIER, run
from PIL import Image

from metarl import TrialEnv
from metarl.cli.play import game_of
from metarl.cli.serve import BODY, PageServer
from metarl.evaluation.watch import trial_seed
from metarl.experiments.presets import load_experiment
from metarl.experiments.rl.watch import watched
from metarl.experiments.run import Run, open_run
from metarl.report import movie
from metarl.report.movie import PAUSE, write_film
from metarl.runs.folder import RunFolder

PULLS = 8
BANDIT = {"env.arms": 3, "env.pulls": PULLS, "train.n_envs": 4, "ppo.n_minibatches": 2, "memory.key_size": 12}
GLYPHS = {"data.source": "glyphs", "data.rotations": False}
SEED = 5
LEAKY = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning")
"""imageio-ffmpeg leaves the pipes of a process to the garbage collector."""


def new_run(preset: str | Path, options: dict[str, Any], path: Path) -> Path:
    """A run folder whose model has its first weights: what is shown of it does not depend on what it learned."""
    experiment = load_experiment(preset, options)
    folder = RunFolder.create_at(path)
    folder.start(experiment.config() | {"seed": 0}, [])
    model = experiment.build(0, torch.device("cpu"))
    if isinstance(model, torch.nn.Module):
        model.eval()
    experiment.save(model, folder.checkpoint)
    folder.set_status("finished")
    return path


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return new_run("bandit", BANDIT, tmp_path_factory.mktemp("watch") / "run")


@pytest.fixture(scope="module")
def trained(path: Path) -> Run:
    return open_run(path)


@contextmanager
def served(run: Run) -> Iterator[PageServer]:
    game = game_of(run, SEED)
    with PageServer('<p nonce="NONCE">page</p>', game.verbs) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
            game.close()


def ask(server: PageServer, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
    """The status and what came back; a request without a body is a GET."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    try:
        connection.putrequest("GET" if body is None else "POST", path, skip_host="Host" in headers)
        given = {} if body is None else {"Content-Type": "application/json", "Content-Length": str(len(body))}
        for name, value in (given | headers).items():
            connection.putheader(name, value)
        connection.endheaders(body)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def verb(server: PageServer, asked: str, /, **given: Any) -> dict[str, Any]:
    status, body = ask(server, f"/{server.token}/{asked}", json.dumps(given).encode())
    answer = json.loads(body)
    assert status == (400 if "error" in answer else 200)
    assert isinstance(answer, dict)
    return answer


def test_a_trial_is_printed_and_drawn(path: Path, tmp_path: Path) -> None:
    film = tmp_path / "trials.gif"
    done = run("watch", path, "--trials", "2", "--steps", "5", "--out", film, "--fps", "4")
    assert (done.status, done.err) == (0, "")
    lines = done.out.splitlines()
    assert [line.split()[0] for line in lines] == [*2 * ["trial", "step", *"12345"], "image:"]
    assert "slot 0 (action " in done.out, "what was read is told"
    with Image.open(film) as image:
        assert (image.n_frames, image.size) == (10, (800, 360))  # type: ignore[attr-defined]  # of animations alone
        assert image.info["duration"] == 250
    assert run("watch", path, "--steps", "5").out.splitlines()[1:] == lines[1:7], "the same without a picture"


@LEAKY
def test_a_video_has_all_frames_and_rests_at_the_end_of_a_trial(path: Path, tmp_path: Path) -> None:
    films = pytest.importorskip("imageio_ffmpeg", reason="pip install 'metarl-memory[video]'")
    film = tmp_path / "trial.mp4"
    done = run("watch", path, "--steps", "3", "--out", film, "--fps", "4")
    assert (done.status, done.err) == (0, "")
    assert films.count_frames_and_secs(str(film)) == (2 + PAUSE, pytest.approx((2 + PAUSE) / 4, abs=0.1))
    assert [one.name for one in tmp_path.iterdir()] == ["trial.mp4"]
    read = films.read_frames(str(film))
    about, frame = next(read), np.frombuffer(next(read), np.uint8).reshape(360, 800, 3)
    read.close()
    assert (about["source_size"], about["codec"]) == ((800, 360), "h264")
    assert frame[:, :480].std() > 10, "the environment is seen"


@LEAKY
def test_a_frame_with_odd_sides_gets_into_a_video(tmp_path: Path) -> None:
    films = pytest.importorskip("imageio_ffmpeg", reason="pip install 'metarl-memory[video]'")
    frames = [(np.full((31, 45, 3), 90 * shade, np.uint8), False) for shade in range(3)]
    assert write_film(frames, tmp_path / "odd.mp4", 5) == 3
    read = films.read_frames(str(tmp_path / "odd.mp4"))
    assert next(read)["source_size"] == (46, 32)
    read.close()


def test_a_video_without_the_package_for_it_is_refused(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(movie, "find_spec", lambda name: None)
    done = run("watch", path, "--out", tmp_path / "trial.mp4")
    assert (done.status, done.out, done.err.count("\n")) == (2, "", 1)
    assert "metarl-memory[video]" in done.err
    assert not list(tmp_path.iterdir())


def test_models_of_the_zoo_are_watched_by_their_names() -> None:
    done = [run("zoo", "watch", "bandit", "--steps", "2"), run("watch", "zoo:bandit", "--steps", "2")]
    assert done[0] == done[1]
    assert [line.split()[0] for line in done[0].out.splitlines()] == ["trial", "step", "1", "2"]
    wrong = run("zoo", "watch", "bandti")
    assert (wrong.status, wrong.err.count("\n")) == (2, 1)
    assert "bandit" in wrong.err


def test_what_a_watched_agent_reads_and_holds(trained: Run) -> None:
    agent = watched(trained, seed=SEED)
    agent.begin(0)
    seen = [agent.step() for _ in range(PULLS)]
    assert agent.over
    assert [one.ended for one in seen] == [False] * (PULLS - 1) + [True]
    pulls: dict[int, list[float]] = {}
    for before, one in zip([None, *seen[:-1]], seen, strict=True):
        if before is not None:
            pulls.setdefault(int(before.action), []).append(before.reward)
        held = {int(slot.action): (slot.times, slot.mean) for slot in one.held if slot}
        assert held == {arm: (len(paid), pytest.approx(np.mean(paid))) for arm, paid in pulls.items()}
        assert one.weights is not None
        assert len(one.weights) == len(pulls)
        assert one.weights.sum() <= 1 + 1e-5


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--fps", "5"], "--out"),
        (["--out", "film.avi"], ".gif or .mp4"),
        (["--out", "film.gif", "--fps", "51"], "50"),
        (["--out", "film.mp4", "--fps", "61"], "60"),
        (["--out", "film.gif", "--trials", "1000"], "--steps"),
    ],
)
def test_what_cannot_be_watched_is_said_in_a_line(path: Path, arguments: list[str], told: str) -> None:
    done = run("watch", path, *arguments)
    assert (done.status, done.out, done.err.count("\n")) == (2, "", 1)
    assert told in done.err


def test_a_game_pays_what_the_environment_pays(trained: Run) -> None:
    family, actions = trained.experiment.make_distribution("test"), [0, 1, 2, 2, 1, 0, 1, 1]  # type: ignore[attr-defined]  # of agents
    env = TrialEnv(family, inputs=trained.experiment.inputs)  # type: ignore[attr-defined]  # of agents
    env.reset(seed=trial_seed(SEED, 0))
    alone = [env.step(action)[1] for action in actions]
    agent = watched(trained, seed=SEED)
    agent.begin(0)
    theirs = [agent.step().reward for _ in actions]
    with served(trained) as server:
        states = [verb(server, "step", action=action) for action in actions]
        assert [one["you"]["rewards"] for one in states] == [alone[: n + 1] for n in range(PULLS)]
        assert states[-1]["agent"]["rewards"] == theirs
        assert [one["over"] for one in states] == [False] * (PULLS - 1) + [True]
        assert len({one["frame"] for one in states}) == len({one["memory"] for one in states}) == PULLS
        assert "over" in verb(server, "step", action=0)["error"]
        assert verb(server, "new")["trial"] == 2
        for wrong in (3, -1, 1.0, True, "1", None, [1]):
            assert "action" in verb(server, "step", action=wrong)["error"]
        assert verb(server, "state")["step"] == 0, "nothing was played"


def test_strangers_are_refused(trained: Run) -> None:
    with served(trained) as server:
        page, step = f"/{server.token}/", f"/{server.token}/step"
        assert server.server_address[0] == "127.0.0.1"
        status, body = ask(server, page)
        assert (status, b"NONCE" in body) == (200, False)
        assert ask(server, page, Host=f"localhost:{server.server_port}")[0] == 200
        for host in ("evil.example", f"evil.example:{server.server_port}", "127.0.0.1", ""):
            assert ask(server, page, Host=host)[0] == 403
        assert ask(server, step, b'{"action": 0}', Origin="http://evil.example")[0] == 403
        for other in ("/", "/x/", f"/{server.token[:-1]}/", f"/{server.token}", f"{page}../", f"{page}?x", f"/x{page}"):
            assert ask(server, other)[0] == 404
        assert ask(server, f"{page}close", b"{}")[0] == 404
        assert ask(server, "/x/step", b'{"action": 0}')[0] == 404
        assert ask(server, step)[0] == 404, "a verb is no page"
        big = b'{"action": 0, "x": "' + b"x" * BODY + b'"}'
        assert ask(server, step, big)[0] == 413
        for body in (b"", b"[0]", b"{", b"[" * 50_000, b"\xff"):
            assert ask(server, step, body)[0] == 400
        assert ask(server, step, b'{"action": 0}', **{"Content-Type": "text/plain"})[0] == 415
        assert ask(server, step, b'{"action": 0}', **{"Content-Length": "-1"})[0] == 411
        assert verb(server, "state")["step"] == 0, "nobody has played"


def test_a_port_that_is_taken_is_said(path: Path, trained: Run) -> None:
    with served(trained) as server:
        done = run("play", path, "--no-browser", "--port", str(server.server_port))
    assert (done.status, done.err.count("\n")) == (2, 1)
    assert "--port" in done.err


def test_drawings_are_remembered_and_recalled(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(CLASSIFIER)
    new_run(tmp_path / "mine.toml", GLYPHS, tmp_path / "run")
    line, ring = np.full((2, 105, 105), 255, np.uint8)
    line[20:80, 50:54], ring[20:80, 20:80] = 0, 0
    ring[24:76, 24:76] = 255
    drawn = [b64encode(image.tobytes()).decode() for image in (line, ring)]
    with served(open_run(tmp_path / "run")) as server:
        for name, image in zip("LO", drawn, strict=True):
            state = verb(server, "remember", name=name, image=image)
        assert [len(images) for images in state["classes"].values()] == [1, 1]
        answer = verb(server, "ask", image=drawn[1])["answer"]
        assert (answer["name"], answer["recalled"][0]["name"]) == ("O", "O")
        assert answer["recalled"][0]["image"] == state["classes"]["O"][0] == answer["image"]
        blank = b64encode(b"\xff" * 105 * 105).decode()
        for wrong in ({"image": blank}, {"image": drawn[0][:40]}, {"image": 3}, {"name": "", "image": drawn[0]}):
            assert "error" in verb(server, "remember", **{"name": "X", **wrong})
        assert verb(server, "forget", name="X")["error"]
        assert list(verb(server, "forget", name="L")["classes"]) == ["O"]
        taken = verb(server, "take")
        assert taken["answer"]["true"] in taken["classes"]
        assert set(taken["answer"]["probabilities"]) == set(taken["classes"]) == set("ABCDE")
    done = run("watch", tmp_path / "run")
    assert (done.status, done.err.count("\n")) == (2, 1)
