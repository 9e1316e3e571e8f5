"""Files for download, each under an unguessable token, removed when their visit ends."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pca_protect.errors import Cancelled, UsageError


@dataclass(frozen=True)
class OpenFile:
    """Attributes:
    file: open for reading; the caller closes it.
    name: file name of the download; empty for images that the page only shows.
    media_type: MIME type.
    """

    file: BinaryIO
    name: str
    media_type: str


@dataclass(frozen=True)
class _StoredFile:
    visit: str
    path: Path
    name: str
    media_type: str


class Downloads:
    """Args:
    folder: empty, and used for nothing else.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, _StoredFile] = {}
        self._ended_visits: set[str] = set()
        self._lock = threading.Lock()

    def keep(self, visit: str, data: bytes | Callable[[Path], object], *, media_type: str, name: str = "") -> str:
        """Stores a file and returns its token.

        Args:
            data: the content, or a function that writes it to a path.

        Raises:
            Cancelled: the visit has ended.
            OSError: the disk is full.
        """
        token = secrets.token_urlsafe(24)
        path = self._folder / token
        try:
            if callable(data):
                data(path)
            else:
                path.write_bytes(data)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        with self._lock:
            if visit not in self._ended_visits:
                self._files[token] = _StoredFile(visit, path, name, media_type)
                return token
        path.unlink(missing_ok=True)
        raise Cancelled("the page was closed; nothing was stored")

    def open(self, token: str) -> OpenFile | None:
        """The file of a token; None for an unknown or expired token.

        An open file stays readable after its visit ends.
        """
        with self._lock:  # `clear` removes tokens before files
            kept = self._files.get(token)
            return None if kept is None else OpenFile(kept.path.open("rb"), kept.name, kept.media_type)

    def read(self, token: str, name: str) -> bytes:
        """The content of the file of a token.

        Args:
            name: of the file, for the error message.

        Raises:
            UsageError: the token is unknown or expired.
        """
        opened = self.open(token)
        if opened is None:
            raise UsageError(f"{name}: is no longer stored; protect it again")
        with opened.file as file:
            return file.read()

    def clear(self, visit: str) -> None:
        """Removes the files of a visit."""
        with self._lock:
            tokens = [token for token, kept in self._files.items() if kept.visit == visit]
            removed = [self._files.pop(token) for token in tokens]
        for kept in removed:
            kept.path.unlink(missing_ok=True)

    def end(self, visit: str) -> None:
        """Removes the files of a visit and refuses further ones."""
        with self._lock:
            self._ended_visits.add(visit)
        self.clear(visit)
