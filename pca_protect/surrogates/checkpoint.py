"""Encoder weights out of safetensors files, whatever names their publisher gave the tensors.

Only tensors of the encoder and of `quant_conv` are ever read; the decoder stays on disk. Nothing here unpickles.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from pca_protect.errors import ModelError
from pca_protect.surrogates.kinds import KINDS
from pca_protect.surrogates.registry import PICKLED

_OLD_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
"""Attention weights of VAEs saved before diffusers 0.13."""

# The original latent-diffusion names -> diffusers names, for the encoder.
_LDM_NAMES = (
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
"""In every latent-diffusion file, and in no diffusers one: other kinds use some of the names above in their own sense."""

_PROJECTION = re.compile(r"\.attentions\.\d+\.(to_[qkv]|to_out\.0)\.weight$")
_PREFIXES = ("first_stage_model.", "vae.")


def read_encoder(path: Path, kind: str | None) -> dict[str, Tensor]:
    """Tensors of `encoder.*` and `quant_conv.*` under today's diffusers names, in the precision they were saved in.

    Args:
        kind: the diffusers class that the configuration names; None for a file without a configuration. Former names and
            shapes are translated only for classes that have had some, see `Kind.has_former_names`.

    Raises:
        ModelError: pickled, damaged, or without an encoder.
    """
    if path.suffix.lower() in PICKLED:
        raise ModelError(
            f"{path}: pickled weights can run code when they are loaded and are refused; convert the file to .safetensors"
        )
    translates = kind is None or KINDS[kind].has_former_names
    tensors: dict[str, Tensor] = {}
    try:
        with safe_open(path, framework="pt") as file:
            saved_names = {_bare(name): name for name in file.keys()}  # noqa: SIM118 - the handle is no mapping
            is_ldm = any(name.startswith(_LDM_MARK) for name in saved_names)
            for name, saved_name in saved_names.items():
                if name.startswith(("encoder.", "quant_conv.")):
                    tensor = file.get_tensor(saved_name)
                    if translates:
                        name = _today(name, is_ldm=is_ldm)
                        tensor = _as_linear(name, tensor)
                    tensors[name] = tensor
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path}: not a readable safetensors file ({error}); download or copy it again") from error
    if not any(name.startswith("encoder.") for name in tensors):
        raise ModelError(f"{path}: holds no VAE encoder (no tensor named encoder.*); give the VAE's own file")
    return tensors


def infer_config(tensors: dict[str, Tensor], path: Path) -> dict[str, Any]:
    """The AutoencoderKL configuration that a bare weights file implies, from the shapes of its tensors.

    Raises:
        ModelError: the tensors are not those of an AutoencoderKL encoder.
    """
    try:
        widths: list[int] = []
        while (weight := tensors.get(f"encoder.down_blocks.{len(widths)}.resnets.0.conv1.weight")) is not None:
            widths.append(weight.shape[0])
        layers = 0
        while f"encoder.down_blocks.0.resnets.{layers}.conv1.weight" in tensors:
            layers += 1
        moments = tensors["encoder.conv_out.weight"].shape[0]
        if not widths or layers == 0 or moments % 2:
            raise KeyError("encoder.down_blocks")
    except KeyError as error:
        raise ModelError(
            f"{path}: its tensors are not those of an AutoencoderKL and no config.json lies beside it; give the whole "
            "diffusers folder"
        ) from error
    return {
        "_class_name": "AutoencoderKL",
        "block_out_channels": widths,
        "down_block_types": ["DownEncoderBlock2D"] * len(widths),
        "up_block_types": ["UpDecoderBlock2D"] * len(widths),
        "layers_per_block": layers,
        "latent_channels": moments // 2,
        "use_quant_conv": "quant_conv.weight" in tensors,
        "use_post_quant_conv": "quant_conv.weight" in tensors,
        "mid_block_add_attention": "encoder.mid_block.attentions.0.to_q.weight" in tensors,
        # Not visible in any shape; 32 in every published model, fewer only where the widths do not allow it.
        "norm_num_groups": 32 if all(width % 32 == 0 for width in widths) else 8,
    }


def digest(tensors: dict[str, Tensor]) -> str:
    """SHA-256 in hex over names, shapes and values rounded to fp16, so that the fp16 variant of a file counts as the
    same encoder. Two surrogates are distinct encoders exactly if their digests differ."""
    sha = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        sha.update(f"{name}{tuple(tensor.shape)}".encode())
        sha.update(tensor.detach().to("cpu", torch.float16).contiguous().numpy().tobytes())
    return sha.hexdigest()


def _bare(name: str) -> str:
    for prefix in _PREFIXES:
        if name.startswith(prefix):
            return name.removeprefix(prefix)
    return name


def _today(name: str, *, is_ldm: bool) -> str:
    if is_ldm:
        for pattern, replacement in _LDM_NAMES:
            name = pattern.sub(replacement, name)
    parts = name.split(".")
    if "attentions" in parts:
        parts = [_OLD_ATTENTION.get(part, part) for part in parts]
    return ".".join(parts)


def _as_linear(name: str, tensor: Tensor) -> Tensor:
    """Attention projections were 1x1 convolutions once."""
    return tensor[:, :, 0, 0] if tensor.ndim == 4 and _PROJECTION.search(name) else tensor
