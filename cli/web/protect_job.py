"""The job of the Protect button: from uploads to downloads."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pca_protect.batch.output_options import OutputOptions
from pca_protect.cli.web.filenames import protected_names
from pca_protect.cli.web.files import FileStore
from pca_protect.cli.web.job_queue import Job
from pca_protect.cli.web.model_cache import ModelCache
from pca_protect.cli.web.protected_file import ProtectedFile, protect_one
from pca_protect.cli.web.uploads import Upload, Uploads
from pca_protect.config import ProtectConfig
from pca_protect.errors import Cancelled, DeviceError, PcaProtectError, UsageError
from pca_protect.image.tensors import Mask
from pca_protect.io.header import Header
from pca_protect.io.plan import PROTECTED, TEST_ONLY

WORKING, DONE, FAILED, WAITING = "working", "done", "failed", "waiting"
"""States of a picture."""


@dataclass(frozen=True)
class ProtectRequest:
    """Pictures and settings of a job.

    Attributes:
        uploads: the pictures.
        mask: editable pixels of a single picture; None for all.
        title: of the run, in the history.
    """

    uploads: Sequence[Upload]
    config: ProtectConfig
    output_options: OutputOptions
    mask: Mask | None
    title: str = ""


@dataclass(frozen=True)
class JobResult:
    """Attributes:
    done: in the order of the uploads.
    failed: an error message each.
    warnings: about the encoders.
    archive: download token of a zip of all files; empty for a single file.
    test_only: see `Record`.
    title: of the run.
    """

    done: tuple[ProtectedFile, ...]
    failed: tuple[str, ...]
    warnings: tuple[str, ...]
    archive: str
    test_only: bool = False
    title: str = ""

    @property
    def tokens(self) -> set[str]:
        """All download tokens."""
        return {self.archive, *(token for file in self.done for token in file.tokens)} - {""}


def protect_all(
    job: Job[JobResult],
    session_id: str,
    request: ProtectRequest,
    *,
    uploads: Uploads,
    models: ModelCache,
    files: FileStore,
) -> JobResult:
    """Protects pictures one after another, with one in memory. A failed picture does not stop the others. A cancelled job keeps
    its finished pictures.

    Raises:
        Cancelled: the job was cancelled before the first picture was finished.
        UsageError, ModelError, DeviceError: from the encoders.
    """
    models.download(job, request.config.vaes, ignore_errors=True)
    job.set_progress("Loading the encoder", 0.0)
    encoders = models.encoders(request.config.vaes)
    failed: list[str] = []
    readable = list(_readable(request.uploads, uploads, failed))
    label = TEST_ONLY if encoders.embedded else PROTECTED
    names = protected_names([(upload.name, header.suffix) for upload, header in readable], label=label)
    areas = [header.width * header.height for _, header in readable]
    done: list[ProtectedFile] = []
    put = partial(files.put, session_id)
    several = len(readable) > 1
    for upload, _ in readable if several else ():
        job.set_part(upload.name, WAITING)
    for number, ((upload, header), name) in enumerate(zip(readable, names, strict=True)):
        before, part = sum(areas[:number]) / sum(areas), areas[number] / sum(areas)
        title = f"{upload.name}, picture {number + 1} of {len(readable)}" if several else upload.name

        def on_progress(
            phase: str, share: float, *, title: str = title, at: tuple[float, float] = (before, part)
        ) -> None:
            job.set_progress(f"{phase} {title}", at[0] + share * at[1])

        state = FAILED
        try:
            job.set_progress(f"Reading {title}", before)
            if several:
                job.set_part(upload.name, WORKING)
            picture = uploads.read(upload)
            done.append(
                protect_one(
                    picture,
                    name,
                    request.config,
                    request.output_options,
                    request.mask,
                    encoders=encoders,
                    put=put,
                    on_progress=on_progress,
                )
            )
            models.learn_pace(request.config, header.width, header.height, done[-1].record.seconds / header.frames)
            state = DONE
        except Cancelled:
            if not done:
                raise
            failed.append(f"stopped after {len(done)} of {len(readable)} pictures, which are kept")
            break
        except (UsageError, DeviceError) as error:  # the other pictures would fail in the same way
            if not done:
                raise
            failed.append(f"stopped after {len(done)} of {len(readable)} pictures, which are kept: {error}")
            break
        except PcaProtectError as error:
            failed.append(str(error))
        except OSError as error:
            failed.append(_storage_error(upload.name, error))
            break
        except Exception as error:  # noqa: BLE001 - a bug on one picture must not stop the others
            failed.append(f"{upload.name}: cannot be protected ({type(error).__name__}: {error}); please report this")
        finally:
            if several:
                job.set_part(upload.name, state)
    archive = ""
    if len(done) > 1:
        try:
            archive = put(lambda path: _zip(path, done, files), media_type="application/zip", name=f"{label}.zip")
        except OSError as error:
            failed.append(_storage_error("the zip of all pictures", error))
    return JobResult(tuple(done), tuple(failed), encoders.warnings, archive, encoders.embedded, request.title)


def _readable(chosen: Sequence[Upload], uploads: Uploads, failed: list[str]) -> Iterator[tuple[Upload, Header]]:
    """Pictures with their headers. Appends the errors of others to `failed`."""
    for upload in chosen:
        try:
            header = uploads.header(upload)
            if header is None:
                uploads.read(upload)  # raises the error
            else:
                yield upload, header
        except PcaProtectError as error:
            failed.append(str(error))


def _storage_error(name: str, error: OSError) -> str:
    return f"{name}: cannot be stored ({error.strerror or error}); free disk space"


def _zip(path: Path, results: Sequence[ProtectedFile], files: FileStore) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:  # PNG is compressed already
        for result in results:
            archive.writestr(result.name, files.read(result.file, result.name))
