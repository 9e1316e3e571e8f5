"""What visitors uploaded: read from the folder for it and from nowhere else, and removed when they leave."""

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
    """A file that somebody uploaded.

    Attributes:
        path: of the file.
        name: what it is called, made fit for a page and a file system.
    """

    path: Path
    name: str


class Uploads:
    """Args:
    folder: where the server puts what is uploaded, each file in a folder of its own.
    most_pixels: of a picture, all its frames together.
    """

    def __init__(self, folder: Path, *, most_pixels: int) -> None:
        self._folder, self._most_pixels = folder.resolve(), most_pixels
        self._whose: dict[Path, set[str]] = {}
        self._visits: set[str] = set()
        self._lock = threading.Lock()

    def begin(self, visit: str) -> None:
        """Somebody has come, and may upload something."""
        with self._lock:
            self._visits.add(visit)

    def of(self, visit: str, paths: Sequence[str] | None) -> list[Upload]:
        """What the page says was uploaded, as far as it was.

        Raises:
            UsageError: a path leads elsewhere, or to nothing.
        """
        found = []
        for given in paths or []:
            path, name = Path(given).resolve(), safe_name(Path(given).name)
            if not path.is_relative_to(self._folder) or not path.is_file():
                raise UsageError(f"{name}: is not here any more; upload it again")
            with self._lock:
                self._whose.setdefault(path, set()).add(visit)
            found.append(Upload(path, name))
        return found

    def header(self, upload: Upload) -> Header | None:
        """Size and kind, without decoding; None for what is no picture.

        Raises:
            PictureError: as `read_header`, under the upload's name.
        """
        with _under_its_name(upload):
            return read_header(upload.path, max_pixels=self._most_pixels)

    def read(self, upload: Upload) -> Picture:
        """Raises:
        PictureError: as `read_picture`, under the upload's name.
        """
        with _under_its_name(upload):
            return replace(read_picture(upload.path, max_pixels=self._most_pixels), source=upload.name)

    def end(self, visit: str) -> None:
        """Remove what this visit uploaded and no other one has; and if it was the last, all that lies there."""
        with self._lock:
            self._visits.discard(visit)
            gone = []
            for path, visits in list(self._whose.items()):
                visits.discard(visit)
                if not visits:
                    gone.append(path)
                    del self._whose[path]
            nobody = not self._visits and not self._whose
        for path in gone:
            path.unlink(missing_ok=True)
        if nobody:  # what was painted, what nobody named, and what broke off while it came
            for left in self._folder.iterdir():
                if left.is_dir():
                    shutil.rmtree(left, ignore_errors=True)
                else:
                    left.unlink(missing_ok=True)


class _under_its_name:  # noqa: N801 - read like a function
    """Messages speak of the upload's name and not of where the server put it."""

    def __init__(self, upload: Upload) -> None:
        self._upload = upload

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, PcaProtectError):
            said = str(error).replace(str(self._upload.path), self._upload.name)
            raise PictureError(
                said.replace("--max-megapixels", "--max-megapixels where this page was started")
            ) from error
