"""Breaks of the connection to the page: nothing is lost, in a real browser behind a proxy that is cut."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tcp_proxy import Proxy, proxy_to
from web_server import Running
from web_visit import SECONDS, Visit

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = sync_api.expect


@pytest.fixture
def proxy(running: Running) -> Iterator[Proxy]:
    port = urlsplit(running.address).port
    assert port is not None
    with proxy_to(port) as one:
        yield one


@pytest.fixture
def visit(browser: sync_api.Browser, proxy: Proxy) -> Iterator[Visit]:
    one = Visit(browser, f"http://127.0.0.1:{proxy.port}", viewport={"width": 1280, "height": 900})
    yield one
    one.close()


@pytest.mark.parametrize("kind", ["long", "short", "stalled"])
def test_a_break_loses_neither_files_nor_the_run(visit: Visit, proxy: Proxy, pictures: Path, kind: str):
    visit.choose(pictures / "face.png")
    visit.advanced("Thorough")
    dialogs: list[str] = []
    visit.page.on("dialog", lambda dialog: (dialogs.append(dialog.type), dialog.accept()))
    visit.button("Protect").click()
    visit.page.wait_for_function("Number(document.querySelector('#job-status progress')?.value) > 0.02")
    if kind == "stalled":
        proxy.stall()
    else:
        proxy.cut()
    if kind == "long":
        expect(visit.page.locator("#connection")).to_contain_text("Connection lost", timeout=SECONDS)
    proxy.down = False
    visit.page.locator(".result").wait_for()
    assert visit.page.locator("#connection:visible").count() == 0
    assert dialogs == [], "the page loads itself again"
    expect(visit.page.locator("#listed")).to_contain_text("face.png, 96×96 px")
    assert "--preset thorough" in visit.command()
    expect(visit.button("Protect")).to_be_enabled()

    proxy.cut()  # nothing runs
    visit.page.wait_for_timeout(500)
    proxy.down = False
    visit.page.reload()
    visit.page.locator(".result").wait_for()
    assert len(visit.download(visit.page.locator("a.get-file"))) > 1000


def test_leaving_a_result_that_was_not_downloaded_is_asked_about(visit: Visit, pictures: Path):
    visit.choose(pictures / "small.jpg")
    visit.advanced("Fast")
    visit.protect()
    dialogs: list[str] = []
    visit.page.on("dialog", lambda dialog: (dialogs.append(dialog.type), dialog.accept()))
    if visit.page.locator(
        "#connection"
    ).count():  # a busy machine answered late, after which the page does not ask for a while
        visit.page.wait_for_timeout(16000)
    visit.page.reload()
    assert dialogs == ["beforeunload"]
    visit.page.locator(".result").wait_for()
    visit.download(visit.page.locator("a.get-file"))
    visit.page.reload()
    assert dialogs == ["beforeunload"]


def test_progress_that_is_not_the_servers_is_loaded_again(visit: Visit):
    """A stream that ended without an error leaves its last progress on the page."""
    visit.page.evaluate("document.getElementById('job-status').innerHTML = '<progress value=0.5></progress>'")
    expect(visit.page.locator("#job-status progress")).to_have_count(1)
    expect(visit.page.locator("#job-status progress")).to_have_count(0, timeout=SECONDS)
