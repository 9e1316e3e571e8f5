"""Take a screenshot of the page: the astronaut before and after protection against `pocket`, and edited:

    python tools/take_screenshot.py --address http://127.0.0.1:7860 --out docs/figures/page.png

Needs `pca-protect ui --offline` running at this address, and Chromium installed.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from playwright.sync_api import ViewportSize, sync_playwright

ASTRONAUT = Path(__file__).parent.parent / "examples" / "astronaut.png"
SIZE: ViewportSize = {"width": 1280, "height": 900}
MILLISECONDS = 300_000


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
        page.set_input_files("#files input[type=file]", str(ASTRONAUT))
        page.locator("#listed li").wait_for()
        page.get_by_role("button", name="Advanced").click()
        page.get_by_label("Automatic").uncheck()
        page.get_by_label("pocket: ").check()
        page.get_by_role("button", name="Advanced").click()
        page.get_by_role("button", name="Protect", exact=True).click()
        page.locator(".result").wait_for()
        page.locator(".stack img").evaluate_all("all => Promise.all(all.map(image => image.decode()))")
        page.get_by_role("button", name="Compare edits").click()
        page.locator("#edits figure").nth(4).wait_for()
        page.evaluate("scrollTo(0, 0)")
        page.screenshot(path=options.out, full_page=True)
        browser.close()


if __name__ == "__main__":
    main()
