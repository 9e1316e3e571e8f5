"""Units of the web page, without a browser: choices, command, queue, downloads, uploads, server options."""

from __future__ import annotations

import dataclasses
import gc
import itertools
import os
import shlex
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from conftest import smooth_picture

from pca_protect import Cancelled, PcaProtectError, PictureError, ProtectConfig, UsageError
from pca_protect.cli.main import protect_app
from pca_protect.cli.web import form as form_module
from pca_protect.cli.web import job_queue as job_queue_module
from pca_protect.cli.web.address import check_address
from pca_protect.cli.web.command import command
from pca_protect.cli.web.edit_preview import _is_protected_at
from pca_protect.cli.web.filenames import FOLDER_MARK, protected_names, safe_name, safe_path
from pca_protect.cli.web.files import FileStore
from pca_protect.cli.web.form import (
    AIM_NOTES,
    AIMS,
    DESTINATIONS,
    EDITOR_SIZES,
    NOTICE,
    PARTS,
    PLACES,
    SIZES,
    SPEEDS,
    STRENGTHS,
    FormState,
    editor_sizes,
    local_encoders,
    remote_encoders,
)
from pca_protect.cli.web.job_queue import MAX_WAITING_JOBS, Job, JobQueue
from pca_protect.cli.web.state import PROTECTING, AppState, Limits
from pca_protect.cli.web.uploads import Uploads
from pca_protect.config import PRESETS, SURVIVE
from pca_protect.modes import MODES
from pca_protect.surrogates.families import FAMILIES
from pca_protect.surrogates.registry import REGISTRY

SECONDS = 10


@pytest.mark.parametrize(
    ("given", "safe"),
    [
        ("photo.jpg", "photo.jpg"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\cat.png", "cat.png"),
        ("-o.png", "o.png"),
        ('a"b<c>$(rm).png', "a_b_c__(rm).png"),
        ("a%22b%20c.png", "a_b_20c.png"),
        ("née Ünïcode 写真.png", "née Ünïcode 写真.png"),
        ("line\nbreak\x00.png", "line_break.png"),
        ("...", "picture"),
        ("", "picture"),
        (".png", "png"),
        ("CON.png", "_CON.png"),
        ("x" * 300 + ".png", "x" * 76 + ".png"),
    ],
)
def test_names_are_made_safe(given: str, safe: str):
    assert safe_name(given) == safe
    assert safe_name(safe) == safe


def test_names_of_outputs_differ():
    pictures = [("a.jpg", ".png"), ("a.png", ".png"), ("A.png", ".png"), ("b", ".png"), ("a.tif", ".tiff")]
    assert protected_names(pictures) == [
        "a.protected.png",
        "a-2.protected.png",
        "A-3.protected.png",
        "b.protected.png",
        "a.protected.tiff",
    ]
    folders = [("trip/a.jpg", ".png"), ("a.jpg", ".png"), ("trip/A.png", ".png")]
    assert protected_names(folders) == ["trip/a.protected.png", "a.protected.png", "trip/A-2.protected.png"]


def test_folders_of_uploads_are_marked_in_their_names():
    assert safe_path(FOLDER_MARK.join(["trip", "..", "day 2", "a.png"])) == "trip/day 2/a.png"
    assert safe_path("../a.png") == "a.png"


def test_every_choice_of_the_program_is_on_the_page():
    assert {name for _, name in AIMS} == set(MODES) == set(AIM_NOTES)
    assert {name for _, name in SPEEDS} == set(PRESETS)
    assert {name for _, name in PLACES} == {"", *SURVIVE}
    assert {one.survive for one in DESTINATIONS.values()} == {"", *SURVIVE}
    assert {one.scales for one in DESTINATIONS.values()} <= {name for _, name in SIZES}
    assert {one.mode for one in STRENGTHS} <= set(MODES)
    offered = {name: said for said, name in [*local_encoders(offline=False), *remote_encoders(offline=False)]}
    assert set(offered) == {"auto", *FAMILIES, *REGISTRY}
    assert remote_encoders(offline=True) == []
    assert {name for _, name in local_encoders(offline=True)} == {
        "auto",
        *(n for n, entry in REGISTRY.items() if entry.embedded),
    }


def test_one_megapixel_is_the_size_of_editors_of_1024_px():
    assert _is_protected_at(1024, ("1mp", "native"))
    assert _is_protected_at(512, (512,))
    assert not _is_protected_at(512, ("1mp", "native"))
    assert not _is_protected_at(1024, (512, "native"))


def test_sizes_of_editors_follow_the_encoders(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(form_module, "is_cached", lambda entry: entry.embedded)
    sizes = {
        names: editor_sizes(names, "fast", offline=True)
        for names in (("auto",), ("pocket",), ("sd",), ("sd", "pocket"), ("editors",))
    }
    assert list(sizes.values()) == ["256,native", "256,native", "512,native", "512,native", ""]
    assert editor_sizes(("auto",), "fast", offline=False) == "512,native"
    assert editor_sizes(("pocket",), "instant", offline=True) == ""


def test_defaults_of_the_page_are_those_of_the_program():
    assert FormState().config("auto") == ProtectConfig()


CHOICES = [
    FormState(
        mode=mode,
        survive=survive,
        region=region,
        vaes=vaes,
        budget_levels=budget,
        max_visibility=visible,
        strip_gps=gps,
    )
    for (mode, survive, region, vaes, budget, visible, gps) in itertools.product(
        MODES, ("", "social"), ("", "center"), (("auto",), ("pocket", "pocket-16")), (16, 5), (0.0, 0.5), (False, True)
    )
] + [
    *(FormState(preset=preset) for preset in PRESETS),
    *(FormState(survive=survive) for survive in SURVIVE),
    *(FormState(scales=scales) for _, scales in SIZES if scales != EDITOR_SIZES),
    FormState(rights_notice=NOTICE),
    FormState(strip_metadata=True),
    FormState(region="face"),
]


def test_the_command_asks_for_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The command line parses each command into the request of the page."""
    from pca_protect.batch.request import Request
    from pca_protect.cli import run as run_module

    asked: list[tuple[Request, ProtectConfig]] = []
    monkeypatch.setattr(run_module, "_preview", lambda request, config: asked.append((request, config)))
    monkeypatch.chdir(tmp_path)
    smooth_picture(16, 16).save("a photo.png")
    for selection in CHOICES:
        words = shlex.split(command(selection, ["a photo.png"]))
        assert words[:2] == ["protect", "a photo.png"]
        protect_app([*words[1:], "--dry-run"], standalone_mode=False)
        request, config = asked.pop()
        assert config == selection.config("auto")
        assert request.output_options == selection.output_options
    assert command(FormState(), ["a photo.png"]) == "protect 'a photo.png'"
    assert command(FormState(), list("abcdef")) == "protect a b c d e f"
    assert command(FormState(), ["a"], device="cpu", offline=True, max_megapixels=0.5) == (
        "protect a --max-megapixels 0.5 --device cpu --offline"
    )
    assert command(dataclasses.replace(FormState(), region="paint"), []) == "protect PICTURE --mask mask.png"


def test_no_model_is_a_sentence():
    with pytest.raises(UsageError, match="no encoder is chosen"):
        FormState(vaes=()).config("auto")
    with pytest.raises(UsageError, match="Automatic cannot be combined"):
        FormState(vaes=("auto", "pocket")).config("auto")


def test_parts_that_are_regions_are_understood():
    for _, region in PARTS:
        FormState(region=region).config("auto")


class Gate:
    """Work that waits until `open` is set."""

    def __init__(self, name: str = "") -> None:
        self.name, self.begun, self.open = name, threading.Event(), threading.Event()

    def __call__(self, job: Job[str]) -> str:
        self.begun.set()
        for number in range(10_000):
            job.set_progress("Waiting", number / 10_000)
            if self.open.wait(0.01):
                return self.name
        raise AssertionError("nobody opened")


@pytest.fixture
def queue() -> Iterator[JobQueue]:
    queue = JobQueue()
    yield queue
    queue.close()


def test_jobs_wait_in_order_and_one_is_worked_on(queue: JobQueue):
    gates = [Gate("a"), Gate("b"), Gate("c")]
    jobs = [queue.submit(gate) for gate in gates]
    assert gates[0].begun.wait(SECONDS)
    assert [job.status.jobs_ahead for job in jobs] == [0, 1, 2]
    assert queue.busy
    assert not gates[1].begun.is_set()
    gates[0].open.set()
    assert jobs[0].result() == "a"
    assert gates[1].begun.wait(SECONDS)
    assert jobs[2].status.jobs_ahead == 1
    for gate in gates:
        gate.open.set()
    assert jobs[2].result() == "c"


def test_a_job_is_cancelled_at_work(queue: JobQueue):
    gate = Gate()
    job = queue.submit(gate)
    assert gate.begun.wait(SECONDS)
    job.cancel()
    with pytest.raises(Cancelled, match="nothing was kept"):
        job.result()
    assert job.status.stopping


def test_a_job_that_waits_is_cancelled_at_once(queue: JobQueue):
    first, second, third = Gate("first"), Gate("second"), Gate("third")
    jobs = [queue.submit(gate) for gate in (first, second, third)]
    assert first.begun.wait(SECONDS)
    jobs[1].cancel()
    assert jobs[1].finished
    with pytest.raises(Cancelled):
        jobs[1].result()
    assert jobs[2].status.jobs_ahead == 1
    third.open.set()
    first.open.set()
    assert jobs[2].result() == "third"
    assert not second.begun.is_set()


@pytest.mark.parametrize("error", [UsageError("no"), RuntimeError("no"), MemoryError()])
def test_what_went_wrong_is_a_sentence_and_the_next_job_runs(queue: JobQueue, error: Exception):
    def broken(job: Job[str]) -> str:
        raise error

    with pytest.raises(PcaProtectError, match="^no$" if isinstance(error, UsageError) else "please report it"):
        queue.submit(broken).result()
    assert queue.submit(lambda job: "yes").result() == "yes"


def refused(_: Job[object]) -> None:
    raise UsageError("no") from ValueError("because")


@pytest.mark.parametrize("ends", [lambda job: None, refused, lambda job: job.cancel() or job.set_progress("")])
def test_nothing_of_the_work_stays_in_memory(queue: JobQueue, ends: Callable[[Job[object]], object]):
    class Tensor:
        pass

    def work(job: Job[object]) -> None:
        tensor = Tensor()
        left.append(weakref.ref(tensor))
        ends(job)

    left: list[weakref.ref[Tensor]] = []
    job = queue.submit(work)
    with suppress(PcaProtectError):
        job.result()
    queue.submit(lambda job: None).result()  # the worker has let go of the first by then
    gc.collect()
    assert left[0]() is None


def test_a_long_queue_takes_no_more(queue: JobQueue):
    gate = Gate()
    queue.submit(gate)
    assert gate.begun.wait(SECONDS)
    for _ in range(MAX_WAITING_JOBS):
        queue.submit(Gate())
    with pytest.raises(UsageError, match=f"{MAX_WAITING_JOBS} jobs are waiting already"):
        queue.submit(Gate())


def test_closing_ends_what_waits_and_what_runs():
    queue, gates = JobQueue(), [Gate(), Gate()]
    jobs = [queue.submit(gate) for gate in gates]
    assert gates[0].begun.wait(SECONDS)
    queue.close()
    for job in jobs:
        with pytest.raises(Cancelled):
            job.result()
    with pytest.raises(UsageError, match="is being closed"):
        queue.submit(gates[0])


def test_time_left_counts_down_between_reports(monkeypatch: pytest.MonkeyPatch):
    now = [100.0]
    monkeypatch.setattr(job_queue_module.time, "monotonic", lambda: now[0])
    shown: list[float | None] = []

    def work(job: Job[None]) -> None:
        for share, seconds in ((0.1, 0.0), (0.2, 10.0), (0.2, 5.0), (0.4, 15.0)):
            now[0] += seconds
            job.set_progress("Working", share)
            shown.append(job.status.seconds_left)

    queue = JobQueue()
    queue.submit(work).result()
    queue.close()
    assert shown == [None, pytest.approx(80.0), pytest.approx(75.0), pytest.approx(60.0)]


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


def test_uploads_go_with_the_last_session_that_has_them(tmp_path: Path):
    uploads = Uploads(tmp_path, max_pixels=1000)
    (tmp_path / "a").mkdir()
    path, other = tmp_path / "a" / "both.png", tmp_path / "a" / "mine.png"
    for one in (path, other):
        smooth_picture(16, 16).save(one)
    for session in ("one", "other"):
        uploads.of(session, [str(path)])
    uploads.of("one", [str(other)])
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


def ui(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pca_protect", "ui", *options], capture_output=True, text=True, timeout=120, check=False
    )


def test_a_taken_port_is_a_sentence():
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        found = ui("--port", str(port))
    assert found.returncode == 2
    assert f"127.0.0.1:{port}: cannot listen on this address (Address already in use)" in found.stderr


def test_an_address_of_another_machine_is_a_sentence():
    with pytest.raises(UsageError, match=r"^192\.0\.2\.1:7999: cannot listen on this address"):
        check_address("192.0.2.1", 7999)


def test_a_root_path_without_a_slash_is_a_sentence():
    found = ui("--root-path", "protect")
    assert found.returncode == 2
    assert "give /protect" in found.stderr


def test_a_missing_gradio_is_a_sentence():
    code = (
        "import sys; sys.modules['gradio'] = None; from pca_protect.cli.main import app, main; "
        "sys.argv = ['pca-protect', 'ui']; main()"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert found.returncode == 2
    assert "gradio is not installed; run pip install 'pca-protect[ui]'" in found.stderr
