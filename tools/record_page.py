"""Record the page as an animated WebP: *Try it*, the comparison before and after, and the edits:

    python tools/record_page.py --address http://127.0.0.1:7860 --out docs/figures/page.webp

Needs `pca-protect ui --offline` running at this address, and Chromium installed. Waiting times are shortened.
"""

from __future__ import annotations

import argparse
import io
import shutil
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, ViewportSize, sync_playwright

SIZE: ViewportSize = {"width": 1160, "height": 760}
MILLISECONDS = 300_000
QUALITY = 80
_READ_MS, _STEP_MS = 2000, 120
"""Times for which a state and a step of a movement are shown."""
_WAITING_FRAMES = 8
"""Frames of a progress bar."""


class Recording:
    """Frames of a page with the times for which they are shown."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._frames: list[Image.Image] = []
        self._milliseconds: list[int] = []

    def shoot(self, milliseconds: int = _READ_MS) -> None:
        """Appends the page as it is."""
        self._frames.append(Image.open(io.BytesIO(self._page.screenshot())).convert("RGB"))
        self._milliseconds.append(milliseconds)

    def wait_for(self, selector: str) -> None:
        """Appends frames until the element is there, at most `_WAITING_FRAMES`, then waits for its pictures."""
        for _ in range(_WAITING_FRAMES):
            if self._page.locator(selector).count():
                break
            self.shoot(2 * _STEP_MS)
            self._page.wait_for_timeout(600)
        self._page.locator(selector).wait_for()
        pictures = self._page.locator(f":is({selector}, #edits) img[src]")
        pictures.evaluate_all("all => Promise.all(all.filter(one => one.checkVisibility()).map(one => one.decode()))")

    def save(self, path: Path) -> None:
        self._frames[0].save(
            path,
            save_all=True,
            append_images=self._frames[1:],
            duration=self._milliseconds,
            loop=0,
            quality=QUALITY,
            method=6,
        )


def record(page: Page) -> Recording:
    """Presses the buttons, and moves the edge of the comparison across the picture."""
    recording = Recording(page)
    recording.shoot()
    page.get_by_role("button", name="Try it").click()
    recording.wait_for(".result")
    recording.shoot()
    page.get_by_role("button", name="200 %").click()
    page.locator(".compare").first.evaluate("compare => compare.scrollIntoView({ block: 'start' })")
    slider = page.locator(".compare input[type=range]").first
    for position in (*range(50, 0, -5), *range(0, 101, 5), *range(100, 50, -5)):
        slider.evaluate(
            "(range, at) => { range.value = at; range.dispatchEvent(new Event('input', { bubbles: true })); }", position
        )
        recording.shoot(_STEP_MS)
    page.get_by_role("button", name="Compare edits").click()
    page.locator("#edit-status").scroll_into_view_if_needed()
    recording.wait_for("#edits figure:nth-of-type(5)")
    page.locator("#edits").evaluate("edits => edits.scrollIntoView({ block: 'center' })")
    recording.shoot(3 * _READ_MS)
    return recording


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--address", default="http://127.0.0.1:7860")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport=SIZE)
        page.set_default_timeout(MILLISECONDS)
        page.goto(options.address)
        page.get_by_role("button", name="Protect", exact=True).wait_for()
        page.wait_for_timeout(1000)  # the page is laid out
        record(page).save(options.out)
        browser.close()


if __name__ == "__main__":
    main()
