"""A common interface to folders and buckets, with storage errors as one-sentence messages."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from pca_protect.errors import PictureError, UsageError, first_line
from pca_protect.io.write import write_bytes

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

EXTRA = "pip install 'pca-protect[cluster]'"


@dataclass(frozen=True, slots=True)
class Stored:
    """A file or object as its storage lists it.

    Attributes:
        place: path relative to the root of its storage, with `/` as separator.
        size_bytes: size of the content.
        etag: the storage's ETag, hash or modification time of the content; empty on disks.
    """

    place: str
    size_bytes: int
    etag: str


def is_url(name: str) -> bool:
    """Whether a name has a URL scheme, such as `s3://`, which the local engine cannot open."""
    scheme, separator, _ = name.partition("://")
    return bool(separator) and len(scheme) > 1 and scheme.replace("+", "").isalnum()


class Storage:
    """The files or objects below one folder or prefix.

    Args:
        root: a folder, or a URL that fsspec supports: `s3://bucket/prefix`, `gs://...`, `file:///...`.

    Raises:
        UsageError: the URL is invalid or needs a package that is not installed.
    """

    def __init__(self, root: str) -> None:
        try:
            import fsspec  # noqa: PLC0415 - of an extra

            self._files: AbstractFileSystem
            self._files, path = fsspec.url_to_fs(root)
        except ImportError as error:
            raise UsageError(
                f"{root}: needs a package that is not installed ({first_line(error)}); run {EXTRA}"
            ) from error
        except ValueError as error:
            raise UsageError(
                f"{root}: cannot be opened ({first_line(error)}); use a folder or a URL such as s3://bucket/prefix"
            ) from error
        self._path = str(path).rstrip("/")
        self.is_local = "file" in _protocols(self._files)
        self.root = self._path if self.is_local else root.rstrip("/")

    def url(self, place: str) -> str:
        """The full URL or path of a place."""
        return f"{self.root}/{place}"

    def path(self, place: str = "") -> Path:
        """The local path of a place; for local storage only."""
        return Path(self._path, *place.split("/"))

    def single(self) -> Stored | None:
        """The root itself if it is a file or object, with its name as place; None if it is a folder.

        Raises:
            UsageError: the root does not exist locally or is not accessible.
        """
        with explained(self.root):
            if self._files.isfile(self._path):
                return _stored(posixpath.basename(self._path), self._files.info(self._path), is_local=self.is_local)
            if self.is_local and not self.path().is_dir():
                raise FileNotFoundError(self._path)
        return None

    def listed(self, *, recursive: bool = True) -> Iterator[Stored]:
        """Everything below the root, in no particular order; empty if the root does not exist.

        Raises:
            UsageError: the root cannot be listed, or the bucket does not exist.
        """
        with explained(self.root):
            if not self.is_local:
                self._files.invalidate_cache()
                self._files.ls(self._path.split("/", 1)[0], detail=False)  # raises if the bucket does not exist
            listing = self._files.find(self._path, maxdepth=None if recursive else 1, detail=True)
        for path, about in listing.items():
            if about["type"] == "file":
                yield _stored(posixpath.relpath(path, self._path), about, is_local=self.is_local)

    def read(self, place: str) -> bytes:
        """Raises:
        PictureError: the place cannot be read.
        """
        try:
            return bytes(self._files.cat_file(self._full(place)))
        except FileNotFoundError as error:
            raise PictureError(
                f"{self.url(place)}: was removed after it was listed; check for other programs that write there"
            ) from error
        except Exception as error:  # every storage library has its own errors
            raise PictureError(f"{self.url(place)}: cannot be read ({_reason(error)})") from error

    def read_many(self, places: list[str]) -> list[bytes]:
        """The contents of several places, fetched concurrently if the storage supports it.

        Raises:
            UsageError: a place cannot be read.
        """
        with explained(self.root):  # `cat` would expand names as patterns
            contents = (
                self._files.cat_ranges([self._full(place) for place in places], 0, None, on_error="raise")
                if places
                else []
            )
        return [bytes(content) for content in contents]

    def write(self, place: str, data: bytes, *, replace: bool) -> None:
        """Write atomically: a single upload into a bucket, a temporary file moved into place on a disk.

        Args:
            replace: permit replacing an existing file. Buckets always replace.

        Raises:
            PictureError: the place cannot be written.
        """
        if self.is_local:
            self.path(place).parent.mkdir(parents=True, exist_ok=True)
            write_bytes(data, self.path(place), overwrite=replace)
            return
        try:
            self._files.pipe_file(self._full(place), data)
        except Exception as error:
            raise PictureError(f"{self.url(place)}: cannot be written ({_reason(error)})") from error

    def remove(self, place: str) -> None:
        """Remove a place; succeeds if it does not exist."""
        with explained(self.root), suppress(FileNotFoundError):
            self._files.rm_file(self._full(place))

    def _full(self, place: str) -> str:
        return f"{self._path}/{place}"


@lru_cache(maxsize=64)
def storage_at(root: str) -> Storage:
    """The `Storage` of a root, cached per process."""
    return Storage(root)


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


def _reason(error: Exception) -> str:
    known = _REASONS.get(type(error).__name__)
    return known or f"{getattr(error, 'strerror', None) or first_line(error)}"


def _stored(place: str, about: Mapping[str, object], *, is_local: bool) -> Stored:
    """Falls back to the modification time if the storage has no ETag or hash."""
    values = (about.get(name) for name in ("ETag", "etag", "md5Hash", "LastModified", "last_modified", "mtime"))
    etag = "" if is_local else next((str(value).strip('"') for value in values if value), "")
    return Stored(place, int(str(about["size"] or 0)), etag)


def _protocols(files: AbstractFileSystem) -> tuple[str, ...]:
    return (files.protocol,) if isinstance(files.protocol, str) else tuple(files.protocol)
