"""Encoder weights from safetensors files, the configuration that their shapes imply, and their digest.

Reads only tensors of the encoder and of `quant_conv`; the decoder stays on disk. Never unpickles.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from pca_protect.errors import ModelError, first_line, quoted
from pca_protect.surrogates.names import bare_names, is_linear_projection, spelling_of, translated
from pca_protect.surrogates.registry import PICKLED

_LFS_POINTER = b"version https://git-lfs"

_NAME_CHARACTERS = 90
"""Longest tensor name in a message, in characters."""

_STORAGE_RELATIVE = 2.0**-7
"""Relative tolerance for two roundings of one value to bf16 (at most 2^-8), fp16 or fp32, with a margin of 2."""
_STORAGE_ABSOLUTE = 2.0**-24
"""Absolute tolerance: the smallest subnormal of fp16, whose exponent range is smaller than that of bf16."""


def read_encoder(weights: Sequence[Path], kind: str | None) -> dict[str, Tensor]:
    """Tensors of `encoder.*` and `quant_conv.*` under diffusers names, in the precision they were saved in.

    Args:
        weights: one file, or the shards of one model.
        kind: diffusers class named by the configuration; None for a bare file. Names are translated, and attention
            weights reshaped, only for classes that were published in other forms.

    Raises:
        ModelError: a file is pickled or damaged, or there is no encoder.
    """
    saved = {file: _tensor_names(file) for file in weights}
    names = {name: (file, saved_name) for file in weights for name, saved_name in bare_names(saved[file]).items()}
    spelling = spelling_of(names.keys(), kind)
    tensors: dict[str, Tensor] = {}
    for file in weights:
        with safe_open(file, framework="pt") as opened:
            for name, (source, saved_name) in names.items():
                diffusers_name = translated(name, spelling, kind)
                if source != file or diffusers_name is None:
                    continue
                tensor = opened.get_tensor(saved_name)
                squeeze = tensor.ndim == 4 and is_linear_projection(diffusers_name, kind)
                tensors[diffusers_name] = tensor[:, :, 0, 0] if squeeze else tensor
    if not any(name.startswith("encoder.") for name in tensors):
        raise ModelError(
            f"{weights[0]}: contains no VAE encoder (no tensor named encoder.*), at most a decoder; give the VAE's own file"
        )
    return tensors


def misfit(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> str:
    """The first difference in names or shapes, for messages; empty if there is none."""
    for name, tensor in expected.items():
        if name not in found:
            missing = len(expected.keys() - found.keys())
            return f"no tensor {quoted(name, _NAME_CHARACTERS)}" + (f" and {missing - 1} more" if missing > 1 else "")
        if found[name].shape != tensor.shape:
            shape = quoted(str(tuple(found[name].shape)), 40)
            return f"{quoted(name, _NAME_CHARACTERS)} is {shape}, not {tuple(tensor.shape)}"
    unexpected = [name for name in found if name not in expected]
    return f"unknown tensor {quoted(unexpected[0], _NAME_CHARACTERS)}" if unexpected else ""


def infer_config(tensors: Mapping[str, Tensor], path: Path) -> dict[str, Any]:
    """The diffusers class and configuration that a bare weights file implies, from the names and shapes of its tensors:
    AutoencoderKL, AutoencoderKLFlux2, AutoencoderKLQwenImage (which has the encoder of AutoencoderKLWan), AutoencoderTiny.

    Raises:
        ModelError: the tensors match none of these classes.
    """
    for infer in (_stable_diffusion, _wan, _taesd):
        config = infer(tensors)
        if config is not None:
            return config
    raise ModelError(
        f"{path}: its tensors are not those of an AutoencoderKL, Qwen-Image, Wan 2.1 or TAESD encoder, and no config.json "
        "of a VAE describes it; give the whole diffusers folder"
    )


def digest(tensors: Mapping[str, Tensor]) -> str:
    """Hex SHA-256 of names, shapes and values rounded to fp16: identifies an encoder in records and journals.

    The fp32 and the fp16 file of one encoder have the same digest, the bf16 file has another. No useful hash is equal for all
    three: it would be constant within each rounding interval of fp16 and of bf16, and since the border of two bf16 intervals
    is an fp16 number, inside an fp16 interval, it would be constant everywhere. Encoders given together are compared with
    `same_weights` instead.
    """
    sha = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        sha.update(f"{name}{tuple(tensor.shape)}".encode())
        sha.update(tensor.detach().to("cpu", torch.float16).contiguous().numpy().tobytes())
    return sha.hexdigest()


def same_weights(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    """Whether two encoders are equal up to their storage precision (fp32, fp16, bf16): every value is within 2^-7 of the
    other's. Fine-tuning changes small weights by more than that."""
    if {name: tensor.shape for name, tensor in one.items()} != {name: tensor.shape for name, tensor in other.items()}:
        return False
    return all(
        torch.allclose(
            tensor.detach().float(),
            other[name].detach().to(tensor.device, torch.float32),
            rtol=_STORAGE_RELATIVE,
            atol=_STORAGE_ABSOLUTE,
        )
        for name, tensor in one.items()
    )


def _tensor_names(path: Path) -> list[str]:
    if path.suffix.lower() in PICKLED:
        raise ModelError(
            f"{path}: pickled weights can run code when they are loaded and are refused; convert the file to .safetensors"
        )
    if path.suffix.lower() == ".gguf":
        raise ModelError(f"{path}: GGUF files are not supported; give the VAE as a .safetensors file")
    try:
        with path.open("rb") as file:
            if file.read(len(_LFS_POINTER)) == _LFS_POINTER:
                raise ModelError(
                    f"{path}: is a Git LFS pointer and not the weights; run `git lfs pull` in its repository"
                )
        with safe_open(path, framework="pt") as opened:
            return list(opened.keys())
    except OSError as error:
        reason = error.strerror or first_line(error)
        raise ModelError(f"{path}: cannot be read ({reason}); check the file and its permissions") from error
    except SafetensorError as error:
        reason = quoted(first_line(error), 80)
        where = path.resolve()  # of a download the file, not the link: the hub's cache would restore a deleted link
        raise ModelError(
            f"{where}: not a readable safetensors file ({reason}); delete it, then download or copy it again"
        ) from error


def _stable_diffusion(tensors: Mapping[str, Tensor]) -> dict[str, Any] | None:
    widths: list[int] = []
    while shape := _shape(tensors, f"encoder.down_blocks.{len(widths)}.resnets.0.conv1.weight", 4):
        widths.append(shape[0])
    layers = 0
    while f"encoder.down_blocks.0.resnets.{layers}.conv1.weight" in tensors:
        layers += 1
    first, last = _shape(tensors, "encoder.conv_in.weight", 4), _shape(tensors, "encoder.conv_out.weight", 4)
    if not first or not last or last[0] % 2 or not widths:
        return None
    latent_channels = last[0] // 2
    has_quant_conv = "quant_conv.weight" in tensors
    return {
        # Both classes have the same encoder; 32 latent channels identify FLUX.2.
        "_class_name": "AutoencoderKLFlux2" if latent_channels == 32 and has_quant_conv else "AutoencoderKL",
        "in_channels": first[1],
        "block_out_channels": widths,
        "down_block_types": ["DownEncoderBlock2D"] * len(widths),
        "up_block_types": ["UpDecoderBlock2D"] * len(widths),
        "layers_per_block": layers,
        "latent_channels": latent_channels,
        "use_quant_conv": has_quant_conv,
        "use_post_quant_conv": has_quant_conv,
        "mid_block_add_attention": "encoder.mid_block.attentions.0.to_q.weight" in tensors,
        # No shape implies it: 32 in every published model whose widths allow it.
        "norm_num_groups": 32 if all(width % 32 == 0 for width in widths) else 8,
    }


def _wan(tensors: Mapping[str, Tensor]) -> dict[str, Any] | None:
    """The down blocks are one list: residual blocks, with a resampling block between stages."""
    first, last = _shape(tensors, "encoder.conv_in.weight", 5), _shape(tensors, "encoder.conv_out.weight", 5)
    if not first or not last or last[0] % 2:
        return None
    stages: list[list[int]] = [[]]
    through_time: list[bool] = []
    index = 0
    while True:
        block = f"encoder.down_blocks.{index}"
        if shape := _shape(tensors, f"{block}.conv1.weight", 5):
            stages[-1].append(shape[0])
        elif f"{block}.resample.1.weight" in tensors:
            stages.append([])
            through_time.append(f"{block}.time_conv.weight" in tensors)
        else:
            break
        index += 1
    base = first[0]
    depth = len(stages[0])
    if any(len(stage) != depth or len(set(stage)) != 1 or stage[0] % base for stage in stages):
        return None
    return {
        "_class_name": "AutoencoderKLQwenImage",
        "base_dim": base,
        "z_dim": last[0] // 2,
        "dim_mult": [stage[0] // base for stage in stages],
        "num_res_blocks": depth,
        "temperal_downsample": through_time,
        "input_channels": first[1],
    }


def _taesd(tensors: Mapping[str, Tensor]) -> dict[str, Any] | None:
    """The layers are one list: each stage is a convolution, from the second stage on with stride 2 and without bias, followed by
    blocks. A convolution follows the last stage."""
    widths: list[int] = []
    blocks: list[int] = []
    index = 0
    while True:
        layer = f"encoder.layers.{index}"
        shape = _shape(tensors, f"{layer}.weight", 4)
        if f"{layer}.conv.0.weight" in tensors and widths:
            blocks[-1] += 1
        elif shape and (index == 0 or f"{layer}.bias" not in tensors):
            widths.append(shape[0])
            blocks.append(0)
        else:
            break
        index += 1
    last = _shape(tensors, f"encoder.layers.{index}.weight", 4)
    if not last or not widths:
        return None
    return {
        "_class_name": "AutoencoderTiny",
        "in_channels": tensors["encoder.layers.0.weight"].shape[1],
        "encoder_block_out_channels": widths,
        "num_encoder_blocks": blocks,
        "latent_channels": last[0],
    }


def _shape(tensors: Mapping[str, Tensor], name: str, dimensions: int) -> tuple[int, ...]:
    """Shape of a non-empty tensor with this number of dimensions; an empty tuple if there is no such tensor."""
    tensor = tensors.get(name)
    return () if tensor is None or tensor.ndim != dimensions or 0 in tensor.shape else tuple(tensor.shape)
