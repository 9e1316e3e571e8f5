"""The web page in a real browser with its real server, and HTTP requests to that server."""

from __future__ import annotations

import io
import json
import os
import re
import stat
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import ASTRONAUT, smooth_picture
from PIL import Image
from web_server import CHROMIUM, Running, serving

pytest.importorskip("gradio", reason="the extra `ui` is not installed")
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here; `apt-get install chromium`")

SIDE = 96
SECONDS = 60_000
"""Timeout of a step, in milliseconds, for a busy machine."""


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("server")
    with serving(folder, "--max-megapixels", "1", "--max-upload", "2") as one:
        yield one
    assert one.process.returncode == 130
    assert list(folder.glob("pca-protect-*")) == []


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    with Image.open(ASTRONAUT) as image:
        image.crop((170, 60, 170 + SIDE, 60 + SIDE)).save(folder / "face.png")
    smooth_picture(45, 37).save(folder / "small.jpg")
    (folder / "broken.png").write_bytes(ASTRONAUT.read_bytes()[:4000])
    smooth_picture(1200, 900).save(folder / "large.png")
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[sync_api.Browser]:
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


_CONTENT = "all => Promise.all(all.map(image => fetch(image.src).then(answer => answer.text())))"


class Visit:
    """A browser tab that records the addresses it requests."""

    def __init__(self, browser: sync_api.Browser, address: str, **context: object) -> None:
        self._address = address
        self._context = browser.new_context(accept_downloads=True, **context)
        self.page = self._context.new_page()
        self.page.set_default_timeout(SECONDS)
        self.asked: list[str] = []
        self.problems: list[str] = []
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.goto(address)
        self.button("Protect").wait_for()

    def button(self, name: str) -> sync_api.Locator:
        return self.page.get_by_role("button", name=name, exact=True)

    def choose(self, *files: Path) -> None:
        self.page.set_input_files("#files input[type=file]", [str(file) for file in files])
        self.page.locator("#listed li, #listed .errors p").nth(len(files) - 1).wait_for()

    def tick(self, *labels: str) -> None:
        for label in labels:
            self.page.get_by_label(label).first.check()

    def against(self, name: str) -> None:
        self.page.get_by_label("Automatic").uncheck()
        self.page.get_by_label(f"{name}: ").check()

    def download(self, link: sync_api.Locator) -> bytes:
        with self.page.expect_download() as found:
            link.click()
        return Path(found.value.path()).read_bytes()

    def command(self) -> str:
        return self.page.locator("#command .cm-content").inner_text().strip()

    def close(self) -> None:
        """Closes the tab. Fails on an error in the page, or on a request to another host."""
        self._context.close()
        assert self.problems == []
        assert [url for url in self.asked if not url.startswith((self._address, "data:", "blob:"))] == []


@pytest.fixture
def visit(browser: sync_api.Browser, running: Running) -> Iterator[Visit]:
    one = Visit(browser, running.address, viewport={"width": 1280, "height": 900})
    yield one
    one.close()


def change(before: bytes | Path, after: bytes) -> np.ndarray:
    levels = [
        np.asarray(Image.open(one if isinstance(one, Path) else io.BytesIO(one)).convert("RGB")).astype(int)
        for one in (before, after)
    ]
    return np.abs(levels[1] - levels[0])


@needs_browser
@pytest.mark.parametrize(("aim", "mode"), [("Keep my picture", "diffusion"), ("Make edits fail", "concentration")])
def test_upload_protect_compare_download(visit: Visit, pictures: Path, tmp_path: Path, aim: str, mode: str):
    visit.choose(pictures / "face.png")
    assert "face.png, 96×96 px" in visit.page.locator("#listed").inner_text()
    visit.tick(aim, "Fast (8 steps)")
    visit.against("pocket")
    visit.page.locator("#budget input[type=number]").fill("9")
    visit.page.locator("#budget input[type=number]").press("Enter")
    sync_api.expect(visit.page.locator("#cost")).to_contain_text(
        re.compile(r"9 of 255 levels\. About \d+ s"), timeout=SECONDS
    )
    visit.button("Protect").click()
    result = visit.page.locator(".result")
    result.wait_for()
    said = result.inner_text()
    assert "differs by more than 9 of 255 levels" in said
    assert "pocket" in visit.page.locator("#results .notice").inner_text()
    data = visit.download(visit.page.locator("a.get-file"))
    changed = change(pictures / "face.png", data)
    assert changed.max() == 9

    expected = "" if mode == "diffusion" else f" --mode {mode}"
    line = visit.command()
    assert line == f"protect face.png --max-megapixels 1{expected} --preset fast --budget 9 --vae pocket --offline"
    from pca_protect.cli.main import protect_app

    out = tmp_path / "same.png"
    arguments = line.split()[1:]
    protect_app(
        [str(pictures / arguments[0]), *arguments[1:], "--device", "cpu", "-o", str(out)], standalone_mode=False
    )
    assert (
        np.abs(change(pictures / "face.png", out.read_bytes()) - changed).mean() < 0.5
    )  # threads differ, settings do not

    slider, frame = result.locator("input[type=range]"), result.locator(".compare")
    shown = result.locator(".stack img").nth(1)
    assert shown.evaluate("image => image.naturalWidth * image.naturalHeight") == SIDE**2
    assert shown.evaluate("image => image.getBoundingClientRect().width * devicePixelRatio") == SIDE
    slider.focus()
    slider.press("End")
    assert frame.evaluate("box => getComputedStyle(box).getPropertyValue('--cut')") == "100%"
    slider.press("Home")
    assert frame.evaluate("box => getComputedStyle(box).getPropertyValue('--cut')") == "0%"
    result.get_by_text("Difference, amplified 8 times").click()
    amplified = result.get_by_alt_text("Difference, amplified 8 times")
    sync_api.expect(amplified).to_be_visible()
    assert amplified.evaluate("image => image.decode().then(() => image.naturalWidth)") == SIDE


@needs_browser
def test_several_pictures_come_as_a_zip_and_a_broken_one_is_named(visit: Visit, pictures: Path):
    visit.choose(pictures / "face.png", pictures / "small.jpg", pictures / "broken.png", pictures / "large.png")
    alert = visit.page.locator("#listed .errors")
    assert "broken.png: is truncated" in alert.inner_text()
    assert "large.png: 1200x900 px is over the limit of 1 megapixels" in alert.inner_text()
    visit.tick("Instant")
    visit.against("pocket")
    visit.button("Protect").click()
    visit.page.locator(".result").nth(1).wait_for()
    assert "broken.png: is truncated" in visit.page.locator("#results .errors").inner_text()
    archive = zipfile.ZipFile(io.BytesIO(visit.download(visit.page.get_by_text("Download all 2 as a zip"))))
    assert archive.namelist() == ["face.protected.png", "small.protected.png"]
    assert 1 <= change(pictures / "small.jpg", archive.read("small.protected.png")).max() <= 16


@needs_browser
def test_a_broken_file_alone_gives_its_sentence(visit: Visit, pictures: Path):
    visit.choose(pictures / "broken.png")
    visit.button("Protect").click()
    shown = visit.page.locator("#results .errors")
    shown.wait_for()
    assert shown.get_attribute("role") == "alert"
    assert "broken.png: is truncated" in shown.inner_text()
    assert str(pictures) not in visit.page.content()


@needs_browser
def test_cancel_keeps_nothing(visit: Visit, pictures: Path):
    visit.choose(pictures / "face.png")
    visit.tick("Thorough")
    visit.against("pocket")
    visit.button("Protect").click()
    bar = visit.page.locator("#job-status progress")
    visit.page.wait_for_function("Number(document.querySelector('#job-status progress')?.value) > 0.02")
    sync_api.expect(visit.page.locator("#job-status")).to_contain_text("left")
    started = time.monotonic()
    assert visit.page.evaluate("1 + 1") == 2
    assert time.monotonic() - started < 1  # the tab answers while the server works
    visit.page.locator("#cancel").click()
    sync_api.expect(visit.page.locator("#job-status")).to_contain_text("stopped; nothing was kept")
    assert bar.count() == 0
    assert visit.page.locator(".result").count() == 0
    sync_api.expect(visit.button("Protect")).to_be_enabled()


@needs_browser
def test_two_visitors_wait_for_each_other_and_see_their_own(
    browser: sync_api.Browser, running: Running, pictures: Path, visit: Visit
):
    other = Visit(browser, running.address)
    try:
        visit.choose(pictures / "face.png")
        visit.tick("Thorough")
        other.choose(pictures / "small.jpg")
        for one in (visit, other):
            one.against("pocket")
        other.tick("Instant")
        visit.button("Protect").click()
        visit.page.wait_for_function("Number(document.querySelector('#job-status progress')?.value) > 0")
        for _ in range(2):  # who waits can change their mind
            other.button("Protect").click()
            sync_api.expect(other.page.locator("#job-status")).to_contain_text("Waiting: 1 job")
            other.page.locator("#cancel").click()
            sync_api.expect(other.page.locator("#job-status")).to_contain_text("stopped; nothing was kept")
        other.button("Protect").click()
        sync_api.expect(other.page.locator("#job-status")).to_contain_text("Waiting: 1 job")
        visit.page.locator("#cancel").click()
        other.page.locator(".result").wait_for()
        assert "small.protected.png" in other.page.locator(".result").inner_text()
        assert visit.page.locator(".result").count() == 0
    finally:
        other.close()


@needs_browser
def test_painting_a_mask(visit: Visit, pictures: Path):
    visit.choose(pictures / "face.png")
    visit.page.get_by_role("button", name="More").click()
    visit.tick("Where I paint", "Instant")
    visit.against("pocket")
    visit.button("Protect").click()
    sync_api.expect(visit.page.locator("#job-status .errors")).to_contain_text("nothing is painted")
    canvas = visit.page.locator("#painted canvas").first
    canvas.scroll_into_view_if_needed()
    visit.page.wait_for_timeout(1000)  # the canvas places the picture after it has come into view
    box = canvas.bounding_box()
    assert box is not None
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    visit.page.mouse.move(*middle)
    visit.page.mouse.down()
    visit.page.mouse.move(middle[0] + 12, middle[1] + 12, steps=4)
    visit.page.mouse.up()
    visit.page.wait_for_timeout(1000)
    visit.button("Protect").click()
    visit.page.locator(".result").wait_for()
    changed = change(pictures / "face.png", visit.download(visit.page.locator("a.get-file"))).max(axis=-1) > 0
    assert 0.01 < changed.mean() < 0.9
    with Image.open(io.BytesIO(visit.download(visit.page.get_by_text("as mask.png")))) as mask:
        assert not changed[np.asarray(mask) == 0].any()
    assert "--mask mask.png" in visit.command()


@needs_browser
def test_the_proof_shows_four_edits(visit: Visit, pictures: Path):
    visit.choose(pictures / "face.png")
    visit.tick("Instant")
    visit.against("pocket")
    visit.button("Protect").click()
    visit.page.locator(".result").wait_for()
    visit.button("Edit both").click()
    visit.page.locator(".edits figure").nth(3).wait_for(timeout=3 * SECONDS)
    captions = visit.page.locator(".edits figcaption").all_inner_texts()
    assert captions[1:] == [
        "Edit of the original",
        "Edit of the protected picture",
        "Edit of the original with random noise of the same size",
    ]
    said = visit.page.locator("#edits").inner_text()
    apart, noise = (float(number) for number in re.findall(r"\d\.\d{3}", said)[:2])
    assert apart > 0
    assert noise > 0
    assert "test bed" in said
    assert len(set(visit.page.locator(".edits img").evaluate_all(_CONTENT))) == 4
    widths = visit.page.locator(".edits img").evaluate_all("all => all.map(image => image.naturalWidth)")
    assert widths == [256] * 4


@needs_browser
def test_keyboard_alone(visit: Visit, pictures: Path):
    visit.choose(pictures / "face.png")  # what the first button opens is the system's own dialog
    press = visit.page.keyboard.press

    def tab_to(what: str) -> None:
        for _ in range(60):
            press("Tab")
            focused = "(document.activeElement.closest('label, .compare') ?? document.activeElement)"
            if visit.page.evaluate(f"{focused}.innerText.trim()").startswith(what):
                return
        raise AssertionError(f"no tab leads to {what}")

    for label in ("Make edits fail", "Instant", "Automatic", "pocket: "):
        tab_to(label)
        press("Space")
    tab_to("Protect")
    press("Enter")
    visit.page.locator(".result").wait_for()
    assert (
        visit.command()
        == "protect face.png --max-megapixels 1 --mode concentration --preset instant --vae pocket --offline"
    )
    tab_to("original")
    while not visit.page.evaluate("document.activeElement.matches('input')"):
        press("Tab")
    press("ArrowLeft")
    assert visit.page.locator(".compare").evaluate("box => box.style.getPropertyValue('--cut')") == "49.5%"


@needs_browser
def test_a_phone_and_dark_mode(browser: sync_api.Browser, running: Running, pictures: Path):
    phone = Visit(
        browser,
        running.address,
        viewport={"width": 390, "height": 844},
        color_scheme="dark",
        device_scale_factor=3,
        has_touch=True,
    )
    try:
        phone.choose(pictures / "face.png")
        phone.tick("Instant")
        phone.against("pocket")
        phone.button("Protect").click()
        phone.page.locator(".result").wait_for()
        assert phone.page.evaluate("document.documentElement.scrollWidth") <= 390
        background = phone.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert max(int(part) for part in re.findall(r"\d+", background)[:3]) < 60
        over = phone.page.locator(".stack .over")
        over.scroll_into_view_if_needed()
        phone.page.wait_for_function("document.querySelector('.stack .over').style.width !== ''")  # its onload is done
        assert over.evaluate("image => image.getBoundingClientRect().width") == SIDE / 3
    finally:
        phone.close()


def fetch(address: str, *, headers: dict[str, str] | None = None, data: bytes | None = None) -> tuple[int, bytes]:
    request = urllib.request.Request(address, headers=headers or {}, data=data)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


@pytest.mark.parametrize(
    "path",
    [
        "/gradio_api/file=/etc/passwd",
        "/gradio_api/file=pyproject.toml",
        "/gradio_api/file=../../../../etc/passwd",
        "/file=/etc/passwd",
        "/kept/../../etc/passwd",
        "/kept/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "/kept/unknown",
        "/static/../../../../../etc/passwd",
        "/gradio_api/proxy=http://127.0.0.1:9/",
        "/monitoring",
        "/openapi.json",
        "/docs",
    ],
)
def test_no_path_of_the_machine_is_readable(running: Running, path: str):
    status, body = fetch(running.address + path)
    assert status >= 400
    assert b"root:" not in body
    assert b"[build-system]" not in body


def test_a_path_in_place_of_an_upload_is_refused(running: Running, pictures: Path):
    """Requests by a program that imitates the page. Gradio refuses them before our own check."""
    for path in (str(pictures / "face.png"), f"{running.temporary}/../pictures0/face.png", "/etc/hostname"):
        component = {"path": path, "meta": {"_type": "gradio.FileData"}}
        body = json.dumps({"data": [[component]], "fn_index": _listing(running), "session_hash": "me"}).encode()
        status, said = fetch(
            f"{running.address}/gradio_api/queue/join", data=body, headers={"content-type": "application/json"}
        )
        told = fetch(f"{running.address}/gradio_api/queue/data?session_hash=me")[1] if status == 200 else said
        assert b'"success":false' in told
        assert b"face.png" not in told


@pytest.mark.parametrize("headers", [{"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}])
def test_other_sites_can_send_nothing(running: Running, headers: dict[str, str]):
    assert fetch(f"{running.address}/gradio_api/upload", data=b"x", headers=headers)[0] == 403


def _listing(running: Running) -> int:
    """The index of the event handler of the file input."""
    config = json.loads(fetch(f"{running.address}/config")[1])
    files = next(one["id"] for one in config["components"] if one["props"].get("elem_id") == "files")
    listed = next(one["id"] for one in config["components"] if one["props"].get("elem_id") == "listed")
    (found,) = [one["id"] for one in config["dependencies"] if one["inputs"] == [files] and listed in one["outputs"]]
    return int(found)


def test_other_host_names_and_foreign_content_are_refused(running: Running):
    status, _ = fetch(running.address, headers={"Host": "evil.example"})
    assert status == 400
    with urllib.request.urlopen(running.address, timeout=30) as answer:
        policy = answer.headers["Content-Security-Policy"]
        page = answer.read().decode()
    assert "default-src 'self'" in policy
    assert not re.findall(r"""(?:src|href)=["'](?:https?:)?//[^"']+""", page)


def test_a_file_over_the_limit_is_refused(running: Running):
    boundary = "xxxxxxxx"
    body = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="big.png"\r\n\r\n'.encode()
        + os.urandom(2_100_000)
        + f"\r\n--{boundary}--\r\n".encode()
    )
    status, said = fetch(
        f"{running.address}/gradio_api/upload",
        data=body,
        headers={"content-type": f"multipart/form-data; boundary={boundary}"},
    )
    assert status == 413
    assert b"exceeded" in said


@needs_browser
def test_what_a_visitor_left_is_removed(browser: sync_api.Browser, running: Running, pictures: Path):
    (folder,) = running.temporary.glob("pca-protect-*")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    one = Visit(browser, running.address)
    one.choose(pictures / "face.png")
    one.tick("Instant")
    one.against("pocket")
    one.button("Protect").click()
    one.page.locator(".result").wait_for()
    address = one.page.locator("a.get-file").get_attribute("href")
    assert fetch(f"{running.address}{address}")[0] == 200
    assert list((folder / "uploads").rglob("face.png"))
    one.close()
    for _ in range(200):
        if fetch(f"{running.address}{address}")[0] == 404 and not list((folder / "uploads").rglob("face.png")):
            return
        time.sleep(0.2)
    raise AssertionError("what was made or uploaded is still there")
