"""A feature store's page and an interpreter's in a real browser: marks, list of findings, curves."""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.annotated_stores import HOLE, HOLED, NUMBERS, SIDE, SLIPPED, write_annotated
from support.browser import Browser, require_browser
from support.commands import done
from support.interpreters import saved

BOX = np.array([255, 45, 135])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    require_browser()  # before anything is made
    folder = tmp_path_factory.mktemp("pages")
    done("report", write_annotated(folder / "features.zarr"), "--out", folder / "features.html")
    done("report", saved(folder / "interpreter"), "--out", folder / "interpreter.html")
    return folder


def card_ids(browser: Browser) -> list[int]:
    return [int(i) for i in browser.run("[...document.querySelectorAll('.card')].map((c) => c.dataset.id)")]


def pixels(browser: Browser, selector: str) -> np.ndarray:
    """(H, W, 3) int: what a canvas shows, once it is painted."""
    script = """
        const canvas = document.querySelector(arguments[0]);
        return canvas && canvas.width > 1 && canvas.width !== 300 ? canvas.toDataURL("image/png") : null;
    """
    png = base64.b64decode(browser.until(script, selector).partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def marked(browser: Browser, selector: str) -> np.ndarray:
    """(H, W) bool: where a canvas has the colour of a box."""
    found: np.ndarray = np.abs(pixels(browser, selector) - BOX).max(axis=2) <= 2
    return found


def painted_as(browser: Browser, selector: str, color: tuple[int, int, int]) -> bool:
    """Whether the middle of a canvas soon has a colour."""
    for _ in range(50):
        shown = pixels(browser, selector)
        if np.array_equal(shown[SIDE // 2 - 4, SIDE // 2 - 4], color):
            return True
    return False


def test_images_with_the_most_findings_come_first_and_say_how_many(folder: Path, browser: Browser) -> None:
    browser.open(folder / "features.html")
    assert card_ids(browser) == [SLIPPED, HOLED, 10, 13]
    captions = browser.run("[...document.querySelectorAll('.card .score')].map((s) => s.textContent)")
    assert captions == ["2 findings", "1 finding", "", ""]
    browser.set("#sort", "number", "change")
    assert card_ids(browser) == list(NUMBERS)
    browser.set("#sort", "class-0", "change")
    assert set(card_ids(browser)) == set(NUMBERS)
    assert not browser.run("Boolean(document.querySelector('#keep, #above, #show'))")


def test_a_finding_in_the_list_opens_its_image_with_the_box_around_it(folder: Path, browser: Browser) -> None:
    browser.open(folder / "features.html")
    browser.click(f"a.finding[data-image='{HOLED}']")
    assert browser.text("#large-title") == f"Image {HOLED}"
    assert browser.text("#large-findings").strip() == "hole: row 14, column 15: 4 pixels"
    browser.until("location.hash.includes('open=12')")
    box = marked(browser, "#large-labels")
    scale = len(box) / SIDE
    rows, columns = np.nonzero(box)
    top, left, bottom, right = (side * scale for side in HOLE)
    assert top - 3 * scale < rows.max() and rows.max() < bottom + scale
    assert left - 2 * scale < columns.min() and columns.max() < right + scale
    inner = box[round(top) + 1 : round(bottom) - 1, round(left) + 1 : round(right) - 1]
    assert not inner.any()  # what was found can be seen
    browser.press("\ue00c")  # escape
    browser.until("!document.querySelector('#large').open")
    browser.until("document.activeElement.matches('a.finding')")


def test_the_switch_hides_the_marks_and_the_address_remembers_it(folder: Path, browser: Browser) -> None:
    browser.open(folder / "features.html")
    card = f".card[data-id='{SLIPPED}'] canvas"
    browser.until("Boolean(document.querySelector(arguments[0]).dataset.painted)", card)
    assert marked(browser, card).any()
    browser.click("#marks")
    browser.until("document.querySelector(arguments[0]).width === arguments[1]", card, SIDE)
    assert not marked(browser, card).any()
    browser.until("location.hash.includes('marks=off')")
    browser.open(folder / "features.html", "marks=off")
    assert not browser.run("document.getElementById('marks').checked")


def test_a_class_switch_works_without_scores(folder: Path, browser: Browser) -> None:
    browser.open(folder / "features.html", "marks=off&opacity=1")
    card = ".card[data-id='10'] canvas"
    browser.until("Boolean(document.querySelector(arguments[0]).dataset.painted)", card)
    assert painted_as(browser, card, (255, 0, 0))
    browser.click(".class-switch[value='1']")
    assert painted_as(browser, card, (200, 150, 120))


def test_the_interpreters_page_draws_its_curves_in_both_themes(folder: Path, browser: Browser) -> None:
    browser.open(folder / "interpreter.html")
    assert browser.run("document.querySelectorAll('svg.curves').length") == 2
    color = "getComputedStyle(document.querySelector('.curves polyline')).stroke"
    light = browser.run(color)
    assert light not in ("none", "")
    browser.click("#theme")
    assert browser.run(color) != light
