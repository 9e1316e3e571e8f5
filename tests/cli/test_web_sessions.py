"""Files, uploads and sessions of the page."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from conftest import smooth_picture
from web_gate import Gate

from pca_protect import Cancelled, PictureError, UsageError
from pca_protect.cli.web.files import FileStore
from pca_protect.cli.web.state import PROTECTING, AppState, Limits
from pca_protect.cli.web.uploads import Uploads
from pca_protect.io.picture import Picture
from pca_protect.io.write import encode_picture

SECONDS = 10


def test_files_go_with_their_session(tmp_path: Path):
    folder = tmp_path / "files"
    folder.mkdir()
    files = FileStore(folder)
    for session in ("one", "other"):
        files.open_session(session)
    tokens = [files.put(session, b"data", media_type="image/png", name="x.png") for session in ("one", "one", "other")]
    assert len(set(tokens)) == 3
    on_its_way = files.open(tokens[0])
    assert on_its_way is not None
    files.remove(tokens[:1])
    assert files.open(tokens[0]) is None
    assert len(list(folder.iterdir())) == 2
    with on_its_way.file as file:
        assert file.read() == b"data"
    assert files.open("../pyproject.toml") is None
    files.close_session("one")
    assert files.open(tokens[1]) is None
    with pytest.raises(Cancelled, match="the session is closed"):
        files.put("one", b"too late", media_type="image/png")
    assert len(list(folder.iterdir())) == 1


def test_a_full_store_takes_no_more(tmp_path: Path):
    files = FileStore(tmp_path, max_megabytes=1)
    files.open_session("one")
    first = files.put("one", bytes(800_000), media_type="image/png")
    with pytest.raises(UsageError, match="storage for results is full"):
        files.put("one", bytes(300_000), media_type="image/png")
    assert len(list(tmp_path.iterdir())) == 1
    files.remove([first])
    files.put("one", bytes(300_000), media_type="image/png")


def test_uploads_are_read_from_their_folder_alone(tmp_path: Path):
    secret = tmp_path / "secret.png"
    smooth_picture(16, 16).save(secret)
    folder = tmp_path / "uploads"
    (folder / "a").mkdir(parents=True)
    (folder / "link.png").symlink_to(secret)
    smooth_picture(20, 30).save(folder / "a" / "mine.png")
    uploads = Uploads(folder, max_pixels=1000)
    for path in (secret, folder / ".." / "secret.png", folder / "link.png", folder / "a", folder / "gone.png"):
        with pytest.raises(UsageError, match="upload it again"):
            uploads.of("one", [str(path)])
    (mine,) = uploads.of("one", [str(folder / "a" / "mine.png")])
    assert (mine.name, uploads.read(mine).width) == ("mine.png", 20)
    with pytest.raises(
        PictureError, match=r"^mine.png: 20x30 px is over the limit of 0.0005 megapixels; raise it with `max_pixels`"
    ):
        Uploads(folder, max_pixels=500).read(mine)


def test_outputs_are_no_uploads(tmp_path: Path):
    marker = '{"version": "1", "budget_levels": 16}'
    (tmp_path / "again.png").write_bytes(
        encode_picture(Picture(np.asarray(smooth_picture(20, 30))), "PNG", marker=marker)
    )
    uploads = Uploads(tmp_path, max_pixels=1000)
    with pytest.raises(PictureError, match=r"^again.png: is an output of this program; upload the original$"):
        uploads.header(*uploads.of("one", [str(tmp_path / "again.png")]))


def test_uploads_go_with_the_last_session_that_has_them(tmp_path: Path):
    uploads = Uploads(tmp_path, max_pixels=1000)
    (tmp_path / "a").mkdir()
    path, other = tmp_path / "a" / "both.png", tmp_path / "a" / "mine.png"
    for one in (path, other):
        smooth_picture(16, 16).save(one)
    for session in ("one", "other"):
        uploads.of(session, [str(path)])
    uploads.of("one", [str(other)])
    uploads.keep_only("one", [str(path), str(other)])
    assert other.exists()
    uploads.keep_only("one", [str(path)])
    assert not other.exists()
    uploads.close_session("one")
    assert path.exists()
    old, fresh = tmp_path / "interrupted", tmp_path / "uploading"
    for one in (old, fresh):
        one.write_bytes(b"half")
    os.utime(old, (0, 0))
    uploads.close_session("other")
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == [fresh]


def state_in(folder: Path) -> AppState:
    for name in ("uploads", "results"):
        (folder / name).mkdir()
    limits = Limits(max_pixels=1000, max_megabytes=1)
    return AppState(folder / "uploads", FileStore(folder / "results"), device="cpu", offline=True, limits=limits)


def test_a_session_outlives_a_short_break_and_ends_after_a_long_one(tmp_path: Path):
    state = state_in(tmp_path)
    session = state.open_session()
    token = state.files.put(session.id, b"data", media_type="image/png")
    with state.sessions.connected(session):
        state.close_idle_sessions(0.0)
        assert state.sessions.get(session.id) is session, "a page is open"
    state.close_idle_sessions(60.0)
    assert state.files.read(token, "x") == b"data", "a break"
    state.close_idle_sessions(0.0)
    assert state.sessions.get(session.id) is None
    assert state.files.open(token) is None
    assert list((tmp_path / "results").iterdir()) == []
    state.close()


def test_a_run_keeps_its_session_until_others_wait(tmp_path: Path):
    state = state_in(tmp_path)
    session, gate = state.open_session(), Gate("done")
    job = state.submit(session, PROTECTING, gate)
    assert gate.begun.wait(SECONDS)
    with pytest.raises(UsageError, match="still running"):
        state.submit(session, PROTECTING, gate)
    state.close_idle_sessions(0.0)
    assert state.sessions.get(session.id) is session
    waiting = state.submit(state.open_session(), PROTECTING, Gate())
    state.close_idle_sessions(0.0)
    assert state.sessions.get(session.id) is None
    with pytest.raises(Cancelled):
        job.result()
    state.close()
    assert waiting.finished
