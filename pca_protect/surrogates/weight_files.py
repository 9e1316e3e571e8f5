"""Files of one VAE: its configuration, the choice among its weight files, and the shards of an index."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path, PurePath
from typing import Any

from pca_protect.errors import ModelError, first_line, quoted
from pca_protect.surrogates.registry import PICKLED

CONFIG = "config.json"
WEIGHTS = "diffusion_pytorch_model.safetensors"
INDEX = f"{WEIGHTS}.index.json"
VARIANTS = ("fp32", "fp16", "bf16")
"""In descending order of significant bits."""
PICKLED_WEIGHTS = "diffusion_pytorch_model.bin"
"""Weight file of diffusers before safetensors. Never read, only named in messages."""

_LONGEST_NAME_BYTES = 255
"""Longest file name on common file systems, where even checking for a longer one is an error."""
_BARE = "vae.safetensors"
_STEM = "diffusion_pytorch_model."
_VARIANT = re.compile(r"diffusion_pytorch_model\.(?!safetensors)([a-zA-Z_]\w*)[.-].*safetensors")
_SHARD = re.compile(r"-\d+-of-\d+\.safetensors$")
_INDEX = re.compile(r"\.safetensors\.index(\.[\w-]+)?\.json$")
_DECODER = re.compile(r"(first_stage_model\.|vae\.)?(decoder|post_quant_conv)\.")
_CLASS = re.compile(r"Autoencoder|VAE|VQModel", re.IGNORECASE)


def names_by_preference() -> tuple[str, ...]:
    """diffusers' names of weight files and shard indices, full precision first."""
    names = [WEIGHTS, INDEX]
    for variant in VARIANTS:
        names += [f"{_STEM}{variant}.safetensors", f"{WEIGHTS}.index.{variant}.json"]
    return tuple(names)


def weights_in(folder: Path) -> tuple[Path, ...]:
    """One weight file, or the shards of one model. Order of preference: full precision, a variant, `vae.safetensors`, the only
    `.safetensors` file.

    Raises:
        ModelError: there are no weights, the choice is ambiguous, or a shard is missing.
    """
    files = {path.name: path for path in folder.iterdir() if path.is_file()}
    whole = sorted(name for name in files if name.endswith(".safetensors") and not _SHARD.search(name))
    for name in (
        *names_by_preference(),
        *filter(_VARIANT.fullmatch, whole),
        _BARE,
        *(whole if len(whole) == 1 else ()),
    ):
        if name in files:
            return weights_at(files[name])
    if len(whole) > 1:
        offered = quoted(", ".join(whole), 100)
        raise ModelError(f"{folder}: contains several .safetensors files ({offered}); give one of them by its path")
    if any(_SHARD.search(name) for name in files):
        raise ModelError(f"{folder}: contains shards of weights without their index {INDEX}; copy or download it too")
    raise ModelError(no_safetensors(str(folder), list(files)))


def weights_at(path: Path) -> tuple[Path, ...]:
    """The file itself, or its shards if it is an index.

    Raises:
        ModelError: the file is one shard of several, or an index that is damaged or has a missing shard.
    """
    if _SHARD.search(path.name):
        raise ModelError(f"{path}: is one shard of several; give its folder or its index (*.safetensors.index.json)")
    if not _INDEX.search(path.name):
        return (path,)
    shards = [path.parent / name for name in shards_named_by(path)]
    for shard in shards:
        if not shard.is_file():
            raise ModelError(
                f"{path}: names the shard {quoted(shard.name, 100)}, which is not there; copy or download it too"
            )
    return tuple(shards)


def found_weights(find: Callable[[str], Path | None], prefix: str) -> tuple[Path, ...] | None:
    """Weights of a repository whose files can be looked up by name but not listed; None if it has none.

    Args:
        find: returns the local path of a file of the repository, None if there is no such file.
        prefix: of the names, empty or with a trailing slash.
    """
    for name in names_by_preference():
        path = find(prefix + name)
        if path is None:
            continue
        if not _INDEX.search(name):
            return (path,)
        shards = [find(prefix + shard) for shard in shards_named_by(path)]
        return None if None in shards else tuple(shard for shard in shards if shard is not None)
    return None


def shards_named_by(index: Path) -> tuple[str, ...]:
    """Names of the shards that contain tensors of the encoder.

    Raises:
        ModelError: the index is damaged.
    """
    named = read_json(index).get("weight_map")
    if not isinstance(named, dict) or not all(_is_shard(shard) for shard in named.values()):
        raise ModelError(
            f"{index.resolve()}: has no map of tensors to shards; delete it, then download or copy it again"
        )
    return tuple(sorted({shard for name, shard in named.items() if not _DECODER.match(name)}))


def variant_of(weights: Path) -> str | None:
    """diffusers' variant of a file or shard, such as `fp16` for `diffusion_pytorch_model.fp16.safetensors`."""
    match = _VARIANT.fullmatch(weights.name)
    return match[1] if match else None


def config_beside(path: Path) -> dict[str, Any] | None:
    """Configuration of a weight file; None if its folder has none for it. A `config.json` that describes a VAE belongs to files
    with diffusers' names, and to the only weight file of its folder."""
    beside = path.parent / CONFIG
    if not beside.is_file():
        return None
    alone = sum(other.suffix == ".safetensors" for other in path.parent.iterdir()) == 1
    if not (path.name.startswith(_STEM) or alone):
        return None
    config = read_json(beside)
    return config if describes_vae(config) else None


def describes_vae(config: dict[str, Any]) -> bool:
    """Whether a configuration describes a diffusers VAE: by its class, or by its keys in old files without a class."""
    kind = config.get("_class_name")
    if kind is None:
        return not config.keys().isdisjoint(("latent_channels", "z_dim"))
    return isinstance(kind, str) and _CLASS.search(kind) is not None


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        ModelError: the file is not readable or contains no JSON object.
    """
    where = path.resolve()  # of a download the file, not the link: the hub's cache would restore a deleted link
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = quoted(first_line(error), 80)
        raise ModelError(
            f"{where}: not readable as JSON ({reason}); delete it, then download or copy it again"
        ) from error
    if not isinstance(content, dict):
        raise ModelError(f"{where}: contains no JSON object; delete it, then download or copy it again")
    return content


def no_safetensors(where: str, files: list[str]) -> str:
    """The message for a model of whose `files` none can be used."""
    pickled = [file for file in files if Path(file).suffix.lower() in PICKLED]
    if pickled:
        return (
            f"{where}: no {WEIGHTS} (it has {quoted(pickled[0], 60)}, and pickled weights can run code when loaded); convert the "
            "weights to safetensors"
        )
    return f"{where}: no {WEIGHTS} or another .safetensors file; download or copy the weights too"


def _is_shard(name: object) -> bool:
    """Whether a name is a plain and valid file name: an index must not point outside its folder."""
    if not isinstance(name, str) or not name.isprintable() or len(name.encode()) > _LONGEST_NAME_BYTES:
        return False
    return name.endswith(".safetensors") and PurePath(name).name == name and "\\" not in name
