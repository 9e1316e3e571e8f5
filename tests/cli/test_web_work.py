"""The jobs of the page's buttons, without a browser: from uploads to downloads."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import smooth_picture
from PIL import Image
from small_disk import small_disk

from pca_protect import DeviceError, ModelError, ProtectConfig, Protected, UsageError
from pca_protect.batch.estimate import Pace
from pca_protect.batch.output_options import OutputOptions
from pca_protect.image.tensors import Mask

pytest.importorskip("flip_evaluator", reason="needs the extra `eval`")

from pca_protect.cli.web import job_queue as job_queue_module
from pca_protect.cli.web import model_cache as model_cache_module
from pca_protect.cli.web import protect_job as protect_job_module
from pca_protect.cli.web import protected_file, templates
from pca_protect.cli.web.edit_preview import EditPreview, preview_edits
from pca_protect.cli.web.files import FileStore
from pca_protect.cli.web.form import CLEAR_HIDDEN, FormState
from pca_protect.cli.web.job_queue import Job, JobQueue
from pca_protect.cli.web.model_cache import ModelCache
from pca_protect.cli.web.protect_job import JobResult, ProtectRequest, protect_all
from pca_protect.cli.web.uploads import Uploads

SESSION = "mine"


@dataclass
class Workplace:
    """The state of a page in one folder."""

    folder: Path
    models: ModelCache = field(default_factory=lambda: ModelCache("cpu", offline=True))
    queue: JobQueue = field(default_factory=JobQueue)

    def __post_init__(self) -> None:
        for name in ("uploads", "kept"):
            (self.folder / name).mkdir(exist_ok=True)
        self.use(FileStore(self.folder / "kept"))
        self.uploads = Uploads(self.folder / "uploads", max_pixels=1_000_000)

    def use(self, files: FileStore) -> None:
        self.files = files
        files.open_session(SESSION)

    def protect(
        self,
        *pictures: Path,
        mask: Mask | None = None,
        output_options: OutputOptions = OutputOptions(),  # noqa: B008 - immutable
        **settings: object,
    ) -> JobResult:
        config = ProtectConfig(**{"vae": "pocket", "device": "cpu", "preset": "instant", **settings})  # type: ignore[arg-type]
        request = ProtectRequest(
            self.uploads.of(SESSION, [str(path) for path in pictures]), config, output_options, mask
        )
        return self.queue.submit(
            lambda job: protect_all(job, SESSION, request, uploads=self.uploads, models=self.models, files=self.files)
        ).result()

    def prove(self, results: JobResult, prompt: str = "snow") -> EditPreview:
        (result,) = results.done
        return self.queue.submit(
            lambda job: preview_edits(
                job, SESSION, result, editor="pocket-editor", prompt=prompt, models=self.models, files=self.files
            )
        ).result()

    def shown(self, token: str) -> Image.Image:
        return Image.open(io.BytesIO(self.files.read(token, "shown")))


@pytest.fixture
def workplace(tmp_path: Path) -> Iterator[Workplace]:
    place = Workplace(tmp_path)
    yield place
    place.queue.close()


def upload(place: Workplace, name: str, width: int = 72, height: int = 56) -> Path:
    path = place.folder / "uploads" / name
    smooth_picture(width, height, seed=len(name)).save(path)
    return path


def test_pages_are_compared_as_a_browser_can_show_them(workplace: Workplace):
    path = workplace.folder / "uploads" / "pages.tiff"
    pages = [smooth_picture(40, 32, seed=seed) for seed in (1, 2)]
    pages[0].save(path, save_all=True, append_images=pages[1:])
    (result,) = workplace.protect(path).done
    assert (result.name, workplace.shown(result.file).format) == ("pages.test-only.tiff", "TIFF")
    before, after = (workplace.shown(token) for token in (result.before, result.after))
    assert (before.format, after.format) == ("PNG", "PNG")
    assert np.array_equal(np.asarray(before), np.asarray(pages[0]))
    change = np.asarray(after).astype(int) - np.asarray(before)
    assert np.abs(change).max() == result.record.max_change_levels == 16


def test_a_disk_too_full_for_the_zip_keeps_the_pictures(tmp_path: Path):
    with small_disk(tmp_path) as disk:
        place = Workplace(tmp_path)
        place.use(FileStore(disk))
        found = place.protect(upload(place, "one.png"), upload(place, "two.png"))
        place.queue.close()
        assert [result.name for result in found.done] == ["one.test-only.png", "two.test-only.png"]
        assert all(place.files.read(result.file, result.name) for result in found.done)
        assert found.archive == ""
        (message,) = found.failed
        assert message.startswith("the zip of all pictures: cannot be stored (No space left on device)")
        kept = {path.stat().st_size for path in disk.iterdir()}
        assert len(list(disk.iterdir())) == 6, f"nothing half-written: {kept}"


def test_what_was_done_before_the_device_failed_is_there(workplace: Workplace, monkeypatch: pytest.MonkeyPatch):
    protect = protected_file.protect

    def fails_for_two(picture: object, *rest: object, **more: object) -> Protected:
        if getattr(picture, "source", "") == "two.png":
            raise DeviceError("two.png: cpu has no memory")
        return protect(picture, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(protected_file, "protect", fails_for_two)
    pictures = [upload(workplace, name) for name in ("one.png", "two.png", "three.png")]
    found = workplace.protect(*pictures)
    assert [result.name for result in found.done] == ["one.test-only.png"]
    assert found.failed == ("stopped after 1 of 3 pictures, which are kept: two.png: cpu has no memory",)
    with pytest.raises(DeviceError, match=r"^two\.png: cpu has no memory$"):
        workplace.protect(pictures[1])


def test_the_control_gets_noise_where_the_picture_could_change(workplace: Workplace):
    """With an editable mask of two pixels, noise changes the edit less than noise on all pixels."""
    path = upload(workplace, "face.png", 128, 128)
    mask = np.zeros((128, 128), dtype=bool)
    mask[5, 5:7] = True
    little, all_over = (workplace.prove(workplace.protect(path, mask=editable)).edits for editable in (mask, None))
    assert little.noise_apart is not None
    assert all_over.noise_apart is not None
    assert 0 < little.noise_apart < 0.2 * all_over.noise_apart


def test_a_proof_at_another_size_says_so(workplace: Workplace):
    path = upload(workplace, "large.png", 300, 270)
    said = [
        any("edits at 256x256 px" in warning for warning in workplace.prove(found).warnings)
        for found in (
            workplace.protect(path),
            workplace.protect(path, preset="fast", steps=1, scales=(256,)),
            workplace.protect(upload(workplace, "small.png", 300, 200)),
        )
    ]
    assert said == [True, False, False]


def test_a_proof_by_another_encoder_says_so(workplace: Workplace):
    path = upload(workplace, "face.png", 128, 128)
    own = workplace.prove(workplace.protect(path))
    assert not any("the transfer to another encoder" in warning for warning in own.warnings)
    results = workplace.protect(path)
    (result,) = results.done
    foreign = JobResult((dataclasses.replace(result, encoder_digests=("another",)),), (), (), "")
    assert any(
        warning.startswith("pocket-editor uses the encoder pocket, but the picture is protected against")
        for warning in workplace.prove(foreign).warnings
    )
    with pytest.raises(UsageError, match="the prompt is empty"):
        workplace.prove(results, prompt="")


def test_a_model_that_is_not_here_says_what_is_known_of_it(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(model_cache_module, "is_cached", lambda entry: False)  # whatever this machine has in its cache
    models, queue = ModelCache("cpu", offline=False), JobQueue()

    def measure(config: ProtectConfig) -> Pace:
        return queue.submit(lambda job: models.measure_pace(job, config)).result()

    with pytest.raises(ModelError, match=r"until sd is downloaded; models of its size took 4 min per 256x256 px"):
        measure(ProtectConfig(vae="sd"))
    with pytest.raises(ModelError, match=r"^unknown until taesd is downloaded$"):
        measure(ProtectConfig(vae="taesd"))
    with pytest.raises(ModelError, match="flux1 is downloaded"):
        measure(ProtectConfig(vae="editors"))
    queue.close()


def test_a_fallback_of_auto_says_test_only(workplace: Workplace):
    found = workplace.protect(upload(workplace, "one.png"), upload(workplace, "two.png"), vae="auto", preset="instant")
    assert [result.name for result in found.done] == ["one.test-only.png", "two.test-only.png"]
    assert found.test_only
    archive = workplace.files.open(found.archive)
    assert archive is not None
    archive.file.close()
    assert archive.name == "test-only.zip"
    shown = templates.runs([found])
    assert shown.count("<h2>Test only: ") == 2
    chosen = workplace.protect(upload(workplace, "three.png"))
    assert [result.name for result in chosen.done] == ["three.test-only.png"]


def test_editors_see_the_colours_under_transparency(workplace: Workplace):
    path = workplace.folder / "uploads" / "clear.png"
    picture = smooth_picture(72, 56).convert("RGBA")
    picture.putalpha(Image.linear_gradient("L").resize((72, 56)))
    picture.save(path)
    (clear,) = workplace.protect(path).done
    assert np.array_equal(np.asarray(workplace.shown(clear.opaque)), np.asarray(workplace.shown(clear.file))[..., :3])
    (plain,) = workplace.protect(upload(workplace, "plain.png")).done
    assert plain.opaque == ""
    shown = templates.runs([JobResult((clear,), (), (), ""), JobResult((plain,), (), (), "")])
    assert shown.count("What editors see without transparency") == 1


def test_a_time_limit_keeps_the_finished_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    limited = Workplace(tmp_path, queue=JobQueue(limit_seconds=3600.0))
    real, elapsed = protect_job_module.protect_one, [0.0]
    clock = job_queue_module.time.monotonic

    def slow(*arguments: object, **settings: object) -> object:
        finished = real(*arguments, **settings)  # type: ignore[arg-type]
        elapsed[0] += 4000.0
        return finished

    monkeypatch.setattr(protect_job_module, "protect_one", slow)
    monkeypatch.setattr(job_queue_module, "time", SimpleNamespace(monotonic=lambda: clock() + elapsed[0]))
    found = limited.protect(upload(limited, "one.png"), upload(limited, "two.png"))
    assert [one.name for one in found.done] == ["one.test-only.png"]
    (failure,) = found.failed
    assert failure.startswith("stopped after 1 of 2 pictures, which are kept: the job took longer than 3600 s")
    limited.queue.close()


def test_hidden_colours_are_reported_and_cleared_on_request(workplace: Workplace):
    path = workplace.folder / "uploads" / "cut out.png"
    pixels = np.dstack([np.asarray(smooth_picture(72, 56)), np.full((56, 72), 255, np.uint8)])
    pixels[:, :20, 3] = 0
    Image.fromarray(pixels).save(path)
    (chosen,) = workplace.uploads.of(SESSION, [str(path)])
    listed = templates.uploads([templates.UploadSummary.of(workplace.uploads.read(chosen))], [])
    assert CLEAR_HIDDEN in listed
    (kept,) = workplace.protect(path).done
    assert (np.asarray(workplace.shown(kept.opaque))[:, :20] == pixels[:, :20, :3]).all()
    assert CLEAR_HIDDEN in templates.runs([JobResult((kept,), (), (), "")])
    (cleared,) = workplace.protect(path, output_options=FormState(clear_hidden=True).output_options).done
    assert (np.asarray(workplace.shown(cleared.opaque))[:, :20] == 0).all()
    assert CLEAR_HIDDEN not in templates.runs([JobResult((cleared,), (), (), "")])


def test_a_run_teaches_the_pace(workplace: Workplace):
    config = ProtectConfig(vae="pocket", device="cpu", preset="fast", steps=2)
    assert workplace.models.known_pace(config) is None
    (done,) = workplace.protect(upload(workplace, "one.png"), preset="fast", steps=2).done
    pace = workplace.models.known_pace(config)
    assert pace is not None
    assert pace.seconds(72, 56, config) == pytest.approx(done.record.seconds)


def test_states_of_the_pictures_of_a_job(workplace: Workplace):
    paths = [upload(workplace, name) for name in ("one.png", "two.png")]
    request = ProtectRequest(
        workplace.uploads.of(SESSION, [str(path) for path in paths]),
        ProtectConfig(vae="pocket", device="cpu", preset="instant"),
        OutputOptions(),
        None,
    )
    seen: list[dict[str, str]] = []
    stores = {"uploads": workplace.uploads, "models": workplace.models, "files": workplace.files}

    def work(job: Job[JobResult]) -> JobResult:
        real = job.set_progress
        job.set_progress = lambda *state: (seen.append(job.status.parts), real(*state))[1]  # type: ignore[method-assign]
        return protect_all(job, SESSION, request, **stores)  # type: ignore[arg-type]

    job = workplace.queue.submit(work)
    job.result()
    assert {"one.png": "waiting", "two.png": "waiting"} in seen
    assert {"one.png": "done", "two.png": "working"} in seen
    assert job.status.parts == {"one.png": "done", "two.png": "done"}
    assert '<li class="done">one.png: done</li>' in templates.progress(job.status)
