"""Uploaded files: read from one folder only, and removed with their sessions."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from pca_protect.cli.web.filenames import safe_path
from pca_protect.errors import PcaProtectError, PictureError, UsageError
from pca_protect.io.header import Header, read_header
from pca_protect.io.picture import Picture
from pca_protect.io.read import read_picture

_UNCLAIMED_SECONDS = 3600.0
"""Age at which files that no session has listed are removed: painted masks and interrupted uploads."""


@dataclass(frozen=True)
class Upload:
    """An uploaded file.

    Attributes:
        path: of the file.
        name: sanitised by `safe_path`; with the folders of a dropped folder, separated by `/`.
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
        self._owners: dict[Path, set[str]] = {}
        self._lock = threading.Lock()

    def of(self, session_id: str, paths: Sequence[str] | None) -> list[Upload]:
        """The uploads at these paths, which the session now owns.

        Raises:
            UsageError: a path is outside the folder or is no file.
        """
        uploads = []
        for text in paths or []:
            path, name = Path(text).resolve(), safe_path(Path(text).name)
            if not path.is_relative_to(self._folder) or not path.is_file():
                raise UsageError(f"{name}: is no longer stored; upload it again")
            with self._lock:
                self._owners.setdefault(path, set()).add(session_id)
            uploads.append(Upload(path, name))
        return uploads

    def named(self, paths: Sequence[str] | None) -> list[Upload]:
        """The uploads among these paths that are stored, without a claim to them."""
        found = [Upload(Path(text).resolve(), safe_path(Path(text).name)) for text in paths or []]
        return [one for one in found if one.path.is_relative_to(self._folder) and one.path.is_file()]

    def add(self, source: Path) -> str:
        """Copies a file into the folder. Returns its path."""
        target = self._folder / "built-in" / source.name
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(source, target)
        return str(target)

    @property
    def megabytes(self) -> float:
        """Size of all uploaded files."""
        total = 0
        for file in self._folder.rglob("*"):
            try:
                total += file.stat().st_size
            except FileNotFoundError:  # removed meanwhile
                continue
        return total / 1_000_000

    def header(self, upload: Upload) -> Header | None:
        """Size and format, without decoding; None if the file is not a picture.

        Raises:
            PictureError: as `read_header`, with the upload's name; the file is an output of this program.
        """
        with _renamed_errors(upload):
            header = read_header(upload.path, max_pixels=self._max_pixels)
        if header is not None and header.ours:
            raise PictureError(f"{upload.name}: is an output of this program; upload the original")
        return header

    def read(self, upload: Upload) -> Picture:
        """Raises:
        PictureError: as `read_picture`, with the upload's name.
        """
        with _renamed_errors(upload):
            return replace(read_picture(upload.path, max_pixels=self._max_pixels), source=upload.name)

    def keep_only(self, session_id: str, paths: Sequence[str] | None) -> None:
        """Removes the uploads of a session except these."""
        kept = {Path(path).resolve() for path in paths or []}
        self._disown(session_id, kept)

    def close_session(self, session_id: str) -> None:
        """Removes the files that only this session owns, and old ones without an owner."""
        self._disown(session_id, set())
        oldest = time.time() - _UNCLAIMED_SECONDS
        for path in list(self._folder.rglob("*")):
            with self._lock:
                owned = path in self._owners
            try:
                if not owned and path.is_file() and path.stat().st_mtime < oldest:
                    path.unlink()
            except FileNotFoundError:
                continue

    def _disown(self, session_id: str, kept: set[Path]) -> None:
        with self._lock:
            orphans = []
            for path, owners in list(self._owners.items()):
                if path not in kept:
                    owners.discard(session_id)
                if not owners:
                    orphans.append(path)
                    del self._owners[path]
        for path in orphans:
            path.unlink(missing_ok=True)


@contextmanager
def _renamed_errors(upload: Upload) -> Iterator[None]:
    """Context in which error messages give the upload's name instead of its path on the server."""
    try:
        yield
    except PcaProtectError as error:
        message = str(error).replace(str(upload.path), upload.name)
        raise PictureError(
            message.replace("--max-megapixels", "--max-megapixels where this page was started")
        ) from error
