"""The page behind nginx with the configuration of docs/page.md, in a real browser."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from web_server import free_port, serving
from web_visit import Visit

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
DOCUMENT = Path(__file__).parents[2] / "docs" / "page.md"


def configuration(folder: Path, port: int, page_port: int) -> str:
    """The documented block, with this machine's ports and without a login."""
    (block,) = re.findall(r"```nginx\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), flags=re.DOTALL)
    block = re.sub(r"^ *auth_.*\n", "", block, flags=re.MULTILINE).replace("127.0.0.1:7860", f"127.0.0.1:{page_port}")
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in kinds)
    return (
        f"daemon off; pid {folder}/pid; error_log {folder}/error.log; events {{}}\n"
        f"http {{ access_log off;\n{paths}server {{ listen 127.0.0.1:{port};\n{block}}} }}"
    )


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    if NGINX is None:
        pytest.skip("nginx is not installed")
    with serving(tmp_path, "--allowed-host", "pics.example", "--root-path", "/protect") as running:
        port = free_port()
        file = tmp_path / "nginx.conf"
        file.write_text(configuration(tmp_path, port, urlsplit(running.address).port or 0))
        process = subprocess.Popen([NGINX, "-c", str(file)], stderr=subprocess.DEVNULL)
        try:
            _await(port)
            yield f"http://pics.example:{port}/protect/"
        finally:
            process.terminate()
            process.wait(10)


def _await(port: int) -> None:
    for _ in range(100):
        with closing(socket.socket()) as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise AssertionError("nginx did not come up")


def test_protecting_behind_the_documented_proxy(browser: sync_api.Browser, address: str, pictures: Path):
    visit = Visit(browser, address)
    try:
        visit.choose(pictures / "small.jpg")
        visit.advanced("Fast")
        visit.protect()
        assert len(visit.download(visit.page.locator("a.get-file"))) > 1000
        visit.page.wait_for_timeout(3000)  # the page has asked for its session by then
        assert visit.page.locator("#connection:visible").count() == 0
    finally:
        visit.close()
