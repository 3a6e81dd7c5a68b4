"""The page that is served, in a real browser: pages, orders of all images, one at full size."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.browser import Browser, require_browser
from support.small_datasets import LATENT_SIZE, make_classes
from support.viewing import Viewed, viewed

import fstore
from fstore import format as fmt
from pipeline.viewer import page

NUM, SIDE, PER_PAGE = 150, 8, 24
NAMES = ("background", "<b>skin</b>", "hair")
COLORS = ("#0000ff", "#ff0000", "#00ff00")


def class_maps() -> np.ndarray:
    """(N, H, W) uint8: image i has 37 i modulo 61 pixels of the last class."""
    labels = np.zeros((NUM, SIDE, SIDE), np.uint8)
    for image in range(NUM):
        labels[image].flat[: areas()[image]] = 2
    return labels


def areas() -> np.ndarray:
    return 37 * np.arange(NUM) % 61


def uncertainty() -> np.ndarray:
    """(N,) float32, no two alike, in no order; that of image 7 is not finite."""
    scores = np.random.default_rng(3).permutation(NUM).astype(np.float32) / NUM
    scores[7] = np.nan
    return scores


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    require_browser()
    path = tmp_path_factory.mktemp("store") / "dataset.zarr"
    random = np.random.default_rng(0)
    writer = fstore.create_dataset(
        path, fmt.DatasetMeta((SIDE, SIDE), make_classes(NAMES, COLORS), LATENT_SIZE), num_images=NUM
    )
    values = {
        "images": random.integers(0, 256, (NUM, SIDE, SIDE, 3)).astype(np.uint8),
        "labels": class_maps(),
        "divergence": random.random((NUM, SIDE, SIDE)).astype(np.float16),
        "latents": random.standard_normal((NUM, LATENT_SIZE)).astype(np.float32),
        "uncertainty": uncertainty(),
    }
    values["divergence"][7] = np.nan
    for task in writer.pending_tasks():
        ids = writer.task_images(task)
        writer.write_task(task, {name: part[ids.start : ids.stop] for name, part in values.items()})
    writer.close()
    return path


@pytest.fixture(scope="module")
def site(store: Path) -> Iterator[Viewed]:
    with pytest.MonkeyPatch.context() as patch, viewed(store) as found:
        patch.setattr(page, "IMAGES_OF_A_PAGE", PER_PAGE)
        yield found


def card_ids(browser: Browser) -> list[int]:
    script = "[...document.querySelectorAll('.card')].map((card) => card.dataset.id)"
    return [int(image) for image in browser.run(script)]


def shows(browser: Browser, expected: list[int]) -> None:
    """Wait until these cards, in this order, are all that there are."""
    script = """
        const ids = [...document.querySelectorAll(".card")].map((card) => card.dataset.id);
        return ids.join() === arguments[0];
    """
    browser.until(script, ",".join(map(str, expected)))


def loaded(browser: Browser) -> None:
    browser.until("document.querySelector('canvas[data-painted]') !== null")


def test_only_the_cards_of_a_page_exist_and_pages_are_turned(browser: Browser, site: Viewed) -> None:
    order = np.argsort(uncertainty(), kind="stable").tolist()  # NaN last
    browser.open(site.server.address)
    loaded(browser)
    shows(browser, order[:PER_PAGE])
    assert browser.text(".pager .total") == "7"
    browser.click(".pager .on")
    shows(browser, order[PER_PAGE : 2 * PER_PAGE])
    browser.press("n")
    shows(browser, order[2 * PER_PAGE : 3 * PER_PAGE])
    browser.set(".pager input", "7", "change")
    shows(browser, order[6 * PER_PAGE :])
    browser.set(".pager input", "nonsense", "change")
    shows(browser, order[:PER_PAGE])
    assert browser.text("#status") == f"1 to {PER_PAGE} of {NUM} images"


def test_a_link_leads_to_its_page(browser: Browser, site: Viewed) -> None:
    browser.open(site.server.address, "sort=number&show=mixed&page=3")
    loaded(browser)
    shows(browser, list(range(2 * PER_PAGE, 3 * PER_PAGE)))


def test_all_images_are_sorted_by_a_class_once_it_is_counted(browser: Browser, site: Viewed) -> None:
    browser.open(site.server.address)
    browser.until("!document.querySelector('#sort option[value=class-2]').disabled")
    browser.set("#sort", "class-2", "change")
    order = sorted(range(NUM), key=lambda image: (-areas()[image], image))
    shows(browser, order[:PER_PAGE])
    browser.open(site.server.address, "sort=class-2&page=2")  # as a link, before it is counted here
    shows(browser, order[PER_PAGE : 2 * PER_PAGE])
    assert browser.text("#counting") == ""


def test_the_slider_filters_all_images_and_not_those_of_a_page(browser: Browser, site: Viewed) -> None:
    browser.open(site.server.address, "show=kept")
    loaded(browser)
    browser.set("#keep", "0.5")
    browser.until("document.querySelector('#kept-count').textContent === '75'")
    browser.until("document.querySelector('.pager .total').textContent === '4'")  # 75 images


def test_one_is_found_and_shown_at_full_size(browser: Browser, site: Viewed) -> None:
    browser.open(site.server.address, "sort=number")
    loaded(browser)
    browser.set("#find", "140")
    browser.run("document.querySelector('#find-form').requestSubmit(); return null")
    browser.until("document.activeElement.dataset.id === '140'")
    browser.press("\ue007")  # Enter
    browser.until("document.querySelector('#large').open")
    browser.until("document.querySelector('#large-areas').textContent !== ''")
    script = "return document.querySelector('#large-picture').toDataURL('image/png')"
    png = base64.b64decode(browser.run(script).partition(",")[2])
    pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
    np.testing.assert_array_equal(pixels, site.get(f"image/140?key={site.key}").pixels)
    share = 100 * areas()[140] / SIDE**2
    assert f"hair {share:.1f}%" in browser.text("#large-areas")
    browser.click("#next")
    browser.until("document.querySelector('#large-title').textContent === 'Image 141'")
    browser.click("#close")
    browser.until("document.activeElement.dataset.id === '141'")


def test_what_cannot_be_shown_says_why_and_the_end_of_the_server_too(
    store: Path, opened_browser: Browser
) -> None:
    def failing(question: object) -> object:
        from http import HTTPStatus

        from pipeline.viewer.answers import Refused

        if getattr(question, "route", "").startswith("label/"):
            raise Refused(HTTPStatus.GONE, "the store was replaced; reload this page")
        return respond(question)

    with viewed(store) as site:
        respond = site.server.respond
        site.server.respond = failing  # type: ignore[assignment]
        opened_browser.open(site.server.address)
        opened_browser.until("document.querySelector('.card.failed') !== null")
        opened_browser.until("!document.querySelector('#notice').hidden")
        assert opened_browser.text("#notice") == "the store was replaced; reload this page"
    opened_browser.errors()  # of the requests that were refused
