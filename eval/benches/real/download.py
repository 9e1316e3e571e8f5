"""Size of the download of a pipeline, asked from the model hub before it begins."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from pca_protect.errors import ModelError, UsageError
from pca_protect.eval.editors.weights import is_variant
from pca_protect.surrogates.hub import cached, fetch, require_client
from pca_protect.surrogates.weight_files import read_json

_INDEX = "model_index.json"
_TIMEOUT_SECONDS = 10
_CONFIGURATION = (".json", ".txt", ".model", ".jinja")


def missing_gigabytes(repo_id: str) -> float | None:
    """Size in 1e9 bytes of the files that diffusers would download for a pipeline; None if the hub does not answer.

    Raises:
        ModelError: the repository is missing, gated, or holds no pipeline.
    """
    sizes = _sizes(repo_id)
    if sizes is None:
        return None
    index = fetch(repo_id, _INDEX)
    if index is None:
        raise ModelError(f"{repo_id}: no {_INDEX} in it; give the hub id of a diffusers pipeline")
    parts = [part for part, origin in read_json(index).items() if isinstance(origin, list) and any(origin)]
    wanted = [path for path in sizes if _is_downloaded(path, parts) and cached(repo_id, path) is None]
    return sum(sizes[path] for path in wanted) / 1e9


def require_disk(gigabytes: float) -> None:
    """Raises:
    UsageError: the disk of the hub's cache has less free space.
    """
    from huggingface_hub import constants  # noqa: PLC0415

    folder = Path(constants.HF_HUB_CACHE).expanduser()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free / 1e9
    if free < gigabytes:
        raise UsageError(
            f"{folder}: {free:.1f} GB free and the download has {gigabytes:.1f} GB; set HF_HOME to a folder on another disk"
        )


def _sizes(repo_id: str) -> dict[str, int] | None:
    """Path -> size in bytes of every file of a repository; empty if the hub refuses, None if it does not answer."""
    require_client()
    from huggingface_hub import HfApi  # noqa: PLC0415
    from huggingface_hub.errors import HfHubHTTPError  # noqa: PLC0415
    from huggingface_hub.errors import HTTPError as TransportError  # type: ignore[attr-defined]  # noqa: PLC0415

    try:
        info = HfApi().model_info(repo_id, files_metadata=True, timeout=_TIMEOUT_SECONDS)
    except HfHubHTTPError:  # the download of the index says why
        return {}
    except (TransportError, OSError, ValueError):  # offline mode is an OSError
        return None
    return {file.rfilename: file.size or 0 for file in info.siblings or ()}


def _is_downloaded(path: str, parts: Iterable[str]) -> bool:
    """Whether diffusers downloads a file for a pipeline of these parts: configurations, and weights in safetensors that are no
    variant, such as `model.fp16.safetensors`."""
    folder, name = str(PurePosixPath(path).parent), PurePosixPath(path).name
    if folder not in parts:
        return False
    return name.endswith(_CONFIGURATION) or (name.endswith(".safetensors") and not is_variant(name))
