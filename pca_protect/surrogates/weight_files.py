"""Files of one VAE in a folder: its configuration, which of its weights to take, and the shards that an index names."""

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
"""By the number of significant bits they keep."""
PICKLED_WEIGHTS = "diffusion_pytorch_model.bin"
"""The same weights as diffusers saved them before safetensors. Never taken, only mentioned."""

_LONGEST_NAME_BYTES = 255
"""Of a file on the usual file systems, which answer even the question for a longer one with an error."""
_BARE = "vae.safetensors"
_STEM = "diffusion_pytorch_model."
_VARIANT = re.compile(r"diffusion_pytorch_model\.(?!safetensors)([a-zA-Z_]\w*)[.-].*safetensors")
_SHARD = re.compile(r"-\d+-of-\d+\.safetensors$")
_INDEX = re.compile(r"\.safetensors\.index(\.[\w-]+)?\.json$")
_DECODER = re.compile(r"(first_stage_model\.|vae\.)?(decoder|post_quant_conv)\.")
_CLASS = re.compile(r"Autoencoder|VAE|VQModel", re.IGNORECASE)


def names_by_preference() -> tuple[str, ...]:
    """Names of weights and of indices of shards as diffusers saves them, full precision first."""
    names = [WEIGHTS, INDEX]
    for variant in VARIANTS:
        names += [f"{_STEM}{variant}.safetensors", f"{WEIGHTS}.index.{variant}.json"]
    return tuple(names)


def weights_in(folder: Path) -> tuple[Path, ...]:
    """One file, or the shards of one model. Taken are, in this order: full precision, a variant, `vae.safetensors`, and
    whatever is the only `.safetensors` file.

    Raises:
        ModelError: there is none, there are several to choose from, or a shard is missing.
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
    """The file itself, or the shards that it names if it is an index.

    Raises:
        ModelError: it is one shard of several, or an index that is damaged or names a shard that is not there.
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
    """Weights of a repository, of which files can be asked for by name but not listed; None if it has none.

    Args:
        find: the path on disk of a file of the repository, None if there is no such file.
        prefix: of the names, empty or ending in a slash.
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
    """Names of the shards that hold tensors of the encoder.

    Raises:
        ModelError: it is damaged.
    """
    named = read_json(index).get("weight_map")
    if not isinstance(named, dict) or not all(_is_shard(shard) for shard in named.values()):
        raise ModelError(
            f"{index.resolve()}: has no map of tensors to shards; delete it, then download or copy it again"
        )
    return tuple(sorted({shard for name, shard in named.items() if not _DECODER.match(name)}))


def variant_of(weights: Path) -> str | None:
    """What diffusers calls the variant of a file or shard: `fp16` of `diffusion_pytorch_model.fp16.safetensors`."""
    found = _VARIANT.fullmatch(weights.name)
    return found[1] if found else None


def config_beside(path: Path) -> dict[str, Any] | None:
    """The configuration of a file of weights, None if the folder has none for it. A `config.json` belongs to a file that
    diffusers named, and to the only weights in its folder, as long as it describes a VAE."""
    beside = path.parent / CONFIG
    if not beside.is_file():
        return None
    alone = sum(other.suffix == ".safetensors" for other in path.parent.iterdir()) == 1
    if not (path.name.startswith(_STEM) or alone):
        return None
    config = read_json(beside)
    return config if describes_vae(config) else None


def describes_vae(config: dict[str, Any]) -> bool:
    """Whether a configuration is that of a VAE of diffusers, by its class or, in old files without one, its keys."""
    kind = config.get("_class_name")
    if kind is None:
        return not config.keys().isdisjoint(("latent_channels", "z_dim"))
    return isinstance(kind, str) and _CLASS.search(kind) is not None


def read_json(path: Path) -> dict[str, Any]:
    """Raises:
    ModelError: it is not readable, or contains no JSON object."""
    where = path.resolve()  # of a download the file itself: the hub's cache would link to it again
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = quoted(first_line(error), 80)
        raise ModelError(
            f"{where}: not readable as JSON ({reason}); delete it, then download or copy it again"
        ) from error
    if not isinstance(found, dict):
        raise ModelError(f"{where}: contains no JSON object; delete it, then download or copy it again")
    return found


def no_safetensors(where: str, files: list[str]) -> str:
    """The message for a model of which none of `files` can be taken."""
    pickled = [file for file in files if Path(file).suffix.lower() in PICKLED]
    if pickled:
        return (
            f"{where}: no {WEIGHTS} (it has {quoted(pickled[0], 60)}, and pickled weights can run code when loaded); convert the "
            "weights to safetensors"
        )
    return f"{where}: no {WEIGHTS} or another .safetensors file; download or copy the weights too"


def _is_shard(name: object) -> bool:
    """A plain file name that a disk can hold: an index must not lead out of its folder."""
    if not isinstance(name, str) or not name.isprintable() or len(name.encode()) > _LONGEST_NAME_BYTES:
        return False
    return name.endswith(".safetensors") and PurePath(name).name == name and "\\" not in name
