"""A visitor of the page: a browser tab that records what it requests."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from axe_playwright_python.sync_playwright import Axe
from numpy.typing import NDArray
from PIL import Image

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator

SECONDS = 60_000
"""Timeout of a step, in milliseconds, for a busy machine."""


class Visit:
    def __init__(self, browser: Browser, address: str, **context: object) -> None:
        self._address = address
        self._context = browser.new_context(accept_downloads=True, **context)  # type: ignore[arg-type]
        self.page = self._context.new_page()
        self.page.set_default_timeout(SECONDS)
        self.asked: list[str] = []
        self.problems: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.goto(address)
        self.button("Protect").wait_for()

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name, exact=True)

    def choose(self, *files: Path) -> None:
        self.page.set_input_files("#files input[type=file]", [str(file) for file in files])
        self.page.locator("#listed li, #listed .errors p").nth(len(files) - 1).wait_for()

    def advanced(self, *labels: str, vae: str = "pocket") -> None:
        """Ticks labels under Advanced, and one encoder alone."""
        panel = self.page.locator("#advanced")
        if not panel.get_by_label("Automatic").is_visible():
            panel.get_by_role("button", name="Advanced").click()
        for label in labels:
            panel.get_by_label(label).first.check()
        panel.get_by_label("Automatic").uncheck()
        panel.get_by_label(f"{vae}: ").check()

    def protect(self) -> Locator:
        """Presses Protect. Returns the first result."""
        self.button("Protect").click()
        result = self.page.locator(".result").first
        result.wait_for()
        return result

    def download(self, link: Locator) -> bytes:
        with self.page.expect_download() as found:
            link.click()
        return Path(found.value.path()).read_bytes()

    def command(self) -> str:
        return self.page.locator("#command textarea").input_value()

    def inaccessible(self) -> list[tuple[str, str]]:
        """Violations of WCAG 2.1 AA and of axe's best practices: rule and element, but for a button of Gradio's own."""
        found = Axe().run(self.page).response["violations"]
        targets = [(rule["id"], str(node["target"][0])) for rule in found for node in rule["nodes"]]
        return [(rule, target) for rule, target in targets if 'aria-label="common.upload"' not in target]

    def close(self) -> None:
        """Closes the tab. Fails on an error in the page, or on a request to another host."""
        self._context.close()
        assert self.problems == []
        assert [url for url in self.asked if not url.startswith((self._address, "data:", "blob:"))] == []


def change(before: bytes | Path, after: bytes) -> NDArray[np.int_]:
    """Change of each sample, in levels."""
    levels = [
        np.asarray(Image.open(one if isinstance(one, Path) else io.BytesIO(one)).convert("RGB")).astype(int)
        for one in (before, after)
    ]
    return np.abs(levels[1] - levels[0])
