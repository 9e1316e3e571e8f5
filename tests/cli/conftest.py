"""One server of the page and one browser for all tests that use them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image
from web_server import CHROMIUM, Running, serving
from web_visit import Visit

if TYPE_CHECKING:
    from playwright.sync_api import Browser

SIDE = 96


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    pytest.importorskip("gradio", reason="the extra `ui` is not installed")
    folder = tmp_path_factory.mktemp("server")
    options = ("--max-megapixels", "1", "--max-upload", "2", "--allowed-host", "pics.example")
    with serving(folder, *options) as one:
        yield one
    assert one.process.returncode == 0
    assert "CancelledError" not in (folder / "said.txt").read_text()
    assert list(folder.glob("pca-protect-*")) == []


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from conftest import ASTRONAUT, smooth_picture

    folder = tmp_path_factory.mktemp("pictures")
    with Image.open(ASTRONAUT) as image:
        image.crop((170, 60, 170 + SIDE, 60 + SIDE)).save(folder / "face.png")
    smooth_picture(45, 37).save(folder / "small.jpg")
    smooth_picture(1000, 600).save(folder / "wide.png")
    (folder / "broken.png").write_bytes(ASTRONAUT.read_bytes()[:4000])
    smooth_picture(1200, 900).save(folder / "large.png")
    return folder


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if CHROMIUM is None:
        pytest.skip("no Chromium here; `apt-get install chromium`")
    with sync_api.sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--host-resolver-rules=MAP pics.example 127.0.0.1"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


@pytest.fixture
def visit(browser: Browser, running: Running) -> Iterator[Visit]:
    one = Visit(browser, running.address, viewport={"width": 1280, "height": 900})
    yield one
    one.close()
