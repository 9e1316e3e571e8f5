"""Files that the page hands out, each under a name that nobody can guess, and gone with the visit they belong to."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pca_protect.errors import Cancelled, UsageError


@dataclass(frozen=True)
class Opened:
    """Attributes:
    file: the content, to be closed by whoever opened it.
    name: what it is called when it is downloaded; empty for what is shown only.
    media_type: of the content.
    """

    file: BinaryIO
    name: str
    media_type: str


@dataclass(frozen=True)
class _Kept:
    visit: str
    path: Path
    name: str
    media_type: str


class Downloads:
    """Args:
    folder: an empty one, for nothing else.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._kept: dict[str, _Kept] = {}
        self._left: set[str] = set()
        self._lock = threading.Lock()

    def keep(self, visit: str, data: bytes | Callable[[Path], object], *, media_type: str, name: str = "") -> str:
        """A token for `open`.

        Args:
            data: the content, or what writes it to a path.

        Raises:
            Cancelled: the visit is over.
            OSError: there is no room.
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
            if visit not in self._left:
                self._kept[token] = _Kept(visit, path, name, media_type)
                return token
        path.unlink(missing_ok=True)
        raise Cancelled("the page was left; nothing was kept")

    def open(self, token: str) -> Opened | None:
        """What a token stands for; None if nothing, or nothing any more.

        It can be read to its end even where its visit ends meanwhile.
        """
        with self._lock:  # what is removed leaves the list before the disk
            kept = self._kept.get(token)
            return None if kept is None else Opened(kept.path.open("rb"), kept.name, kept.media_type)

    def read(self, token: str, name: str) -> bytes:
        """The content.

        Raises:
            UsageError: nothing is kept under that token any more; `name` is what the message calls it.
        """
        opened = self.open(token)
        if opened is None:
            raise UsageError(f"{name}: is not kept any more; protect it again")
        with opened.file as file:
            return file.read()

    def clear(self, visit: str) -> None:
        """Remove all that belongs to somebody."""
        with self._lock:
            tokens = [token for token, kept in self._kept.items() if kept.visit == visit]
            gone = [self._kept.pop(token) for token in tokens]
        for kept in gone:
            kept.path.unlink(missing_ok=True)

    def end(self, visit: str) -> None:
        """Remove it, and keep nothing more for them."""
        with self._lock:
            self._left.add(visit)
        self.clear(visit)
