"""Translates tensor names of published encoders to those of diffusers' classes. Strings only."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import Literal

from pca_protect.surrogates.kinds import KINDS

Spelling = Literal["diffusers", "ldm", "wan", "taesd"]
"""Naming scheme of a file: diffusers, the latent-diffusion code base, the original Wan 2.1 code, or TAESD."""

_PREFIXES = ("first_stage_model.", "vae.")
"""Prefixes of a VAE's tensors in a full checkpoint, and in an all-in-one file."""

_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
"""Names of attention weights before diffusers 0.13, and their current names."""

_LDM_NAMES = (
    (re.compile(r"^encoder\.quant_conv\."), "quant_conv."),  # FLUX.2's native file has it inside the encoder
    (re.compile(r"^encoder\.down\.(\d+)\.block\.(\d+)\."), r"encoder.down_blocks.\1.resnets.\2."),
    (re.compile(r"^encoder\.down\.(\d+)\.downsample\."), r"encoder.down_blocks.\1.downsamplers.0."),
    (re.compile(r"^encoder\.mid\.block_1\."), "encoder.mid_block.resnets.0."),
    (re.compile(r"^encoder\.mid\.block_2\."), "encoder.mid_block.resnets.1."),
    (re.compile(r"^encoder\.mid\.attn_1\.norm\."), "encoder.mid_block.attentions.0.group_norm."),
    (re.compile(r"^encoder\.mid\.attn_1\.([qkv])\."), r"encoder.mid_block.attentions.0.to_\1."),
    (re.compile(r"^encoder\.mid\.attn_1\.proj_out\."), "encoder.mid_block.attentions.0.to_out.0."),
    (re.compile(r"^encoder\.norm_out\."), "encoder.conv_norm_out."),
    (re.compile(r"\.nin_shortcut\."), ".conv_shortcut."),
)
_LDM_MARK = "encoder.mid.block_1."

_WAN_NAMES = (
    (re.compile(r"^conv1\."), "quant_conv."),
    (re.compile(r"^encoder\.conv1\."), "encoder.conv_in."),
    (re.compile(r"^encoder\.downsamples\."), "encoder.down_blocks."),
    (re.compile(r"^encoder\.middle\.0\."), "encoder.mid_block.resnets.0."),
    (re.compile(r"^encoder\.middle\.1\."), "encoder.mid_block.attentions.0."),
    (re.compile(r"^encoder\.middle\.2\."), "encoder.mid_block.resnets.1."),
    (re.compile(r"^encoder\.head\.0\."), "encoder.norm_out."),
    (re.compile(r"^encoder\.head\.2\."), "encoder.conv_out."),
    (re.compile(r"\.residual\.0\."), ".norm1."),
    (re.compile(r"\.residual\.2\."), ".conv1."),
    (re.compile(r"\.residual\.3\."), ".norm2."),
    (re.compile(r"\.residual\.6\."), ".conv2."),
    (re.compile(r"\.shortcut\."), ".conv_shortcut."),
)
_WAN_MARK = "encoder.middle.0.residual."

_TAESD_LAYER = re.compile(r"^(?:(?:taesd_)?encoder\.)?(\d+)\.")
"""TAESD's encoder is one `Sequential`, alone in its file or beside the decoder under `encoder.` or `taesd_encoder.`."""
_TAESD_FIRST = ("0.weight", "encoder.0.weight", "taesd_encoder.0.weight")

_PROJECTION = re.compile(r"\.attentions\.\d+\.(to_[qkv]|to_out\.0)\.weight$")


def bare_names(names: Collection[str]) -> dict[str, str]:
    """Maps names without a checkpoint's prefix to the names in the file. If encoder tensors have a prefix, tensors without it are
    left out."""
    for prefix in _PREFIXES:
        if any(name.startswith(f"{prefix}encoder.") for name in names):
            return {name.removeprefix(prefix): name for name in names if name.startswith(prefix)}
    return {name: name for name in names}


def spelling_of(names: Collection[str], kind: str | None) -> Spelling:
    """Naming scheme of a file.

    Args:
        names: of all tensors of the file, see `bare_names`.
        kind: diffusers class named by the configuration; None without one. Only schemes in which files of this class are
            published are considered.
    """
    if _may_have(kind, "ldm") and any(name.startswith(_LDM_MARK) for name in names):
        return "ldm"
    if _may_have(kind, "wan") and any(name.startswith(_WAN_MARK) for name in names):
        return "wan"
    if _may_have(kind, "taesd") and any(first in names for first in _TAESD_FIRST):
        return "taesd"
    return "diffusers"


def translated(name: str, spelling: Spelling, kind: str | None) -> str | None:
    """The diffusers name of an encoder's tensor; None for a tensor of another part."""
    name = _TRANSLATE[spelling](name)
    if not name.startswith(("encoder.", "quant_conv.")):
        return None
    if _may_have(kind, "ldm"):
        parts = name.split(".")
        if "attentions" in parts:
            name = ".".join(_OLD_ATTENTION.get(part, part) for part in parts)
    return name


def is_linear_projection(name: str, kind: str | None) -> bool:
    """Whether diffusers stores this weight as a matrix, and older files as a 1x1 convolution."""
    return _may_have(kind, "ldm") and _PROJECTION.search(name) is not None


def _may_have(kind: str | None, spelling: Spelling) -> bool:
    return kind is None or (kind in KINDS and KINDS[kind].former_names == spelling)


def _from_ldm(name: str) -> str:
    for pattern, replacement in _LDM_NAMES:
        name = pattern.sub(replacement, name)
    return name


def _from_wan(name: str) -> str:
    for pattern, replacement in _WAN_NAMES:
        name = pattern.sub(replacement, name)
    return name


def _from_taesd(name: str) -> str:
    return _TAESD_LAYER.sub(r"encoder.layers.\1.", name)


_TRANSLATE: dict[Spelling, Callable[[str], str]] = {
    "diffusers": str,
    "ldm": _from_ldm,
    "wan": _from_wan,
    "taesd": _from_taesd,
}
