"""The page in a real browser: one is started for all of it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_browser import CHROMIUM, Browser
from report_runs import bandit, made
from test_report_page import EVIL, TEXT

from metarl.evaluation.records import trials_file, write_record
from metarl.report.build import build_report
from metarl.report.movie import write_film

PAPER = 680, 1009  # pixels of a page of A4 within its margins

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed (Debian: apt-get install chromium)")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a run with hostile names and three trials of unequal pulls."""
    references = {**bandit(20).references, TEXT: bandit(20).references["greedy"]}
    folder = tmp_path_factory.mktemp("page") / "<img src=x onerror=console.error(1)>"
    run = made(folder, evaluation=bandit(20, references=references), memory={EVIL: EVIL})
    n = 20
    weights = np.full((n, n - 1), np.nan, np.float16)
    for step in range(1, n):
        weights[step, :step] = 0.5 / step
        weights[step, step - 1] += 0.25
    arrays: dict[str, Any] = {
        "obs": np.ones((2, n, 1), np.float32),
        "actions": np.arange(2 * n).reshape(2, n) % 3,
        "rewards": (np.arange(2 * n).reshape(2, n) % 2).astype(np.float32),
        "ends": np.ones((2, n), bool),
        "lengths": np.array([n, n - 5]),
        "weights": weights,
    }
    write_record(trials_file(run), arrays)
    frames = [(np.full((360, 800, 3), shade, np.uint8), False) for shade in (0, 99)]
    write_film(frames, run.film, 4)
    return build_report([run]).page


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as opened:
        yield opened


def test_a_phone_scrolls_downwards_alone_and_the_console_is_silent(browser: Browser, page: Path) -> None:
    browser.open(page, 390, dark=True)
    assert browser.value("document.documentElement.scrollWidth") == 390
    card, ink = browser.value(
        "[...document.querySelectorAll('svg.drawn text, figure')].slice(0, 2)"
        ".map((one) => getComputedStyle(one)[one.tagName === 'text' ? 'fill' : 'backgroundColor'])"
    )
    light = [sum(map(int, color[4:-1].split(","))) for color in (card, ink)]
    assert light[1] - light[0] > 400, "dark cards with light text"
    assert browser.complaints() == []


def test_figures_fill_their_cards_tell_values_and_hide_series(browser: Browser, page: Path) -> None:
    browser.open(page)
    width, room = browser.value(
        "(() => { const svg = document.querySelector('svg.drawn');"
        "return [svg.getBoundingClientRect().width, svg.parentElement.clientWidth] })()"
    )
    assert width == room > 800
    browser.value("document.querySelector('svg.drawn').scrollIntoView()")
    told = browser.value(
        "(() => { const svg = document.querySelector('svg.drawn'), box = svg.getBoundingClientRect();"
        "svg.dispatchEvent(new PointerEvent('pointermove',"
        "{ clientX: box.x + box.width / 3, clientY: box.y + box.height / 2 }));"
        "return document.querySelector('.tip').textContent })()"
    )
    assert "pull of the trial" in told
    assert "Gittins: 0.8" in told
    hidden = browser.value(
        "(() => { const all = () => document.querySelectorAll('svg.drawn .off').length, before = all();"
        "const button = document.querySelector('.tools button'); button.click(); const between = all(); button.click();"
        "return [before, between, all()] })()"
    )
    assert hidden[0] == hidden[2] == 0
    assert hidden[1] >= 3, "a line, its band and its name"
    assert browser.complaints() == []


def test_a_download_is_a_whole_file(browser: Browser, page: Path) -> None:
    browser.open(page)
    saved = browser.value(
        "(async () => { const made = []; const real = URL.createObjectURL;"
        "URL.createObjectURL = (blob) => { made.push(blob); return real.call(URL, blob) };"
        "for (const one of document.querySelectorAll('figure .tools button'))"
        "  if (['SVG', 'CSV'].includes(one.textContent)) one.click();"
        "const texts = await Promise.all(made.map((blob) => blob.text()));"
        "const parsed = new DOMParser().parseFromString(texts[0], 'image/svg+xml');"
        "return [parsed.documentElement.tagName, texts[0].includes('var('), texts[1].split('\\n').slice(0, 2)] })()"
    )
    assert saved[:2] == ["svg", False]
    assert saved[2][0] == "series,x,y,low,high"
    assert saved[2][1].startswith("agent,1,0.7,0.69")
    assert browser.complaints() == []


def test_the_replay_goes_with_its_slider(browser: Browser, page: Path) -> None:
    browser.open(page)
    move = (
        "(() => { const slider = document.querySelector('.replay input'); slider.value = {};"
        "slider.dispatchEvent(new Event('input'));"
        "return ['.now', '.cells .now-cell', '.replay > p:last-of-type'].map("
        "(name) => document.querySelector('.replay ' + name.replace('.replay > ', '')).textContent) })()"
    )
    now, arm, _ = browser.value(move.replace("{}", "7"))
    assert now.startswith("Step 8 of 20: action 1, reward 1.")
    assert "Reward so far: 4." in now
    assert arm.startswith("arm 1")
    read = browser.value("[...document.querySelectorAll('.replay > p')].at(-1).textContent")
    assert "step 7: action 0, reward 0 (32.1 %)" in read
    lit = browser.value("document.querySelectorAll('.replay .lit[title]').length")
    assert lit == 7, "one slot for each step before"
    steps = browser.value(
        "(() => { const one = document.querySelector('.replay select'); one.value = 1;"
        "one.dispatchEvent(new Event('change')); return document.querySelector('.replay .now').textContent })()"
    )
    assert steps.startswith("Step 1 of 15: action 2"), "the second trial is shorter"
    assert browser.complaints() == []


def test_a_printed_page_is_light_and_cuts_nothing(browser: Browser, page: Path) -> None:
    browser.open(page, PAPER[0], PAPER[1], dark=True)
    browser.value("document.querySelector('.replay .bar button:nth-of-type(2)').click()")
    folded = browser.value("document.querySelectorAll('details:not([open])').length")
    browser.on_paper(dark=True)
    cards = browser.value(
        "[...document.querySelectorAll('figure, .replay, .film')].map((one) =>"
        "[one.getBoundingClientRect().height, getComputedStyle(one).breakInside])"
    )
    assert len(cards) == 6
    assert all(height <= PAPER[1] and inside == "avoid" for height, inside in cards)
    wide = "[...document.querySelectorAll('svg.drawn, table, img, .cells')]"
    assert browser.value(f"Math.max(...{wide}.map((one) => one.getBoundingClientRect().right))") <= PAPER[0]
    assert browser.value("document.documentElement.scrollWidth") <= PAPER[0]
    colours = browser.value(
        "['body', 'figure', '.headline'].map((name) => getComputedStyle(document.querySelector(name)))"
        ".map((one, i) => (i < 2 ? one.backgroundColor : one.color))"
    )
    paper, card, ink = (sum(map(int, colour[4:-1].split(","))) for colour in colours)
    assert (paper, card) == (3 * 255, 3 * 255)
    assert ink < 150
    hidden = (
        "[...document.querySelectorAll('.tools, .replay .bar')].filter((one) => one.getClientRects().length).length"
    )
    assert browser.value(hidden) == 0, "nothing to press"
    assert folded > 0
    assert browser.value("document.querySelectorAll('details:not([open])').length") == 0
    assert "play" in browser.value("document.querySelector('.replay .bar button:nth-of-type(2)').textContent"), "still"
    browser.on_screen()
    assert browser.value("document.querySelectorAll('details:not([open])').length") == folded
    assert browser.complaints() == []


def test_the_moving_picture_is_shown_and_fits_a_phone(browser: Browser, page: Path) -> None:
    browser.open(page, 390)
    loaded, right = browser.value(
        "(() => { const one = document.querySelector('.film img');"
        "return [one.complete && one.naturalWidth, one.getBoundingClientRect().right] })()"
    )
    assert loaded == 800
    assert right <= 390
