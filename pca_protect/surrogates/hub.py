"""Files from the model hub or its local cache, with every failure as one sentence that carries a remedy."""

from __future__ import annotations

from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from pca_protect.errors import ModelError
from pca_protect.surrogates.registry import SurrogateEntry

CONFIG = "config.json"
WEIGHTS = ("diffusion_pytorch_model.safetensors", "diffusion_pytorch_model.fp16.safetensors")
"""Names that diffusers gives a VAE's files; the first of the weights that is there is taken."""

_PATIENCE_SECONDS = 10


def fetch(repo_id: str, filename: str, *, offline: bool) -> Path | None:
    """A file of a hub repository: from the local cache without asking the network, downloaded otherwise. An
    interrupted download is resumed.

    Returns:
        Its path in the local cache, or None if the repository has no such file.

    Raises:
        ModelError: no such repository, gated, no network, or not cached while offline.
    """
    from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache  # noqa: PLC0415
    from huggingface_hub.errors import (  # noqa: PLC0415
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    page = f"https://huggingface.co/{repo_id}"
    what = f"{repo_id} ({filename})"
    try:
        cached = try_to_load_from_cache(repo_id, filename)
        if isinstance(cached, str):
            return Path(cached)
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
    except LocalEntryNotFoundError as error:
        raise ModelError(_unreachable(what, error)) from error
    except EntryNotFoundError:
        return None
    except HFValidationError as error:
        raise ModelError(f"{repo_id!r} is not a valid hub id; it reads owner/name") from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        raise ModelError(f"the hub answered {status} for {what}; try again later, or give a local folder") from error
    except URLError as error:
        raise ModelError(_unreachable(what, error.reason)) from error
    except OSError as error:
        raise ModelError(
            f"{what} could not be downloaded ({error or type(error).__name__}); check the network and the disk and run "
            "again, the download resumes"
        ) from error


def _require_reachable(endpoint: str) -> None:
    """Raise URLError if the hub cannot be reached: the download itself would retry for half a minute to find out."""
    request = Request(endpoint, method="HEAD")
    try:
        urlopen(request, timeout=_PATIENCE_SECONDS).close()
    except HTTPError:
        return  # any answer will do
    except TimeoutError as error:
        raise URLError(f"no answer within {_PATIENCE_SECONDS} s") from error


def _unreachable(what: str, reason: object) -> str:
    return (
        f"{what} is not in the local cache and the hub cannot be reached ({reason}); check the network and run again "
        "(a download resumes), or use --vae pocket, which is built in, or a local folder"
    )


def at_hand(entry: SurrogateEntry) -> bool:
    """Whether a registered surrogate loads without a download. Touches no network."""
    if entry.embedded:
        return True
    from huggingface_hub import try_to_load_from_cache  # noqa: PLC0415

    prefix = f"{entry.subfolder}/" if entry.subfolder else ""
    return any(isinstance(try_to_load_from_cache(entry.repo_id, prefix + weights), str) for weights in WEIGHTS)
