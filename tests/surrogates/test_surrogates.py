"""Real diffusers classes at small size, saved and loaded as users have them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from conftest import tiny_kl
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pca_protect import DeviceError, ModelError, UsageError, load_surrogate
from pca_protect.device import resolve_device, resolve_dtype
from pca_protect.surrogates.encoder import Surrogate, reflect_to_multiple
from pca_protect.surrogates.registry import REGISTRY, looks_like_hub_id

WEIGHTS = "diffusion_pytorch_model.safetensors"


def picture(side: int = 64) -> Tensor:
    return torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(1))


def test_only_the_frozen_encoder_stays_in_memory(tiny: Surrogate):
    names = [name for name, _ in tiny.encoder.named_parameters()]
    assert all(name.startswith(("encoder.", "quant_conv.")) for name in names)
    assert not any(parameter.requires_grad for parameter in tiny.encoder.parameters())
    assert not any(module.training for module in tiny.encoder.modules())
    assert not any(parameter.is_meta for parameter in tiny.encoder.parameters())


def test_the_decoder_is_never_read(tmp_path: Path, tiny: Surrogate, tiny_folder: Path):
    (tmp_path / "config.json").write_bytes((tiny_folder / "config.json").read_bytes())
    save_file({k: v for k, v in load_file(tiny_folder / WEIGHTS).items() if "decoder" not in k}, tmp_path / WEIGHTS)
    assert load_surrogate(str(tmp_path), device="cpu").digest == tiny.digest


def test_pipeline_folder(tmp_path: Path, tiny: Surrogate):
    tiny_kl().save_pretrained(tmp_path / "vae")
    assert load_surrogate(str(tmp_path), device="cpu").digest == tiny.digest


OLD_NAMES = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


def test_old_attention_names(tmp_path: Path, tiny: Surrogate):
    tiny_kl().save_pretrained(tmp_path)
    tensors = load_file(tmp_path / WEIGHTS)
    renamed = {}
    for name, tensor in tensors.items():
        for new, old in OLD_NAMES.items():
            name = name.replace(f".{new}.", f".{old}.")
        renamed[name] = tensor
    assert renamed.keys() != tensors.keys()
    save_file(renamed, tmp_path / WEIGHTS)
    assert load_surrogate(str(tmp_path), device="cpu").digest == tiny.digest


def original_names(name: str) -> str:
    """Names of the latent-diffusion code base, written down from a checkpoint's listing."""
    name = re.sub(r"down_blocks\.(\d)\.resnets\.(\d)", r"down.\1.block.\2", name)
    name = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", name)
    name = name.replace("mid_block.resnets.0", "mid.block_1").replace("mid_block.resnets.1", "mid.block_2")
    name = name.replace("mid_block.attentions.0.group_norm", "mid.attn_1.norm")
    for new, old in (("to_q", "q"), ("to_k", "k"), ("to_v", "v"), ("to_out.0", "proj_out")):
        name = name.replace(f"mid_block.attentions.0.{new}", f"mid.attn_1.{old}")
    return name.replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut")


@pytest.mark.parametrize("prefix", ["", "first_stage_model."])
def test_one_file_of_the_original_code_base(tmp_path: Path, tiny: Surrogate, tiny_folder: Path, prefix: str):
    """A bare weights file: original names, attention as 1x1 convolutions, no configuration."""
    tensors = {}
    for name, tensor in load_file(tiny_folder / WEIGHTS).items():
        name = prefix + original_names(name)
        attention = ".attn_1." in name and name.endswith("weight") and tensor.ndim == 2
        tensors[name] = tensor[:, :, None, None].contiguous() if attention else tensor
    save_file(tensors, tmp_path / "vae.safetensors")
    surrogate = load_surrogate(str(tmp_path / "vae.safetensors"), device="cpu")
    assert surrogate.digest == tiny.digest
    x = picture()
    assert torch.equal(surrogate.posterior(x).mean, tiny.posterior(x).mean)


def test_digest_tells_weights_apart_and_not_their_precision(tmp_path: Path, tiny: Surrogate):
    tiny_kl(seed=1).save_pretrained(tmp_path / "other")
    tiny_kl().half().save_pretrained(tmp_path / "half")
    assert load_surrogate(str(tmp_path / "other"), device="cpu").digest != tiny.digest
    assert load_surrogate(str(tmp_path / "half"), device="cpu").digest == tiny.digest


@pytest.mark.parametrize(("height", "width"), [(64, 64), (8, 8), (9, 61), (37, 45), (8, 130)])
def test_any_size_is_extended_by_reflection(tiny: Surrogate, height: int, width: int):
    x = torch.rand(1, 3, height, width, requires_grad=True)
    mean = tiny.posterior(x).mean
    assert mean.shape == (1, 4, -(-height // 8), -(-width // 8))
    mean.square().sum().backward()
    assert x.grad.shape == x.shape
    assert bool((x.grad != 0).any(dim=1).all()), "every pixel has a say"


def test_reflection_repeats_no_edge_and_bounces():
    row = torch.arange(3.0).view(1, 1, 1, 3)
    assert reflect_to_multiple(row, 8).flatten().tolist()[:8] == [0, 1, 2, 1, 0, 1, 2, 1]


BAD = {
    "no weights": (lambda f: (f / WEIGHTS).unlink(), "no diffusion_pytorch_model.safetensors"),
    "only pickled": (lambda f: (f / WEIGHTS).rename(f / "diffusion_pytorch_model.bin"), "pickled"),
    "truncated": (lambda f: (f / WEIGHTS).write_bytes((f / WEIGHTS).read_bytes()[:5000]), "not a readable"),
    "broken config": (lambda f: (f / "config.json").write_text("{"), "not readable as JSON"),
    "other config": (lambda f: edit(f, block_out_channels=[8, 16, 16, 32]), "do not fit the configuration"),
    "impossible config": (lambda f: edit(f, norm_num_groups=7), "is not valid for AutoencoderKL"),
    "other class": (lambda f: edit(f, _class_name="UNet2DModel"), "cannot be a surrogate"),
    "no config": (lambda f: (f / "config.json").unlink(), "no config.json"),
}


def edit(folder: Path, **changes: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


@pytest.mark.parametrize("kind", BAD)
def test_bad_folders_end_in_one_sentence(tmp_path: Path, kind: str):
    tiny_kl().save_pretrained(tmp_path)
    spoil, says = BAD[kind]
    spoil(tmp_path)
    with pytest.raises(ModelError, match=says) as caught:
        load_surrogate(str(tmp_path), device="cpu")
    assert "\n" not in str(caught.value)


def test_bad_files_end_in_one_sentence(tmp_path: Path):
    for name in ("vae.ckpt", "vae.pth"):
        (tmp_path / name).write_bytes(b"\x80\x04")
        with pytest.raises(ModelError, match="pickled weights can run code"):
            load_surrogate(str(tmp_path / name), device="cpu")
    save_file({"unet.weight": torch.zeros(1)}, tmp_path / "unet.safetensors")
    with pytest.raises(ModelError, match="no VAE encoder"):
        load_surrogate(str(tmp_path / "unet.safetensors"), device="cpu")
    save_file({"encoder.weight": torch.zeros(1)}, tmp_path / "odd.safetensors")
    with pytest.raises(ModelError, match="not those of an AutoencoderKL"):
        load_surrogate(str(tmp_path / "odd.safetensors"), device="cpu")
    with pytest.raises(ModelError, match="no such file"):
        load_surrogate(str(tmp_path / "missing.safetensors"), device="cpu")


def test_unknown_names_are_usage_errors_with_a_suggestion():
    with pytest.raises(UsageError, match="did you mean pocket"):
        load_surrogate("poket")


@pytest.mark.parametrize("name", ["sdxl", "sdxl-refiner"])
def test_fp16_is_refused_for_encoders_known_to_overflow(name: str):
    entry = REGISTRY[name]
    with pytest.raises(DeviceError, match="overflows in fp16"):
        resolve_dtype("fp16", torch.device("cuda"), overflows_fp16=entry.overflows_fp16, model=name)
    assert resolve_dtype("bf16", torch.device("cuda"), overflows_fp16=True, model=name) == torch.bfloat16


def test_a_local_sdxl_vae_is_recognised_by_its_scaling_factor(tmp_path: Path):
    tiny_kl().save_pretrained(tmp_path)
    edit(tmp_path, scaling_factor=0.13025, force_upcast=True)
    with pytest.raises(DeviceError, match="overflows in fp16"):
        load_surrogate(str(tmp_path), device="cpu", precision="fp16")


def test_auto_precision_on_the_cpu_is_fp32(tiny: Surrogate):
    assert tiny.dtype == torch.float32
    with pytest.raises(DeviceError, match="fp16 on the CPU"):
        resolve_dtype("fp16", torch.device("cpu"), overflows_fp16=False, model="tiny")


@pytest.mark.usefixtures("bf16_on_any_cpu")
def test_bf16_runs_and_returns_float32(tiny_folder: Path, tiny: Surrogate):
    half = load_surrogate(str(tiny_folder), device="cpu", precision="bf16")
    posterior = half.posterior(picture())
    assert posterior.mean.dtype == torch.float32
    distance = (posterior.mean - tiny.posterior(picture()).mean).norm() / tiny.posterior(picture()).mean.norm()
    assert 0 < float(distance) < 0.05


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_a_missing_device_is_said():
    with pytest.raises(DeviceError, match="device cuda is not available") as caught:
        resolve_device("cuda")
    assert caught.value.exit_code == 3


def test_the_registry_is_complete_and_consistent():
    assert {"pocket", "sd", "sd14", "sd15", "sd21", "sdxl", "sdxl-refiner", "sd3", "sd35"} <= REGISTRY.keys()
    assert {"flux1", "flux2", "qwen-image", "z-image", "sana", "taesd", "taesdxl", "taesd3", "taef1"} <= REGISTRY.keys()
    assert {"qwen-image-2.1", "cogview4", "sana-1.1"} <= REGISTRY.keys()
    for name, entry in REGISTRY.items():
        assert entry.name == name
        assert not set(entry.covers) & set(entry.covers_unverified)
        assert entry.covers or entry.covers_unverified or entry.note or entry.embedded
        assert entry.gated or not entry.ungated_copy
        assert all(looks_like_hub_id(other) and other != entry.repo_id for other in entry.also_at)
        assert entry.encoder_megabytes < entry.whole_megabytes
        assert entry.licence
        assert entry.embedded or entry.repo_id.count("/") == 1


def test_a_device_without_room_for_the_weights_is_a_sentence(monkeypatch: pytest.MonkeyPatch):
    """The device's own error, raised where the device would raise it."""

    def full(module: nn.Module, *where: object, **how: object) -> nn.Module:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(nn.Module, "to", full)
    with pytest.raises(DeviceError, match=r"^pocket: cpu has no memory for its weights; give fewer or smaller VAEs"):
        load_surrogate("pocket", device="cpu")
