"""Files for download, each under an unguessable token, removed when their session is closed."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterable
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
    session_id: str
    path: Path
    name: str
    media_type: str
    size: int


class FileStore:
    """Args:
    folder: empty, and used for nothing else.
    max_megabytes: of all files of all sessions.
    """

    def __init__(self, folder: Path, *, max_megabytes: int = 10_000) -> None:
        self._folder, self._max_bytes = folder, 1_000_000 * max_megabytes
        self._files: dict[str, _StoredFile] = {}
        self._sessions: set[str] = set()
        self._lock = threading.Lock()

    def open_session(self, session_id: str) -> None:
        """Permits files of a session."""
        with self._lock:
            self._sessions.add(session_id)

    def put(self, session_id: str, data: bytes | Callable[[Path], object], *, media_type: str, name: str = "") -> str:
        """Stores a file and returns its token.

        Args:
            data: the content, or a function that writes it to a path.

        Raises:
            Cancelled: the session is closed.
            UsageError: the store is full.
            OSError: the disk is full.
        """
        token = secrets.token_urlsafe(24)
        path = self._folder / token
        try:
            if callable(data):
                data(path)
            else:
                path.write_bytes(data)
            size = path.stat().st_size
            with self._lock:
                if session_id not in self._sessions:
                    raise Cancelled("the session is closed; nothing was stored")
                if size + sum(stored.size for stored in self._files.values()) > self._max_bytes:
                    raise UsageError("the storage for results is full; delete results that you have downloaded")
                self._files[token] = _StoredFile(session_id, path, name, media_type, size)
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return token

    def open(self, token: str) -> OpenFile | None:
        """The file of a token; None for an unknown or expired token.

        An open file stays readable after its session is closed.
        """
        with self._lock:  # `_remove` forgets tokens before it removes files
            stored = self._files.get(token)
            return None if stored is None else OpenFile(stored.path.open("rb"), stored.name, stored.media_type)

    def read(self, token: str, name: str) -> bytes:
        """The content of the file of a token.

        Args:
            name: of the file, for the error message.

        Raises:
            UsageError: the token is unknown or expired.
        """
        opened = self.open(token)
        if opened is None:
            raise UsageError(f"{name}: this file has expired; protect the picture again")
        with opened.file as file:
            return file.read()

    def remove(self, tokens: Iterable[str]) -> None:
        """Removes files; unknown tokens are ignored."""
        with self._lock:
            removed = [self._files.pop(token) for token in tokens if token in self._files]
        for stored in removed:
            stored.path.unlink(missing_ok=True)

    def close_session(self, session_id: str) -> None:
        """Removes the files of a session and refuses further ones."""
        with self._lock:
            self._sessions.discard(session_id)
            tokens = [token for token, stored in self._files.items() if stored.session_id == session_id]
        self.remove(tokens)
