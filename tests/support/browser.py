"""A real browser for tests of pages: Debian's Chromium without a window, driven by selenium.

It is looked for and never installed; a test is skipped, with the reason, where a part of it is missing.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-dev-shm-usage",
    "--window-size=1280,900",
)
WAIT_SECONDS = 20  # at most; a busy machine paints slowly


class Browser:
    """An open browser. A class, because it holds the driver."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, page: Path | str, fragment: str = "") -> None:
        """Load a page anew, also where only the fragment differs."""
        self.driver.get("about:blank")
        url = page.as_uri() if isinstance(page, Path) else page
        self.driver.get(f"{url}#{fragment}" if fragment else url)

    def run(self, script: str, *arguments: object) -> Any:
        """What a script of the test returns: an expression, or a body with ``return``."""
        body = script if "return" in script else f"return {script}"
        return self.driver.execute_script(body, *arguments)

    def until(self, script: str, *arguments: object) -> Any:
        """What a script returns as soon as that is true."""
        from selenium.webdriver.support.ui import WebDriverWait

        wait = WebDriverWait(self.driver, WAIT_SECONDS, poll_frequency=0.02)
        return wait.until(lambda _: self.run(script, *arguments), f"never true: {script}")

    def set(self, selector: str, value: object, event: str = "input") -> None:
        """Give an input a value, as a hand would, and tell the page."""
        self.run(
            "const input = document.querySelector(arguments[0]); input.value = arguments[1];"
            "input.dispatchEvent(new Event(arguments[2], {bubbles: true})); return null",
            selector,
            str(value),
            event,
        )

    def click(self, selector: str) -> None:
        self.driver.find_element("css selector", selector).click()

    def press(self, *keys: str) -> None:
        """Press keys, whatever has the focus."""
        from selenium.webdriver import ActionChains

        ActionChains(self.driver).send_keys(*keys).perform()

    def text(self, selector: str) -> str:
        return str(self.run("document.querySelector(arguments[0]).textContent", selector))

    def errors(self) -> list[str]:
        """What the console has said since the last call."""
        return [entry["message"] for entry in self.driver.get_log("browser")]


def require_browser() -> tuple[str, str]:
    """The programs of browser and driver. Skips the test where one, or selenium, is missing."""
    pytest.importorskip("selenium", reason="selenium is not installed")
    found = [shutil.which(name) for name in ("chromium", "chromedriver")]
    if found[0] is None or found[1] is None:
        pytest.skip("chromium or chromedriver is not installed; bash .ci/browser installs both")
    return found[0], found[1]


@contextmanager
def open_browser(profile: Path) -> Iterator[Browser]:
    """A browser with an empty ``profile`` folder, closed at the end."""
    program, driver_program = require_browser()
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = program
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(driver_program))
    try:
        yield Browser(driver)
    finally:
        driver.quit()
