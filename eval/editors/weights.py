"""The digest that identifies an editor: of its weight files, so that no parameter has to be loaded for it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from pca_protect.errors import ModelError
from pca_protect.surrogates import hub

_SHA256 = re.compile("[0-9a-f]{64}")
_INDEX = "model_index.json"


def digest_of_files(source: Path | str, parts: Iterable[str]) -> str:
    """Hex SHA-256 of the names and contents of a pipeline's weight files. Files of another precision have another digest.

    Args:
        source: folder of the pipeline, or the hub id of a cached one.
        parts: those with weights, by name.

    Raises:
        ModelError: the pipeline is not in the hub's cache.
    """
    folder = source if isinstance(source, Path) else _snapshot(source)
    sha = hashlib.sha256()
    for part in sorted(parts):
        for file in _weights_in(folder / part):
            sha.update(f"{part}/{file.name} {_sha256(file)}\n".encode())
    return sha.hexdigest()


def is_variant(name: str) -> bool:
    """Whether a weight file is a variant such as `model.fp16.safetensors`, which is not loaded."""
    return name.count(".") > 1


def _weights_in(folder: Path) -> list[Path]:
    """The weight files that are loaded: those that are no variant, or the only ones."""
    found = sorted(folder.glob("*.safetensors"))
    return [file for file in found if not is_variant(file.name)] or found


def _snapshot(repo_id: str) -> Path:
    index = hub.cached(repo_id, _INDEX)
    if index is None:
        raise ModelError(f"{repo_id}: its {_INDEX} is no longer in the hub's cache; run again")
    return index.parent


def _sha256(file: Path) -> str:
    """Hex SHA-256 of a file. A large file in the hub's cache is a link to a file that has it as its name."""
    stored = file.resolve()
    if stored.parent.name == "blobs" and _SHA256.fullmatch(stored.name):
        return stored.name
    return hub.sha256_of(stored)
