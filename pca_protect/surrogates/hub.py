"""Files from the model hub or its local cache. Every failure is a one-sentence error with a remedy."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from functools import partial
from http import HTTPStatus
from http.client import HTTPException, InvalidURL
from io import StringIO
from pathlib import Path
from textwrap import shorten
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from pca_protect.errors import ModelError, first_line
from pca_protect.surrogates.registry import SurrogateEntry
from pca_protect.surrogates.weight_files import CONFIG, INDEX, WEIGHTS, found_weights, shards_named_by

_TIMEOUT_SECONDS = 10
_CHUNK_BYTES = 2**22
_SHA256 = re.compile("[0-9a-f]{64}")
_ADDRESS = re.compile(r"https?://[^\s'\")]+")


def require_client() -> None:
    """Import the hub client's settings on their own, before diffusers does: an error inside diffusers' import would be printed or
    raised unchanged.

    Raises:
        ModelError: a variable HF_* has an invalid value, or the installation of the client is incomplete.
    """
    try:
        import huggingface_hub.constants  # noqa: PLC0415, F401
    except (ImportError, ValueError) as error:
        raise ModelError(
            f"huggingface_hub cannot be used ({_short(first_line(error))}); check the variables HF_*, or upgrade it with "
            "`pip install -U huggingface_hub`"
        ) from error


def cached(repo_id: str, filename: str) -> Path | None:
    """A file of a hub repository in the local cache; None if it is not cached. No network access.

    Raises:
        ModelError: the id is invalid, or the hub client cannot be used.
    """
    require_client()
    from huggingface_hub import try_to_load_from_cache  # noqa: PLC0415
    from huggingface_hub.errors import HFValidationError  # noqa: PLC0415

    try:
        path = try_to_load_from_cache(repo_id, filename)
    except HFValidationError as error:
        raise ModelError(f"{repo_id!r} is not a valid hub id; give owner/name") from error
    return Path(path) if isinstance(path, str) else None


def cached_vae(repo_id: str, prefix: str) -> tuple[Path, tuple[Path, ...]] | None:
    """Configuration and weights of a VAE if all are in the local cache, else None. No network access.

    Args:
        prefix: folder of the VAE in the repository, empty or with a trailing slash.

    Raises:
        ModelError: see `cached`; or an index of shards is damaged.
    """
    config = cached(repo_id, prefix + CONFIG)
    weights = None if config is None else found_weights(partial(cached, repo_id), prefix)
    return None if config is None or weights is None else (config, weights)


def require_online(repo_id: str, prefixes: Sequence[str], *, offline: bool) -> None:
    """Check that the network may be used, for a repository that is not completely cached.

    Args:
        prefixes: folders that may contain its VAE, each empty or with a trailing slash.
        offline: whether the caller forbids the network; the environment may too.

    Raises:
        ModelError: the network is forbidden; names the missing file.
    """
    from huggingface_hub import constants  # noqa: PLC0415

    if not (offline or constants.HF_HUB_OFFLINE):
        return
    partly_cached = [
        prefix for prefix in prefixes if any(cached(repo_id, prefix + name) for name in (CONFIG, INDEX, WEIGHTS))
    ]
    missing = _missing(repo_id, partly_cached[0] if partly_cached else prefixes[0])
    forbidden_by = "`offline`" if offline else "HF_HUB_OFFLINE"
    raise ModelError(
        f"{repo_id} ({missing}) is not in the local cache and {forbidden_by} forbids the network; run once without it, or "
        "give a folder"
    )


OnBytes = Callable[[int, int], None]
"""Called with (bytes downloaded, bytes of the file) of the file that is being downloaded."""


def fetch(repo_id: str, filename: str, *, ungated_copy: str = "", on_bytes: OnBytes | None = None) -> Path | None:
    """A file of a hub repository: from the local cache without network access, otherwise downloaded. A download resumes after a
    lost connection; after an aborted run it starts again.

    Args:
        ungated_copy: third-party repository to suggest if this one requires a login.
        on_bytes: progress and cancellation; an exception from it ends the download.

    Returns:
        Its path in the local cache, or None if the repository has no such file.

    Raises:
        ModelError: the repository does not exist or is gated, the hub is unreachable, or the download is damaged.
    """
    path = cached(repo_id, filename)
    if path is not None:
        return path
    from huggingface_hub import constants, hf_hub_download  # noqa: PLC0415
    from huggingface_hub.errors import (  # noqa: PLC0415
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )
    from huggingface_hub.errors import HTTPError as TransportError  # type: ignore[attr-defined]  # noqa: PLC0415

    page = f"https://huggingface.co/{repo_id}"
    what = f"{repo_id} ({filename})"
    try:
        _require_reachable(constants.ENDPOINT, f"{repo_id}/resolve/main/{filename}", what)
        path = Path(
            hf_hub_download(repo_id, filename, tqdm_class=None if on_bytes is None else _progress_bar(on_bytes))
        )
    except GatedRepoError as error:
        instead = f", or use `vae={ungated_copy}`, a copy by others" if ungated_copy else ""
        raise ModelError(
            f"{repo_id} is gated: accept its licence on {page}, then run `hf auth login` or set HF_TOKEN{instead}"
        ) from error
    except RepositoryNotFoundError as error:
        raise ModelError(
            f"{repo_id} is not on the hub, or is private: check the id on {page}, or `hf auth login` if it is yours"
        ) from error
    except LocalEntryNotFoundError as error:  # huggingface_hub raises it for any failure before the first byte
        cause = error.__cause__ or error
        if isinstance(cause, HfHubHTTPError):
            raise ModelError(_answered(what, cause.response.status_code)) from error
        raise ModelError(_unreachable(what, cause)) from error
    except EntryNotFoundError:
        return None
    except HfHubHTTPError as error:
        raise ModelError(_answered(what, error.response.status_code)) from error
    except URLError as error:
        raise ModelError(_unreachable(what, error.reason)) from error
    # TransportError is that of the httpx that huggingface_hub uses. The last two come from proxies with an unknown scheme or
    # one whose package is missing, and from tokens and addresses with invalid characters.
    except (TransportError, OSError, ValueError, ImportError) as error:
        raise ModelError(
            f"{what} could not be downloaded ({_short(first_line(error))}); check network, proxy settings, HF_TOKEN and disk, "
            "and run again"
        ) from error
    _require_intact(path)
    return path


def _progress_bar(on_bytes: OnBytes) -> type[Any]:  # Any: tqdm has no annotations
    """A class of progress bars that report instead of printing."""
    from tqdm import tqdm  # type: ignore[import-untyped]  # noqa: PLC0415

    class Bar(tqdm):  # type: ignore[misc]
        def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - those of tqdm
            super().__init__(*arguments, **{**options, "disable": False, "file": StringIO()})

        def update(self, n: float | None = 1) -> None:
            super().update(n)
            on_bytes(int(self.n), int(self.total or 0))

    return Bar


def repo_has_file(repo_id: str, filename: str) -> bool:
    """Whether a hub repository has a file; False also if the request fails."""
    from huggingface_hub import file_exists  # noqa: PLC0415
    from huggingface_hub.errors import HTTPError as TransportError  # type: ignore[attr-defined]  # noqa: PLC0415

    try:
        return file_exists(repo_id, filename)
    except (TransportError, OSError, ValueError, ImportError):
        return False


def _missing(repo_id: str, prefix: str) -> str:
    """The first file of a VAE that is missing in the local cache."""
    if cached(repo_id, prefix + CONFIG) is None:
        return prefix + CONFIG
    index = cached(repo_id, prefix + INDEX)
    shards = shards_named_by(index) if index else ()
    return prefix + next((shard for shard in shards if cached(repo_id, prefix + shard) is None), WEIGHTS)


def _require_reachable(endpoint: str, file: str, what: str) -> None:
    """Send one HEAD request for a file: the download itself would retry for half a minute if the hub is unreachable, and wait as
    long as the hub demands after too many requests.

    Raises:
        URLError: the hub cannot be reached.
        ModelError: the hub answers 429.
    """
    try:
        urlopen(Request(f"{endpoint}/{file}", method="HEAD"), timeout=_TIMEOUT_SECONDS).close()
    except HTTPError as error:
        if error.code == HTTPStatus.TOO_MANY_REQUESTS:
            wait = error.headers.get("Retry-After", "")
            after = f"in {wait} s" if wait.isdigit() else "later"
            raise ModelError(
                f"the hub answered 429 (too many requests) for {what}; try again {after}, log in with `hf auth login`, or give "
                "a local folder"
            ) from error
        return  # any other status shows that the hub is reachable
    except TimeoutError as error:
        raise URLError(f"no answer within {_TIMEOUT_SECONDS} s") from error
    except (ValueError, InvalidURL) as error:
        raise URLError(f"HF_ENDPOINT is not a URL: {error}") from error
    except HTTPException as error:
        raise URLError(f"its answer is not HTTP: {str(error).strip() or type(error).__name__}") from error


def _require_intact(path: Path) -> None:
    """Compare a download with its SHA-256, which is the file's name in the hub's cache, and remove it on a mismatch. Small files
    are named by other hashes and are not compared.

    Raises:
        ModelError: the hash differs.
    """
    stored = path.resolve()
    if not _SHA256.fullmatch(stored.name):
        return
    if sha256_of(stored) != stored.name:
        stored.unlink()
        raise ModelError(f"{path.name} was damaged in transit (SHA-256 mismatch) and removed; run again")


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of a file."""
    sha = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            sha.update(chunk)
    return sha.hexdigest()


def _short(reason: str) -> str:
    """Shorten a message of huggingface_hub: some are paragraphs, with addresses of 100 characters."""
    return shorten(_ADDRESS.sub("its address", reason), 90, placeholder=" ...")


def _answered(what: str, status: int) -> str:
    refused = status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
    remedy = "renew your token with `hf auth login`, or correct HF_TOKEN" if refused else "try again later"
    return f"the hub answered {status} for {what}; {remedy}, or give a local folder"


def _unreachable(what: str, reason: object) -> str:
    return (
        f"{what} is not in the local cache and the hub cannot be reached ({_short(str(reason))}); check the network and run "
        "again, or use `vae=pocket`, which is built in, or a local folder"
    )


def is_cached(entry: SurrogateEntry) -> bool:
    """Whether a registered surrogate loads without a download. No network access."""
    prefix = f"{entry.subfolder}/" if entry.subfolder else ""
    return entry.embedded or any(cached_vae(repo_id, prefix) for repo_id in (entry.repo_id, *entry.also_at))
