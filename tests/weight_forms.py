"""One small VAE of every kind, and every form in which people have its files.

Names of other code bases are written down here from listings of published checkpoints, and not inverted from the program.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path

import torch
from conftest import tiny_kl
from diffusers import (
    AutoencoderDC,
    AutoencoderKLFlux2,
    AutoencoderKLQwenImage,
    AutoencoderKLWan,
    AutoencoderTiny,
    ModelMixin,
)
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

WEIGHTS = "diffusion_pytorch_model.safetensors"
INDEX = f"{WEIGHTS}.index.json"

Form = Callable[[ModelMixin, Path], Path]
"""Writes the files of a VAE into an empty folder and returns what is given to `--vae`."""


def _flux2() -> AutoencoderKLFlux2:
    return AutoencoderKLFlux2(block_out_channels=(8, 16, 16, 16), norm_num_groups=8)


def _qwen() -> AutoencoderKLQwenImage:
    return AutoencoderKLQwenImage(base_dim=8, z_dim=4, dim_mult=[1, 2, 2, 4], num_res_blocks=1)


def _wan() -> AutoencoderKLWan:
    return AutoencoderKLWan(
        base_dim=8, z_dim=4, dim_mult=[1, 2, 4], num_res_blocks=2, temperal_downsample=[False, True]
    )


def _tiny() -> AutoencoderTiny:
    return AutoencoderTiny(
        encoder_block_out_channels=(8, 8, 8, 8),
        decoder_block_out_channels=(8, 8, 8, 8),
        num_encoder_blocks=(1, 2, 1, 2),
        num_decoder_blocks=(1, 1, 1, 1),
    )


def _dc() -> AutoencoderDC:
    return AutoencoderDC(
        latent_channels=8,
        encoder_block_types="ResBlock",
        decoder_block_types="ResBlock",
        encoder_block_out_channels=(8, 8, 16),
        decoder_block_out_channels=(8, 8, 16),
        encoder_layers_per_block=(1, 1, 1),
        decoder_layers_per_block=(1, 1, 1),
        encoder_qkv_multiscales=((), (), ()),
        decoder_qkv_multiscales=((), (), ()),
    )


KINDS: dict[str, Callable[[], ModelMixin]] = {
    "AutoencoderKL": tiny_kl,
    "AutoencoderKLFlux2": _flux2,
    "AutoencoderKLQwenImage": _qwen,
    "AutoencoderKLWan": _wan,
    "AutoencoderTiny": _tiny,
    "AutoencoderDC": _dc,
}


def small_vae(kind: str) -> ModelMixin:
    torch.manual_seed(0)
    return KINDS[kind]().eval()


# --- forms that work ------------------------------------------------------------------------------------------------


def folder(vae: ModelMixin, at: Path) -> Path:
    vae.save_pretrained(at)
    return at


def pipeline(vae: ModelMixin, at: Path) -> Path:
    vae.save_pretrained(at / "vae")
    return at


def variant(name: str, dtype: torch.dtype) -> Form:
    def write(vae: ModelMixin, at: Path) -> Path:
        nn.Module.to(copy.deepcopy(vae), dtype).save_pretrained(at, variant=name)
        return at

    return write


def sharded(vae: ModelMixin, at: Path) -> Path:
    vae.save_pretrained(at, max_shard_size="20KB")
    assert len(list(at.glob("*-of-*"))) > 1
    return at


def sharded_variant(vae: ModelMixin, at: Path) -> Path:
    nn.Module.to(copy.deepcopy(vae), torch.float16).save_pretrained(at, max_shard_size="10KB", variant="fp16")
    assert (at / f"{WEIGHTS}.index.fp16.json").is_file()
    return at


def index_itself(vae: ModelMixin, at: Path) -> Path:
    return sharded(vae, at) / INDEX


def renamed_with_config(vae: ModelMixin, at: Path) -> Path:
    vae.save_pretrained(at)
    (at / WEIGHTS).rename(at / "vae.safetensors")
    return at


def renamed_alone(vae: ModelMixin, at: Path) -> Path:
    (renamed_with_config(vae, at) / "config.json").unlink()
    return at


def _tensors(vae: ModelMixin, at: Path) -> dict[str, Tensor]:
    scratch = at.parent / f"{at.name}-scratch"
    vae.save_pretrained(scratch)
    return load_file(scratch / WEIGHTS)


def _bare(tensors: dict[str, Tensor], path: Path) -> Path:
    path.parent.mkdir(exist_ok=True, parents=True)
    save_file(tensors, path)
    return path


def diffusers_names(vae: ModelMixin, at: Path) -> Path:
    return _bare(_tensors(vae, at), at / "any-name.safetensors")


def publishers_names(vae: ModelMixin, at: Path) -> Path:
    return _bare(published(vae, at), at / "any-name.safetensors")


def full_checkpoint(vae: ModelMixin, at: Path) -> Path:
    tensors = {f"first_stage_model.{name}": tensor for name, tensor in whole_published(vae, at).items()}
    return _bare({**tensors, "model.diffusion_model.out.weight": torch.zeros(1)}, at / "model.safetensors")


def all_in_one(vae: ModelMixin, at: Path) -> Path:
    tensors = {f"vae.{name}": tensor for name, tensor in whole_published(vae, at).items()}
    others = {"text_encoders.t5.encoder.block.0.weight": torch.zeros(1), "encoder.embed.weight": torch.zeros(1)}
    return _bare({**tensors, **others}, at / "model.safetensors")


def with_decoder(vae: ModelMixin, at: Path) -> Path:
    """TAESD's encoder and decoder in one file, each a `Sequential`."""
    tensors = {
        re.sub(r"^(encoder|decoder)\.layers\.", r"taesd_\1.", name): tensor
        for name, tensor in _tensors(vae, at).items()
    }
    return _bare(tensors, at / "taesd.safetensors")


def beside_foreign_config(vae: ModelMixin, at: Path) -> Path:
    path = publishers_names(vae, at)
    (at / "config.json").write_text(json.dumps({"architectures": ["CLIPModel"], "model_type": "clip"}))
    return path


def published(vae: ModelMixin, at: Path) -> dict[str, Tensor]:
    """Tensors as the code base names them that the kind comes from; DC-AE's are taken as diffusers has them."""
    tensors = _tensors(vae, at)
    kind = type(vae).__name__
    if kind in ("AutoencoderKL", "AutoencoderKLFlux2"):
        renamed = {_ldm(name): tensor for name, tensor in tensors.items()}
        if kind == "AutoencoderKLFlux2":
            renamed = {re.sub(r"^quant_conv", "encoder.quant_conv", name): tensor for name, tensor in renamed.items()}
            renamed = {re.sub(r"^post_quant", "decoder.post_quant", name): tensor for name, tensor in renamed.items()}
        return {
            name: tensor[:, :, None, None].contiguous() if ".attn_1." in name and tensor.ndim == 2 else tensor
            for name, tensor in renamed.items()
        }
    if kind in ("AutoencoderKLQwenImage", "AutoencoderKLWan"):
        return {_wan_original(name): tensor for name, tensor in tensors.items()}
    if kind == "AutoencoderTiny":  # two files; this is the encoder's
        start = "encoder.layers."
        return {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}
    return tensors


def whole_published(vae: ModelMixin, at: Path) -> dict[str, Tensor]:
    """The same with the decoder; of TAESD as its own class names them, which has an encoder and a decoder."""
    if type(vae).__name__ != "AutoencoderTiny":
        return published(vae, at)
    return {_taesd_original(name): tensor for name, tensor in _tensors(vae, at).items()}


def _ldm(name: str) -> str:
    name = re.sub(r"down_blocks\.(\d)\.resnets\.(\d)", r"down.\1.block.\2", name)
    name = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", name)
    name = name.replace("mid_block.resnets.0", "mid.block_1").replace("mid_block.resnets.1", "mid.block_2")
    name = name.replace("mid_block.attentions.0.group_norm", "mid.attn_1.norm")
    for new, old in (("to_q", "q"), ("to_k", "k"), ("to_v", "v"), ("to_out.0", "proj_out")):
        name = name.replace(f"mid_block.attentions.0.{new}", f"mid.attn_1.{old}")
    return name.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")


def _taesd_original(name: str) -> str:
    """The decoder's first layer has no weights, and diffusers does not count it."""
    part, _, number, *rest = name.split(".")
    return ".".join([part, str(int(number) + (part == "decoder")), *rest])


def _wan_original(name: str) -> str:
    """Of the encoder; the decoder's names only have to be others."""
    for new, old in (
        ("post_quant_conv", "conv2"),
        ("quant_conv", "conv1"),
        ("conv_in", "conv1"),
        ("norm_out", "head.0"),
        ("conv_out", "head.2"),
        ("down_blocks", "downsamples"),
        ("up_blocks", "upsamples"),
        ("mid_block.attentions.0", "middle.1"),
        ("mid_block.resnets.0", "middle.0"),
        ("mid_block.resnets.1", "middle.2"),
        ("conv_shortcut", "shortcut"),
    ):
        name = name.replace(new, old)
    if re.search(r"(downsamples|upsamples|middle)\.", name):
        for new, old in (("norm1", "0"), ("conv1", "2"), ("norm2", "3"), ("conv2", "6")):
            name = re.sub(rf"\.{new}\.(?=\w+$)", f".residual.{old}.", name)
    return name


WORKING: dict[str, Form] = {
    "diffusers folder": folder,
    "pipeline folder with `vae/`": pipeline,
    "folder, fp16 variant": variant("fp16", torch.float16),
    "folder, bf16 variant": variant("bf16", torch.bfloat16),
    "folder, variant of another name": variant("ema", torch.float32),
    "folder, sharded": sharded,
    "folder, sharded fp16 variant": sharded_variant,
    "index of shards": index_itself,
    "folder with `config.json` and `vae.safetensors`": renamed_with_config,
    "folder with nothing but `vae.safetensors`": renamed_alone,
    "single file, names of diffusers": diffusers_names,
    "single file, names of the publisher": publishers_names,
    "single file beside another model's `config.json`": beside_foreign_config,
    "full checkpoint (`first_stage_model.*`)": full_checkpoint,
    "all-in-one file (`vae.*`)": all_in_one,
    "TAESD's encoder and decoder in one file": with_decoder,
}

ONLY_FOR = {"TAESD's encoder and decoder in one file": ("AutoencoderTiny",)}


# --- forms that are refused -----------------------------------------------------------------------------------------


def lfs_pointer(vae: ModelMixin, at: Path) -> Path:
    vae.save_pretrained(at)
    (at / WEIGHTS).write_text(f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 334643268\n")
    return at


def gguf(vae: ModelMixin, at: Path) -> Path:
    at.mkdir()
    (at / "vae.gguf").write_bytes(b"GGUF\x03")
    return at / "vae.gguf"


def pickled(vae: ModelMixin, at: Path) -> Path:
    at.mkdir()
    torch.save({"encoder.conv_in.weight": torch.zeros(1)}, at / "vae.pth")
    return at / "vae.pth"


def pickled_folder(vae: ModelMixin, at: Path) -> Path:
    vae.save_pretrained(at, safe_serialization=False)
    return at


def truncated(vae: ModelMixin, at: Path) -> Path:
    vae.save_pretrained(at)
    _halve(at / WEIGHTS)
    return at


def half_a_shard(vae: ModelMixin, at: Path) -> Path:
    _halve(_encoders_shard(sharded(vae, at)))
    return at


def shard_missing(vae: ModelMixin, at: Path) -> Path:
    _encoders_shard(sharded(vae, at)).unlink()
    return at


def one_shard(vae: ModelMixin, at: Path) -> Path:
    return _encoders_shard(sharded(vae, at))


def shards_without_index(vae: ModelMixin, at: Path) -> Path:
    (sharded(vae, at) / INDEX).unlink()
    return at


def damaged_index(vae: ModelMixin, at: Path) -> Path:
    _halve(sharded(vae, at) / INDEX)
    return at


def index_out_of_folder(vae: ModelMixin, at: Path) -> Path:
    (sharded(vae, at) / INDEX).write_text(json.dumps({"weight_map": {"encoder.a": "../../other.safetensors"}}))
    return at


def wrong_shape(vae: ModelMixin, at: Path) -> Path:
    return _changed(vae, at, lambda tensors, name: tensors.update({name: torch.zeros(3, 3)}))


def tensor_missing(vae: ModelMixin, at: Path) -> Path:
    return _changed(vae, at, lambda tensors, name: tensors.pop(name))


def tensor_too_many(vae: ModelMixin, at: Path) -> Path:
    return _changed(vae, at, lambda tensors, name: tensors.update({"encoder.extra.weight": torch.zeros(3)}))


def other_network(vae: ModelMixin, at: Path) -> Path:
    """A text encoder has tensors named encoder.* too."""
    return _bare({"encoder.block.0.layer.0.SelfAttention.q.weight": torch.zeros(4, 4)}, at / "t5.safetensors")


def decoder_alone(vae: ModelMixin, at: Path) -> Path:
    tensors = {name: tensor for name, tensor in _tensors(vae, at).items() if name.startswith("decoder.")}
    if type(vae).__name__ == "AutoencoderTiny":
        tensors = {_taesd_original(name).removeprefix("decoder."): tensor for name, tensor in tensors.items()}
    return _bare(tensors, at / "decoder.safetensors")


def several_files(vae: ModelMixin, at: Path) -> Path:
    vae.save_pretrained(at)
    (at / WEIGHTS).rename(at / "one.safetensors")
    (at / "two.safetensors").write_bytes(b"")
    return at


def _halve(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def _encoders_shard(at: Path) -> Path:
    named = json.loads((at / INDEX).read_text())["weight_map"]
    return at / next(shard for name, shard in named.items() if name.startswith("encoder."))


def _changed(vae: ModelMixin, at: Path, change: Callable[[dict[str, Tensor], str], object]) -> Path:
    vae.save_pretrained(at)
    tensors = load_file(at / WEIGHTS)
    change(tensors, next(name for name in sorted(tensors) if name.startswith("encoder.") and name.endswith("weight")))
    save_file(tensors, at / WEIGHTS)
    return at


REFUSED: dict[str, Form] = {
    "Git LFS pointer": lfs_pointer,
    "`.gguf`": gguf,
    "pickle (`.pth`, `.ckpt`, `.bin`)": pickled,
    "folder with pickled weights": pickled_folder,
    "truncated file": truncated,
    "half a shard missing": half_a_shard,
    "shard named in the index missing": shard_missing,
    "one shard by itself": one_shard,
    "shards without an index": shards_without_index,
    "damaged index": damaged_index,
    "index that leads out of its folder": index_out_of_folder,
    "tensor of the wrong shape": wrong_shape,
    "tensor missing": tensor_missing,
    "tensor that the configuration has no place for": tensor_too_many,
    "another network's file": other_network,
    "decoder without its encoder": decoder_alone,
    "several files to choose from": several_files,
}
