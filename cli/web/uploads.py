"""Uploaded files: read from one folder only, and removed when their visits end."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pca_protect.cli.web.names import safe_name
from pca_protect.errors import PcaProtectError, PictureError, UsageError
from pca_protect.io.header import Header, read_header
from pca_protect.io.picture import Picture
from pca_protect.io.read import read_picture


@dataclass(frozen=True)
class Upload:
    """An uploaded file.

    Attributes:
        path: of the file.
        name: sanitised by `safe_name`.
    """

    path: Path
    name: str


class Uploads:
    """Args:
    folder: of the server's uploads; each file is in its own subfolder.
    max_pixels: of all frames of a picture.
    """

    def __init__(self, folder: Path, *, max_pixels: int) -> None:
        self._folder, self._max_pixels = folder.resolve(), max_pixels
        self._visits_of: dict[Path, set[str]] = {}
        self._visits: set[str] = set()
        self._lock = threading.Lock()

    def begin(self, visit: str) -> None:
        """Registers a visit, which keeps unlisted uploads until it ends."""
        with self._lock:
            self._visits.add(visit)

    def of(self, visit: str, paths: Sequence[str] | None) -> list[Upload]:
        """The uploads at these paths, which the visit now owns.

        Raises:
            UsageError: a path is outside the folder or is no file.
        """
        uploads = []
        for text in paths or []:
            path, name = Path(text).resolve(), safe_name(Path(text).name)
            if not path.is_relative_to(self._folder) or not path.is_file():
                raise UsageError(f"{name}: is no longer stored; upload it again")
            with self._lock:
                self._visits_of.setdefault(path, set()).add(visit)
            uploads.append(Upload(path, name))
        return uploads

    def header(self, upload: Upload) -> Header | None:
        """Size and format, without decoding; None if the file is not a picture.

        Raises:
            PictureError: as `read_header`, with the upload's name.
        """
        with _renamed_errors(upload):
            return read_header(upload.path, max_pixels=self._max_pixels)

    def read(self, upload: Upload) -> Picture:
        """Raises:
        PictureError: as `read_picture`, with the upload's name.
        """
        with _renamed_errors(upload):
            return replace(read_picture(upload.path, max_pixels=self._max_pixels), source=upload.name)

    def end(self, visit: str) -> None:
        """Removes the files that only this visit owns. The end of the last visit removes all files."""
        with self._lock:
            self._visits.discard(visit)
            orphans = []
            for path, visits in list(self._visits_of.items()):
                visits.discard(visit)
                if not visits:
                    orphans.append(path)
                    del self._visits_of[path]
            unused = not self._visits and not self._visits_of
        for path in orphans:
            path.unlink(missing_ok=True)
        if unused:  # painted masks, unlisted uploads and interrupted uploads
            for leftover in self._folder.iterdir():
                if leftover.is_dir():
                    shutil.rmtree(leftover, ignore_errors=True)
                else:
                    leftover.unlink(missing_ok=True)


class _renamed_errors:  # noqa: N801 - used like a function
    """Context in which error messages give the upload's name instead of its path on the server."""

    def __init__(self, upload: Upload) -> None:
        self._upload = upload

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, PcaProtectError):
            message = str(error).replace(str(self._upload.path), self._upload.name)
            raise PictureError(
                message.replace("--max-megapixels", "--max-megapixels where this page was started")
            ) from error
