"""The web page in a real browser with its real server."""

from __future__ import annotations

import io
import re
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from web_server import Running
from web_visit import SECONDS, Visit, change

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = sync_api.expect

SIDE = 96
_CONTENT = "all => Promise.all(all.map(image => fetch(image.src).then(answer => answer.text())))"


def test_drop_protect_and_download(visit: Visit, pictures: Path, tmp_path: Path):
    visit.choose(pictures / "face.png")
    assert "face.png, 96×96 px" in visit.page.locator("#listed").inner_text()
    visit.advanced("Disturb edits (published method)", "Fast (8 steps)")
    visit.page.locator("#budget input[type=number]").fill("9")
    visit.page.locator("#budget input[type=number]").press("Enter")
    expect(visit.page.locator("#cost")).to_contain_text(re.compile(r"9 of 255 levels\. About \d+ s"), timeout=SECONDS)
    result = visit.protect()
    verdict = result.locator(".verdict").inner_text()
    assert re.match(r"Effect on the encoder: \d+(\.\d+)? × random noise; ", verdict), verdict
    assert "pocket" in visit.page.locator("#results .notice").inner_text()
    data = visit.download(visit.page.locator("a.get-file"))
    changed = change(pictures / "face.png", data)
    assert changed.max() == 9
    assert visit.page.locator("a.get-file").get_attribute("class") == "get-file taken"

    line = visit.command()
    assert (
        line
        == "protect face.png --preset fast --max-megapixels 1 --budget 9 --scales 256,native --vae pocket --offline"
    )
    from pca_protect.cli.main import protect_app

    out = tmp_path / "same.png"
    arguments = line.split()[1:]
    protect_app(
        [str(pictures / arguments[0]), *arguments[1:], "--device", "cpu", "-o", str(out)], standalone_mode=False
    )
    assert (
        np.abs(change(pictures / "face.png", out.read_bytes()) - changed).mean() < 0.5
    )  # threads differ, settings do not


def test_a_wide_picture_is_compared_where_it_is_seen(visit: Visit, pictures: Path):
    visit.choose(pictures / "wide.png")
    visit.advanced("Instant")
    visit.page.locator("#aim").get_by_label("Disturb edits (").check()
    result = visit.protect()
    frame, slider = result.locator(".frame").first, result.locator("input[type=range]")
    over = result.locator(".stack .over")
    visit.page.wait_for_function("document.querySelector('.stack .over').style.width !== ''")
    assert over.evaluate("image => image.getBoundingClientRect().width * devicePixelRatio") == 1000
    frame.scroll_into_view_if_needed()

    def seen_at(share: float) -> str:
        """The picture on top at a share of the visible frame's width."""
        script = """(frame, share) => { const box = frame.getBoundingClientRect();
            return document.elementsFromPoint(box.left + share * frame.clientWidth, Math.max(box.top, 0) + 60)
                .find(one => one.tagName === 'IMG' && !one.closest('.held .over')).alt; }"""
        return str(frame.evaluate(script, share))

    assert (seen_at(0.25), seen_at(0.75)) == ("Original", "Protected")
    frame.evaluate("frame => { frame.scrollLeft = 200; }")
    visit.page.wait_for_timeout(100)
    assert (seen_at(0.25), seen_at(0.75)) == ("Original", "Protected")
    slider.focus()
    slider.press("End")
    assert (seen_at(0.25), seen_at(0.9)) == ("Original", "Original")
    slider.press("Home")
    assert (seen_at(0.1), seen_at(0.9)) == ("Protected", "Protected")
    for _ in range(60):
        slider.press("ArrowRight")
    box = result.locator(".edge").bounding_box()
    assert box is not None
    top = max(box["y"], 0) + 60
    visit.page.mouse.move(box["x"] + box["width"] / 2, top)
    visit.page.mouse.down()
    visit.page.mouse.move(box["x"] + 200, top, steps=3)
    visit.page.mouse.up()
    assert float(slider.input_value()) > 45
    result.get_by_role("button", name="Fit").click()
    assert over.evaluate("image => image.getBoundingClientRect().width") == frame.evaluate("box => box.clientWidth")
    names = [
        visit.page.request.get(str(image.evaluate("image => image.src"))).headers["content-disposition"]
        for image in result.locator(".stack img").all()
    ]
    assert names == [
        "inline; filename*=utf-8''wide.ORIGINAL-UNPROTECTED.png",
        "inline; filename*=utf-8''wide.test-only.png",
    ]
    result.get_by_text("Difference, amplified 8 times").click()
    amplified = result.get_by_alt_text("Difference, amplified 8 times")
    amplified.wait_for()
    expect(amplified).to_have_js_property("naturalWidth", 1000)


def test_a_folder_keeps_its_tree_and_a_broken_picture_is_named(visit: Visit, pictures: Path):
    """A dropped folder, as browsers describe it to the page."""
    script = """async () => {
        const file = (name, size) => ({ isFile: true, name, file: async done => {
            const canvas = new OffscreenCanvas(size, size); canvas.getContext('2d').fillRect(0, 0, size, size);
            done(new File([name === 'broken.png' ? 'no picture' : await canvas.convertToBlob()], name, {type: 'image/png'})); }});
        const folder = (name, inside) => ({ isDirectory: true, name, createReader: () => {
            let all = inside; return { readEntries: done => { done(all); all = []; } }; }});
        const dropped = folder('trip', [file('one.png', 48), folder('day 2', [file('one.png', 56), file('broken.png', 1)])]);
        const event = new Event('drop', { bubbles: true, cancelable: true });
        const items = [{ webkitGetAsEntry: () => dropped }];
        Object.defineProperty(event, 'dataTransfer', { value: { items, files: [] } });
        document.querySelector('#files button').dispatchEvent(event); }"""
    visit.page.evaluate(script)
    listed = visit.page.locator("#listed")
    expect(listed.locator("li")).to_have_text(["trip/one.png, 48×48 px", re.compile(r"^trip/day 2/one.png, 56×56 px")])
    assert "trip/day 2/broken.png: " in listed.locator(".errors").inner_text()
    visit.advanced("Instant")
    visit.page.locator("#aim").get_by_label("Disturb edits (").check()
    visit.protect()
    assert "broken.png" in visit.page.locator("#results .errors").inner_text()
    archive = zipfile.ZipFile(io.BytesIO(visit.download(visit.page.get_by_text("Download all 2 as a zip"))))
    assert archive.namelist() == ["trip/one.test-only.png", "trip/day 2/one.test-only.png"]
    assert "broken" not in visit.command()


def test_a_second_run_keeps_the_first_and_errors_keep_both(visit: Visit, pictures: Path):
    visit.choose(pictures / "face.png")
    visit.advanced("Instant")
    visit.page.locator("#aim").get_by_label("Disturb edits (").check()
    visit.protect()
    visit.page.locator("#budget input[type=number]").fill("5")
    visit.page.locator("#budget input[type=number]").press("Enter")
    visit.button("Protect").click()
    expect(visit.page.locator(".earlier > summary")).to_have_text("Run 1: diffusion, instant")
    assert visit.page.locator("#which input").input_value() == "face.test-only.png (run 2)"
    visit.page.get_by_label("Clear").first.click()
    expect(visit.page.locator("#listed li")).to_have_count(0)
    visit.button("Protect").click()
    expect(visit.page.locator("#job-status .errors")).to_contain_text("no picture is chosen")
    assert visit.page.locator("#job-status .errors").get_attribute("role") == "alert"
    assert visit.page.locator(".result").count() == 2
    visit.choose(pictures / "small.jpg")
    expect(visit.page.locator("#job-status .errors")).to_have_count(0)
    visit.page.reload()
    expect(visit.page.locator(".result")).to_have_count(2)
    expect(visit.page.locator("#listed")).to_contain_text("small.jpg, 45×37 px")
    assert "--budget 5" in visit.command()
    visit.button("Delete my pictures and results").click()
    expect(visit.page.locator(".result")).to_have_count(0)
    expect(visit.page.locator("#listed li")).to_have_count(0)


def test_cancel_keeps_nothing_and_the_page_answers_meanwhile(visit: Visit, pictures: Path):
    visit.choose(pictures / "wide.png")
    visit.advanced("Thorough")
    visit.button("Protect").click()
    visit.page.wait_for_function("Number(document.querySelector('#job-status progress')?.value) > 0.01")
    expect(visit.page.locator("#job-status")).to_contain_text("left")
    expect(visit.page.locator("#announcement")).to_contain_text("% done")
    assert visit.page.locator("#announcement").get_attribute("role") == "status"
    started = time.monotonic()
    assert visit.page.evaluate("1 + 1") == 2
    assert time.monotonic() - started < 1  # the tab answers while the server works
    visit.page.locator("#cancel").click()
    expect(visit.page.locator("#job-status")).to_contain_text("stopped; nothing was kept")
    assert visit.page.locator("#job-status progress").count() == 0
    assert visit.page.locator(".result").count() == 0
    expect(visit.button("Protect")).to_be_enabled()


def test_two_visitors_wait_for_each_other_and_see_their_own(
    browser: sync_api.Browser, running: Running, pictures: Path, visit: Visit
):
    other = Visit(browser, running.address)
    try:
        visit.choose(pictures / "wide.png")
        visit.advanced("Thorough")
        other.choose(pictures / "small.jpg")
        other.advanced("Fast")
        visit.button("Protect").click()
        visit.page.wait_for_function("Number(document.querySelector('#job-status progress')?.value) > 0")
        for _ in range(2):  # who waits can change their mind
            other.button("Protect").click()
            expect(other.page.locator("#job-status")).to_contain_text("Waiting: 1 job")
            other.page.locator("#cancel").click()
            expect(other.page.locator("#job-status")).to_contain_text("stopped; nothing was kept")
        other.button("Protect").click()
        expect(other.page.locator("#job-status")).to_contain_text("Waiting: 1 job")
        visit.page.locator("#cancel").click()
        other.page.locator(".result").wait_for()
        assert "small.test-only.png" in other.page.locator(".result").inner_text()
        assert visit.page.locator(".result").count() == 0
    finally:
        other.close()


def test_painting_a_mask(visit: Visit, pictures: Path):
    visit.choose(pictures / "face.png")
    visit.advanced("Where I paint", "Instant")
    visit.page.locator("#aim").get_by_label("Disturb edits (").check()
    visit.button("Protect").click()
    expect(visit.page.locator("#job-status .errors")).to_contain_text("nothing is painted")
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
    visit.protect()
    changed = change(pictures / "face.png", visit.download(visit.page.locator("a.get-file"))).max(axis=-1) > 0
    assert 0.01 < changed.mean() < 0.9
    with Image.open(io.BytesIO(visit.download(visit.page.get_by_text("as mask.png")))) as mask:
        assert not changed[np.asarray(mask) == 0].any()
    assert "--mask mask.png" in visit.command()


def test_try_it_and_compare_edits(visit: Visit):
    """The built-in picture by one button, then its edits and the distance between two seeds."""
    visit.button("Try it").click()
    visit.page.locator(".result").wait_for()
    assert "--scales 256,native --vae pocket" in visit.command()
    visit.button("Compare edits").click()
    visit.page.locator(".edits figure").nth(4).wait_for(timeout=3 * SECONDS)
    captions = visit.page.locator(".edits figcaption").all_inner_texts()
    assert captions[1:] == [
        "Edit of the original",
        "Edit of the original, another seed",
        "Edit of the protected picture",
        "Edit of the original with random noise of the same size",
    ]
    distances = [float(text) for text in visit.page.locator(".distances td").all_inner_texts()]
    assert len(distances) == 3
    assert min(distances) > 0
    assert "disturbed" in visit.page.locator("#edits .verdict").inner_text()
    assert "test bed" in visit.page.locator("#edits").inner_text()
    assert len(set(visit.page.locator(".edits img").evaluate_all(_CONTENT))) == 5
    visit.page.locator("#advanced").get_by_role("button", name="Advanced").click()
    visit.page.locator("#advanced").get_by_label("Automatic").wait_for()
    assert visit.inaccessible() == []


def test_a_long_list_leaves_protect_on_the_first_screen(visit: Visit, tmp_path: Path):
    files = [tmp_path / f"{number}.png" for number in range(40)]
    for file in files:
        Image.new("RGB", (16, 16)).save(file)
    visit.choose(*files)
    box = visit.button("Protect").bounding_box()
    assert box is not None
    assert box["y"] + box["height"] < 900


def test_the_keyboard_alone(visit: Visit, pictures: Path):
    """Protect is at most five stops away from the top of the page."""
    visit.choose(pictures / "small.jpg")  # what the first button opens is the system's own dialog
    visit.advanced("Instant")
    expect(visit.page.locator("#command textarea")).to_have_value(re.compile("instant.* --vae pocket"))
    visit.page.reload()
    expect(visit.page.locator("#listed li")).to_have_count(1)
    press = visit.page.keyboard.press
    stops = []
    for _ in range(8):
        press("Tab")
        stops.append(str(visit.page.evaluate("document.activeElement.id")))
        if stops[-1] == "protect":
            break
        if visit.page.evaluate("document.activeElement.type") == "range":
            press("ArrowRight")
            press("ArrowRight")
            assert visit.page.evaluate("document.activeElement.getAttribute('aria-valuetext')").startswith("strong")
    assert stops[-1] == "protect"
    expect(visit.page.locator("#command textarea")).not_to_have_value(re.compile("subtle"))
    press("Enter")
    visit.page.locator(".result").wait_for()


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
        box = phone.button("Protect").bounding_box()
        assert box is not None
        assert box["y"] + box["height"] < 844
        phone.choose(pictures / "wide.png")
        phone.advanced("Instant")
        phone.page.locator("#aim").get_by_label("Disturb edits (").check()
        phone.protect()
        assert phone.page.evaluate("document.documentElement.scrollWidth") <= 390
        background = phone.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert max(int(part) for part in re.findall(r"\d+", background)[:3]) < 60
        over = phone.page.locator(".stack .over")
        over.scroll_into_view_if_needed()
        phone.page.wait_for_function("document.querySelector('.stack .over').style.width !== ''")
        assert over.evaluate("image => image.getBoundingClientRect().width") == pytest.approx(1000 / 3, abs=0.01)
        assert phone.inaccessible() == []
    finally:
        phone.close()
