"""Files that the page hands out, each under a name that nobody can guess, and gone with the visit they belong to."""

from __future__ import annotations

import secrets
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pca_protect.errors import Cancelled


@dataclass(frozen=True)
class Kept:
    """Attributes:
    path: where it lies.
    name: what it is called when it is downloaded; empty for what is shown only.
    media_type: of its content.
    """

    path: Path
    name: str
    media_type: str


class Shelf:
    """Args:
    folder: an empty one, for nothing else.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._kept: dict[str, tuple[str, Kept]] = {}
        self._left: set[str] = set()
        self._lock = threading.Lock()

    def keep(self, visit: str, data: bytes | Callable[[Path], object], *, media_type: str, name: str = "") -> str:
        """A token for `find`.

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
        except OSError:
            path.unlink(missing_ok=True)
            raise
        with self._lock:
            if visit not in self._left:
                self._kept[token] = (visit, Kept(path, name, media_type))
                return token
        path.unlink(missing_ok=True)
        raise Cancelled("the page was left; nothing was kept")

    def find(self, token: str) -> Kept | None:
        """What a token stands for; None if nothing, or nothing any more."""
        with self._lock:
            return self._kept.get(token, ("", None))[1]

    def clear(self, visit: str) -> None:
        """Remove all that belongs to somebody."""
        with self._lock:
            tokens = [token for token, (whose, _) in self._kept.items() if whose == visit]
            gone = [self._kept.pop(token)[1] for token in tokens]
        for kept in gone:
            kept.path.unlink(missing_ok=True)

    def end(self, visit: str) -> None:
        """Remove it, and keep nothing more for them."""
        with self._lock:
            self._left.add(visit)
        self.clear(visit)

    def close(self) -> None:
        """Remove everything, and the folder."""
        with self._lock:
            self._kept.clear()
        shutil.rmtree(self._folder, ignore_errors=True)
