"""Files from the model hub or its local cache, with every failure as one sentence that carries a remedy."""

from __future__ import annotations

from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from pca_protect.errors import ModelError
from pca_protect.surrogates.registry import SurrogateEntry

CONFIG = "config.json"
WEIGHTS = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.fp16.safetensors")
"""Names that diffusers gives a VAE's files; the first of the weights that is there is taken."""

PICKLED_WEIGHTS = "diffusion_pytorch_model.bin"
"""The same weights as diffusers saved them before safetensors. Never taken, only told of."""

_PATIENCE_SECONDS = 10


def cached(repo_id: str, filename: str) -> Path | None:
    """A file of a hub repository if it is in the local cache. Touches no network.

    Raises:
        ModelError: no repository can have this id.
    """
    from huggingface_hub import try_to_load_from_cache  # noqa: PLC0415
    from huggingface_hub.errors import HFValidationError  # noqa: PLC0415

    try:
        path = try_to_load_from_cache(repo_id, filename)
    except HFValidationError as error:
        raise ModelError(f"{repo_id!r} is not a valid hub id; it reads owner/name") from error
    return Path(path) if isinstance(path, str) else None


def fetch(repo_id: str, filename: str, *, offline: bool) -> Path | None:
    """A file of a hub repository: from the local cache without asking the network, downloaded otherwise. A download
    that loses its connection goes on where it broke; one that was given up starts anew.

    Returns:
        Its path in the local cache, or None if the repository has no such file.

    Raises:
        ModelError: no such repository, gated, no network, or not cached while offline.
    """
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
        path = cached(repo_id, filename)
        if path is not None:
            return path
        if offline or constants.HF_HUB_OFFLINE:
            asked_by = "--offline" if offline else "HF_HUB_OFFLINE"
            raise ModelError(
                f"{what} is not in the local cache and {asked_by} forbids the network; run once without it, or give a folder"
            )
        _require_reachable(constants.ENDPOINT)
        return Path(hf_hub_download(repo_id, filename))
    except GatedRepoError as error:
        raise ModelError(
            f"{repo_id} is gated: accept its licence on {page}, then run `hf auth login` or set HF_TOKEN"
        ) from error
    except RepositoryNotFoundError as error:
        raise ModelError(
            f"{repo_id} is not on the hub, or is private: check the id on {page}, or `hf auth login` if it is yours"
        ) from error
    except LocalEntryNotFoundError as error:  # huggingface_hub's word for any failure before the first byte
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
    except (TransportError, OSError) as error:  # the former is httpx's, of whichever httpx huggingface_hub uses
        reason = " ".join(str(error).split()) or type(error).__name__  # some of huggingface_hub's are paragraphs
        raise ModelError(
            f"{what} could not be downloaded ({reason}); check the network and the disk and run again"
        ) from error


def offers(repo_id: str, filename: str) -> bool:
    """Whether a hub repository has a file; False too if the hub does not say."""
    from huggingface_hub import file_exists  # noqa: PLC0415
    from huggingface_hub.errors import HTTPError as TransportError  # type: ignore[attr-defined]  # noqa: PLC0415

    try:
        return file_exists(repo_id, filename)
    except (TransportError, OSError):
        return False


def _require_reachable(endpoint: str) -> None:
    """Raise URLError if the hub cannot be reached: the download itself would retry for half a minute to find out."""
    try:
        urlopen(Request(endpoint, method="HEAD"), timeout=_PATIENCE_SECONDS).close()
    except HTTPError:
        return  # any answer will do
    except TimeoutError as error:
        raise URLError(f"no answer within {_PATIENCE_SECONDS} s") from error
    except HTTPException as error:
        raise URLError(f"its answer is no HTTP: {str(error).strip() or type(error).__name__}") from error
    except ValueError as error:
        raise URLError(f"HF_ENDPOINT is no address: {error}") from error


def _answered(what: str, status: int) -> str:
    refused = status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
    remedy = "renew your token with `hf auth login`, or correct HF_TOKEN" if refused else "try again later"
    return f"the hub answered {status} for {what}; {remedy}, or give a local folder"


def _unreachable(what: str, reason: object) -> str:
    return (
        f"{what} is not in the local cache and the hub cannot be reached ({reason}); check the network and run again, "
        "or use --vae pocket, which is built in, or a local folder"
    )


def at_hand(entry: SurrogateEntry) -> bool:
    """Whether a registered surrogate loads without a download. Touches no network."""
    prefix = f"{entry.subfolder}/" if entry.subfolder else ""
    return entry.embedded or any(cached(entry.repo_id, prefix + weights) is not None for weights in WEIGHTS)
