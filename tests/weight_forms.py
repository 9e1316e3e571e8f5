"""Every form in which people have the files of a VAE.

Names of other code bases are written down here from listings of published checkpoints, and not inverted from the program.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path

import torch
from diffusers import ModelMixin
from safetensors.torch import load_file, save_file
from tiny_vaes import TINY
from torch import Tensor, nn

WEIGHTS = "diffusion_pytorch_model.safetensors"
INDEX = f"{WEIGHTS}.index.json"

Form = Callable[[ModelMixin, Path], Path]
"""Writes the files of a VAE into a folder that does not exist yet and returns what is given to `--vae`."""


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
    vae.save_pretrained(at, max_shard_size=_bytes_of(vae) // 4)
    assert len(list(at.glob("*-of-*"))) > 1
    return at


def sharded_variant(vae: ModelMixin, at: Path) -> Path:
    half = nn.Module.to(copy.deepcopy(vae), torch.float16)
    half.save_pretrained(at, max_shard_size=_bytes_of(half) // 4, variant="fp16")
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


def _bytes_of(vae: ModelMixin) -> int:
    return sum(tensor.nbytes for tensor in vae.state_dict().values())


def _tensors(vae: ModelMixin) -> dict[str, Tensor]:
    return {name: tensor.contiguous() for name, tensor in vae.state_dict().items()}


def _bare(tensors: dict[str, Tensor], path: Path) -> Path:
    path.parent.mkdir(exist_ok=True, parents=True)
    save_file(tensors, path)
    return path


def diffusers_names(vae: ModelMixin, at: Path) -> Path:
    return _bare(_tensors(vae), at / "any-name.safetensors")


def publishers_names(vae: ModelMixin, at: Path) -> Path:
    return _bare(published(vae), at / "any-name.safetensors")


def full_checkpoint(vae: ModelMixin, at: Path) -> Path:
    tensors = {f"first_stage_model.{name}": tensor for name, tensor in whole_published(vae).items()}
    return _bare({**tensors, "model.diffusion_model.out.weight": torch.zeros(1)}, at / "model.safetensors")


def all_in_one(vae: ModelMixin, at: Path) -> Path:
    tensors = {f"vae.{name}": tensor for name, tensor in whole_published(vae).items()}
    others = {"text_encoders.t5.encoder.block.0.weight": torch.zeros(1), "encoder.embed.weight": torch.zeros(1)}
    return _bare({**tensors, **others}, at / "model.safetensors")


def with_decoder(vae: ModelMixin, at: Path) -> Path:
    """TAESD's encoder and decoder in one file, each a `Sequential`."""
    tensors = {
        re.sub(r"^(encoder|decoder)\.layers\.", r"taesd_\1.", name): tensor for name, tensor in _tensors(vae).items()
    }
    return _bare(tensors, at / "taesd.safetensors")


def beside_foreign_config(vae: ModelMixin, at: Path) -> Path:
    path = publishers_names(vae, at)
    (at / "config.json").write_text(json.dumps({"architectures": ["CLIPModel"], "model_type": "clip"}))
    return path


def published(vae: ModelMixin) -> dict[str, Tensor]:
    """Tensors as the code base names them that the kind comes from."""
    tensors = _tensors(vae)
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
    if kind == "AutoencoderTiny":  # two files; this is the encoder's
        start = "encoder.layers."
        return {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}
    return {_wan_original(name): tensor for name, tensor in tensors.items()}


def whole_published(vae: ModelMixin) -> dict[str, Tensor]:
    """The same with the decoder; of TAESD as its own class names them, which has an encoder and a decoder."""
    if type(vae).__name__ != "AutoencoderTiny":
        return published(vae)
    return {_taesd_original(name): tensor for name, tensor in _tensors(vae).items()}


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


WITH_CONFIG: dict[str, Form] = {
    "diffusers folder": folder,
    "pipeline folder with `vae/`": pipeline,
    "folder, fp16 variant": variant("fp16", torch.float16),
    "folder, bf16 variant": variant("bf16", torch.bfloat16),
    "folder, variant of another name": variant("ema", torch.float32),
    "folder, sharded": sharded,
    "folder, sharded fp16 variant": sharded_variant,
    "index of shards": index_itself,
    "folder with `config.json` and `vae.safetensors`": renamed_with_config,
}
WITHOUT_CONFIG: dict[str, Form] = {
    "folder with nothing but `vae.safetensors`": renamed_alone,
    "single file, names of diffusers": diffusers_names,
}
PUBLISHERS_NAMES: dict[str, Form] = {
    "single file, names of the publisher": publishers_names,
    "single file beside another model's `config.json`": beside_foreign_config,
}
IN_A_CHECKPOINT: dict[str, Form] = {
    "full checkpoint (`first_stage_model.*`)": full_checkpoint,
    "all-in-one file (`vae.*`)": all_in_one,
    "TAESD's encoder and decoder in one file": with_decoder,
}
GROUPS: dict[str, dict[str, Form]] = {
    "with `config.json`": WITH_CONFIG,
    "without it": WITHOUT_CONFIG,
    "publisher's names": PUBLISHERS_NAMES,
    "in a checkpoint": IN_A_CHECKPOINT,
}
"""Forms of which a VAE is loaded from all or from none."""

WORKING: dict[str, Form] = {form: write for group in GROUPS.values() for form, write in group.items()}

PUBLISHED = (
    *("AutoencoderKL", "AutoencoderKLFlux2", "AutoencoderKLQwenImage", "AutoencoderKLQwenImage RGBA"),
    *("AutoencoderKLWan", "AutoencoderTiny"),
)
"""VAEs of which safetensors files under other names than those of diffusers are common."""


def is_published_in(form: str, name: str) -> bool:
    """Whether people have the VAE `name` of `TINY` in this form."""
    if form == "TAESD's encoder and decoder in one file":
        return name == "AutoencoderTiny"
    return name in PUBLISHED if form in PUBLISHERS_NAMES or form in IN_A_CHECKPOINT else name in TINY


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
    tensors = {name: tensor for name, tensor in _tensors(vae).items() if name.startswith("decoder.")}
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
