"""A real browser for pages: Chromium without a window, and nothing but files."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

PATIENCE = 60.0  # s
PLACES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def find_browser() -> str:
    """The program; skips the test where there is none."""
    pytest.importorskip("playwright", reason="Playwright, which drives the browser, is missing")
    for name in PLACES:
        if (found := shutil.which(name)) is not None:
            return found
    pytest.skip("no Chromium here to open pages with (Debian: apt-get install chromium)")


@contextmanager
def open_browser() -> Iterator[Any]:
    program = find_browser()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=program,
            # As root Chromium has no sandbox; a page may play without a click on it.
            args=["--no-sandbox", "--autoplay-policy=no-user-gesture-required", "--mute-audio"],
        )
        try:
            yield browser
        finally:
            browser.close()


class Page:
    """A page that was opened, with all that it asked for and complained of.

    Attributes
    ----------
    asked : addresses of everything but itself and what is inside it.
    complaints : what the console showed above a remark, errors, and loads that failed.
    """

    def __init__(self, browser: Any, file: Path, width: int, scheme: str, motion: str):
        self.context = browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme=scheme,
            reduced_motion=motion,
            offline=True,
        )
        self.tab = self.context.new_page()
        self.tab.set_default_timeout(1000 * PATIENCE)
        self.asked: list[str] = []
        self.complaints: list[str] = []
        address = file.as_uri()
        self.tab.on("request", lambda made: self._note(made.url, address))
        self.tab.on("console", self._hear)
        self.tab.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.tab.goto(address)

    def _note(self, url: str, address: str) -> None:
        if url != address and not url.startswith(("data:", "blob:")):
            self.asked.append(url)

    def _hear(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def draw_all(self) -> None:
        """Scroll through, so that every plot is drawn."""
        self.tab.evaluate(
            """async () => {
                const tall = document.documentElement.scrollHeight;
                for (let y = 0; y < tall; y += 500) {
                    scrollTo({ top: y, behavior: "instant" });
                    await new Promise((done) => setTimeout(done, 60));
                }
            }"""
        )
        self.wait(
            "[...document.querySelectorAll('.plot')].every((p) => p.classList.contains('drawn'))"
        )
        self.tab.evaluate("scrollTo({ top: 0, behavior: 'instant' })")

    def show(self, selector: str) -> tuple[float, float, float, float]:
        """Scroll to it; where it is then: x, y, width, height."""
        return tuple(
            self.tab.locator(selector).evaluate(
                """(found) => {
                    found.scrollIntoView({ block: "center", behavior: "instant" });
                    const { x, y, width, height } = found.getClientRects()[0];
                    return [x, y, width, height];
                }"""
            )
        )

    def click(self, selector: str) -> None:
        """With the mouse, in the middle of it.

        The driver's own click first waits for frames to be drawn, and without a window, on a busy
        machine, a browser may draw none for a minute.
        """
        x, y, width, height = self.show(selector)
        self.tab.mouse.click(x + width / 2, y + height / 2)

    def wait(self, expression: str) -> None:
        """Until it is so. (The driver's own way evaluates text, which a page may forbid.)"""
        deadline = time.monotonic() + PATIENCE
        while not self.tab.evaluate(expression):
            assert time.monotonic() < deadline, f"not so within {PATIENCE:g} s: {expression}"
            self.tab.wait_for_timeout(20)

    def ask(self, expression: str) -> Any:
        return self.tab.evaluate(expression)

    def close(self) -> None:
        self.context.close()


@contextmanager
def open_page(
    browser: Any, file: Path, width: int = 1200, scheme: str = "light", motion: str = "reduce"
) -> Iterator[Page]:
    page = Page(browser, file, width, scheme, motion)
    try:
        yield page
    finally:
        page.close()
