"""The page in a real browser: what its controls do, read back from the elements and the canvases' pixels."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from fractions import Fraction
from math import ceil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.browser import Browser, require_browser
from support.commands import done
from support.filters import dataset_to_filter
from support.small_datasets import make_classes, write_dataset

import fstore
from pipeline.labelling.scores import keep_mask
from pipeline.reports.page import package_text

NUM, SIDE = 40, 16
NAMES = ("background", "</script><b>hostile</b> \"'", "hair" + 75 * "long")
COLORS = ("#0000ff", "#ff0000", "#00ff00")
MARKED = np.array([255, 0, 200])
DROPPED = (3, 8, 21, 30)
CARD = "#cards [data-id='{}']"


def class_maps() -> np.ndarray:
    """(N, H, W) uint8: every image has the first two classes, and image i has i pixels of the third."""
    labels = np.zeros((NUM, SIDE, SIDE), np.uint8)
    labels[:, :, SIDE // 2 :] = 1
    for image in range(NUM):
        labels[image].flat[:image] = 2
    return labels


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> fstore.Dataset:
    require_browser()  # before anything is made
    path = tmp_path_factory.mktemp("store") / "dataset.zarr"
    return write_dataset(path, make_classes(NAMES, COLORS), class_maps(), dropped=DROPPED)


@pytest.fixture(scope="module")
def page(store: fstore.Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("page") / "report.html"
    done("report", store.location, "--out", out)
    return out


def pixels(browser: Browser, selector: str) -> np.ndarray:
    """(H, W, 3) int: what a canvas shows, once it is painted."""
    script = """
        const canvas = document.querySelector(arguments[0]);
        if (!canvas || (canvas.closest("#cards") && !canvas.dataset.painted)) return null;
        return canvas.toDataURL("image/png");
    """
    png = base64.b64decode(browser.until(script, selector).partition(",")[2])
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(int)


def shown_when(browser: Browser, selector: str, expected: np.ndarray, within: int = 1) -> None:
    """Wait until a canvas shows (H, W, 3) ``expected``, give or take ``within``: it is painted soon."""
    for _ in range(50):
        found = pixels(browser, selector)
        if found.shape == expected.shape and np.abs(found - expected).max() <= within:
            return
        browser.run("return null")
    np.testing.assert_allclose(found, expected, atol=within)


def card_ids(browser: Browser) -> list[int]:
    return [
        int(i) for i in browser.run("[...document.querySelectorAll('.card')].map((card) => card.dataset.id)")
    ]


def dropped_ids(browser: Browser) -> set[int]:
    script = "[...document.querySelectorAll('.card.dropped')].map((card) => card.dataset.id)"
    return {int(i) for i in browser.run(script)}


def picture(store: fstore.Dataset, image: int) -> np.ndarray:
    return np.asarray(store.images[image].compute(scheduler="sync")).astype(int)


def test_the_page_opens_with_the_filter_that_the_dataset_has(browser: Browser, page: Path) -> None:
    browser.open(page)
    assert browser.text("#kept-count") == "36" and dropped_ids(browser) == set(DROPPED)
    assert browser.run("document.querySelector('#own-filter').hidden")


def test_the_slider_changes_the_count_and_greys_out(
    browser: Browser, page: Path, store: fstore.Dataset
) -> None:
    browser.open(page)
    line = "document.querySelector('#histogram .threshold').getAttribute('x1')"
    before = browser.run(line)
    for share in ("0.5", "0.07"):
        kept, threshold = keep_mask(store.uncertainty, Fraction(share))
        browser.set("#keep", share)
        browser.until("document.querySelector('#kept-count').textContent === arguments[0]", str(kept.sum()))
        assert dropped_ids(browser) == set(np.flatnonzero(~kept).tolist())
        assert threshold is not None
        assert float(browser.text("#threshold-line").split()[-1]) == pytest.approx(threshold, rel=1e-3)
        assert float(browser.run(line)) < float(before)
    assert "grayscale" in browser.run("getComputedStyle(document.querySelector('.dropped canvas')).filter")
    assert browser.text("#filter-command").endswith("--keep 0.07")
    browser.click("#own-filter")
    assert browser.text("#kept-count") == "36"


def test_a_filter_per_class_by_another_score_is_shown_as_it_is(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "d.zarr"
    labels = np.zeros((12, 6, 6), np.uint8)
    labels[-3:, 0, 0] = 2  # a class of the least certain images alone
    divergence = np.linspace(0.1, 0.9, 12)[:, None, None] * np.ones((12, 6, 6))
    divergence[2] = np.nan
    scores = np.where(np.isfinite(divergence[:, 0, 0]), np.linspace(1, 0, 12), np.nan)
    dataset_to_filter(path, labels, divergence.astype(np.float16), scores)
    done("filter", path, "--keep", "0.3", "--keep-per-class", "--score", "interior")
    done("report", path, "--out", tmp_path / "report.html")
    store = fstore.open(path)
    browser.open(tmp_path / "report.html", "show=mixed")
    assert browser.text("#kept-count") == str(store.kept.sum())
    assert dropped_ids(browser) == set(np.flatnonzero(~store.kept).tolist())
    assert card_ids(browser) == np.argsort(store.filter_score, kind="stable").tolist()  # NaN last
    command = f"dgan filter {path} --keep 0.3 --score interior"
    assert browser.text("#filter-command") == f"{command} --keep-per-class"
    browser.set("#keep", "0.3")  # now by the score alone
    kept, _ = keep_mask(store.filter_score, Fraction("0.3"))
    assert 0 < kept.sum() < store.kept.sum()
    browser.until("document.querySelector('#kept-count').textContent === arguments[0]", str(kept.sum()))
    assert browser.text("#filter-command") == command


def test_numbers_are_as_long_as_they_need_to_be(browser: Browser) -> None:
    browser.driver.get("about:blank")
    values = [0, 0.058794, 0.001, 0.00099996, 4.836e-6, -4.836e-6, 12345.6, 271e6, None]
    script = f"{package_text('scripts/histogram.js')}; return arguments[0].map(shown)"
    expected = ["0", "0.05879", "0.001", "1.00e-3", "4.84e-6", "-4.84e-6", "12350", "2.71e8", "not finite"]
    assert browser.run(script, values) == expected


def test_a_share_of_many_images_is_rounded_up_without_error(browser: Browser) -> None:
    browser.driver.get("about:blank")
    shares = [
        (share, num) for share in ("0.07", "0.9", "0.333", "1", "1.00") for num in (1, 70, 100, 100_003)
    ]
    script = f"{package_text('scripts/filter.js')}; return arguments[0].map((pair) => countOfShare(...pair))"
    assert browser.run(script, shares) == [ceil(Fraction(share) * num) for share, num in shares]


def test_a_class_switch_hides_the_class_s_pixels(browser: Browser, page: Path, store: fstore.Dataset) -> None:
    browser.open(page, "opacity=1&sort=number")
    labels, canvas = class_maps()[7], f"{CARD.format(7)} canvas"
    colors = np.array([[0, 0, 255], [255, 0, 0], [0, 255, 0]])
    shown_when(browser, canvas, colors[labels])
    browser.click(".class-switch[value='1']")
    hidden = np.where((labels == 1)[..., None], picture(store, 7), colors[labels])
    shown_when(browser, canvas, hidden)
    browser.click("#no-class")
    shown_when(browser, canvas, picture(store, 7))
    browser.click("#all-classes")
    shown_when(browser, canvas, colors[labels])


def test_the_opacity_mixes_image_and_colours(browser: Browser, page: Path, store: fstore.Dataset) -> None:
    browser.open(page, "sort=number")
    colors = np.array([[0, 0, 255], [255, 0, 0], [0, 255, 0]])[class_maps()[2]]
    browser.set("#opacity", "0.25")
    mixed = picture(store, 2) + 0.25 * (colors - picture(store, 2))
    shown_when(browser, f"{CARD.format(2)} canvas", mixed)


def test_pixels_above_the_threshold_are_marked(browser: Browser, page: Path, store: fstore.Dataset) -> None:
    browser.open(page, "view=picture&sort=number")
    divergence = np.asarray(store.divergence.compute(scheduler="sync")).astype(np.float64)
    level = np.round(divergence[5] / divergence.max() * 255)
    image = picture(store, 5)
    shown_when(browser, f"{CARD.format(5)} canvas", image)
    browser.set("#above", "60")
    marked = (level > 0.6 * 255)[..., None]
    assert 0 < marked.sum() < marked.size
    shown_when(browser, f"{CARD.format(5)} canvas", np.where(marked, image + 0.85 * (MARKED - image), image))


def test_the_cards_sort_by_number_by_uncertainty_and_by_a_class(
    browser: Browser, page: Path, store: fstore.Dataset
) -> None:
    browser.open(page, "show=mixed")
    order = np.argsort(store.uncertainty, kind="stable").tolist()
    assert card_ids(browser) == order
    orders = {"least": order[::-1], "number": list(range(NUM)), "class-2": list(range(NUM))[::-1]}
    for sort, expected in orders.items():
        browser.set("#sort", sort, "change")
        assert card_ids(browser) == expected
    browser.set("#show", "dropped", "change")
    assert card_ids(browser) == sorted(DROPPED, reverse=True)


def test_a_number_is_found(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.press("/", "17", "\ue007")
    assert browser.run("document.activeElement.dataset.id") == "17"
    assert "Image 17: uncertainty" in browser.text("#status")
    browser.press("/")
    browser.set("#find", "4711")
    browser.press("\ue007")
    assert browser.text("#status") == "Image 4711 is not in this store"


def test_the_fragment_brings_the_view_back(browser: Browser, page: Path) -> None:
    browser.open(page, "theme=light")
    browser.set("#keep", "0.25")
    browser.set("#above", "30")
    browser.set("#sort", "number", "change")
    browser.click(".class-switch[value='2']")
    browser.until("location.hash.includes('off=2') && location.hash.includes('keep=0.25')")
    browser.driver.refresh()
    assert browser.text("#kept-count") == "10" and card_ids(browser)[:3] != []
    assert browser.run("document.querySelector('#above').value") == "30"
    assert browser.run("document.querySelector('#sort').value") == "number"
    assert browser.run("[...document.querySelectorAll('.class-switch:checked')].map((box) => box.value)") == [
        "0",
        "1",
    ]


def test_back_closes_the_large_view_and_forward_opens_it(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.click(CARD.format(12))
    browser.until("document.querySelector('#large').open")
    browser.driver.back()
    browser.until("!document.querySelector('#large').open")
    browser.driver.forward()
    browser.until("document.querySelector('#large').open && location.hash.includes('open=12')")
    assert browser.text("#large-title") == "Image 12"


def test_keys_open_go_on_and_close(browser: Browser, page: Path, store: fstore.Dataset) -> None:
    browser.open(page, "sort=number&show=mixed&opacity=1")
    browser.run("document.querySelector('.card').focus(); return null")
    browser.press("\ue014")  # right
    assert browser.run("document.activeElement.dataset.id") == "1"
    browser.press("\ue007")  # enter
    browser.until("document.querySelector('#large').open")
    assert browser.text("#large-title") == "Image 1"
    browser.press("\ue014", "\ue014", "\ue012")  # right, right, left
    assert browser.text("#large-title") == "Image 2"
    shown_when(browser, "#large-picture", picture(store, 2))
    assert NAMES[1] in browser.text("#large-areas")
    browser.press("\ue00c")  # escape
    browser.until("!document.querySelector('#large').open")
    browser.until("document.activeElement.dataset.id === '2'")  # the event of closing comes a moment later


def test_keys_go_on_at_the_ends_of_the_large_view(browser: Browser, page: Path) -> None:
    browser.open(page, "sort=number&show=mixed")
    browser.run("document.querySelector('[data-id=\"38\"]').focus(); return null")
    browser.press("\ue007", "\ue014", "\ue014")  # enter, right to the last image, and once more
    browser.until("document.querySelector('#large-title').textContent === 'Image 39'")
    assert browser.run("document.activeElement.id") == "next"
    browser.press("\ue012")  # left
    assert browser.text("#large-title") == "Image 38"


def test_after_a_link_to_an_image_that_is_not_shown_a_card_has_the_focus(
    browser: Browser, page: Path
) -> None:
    browser.open(page, "show=kept&open=3")
    browser.until("document.querySelector('#large').open")
    browser.press("\ue00c")  # escape
    browser.until("document.activeElement.classList.contains('card')")


def test_a_fragment_that_no_control_can_make_shows_the_page_as_it_opens(browser: Browser, page: Path) -> None:
    browser.open(
        page, "keep=-1&sort=<b>&show=x&view=y&opacity=NaN&above=-3&off=x,,-1,99&page=-4&open=z&theme=z"
    )
    assert browser.text("#kept-count") == "36" and browser.text("#above-value") == "off"
    assert browser.text("#opacity-value") == "60%"
    controls = "['sort', 'show'].map((id) => document.getElementById(id).value)"
    assert browser.run(controls) == ["most", "all"]
    assert browser.run("document.querySelector('input[name=view]:checked').value") == "labels"
    assert len(card_ids(browser)) == NUM


def test_a_class_can_be_switched_by_keys(browser: Browser, page: Path) -> None:
    browser.open(page)
    browser.run("document.querySelector('.class-switch').focus(); return null")
    browser.press(" ")
    browser.until("location.hash.includes('off=0')")


def brightness(browser: Browser, property: str) -> int:
    color = browser.run("getComputedStyle(document.body)[arguments[0]]", property)
    return sum(map(int, re.findall(r"\d+", color)[:3]))


def test_light_and_dark_follow_the_system_and_the_switch(browser: Browser, page: Path) -> None:
    def system(scheme: str) -> None:
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    try:
        system("dark")
        browser.open(page)
        assert brightness(browser, "backgroundColor") < 150 < 600 < brightness(browser, "color")
        browser.click("#theme")
        assert brightness(browser, "color") < 150 < 600 < brightness(browser, "backgroundColor")
        browser.until("location.hash.includes('theme=light')")
    finally:
        system("")


def test_nothing_is_wider_than_a_phone(browser: Browser, page: Path) -> None:
    size = {"width": 400, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    browser.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        for fragment in ("", "open=3", "view=both"):
            browser.open(page, fragment)
            assert browser.run("document.documentElement.scrollWidth") <= 400
            wide = """
                return [...document.querySelectorAll("body *")].filter((element) =>
                  !element.closest(".scroll") && element.getBoundingClientRect().right > 400.5
                ).map((element) => element.outerHTML.slice(0, 80));
            """
            assert browser.run(wide) == []
    finally:
        browser.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_no_request_leaves_the_page(browser: Browser, page: Path) -> None:
    browser.open(page)
    pixels(browser, ".card canvas")
    names = browser.run("performance.getEntriesByType('resource').map((entry) => entry.name)")
    assert [name for name in names if not name.startswith("data:")] == []
    script = "fetch('http://127.0.0.1:9/').then(() => arguments[0]('sent'), () => arguments[0]('refused'))"
    assert browser.driver.execute_async_script(script) == "refused"
    assert any("Content Security Policy" in message for message in browser.errors())


def test_keypoints_are_drawn_with_their_switches(browser: Browser, tmp_path: Path) -> None:
    points = np.tile([[[4.0, 8.0, 1.0], [12.0, 8.0, 1.0]]], (3, 1, 1))
    classes = make_classes(["none", "eye", "nose"], COLORS)
    write_dataset(tmp_path / "d.zarr", classes, np.zeros((3, SIDE, SIDE)), points=points)
    done("report", tmp_path / "d.zarr", "--out", tmp_path / "report.html")
    browser.open(tmp_path / "report.html", "opacity=1&sort=number")
    canvas = f"{CARD.format(0)} canvas"
    found = pixels(browser, canvas)
    row, columns = found.shape[0] // 2, (found.shape[1] // 4, 3 * found.shape[1] // 4)
    assert [found[row, column].tolist() for column in columns] == [[255, 0, 0], [0, 255, 0]]
    browser.click(".class-switch[value='0']")
    browser.until("location.hash.includes('off=0')")  # it is written after the canvas is painted
    assert pixels(browser, canvas)[row, columns[0]].tolist() != [255, 0, 0]
    assert pixels(browser, canvas)[row, columns[1]].tolist() == [0, 255, 0]


def test_ids_of_two_bytes_are_read_from_the_picture(browser: Browser, tmp_path: Path) -> None:
    classes = make_classes([f"class {k}" for k in range(300)])
    classes = (*classes[:299], replace(classes[299], color="#12fe34"))
    labels = np.full((2, SIDE, SIDE), 299, np.uint16)
    labels[0, 0, 0] = 43  # the lower byte of 299
    write_dataset(tmp_path / "d.zarr", classes, labels)
    done("report", tmp_path / "d.zarr", "--out", tmp_path / "report.html")
    browser.open(tmp_path / "report.html", "opacity=1&sort=number")
    found = pixels(browser, f"{CARD.format(0)} canvas")
    assert (found[1:] == [0x12, 0xFE, 0x34]).all()
    assert "#" + "".join(f"{value:02x}" for value in found[0, 0]) == classes[43].color
