"""Resolves the name of a surrogate to files on disk: embedded, hub, folder or single file."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

from pca_protect.errors import ModelError
from pca_protect.pocket.format import check_format
from pca_protect.surrogates import hub
from pca_protect.surrogates.families import unknown_name
from pca_protect.surrogates.registry import PICKLED, REGISTRY, SurrogateEntry, looks_like_hub_id
from pca_protect.surrogates.weight_files import (
    CONFIG,
    PICKLED_WEIGHTS,
    config_beside,
    describes_vae,
    found_weights,
    no_safetensors,
    read_json,
    weights_at,
    weights_in,
)


@dataclass(frozen=True)
class WeightFiles:
    """Files of one surrogate.

    Attributes:
        config: None for a bare weights file, whose configuration its tensors imply.
        weights: one file, or the shards that hold the encoder.
    """

    name: str
    origin: str
    config: dict[str, Any] | None
    weights: tuple[Path, ...]
    entry: SurrogateEntry | None


def locate(name: str, *, offline: bool, on_bytes: hub.OnBytes | None = None) -> WeightFiles:
    """Find the files of a surrogate, downloaded if necessary.

    Args:
        on_bytes: see `hub.fetch`.

    Raises:
        UsageError: the name is unknown.
        ModelError: the files are unavailable or unusable.
    """
    entry = REGISTRY.get(name)
    if entry is not None:
        return _from_registry(entry, offline=offline, on_bytes=on_bytes)
    path = Path(name).expanduser()
    if os.path.isdir(path):  # noqa: PTH112 - before Python 3.14, pathlib raises for a name that is too long
        return _from_folder(path, name, None)
    if os.path.isfile(path):  # noqa: PTH113
        return WeightFiles(str(path), str(path), config_beside(path), weights_at(path), None)
    if looks_like_hub_id(name):
        return _from_hub(name, None, name, entry=None, offline=offline, on_bytes=on_bytes)
    if path.suffix.lower() in (".safetensors", ".gguf", *PICKLED) or path.is_absolute():
        raise ModelError(f"{name}: no such file or folder; give an existing one, a name or a hub id")
    raise unknown_name(name)


def _from_registry(entry: SurrogateEntry, *, offline: bool, on_bytes: hub.OnBytes | None) -> WeightFiles:
    if entry.embedded:
        folder = Path(str(resources.files("pca_protect.pocket"))) / entry.subfolder
        return _from_folder(folder, entry.name, entry)
    return _from_hub(entry.repo_id, entry.subfolder, entry.name, entry=entry, offline=offline, on_bytes=on_bytes)


def _from_folder(folder: Path, name: str, entry: SurrogateEntry | None) -> WeightFiles:
    """A diffusers VAE folder, a pipeline folder with a `vae` in it, or either with only `vae.safetensors`."""
    candidates = [candidate for candidate in (folder, folder / "vae") if (candidate / CONFIG).is_file()]
    for candidate in candidates:
        check_format(candidate)
        config = read_json(candidate / CONFIG)
        if describes_vae(config) or (candidate is candidates[-1] and isinstance(config.get("_class_name"), str)):
            return WeightFiles(name, str(candidate), config, weights_in(candidate), entry)
    for bare in (folder / "vae.safetensors", folder / "vae" / "vae.safetensors"):
        if bare.is_file():
            return WeightFiles(name, str(bare), None, (bare,), entry)
    if candidates:
        raise ModelError(f"{candidates[-1] / CONFIG}: does not describe a VAE; give a diffusers VAE or pipeline folder")
    raise ModelError(
        f"{folder}: no {CONFIG} there or in its vae folder; give a diffusers VAE or pipeline folder, or a .safetensors file"
    )


def _from_hub(
    repo_id: str,
    subfolder: str | None,
    name: str,
    *,
    entry: SurrogateEntry | None,
    offline: bool,
    on_bytes: hub.OnBytes | None,
) -> WeightFiles:
    """`subfolder` None tries `vae/` first, then the top of the repository.

    All locations are looked up in the local cache before any request: otherwise each run would request preferred files that do
    not exist, in `vae/` or in full precision, and fail without a network.
    """
    prefixes = ("vae/", "") if subfolder is None else (f"{subfolder}/" if subfolder else "",)
    for cached_id in (repo_id, *(entry.also_at if entry else ())):
        for prefix in prefixes:
            if found := hub.cached_vae(cached_id, prefix):
                config, weights = found
                return WeightFiles(name, cached_id, read_json(config), weights, entry)
    hub.require_online(repo_id, prefixes, offline=offline)
    fetch = partial(hub.fetch, repo_id, ungated_copy=entry.ungated_copy if entry else "", on_bytes=on_bytes)
    for prefix in prefixes:
        fetched = fetch(prefix + CONFIG)
        if fetched is None:
            continue
        downloaded = found_weights(fetch, prefix)
        if downloaded is not None:
            return WeightFiles(name, repo_id, read_json(fetched), downloaded, entry)
        refused = hub.repo_has_file(repo_id, prefix + PICKLED_WEIGHTS)
        raise ModelError(no_safetensors(repo_id, [PICKLED_WEIGHTS] if refused else []))
    raise ModelError(
        f"{repo_id} contains no VAE ({CONFIG} neither at its top nor in vae/); give a VAE or a pipeline repository"
    )
