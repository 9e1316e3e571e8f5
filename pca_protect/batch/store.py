"""A common interface to folders and buckets, with storage errors as one-sentence messages. Folders need no further package."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from pca_protect.errors import PictureError, UsageError, first_line
from pca_protect.io.plan import is_url
from pca_protect.io.write import USUAL_MODE, write_bytes

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

_READ_AT_ONCE = 200
"""Number of objects fetched concurrently."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A file or object as its store lists it.

    Attributes:
        place: path relative to the root of its store, with `/` as separator.
        size_bytes: size of the content.
        tag: changes with the content: modification time in nanoseconds on disks, else ETag, hash or modification time.
    """

    place: str
    size_bytes: int
    tag: str


class Store:
    """The files or objects below one folder or prefix.

    Args:
        root: a folder, or a URL that fsspec supports: `s3://bucket/prefix`, `gs://...`, `file:///...`.

    Raises:
        UsageError: the URL is invalid or needs a package that is not installed.
    """

    def __init__(self, root: str) -> None:
        self.root = root.rstrip("/") or root
        self._remote: AbstractFileSystem | None = None
        self._prefix = self.root
        if root.startswith("file://"):
            self.root = self._prefix = root.removeprefix("file://")
        elif is_url(root):
            self._remote, self._prefix = _opened(self.root)

    @property
    def is_local(self) -> bool:
        return self._remote is None

    def url(self, place: str) -> str:
        """The full URL or path of a place."""
        return f"{self.root}/{place}"

    def path(self, place: str = "") -> Path:
        """The local path of a place; for local stores only."""
        return Path(self.root, *(part for part in place.split("/") if part))

    def single(self) -> Stored | None:
        """The root itself if it is an object, with its name as place; None if it is a prefix. For buckets only.

        Raises:
            UsageError: the root is not accessible.
        """
        assert self._remote is not None
        with explained(self.root):
            if not self._remote.isfile(self._prefix):
                return None
            return _stored(self._prefix.rpartition("/")[2], self._remote.info(self._prefix))

    def listed(self, below: str = "") -> Iterator[Stored]:
        """Everything below the root, or below one folder of it; empty if it does not exist. Objects are sorted by place.

        Raises:
            UsageError: the root cannot be listed, or the bucket does not exist.
        """
        if self._remote is None:
            for folder, _, names in os.walk(self.path(below), onerror=self._not_listed):
                for path in (Path(folder, name) for name in names):
                    stored = local_info(path)
                    if stored is not None and path.is_file():
                        yield replace(stored, place=path.relative_to(self.root).as_posix())
            return
        top = f"{self._prefix}/{below}".rstrip("/")
        with explained(self.root):
            self._remote.ls(self._prefix.split("/", 1)[0], detail=False)  # raises if the bucket does not exist
            listing = self._remote.find(top, detail=True)
        for path in sorted(listing):
            about = listing.pop(path)  # a million take more than half a gigabyte
            if about["type"] == "file" and path.startswith(f"{self._prefix}/"):
                yield _stored(path[len(self._prefix) + 1 :], about)

    def read(self, place: str) -> bytes:
        """Raises:
        PictureError: the place cannot be read.
        """
        try:
            return (
                self.path(place).read_bytes()
                if self._remote is None
                else bytes(self._remote.cat_file(self._full(place)))
            )
        except FileNotFoundError as error:
            raise PictureError(
                f"{self.url(place)}: was removed after it was listed; check for other programs that write there"
            ) from error
        except Exception as error:  # every storage library has its own errors
            raise PictureError(
                f"{self.url(place)}: cannot be read ({_reason(error)}); check the name and the access rights"
            ) from error

    def read_many(self, places: list[str]) -> Iterator[bytes]:
        """The contents of several places, fetched concurrently from a bucket.

        Raises:
            UsageError: a place cannot be read.
        """
        for start in range(0, len(places), _READ_AT_ONCE):
            some = places[start : start + _READ_AT_ONCE]
            with explained(self.root):  # `cat` would expand names as patterns
                if self._remote is None:
                    contents = [self.path(place).read_bytes() for place in some]
                else:
                    contents = self._remote.cat_ranges([self._full(one) for one in some], 0, None, on_error="raise")
            yield from map(bytes, contents)

    def write(
        self, place: str, data: bytes, *, overwrite: bool, temporary: Path | None = None, mode: int = USUAL_MODE
    ) -> None:
        """Write atomically: a single upload into a bucket, a temporary file moved into place on a disk.

        Args:
            overwrite: permit replacing an existing file or object.
            temporary: folder of the temporary file; for local stores only.
            mode: see `write_bytes`; for local stores only.

        Raises:
            PictureError: the place exists or cannot be written.
        """
        if self._remote is None:
            self.path(place).parent.mkdir(parents=True, exist_ok=True)
            write_bytes(data, self.path(place), overwrite=overwrite, folder=temporary, mode=mode)
            return
        try:
            self._remote.pipe_file(self._full(place), data, mode="overwrite" if overwrite else "create")
        except FileExistsError as error:
            raise PictureError(
                f"{self.url(place)}: exists already; add `existing=overwrite` or choose another name"
            ) from error
        except Exception as error:
            raise PictureError(
                f"{self.url(place)}: cannot be written ({_reason(error)}); check the access rights"
            ) from error

    def remove(self, place: str) -> None:
        """Remove a place; succeeds if it does not exist."""
        with explained(self.root), suppress(FileNotFoundError):
            if self._remote is None:
                self.path(place).unlink()
            else:
                self._remote.rm_file(self._full(place))

    def _not_listed(self, error: OSError) -> None:
        """Pass over folders that do not exist: a run removes its temporary folder while others list it."""
        if not isinstance(error, FileNotFoundError):
            raise UsageError(f"{error.filename}: cannot be listed ({error.strerror}); check its permissions") from error

    def _full(self, place: str) -> str:
        return f"{self._prefix}/{place}"


def local_info(path: str | Path) -> Stored | None:
    """Size and modification time of a local file, with its path as place; None if there is none. Links are not followed."""
    try:
        status = os.lstat(path)
    except OSError:
        return None
    return Stored(str(path), status.st_size, str(status.st_mtime_ns))


@lru_cache(maxsize=64)
def store_at(root: str) -> Store:
    """The `Store` of a root, cached per process."""
    return Store(root)


@contextmanager
def explained(where: str) -> Iterator[None]:
    """Raises:
    UsageError: for any error of a storage.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise UsageError(f"{where}: no such bucket or folder; check the name") from error
    except PermissionError as error:
        raise UsageError(
            f"{where}: access denied ({first_line(error)}); check the credentials and their rights"
        ) from error
    except Exception as error:
        names = {kind.__name__ for kind in type(error).__mro__}
        if not names & _STORAGE_ERRORS:
            raise
        raise UsageError(f"{where}: {_reason(error)}") from error


_STORAGE_ERRORS = {"OSError", "BotoCoreError", "ClientError", "HttpError", "GoogleAPIError", "AzureError"}
_REASONS = {
    "NoCredentialsError": "no credentials; set AWS_PROFILE or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "EndpointConnectionError": "the storage cannot be reached; check the network and AWS_ENDPOINT_URL",
}


def _opened(root: str) -> tuple[AbstractFileSystem, str]:
    """The file system of a URL, and the path in it."""
    import fsspec  # noqa: PLC0415 - for buckets only

    try:
        files, path = fsspec.core.url_to_fs(root, use_listings_cache=False)  # a cache would be outdated, and large
    except ImportError as error:
        raise UsageError(
            f"{root}: needs a package that is not installed ({first_line(error)}); run pip install 'pca-protect[buckets]'"
        ) from error
    except (ValueError, OSError) as error:
        raise UsageError(f"{root}: cannot be opened ({first_line(error)}); check the URL") from error
    return files, str(path).rstrip("/")


def _reason(error: Exception) -> str:
    known = _REASONS.get(type(error).__name__)
    return known or f"{getattr(error, 'strerror', None) or first_line(error)}"


def _stored(place: str, about: Mapping[str, object]) -> Stored:
    """Falls back to the modification time if the storage has no ETag or hash."""
    values = (about.get(name) for name in ("ETag", "etag", "md5Hash", "LastModified", "last_modified", "mtime"))
    return Stored(place, int(str(about["size"] or 0)), next((str(value).strip('"') for value in values if value), ""))
