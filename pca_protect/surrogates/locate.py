"""From what `--vae` was given to files on disk: embedded, hub, folder or single file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from pca_protect.errors import ModelError
from pca_protect.pocket.format import check_format
from pca_protect.surrogates import hub
from pca_protect.surrogates.hub import CONFIG, PICKLED_WEIGHTS, WEIGHTS
from pca_protect.surrogates.registry import PICKLED, REGISTRY, SurrogateEntry, looks_like_hub_id, unknown_name


@dataclass(frozen=True)
class Located:
    """Files of one surrogate. `config` is None where a bare weights file has to speak for itself."""

    name: str
    origin: str
    config: dict[str, Any] | None
    weights: Path
    entry: SurrogateEntry | None


def locate(name: str, *, offline: bool) -> Located:
    """Find, and if need be download, the files of a surrogate.

    Raises:
        UsageError: the name means nothing.
        ModelError: it means something that cannot be had.
    """
    entry = REGISTRY.get(name)
    if entry is not None:
        return _from_registry(entry, offline=offline)
    path = Path(name).expanduser()
    if path.is_dir():
        return _from_folder(path, name, None)
    if path.is_file():
        return _from_file(path)
    if looks_like_hub_id(name):
        return _from_hub(name, None, name, entry=None, offline=offline)
    if path.suffix.lower() in (".safetensors", *PICKLED) or path.is_absolute():
        raise ModelError(f"{name}: no such file or folder; give an existing one, a name or a hub id")
    raise unknown_name(name)


def _from_registry(entry: SurrogateEntry, *, offline: bool) -> Located:
    if entry.embedded:
        folder = Path(str(resources.files("pca_protect.pocket"))) / entry.subfolder
        return _from_folder(folder, entry.name, entry)
    try:
        return _from_hub(entry.repo_id, entry.subfolder, entry.name, entry=entry, offline=offline)
    except ModelError as error:
        if entry.unavailable:
            raise ModelError(f"{entry.name} ({entry.repo_id}): {entry.unavailable}") from error
        raise


def _from_folder(folder: Path, name: str, entry: SurrogateEntry | None) -> Located:
    """A diffusers VAE folder, or a pipeline folder with a `vae` in it."""
    for candidate in (folder, folder / "vae"):
        if (candidate / CONFIG).is_file():
            check_format(candidate)
            for weights in WEIGHTS:
                if (candidate / weights).is_file():
                    return Located(name, str(candidate), _read_config(candidate / CONFIG), candidate / weights, entry)
            raise ModelError(_no_safetensors(str(candidate), [file.name for file in candidate.iterdir()]))
    raise ModelError(f"{folder}: no {CONFIG} there or in its vae folder; give a diffusers VAE or pipeline folder")


def _from_file(path: Path) -> Located:
    beside = path.parent / CONFIG
    config = _read_config(beside) if beside.is_file() else None
    return Located(str(path), str(path), config, path, None)


def _from_hub(
    repo_id: str, subfolder: str | None, name: str, *, entry: SurrogateEntry | None, offline: bool
) -> Located:
    """`subfolder` None tries `vae/` first, then the top of the repository.

    What is cached is taken before the network is asked for anything: otherwise each run would ask again for the files
    that come first and are not there, `vae/` or the full precision, and fail without a network.
    """
    prefixes = ("vae/", "") if subfolder is None else (f"{subfolder}/" if subfolder else "",)
    for prefix in prefixes:
        config = hub.cached(repo_id, prefix + CONFIG)
        for weights in WEIGHTS:
            path = hub.cached(repo_id, prefix + weights)
            if config is not None and path is not None:
                return Located(name, repo_id, _read_config(config), path, entry)
    for prefix in prefixes:
        config = hub.fetch(repo_id, prefix + CONFIG, offline=offline)
        if config is None:
            continue
        for weights in WEIGHTS:
            path = hub.fetch(repo_id, prefix + weights, offline=offline)
            if path is not None:
                return Located(name, repo_id, _read_config(config), path, entry)
        refused = hub.offers(repo_id, prefix + PICKLED_WEIGHTS)
        raise ModelError(_no_safetensors(repo_id, [PICKLED_WEIGHTS] if refused else []))
    raise ModelError(
        f"{repo_id} holds no VAE ({CONFIG} neither at its top nor in vae/); give a VAE or a pipeline repository"
    )


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: not readable as JSON ({error}); download or copy it again") from error
    if not isinstance(config, dict):
        raise ModelError(f"{path}: holds no JSON object; it is not a diffusers configuration")
    return config


def _no_safetensors(where: str, files: list[str]) -> str:
    pickled = [file for file in files if Path(file).suffix.lower() in PICKLED]
    found = f" (it has {pickled[0]}, and pickled weights can run code when loaded)" if pickled else ""
    return f"{where}: no {WEIGHTS[0]}{found}; convert the weights to safetensors"
