"""The KL encoder without diffusers: its moments and gradients are diffusers' to the bit, or diffusers' class is taken."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import tiny_kl
from diffusers import AutoencoderKL, AutoencoderKLFlux2
from diffusers.models.autoencoders.vae import Encoder as DiffusersEncoder
from encoder_values import moments_and_gradient, plain_encoder
from fresh_python import run_python
from tiny_vaes import STABLE_DIFFUSION, TINY
from torch import nn

from pca_protect.surrogates import checkpoint, winograd
from pca_protect.surrogates.kl_encoder import KlEncoder, empty_kl_encoder, kl_shape
from pca_protect.surrogates.load import load_surrogate, surrogate_of
from pca_protect.surrogates.registry import REGISTRY

_TINY = {**STABLE_DIFFUSION, "block_out_channels": [8, 16, 16, 16], "layers_per_block": 2}
STRUCTURES = {
    "sd": _TINY,
    "sdxl": {**_TINY, "scaling_factor": 0.13025, "force_upcast": True, "latents_mean": None, "latents_std": None},
    "sd3": {
        **_TINY,
        "latent_channels": 16,
        "use_quant_conv": False,
        "use_post_quant_conv": False,
        "shift_factor": 0.06,
    },
    "cogview4": {**_TINY, "layers_per_block": 3, "latent_channels": 16, "mid_block_add_attention": False},
    "flux2": {**_TINY, "latent_channels": 32, "_class_name": "AutoencoderKLFlux2", "batch_norm_eps": 1e-4},
    "rgba": {**_TINY, "in_channels": 4, "out_channels": 4},
    "one stage": {**_TINY, "block_out_channels": [8], "down_block_types": ["DownEncoderBlock2D"], "layers_per_block": 1}
    | {"up_block_types": ["UpDecoderBlock2D"]},
}
"""Structures of the registry's encoders of these classes, and of others, with narrow layers."""
EMBEDDED = [name for name, entry in REGISTRY.items() if entry.embedded and entry.has_variance]


def made(structure: dict[str, object]) -> nn.Module:
    cls = AutoencoderKLFlux2 if structure.get("_class_name") == "AutoencoderKLFlux2" else AutoencoderKL
    torch.manual_seed(0)
    vae: nn.Module = cls(**{key: value for key, value in structure.items() if not key.startswith("_")}).eval()
    return vae


@pytest.mark.parametrize("structure", STRUCTURES.values(), ids=STRUCTURES)
def test_moments_and_gradients_are_those_of_diffusers(structure: dict[str, object]):
    vae = made(structure)
    plain, own = plain_encoder(lambda: vae), surrogate_of(vae, name="own", origin="memory").encoder
    assert isinstance(own.encoder, KlEncoder)
    assert own.state_dict().keys() == plain.state_dict().keys()
    for one, other in zip(moments_and_gradient(plain), moments_and_gradient(own), strict=True):
        assert torch.equal(one, other)
        assert one.abs().max() > 0


def test_the_stable_diffusion_architecture():
    """Wide layers are Winograd convolutions: equal to rounding."""
    config = {
        **STABLE_DIFFUSION,
        "block_out_channels": [128, 256, 512, 512],
        "norm_num_groups": 32,
        "layers_per_block": 2,
    }
    shape = kl_shape(config | {"latent_channels": 4}, "AutoencoderKL")
    assert shape is not None
    torch.manual_seed(0)
    theirs = DiffusersEncoder(3, 4, *(config[key] for key in ("down_block_types", "block_out_channels")), 2)
    theirs.requires_grad_(False).eval()
    own, _ = empty_kl_encoder(shape)
    own.load_state_dict(theirs.state_dict(), strict=True, assign=True)
    own.eval().requires_grad_(False)
    x = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1)).requires_grad_()
    results = [(found := encoder(x), torch.autograd.grad(found.square().sum(), x)[0]) for encoder in (theirs, own)]
    for one, other in zip(*results, strict=True):
        assert (one - other).norm() <= 1e-5 * one.norm()


@pytest.mark.skipif(not winograd.is_available(), reason="no layer is a Winograd convolution here")
@pytest.mark.parametrize(("width", "contiguous"), [(64, True), (32, False)])
def test_wide_encoders_compute_in_the_layout_of_winograd_convolutions(width: int, contiguous: bool):
    """Others keep the pictures' layout, channels-last, in which oneDNN is faster."""
    stage = {"down_block_types": ["DownEncoderBlock2D"], "block_out_channels": [width], "layers_per_block": 1}
    vae = made({**stage, "norm_num_groups": 32})
    layouts = []
    encoder = surrogate_of(vae, name="one stage", origin="memory").encoder.encoder
    encoder.conv_in.register_forward_hook(lambda module, given, found: layouts.append(found.is_contiguous()))
    with torch.no_grad():
        encoder(torch.rand(1, 32, 40, 3).permute(0, 3, 1, 2))
    assert layouts == [contiguous]


@pytest.mark.parametrize("name", EMBEDDED)
def test_embedded_models_are_loaded_without_diffusers_classes(name: str):
    assert isinstance(load_surrogate(name, device="cpu").encoder.encoder, KlEncoder)


def test_a_folder_and_a_bare_file_make_the_same_encoder(tiny_folder: Path):
    folder = load_surrogate(str(tiny_folder), device="cpu")
    file = load_surrogate(str(next(tiny_folder.glob("*.safetensors"))), device="cpu")
    assert isinstance(file.encoder.encoder, KlEncoder)
    pixels = torch.rand(1, 3, 64, 64)
    assert torch.equal(folder.posterior(pixels).mean, file.posterior(pixels).mean)


@pytest.mark.parametrize(
    "changes",
    [
        {"act_fn": "relu"},
        {"down_block_types": ["DownEncoderBlock2D"] * 3 + ["AttnDownEncoderBlock2D"]},
        {"down_block_types": ["DownEncoderBlock2D"] * 3},
        {"norm_num_groups": 7},
        {"norm_num_groups": None},
        {"layers_per_block": 0},
        {"layers_per_block": True},
        {"layers_per_block": [2, 2, 2, 2]},
        {"block_out_channels": []},
        {"block_out_channels": 8},
        {"mid_block_add_attention": "yes"},
        {"use_quant_conv": 1},
        {"latent_channels": "4"},
        {"an_entry_of_next_year": 1},
    ],
    ids=str,
)
def test_what_is_not_known_for_certain_is_left_to_diffusers(changes: dict[str, object]):
    config = {**_TINY, "latent_channels": 4}
    assert kl_shape(config, "AutoencoderKL") is not None
    assert kl_shape(config | changes, "AutoencoderKL") is None
    assert kl_shape(config, "AsymmetricAutoencoderKL") is None


def test_another_activation_is_loaded_through_diffusers(tmp_path: Path):
    vae = AutoencoderKL(**STABLE_DIFFUSION, act_fn="relu").eval()
    vae.save_pretrained(tmp_path)
    loaded = load_surrogate(str(tmp_path), device="cpu")
    assert isinstance(loaded.encoder.encoder, DiffusersEncoder)
    pixels = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(loaded.posterior(pixels).mean, vae.encode(2 * pixels - 1).latent_dist.mean)


def test_a_vae_with_further_layers_is_copied_as_it_is():
    vae = tiny_kl().eval()
    vae.encoder.mid_block.resnets[0].conv1 = nn.Sequential(vae.encoder.mid_block.resnets[0].conv1, nn.Tanh())
    copied = surrogate_of(vae, name="adapted", origin="memory")
    assert isinstance(copied.encoder.encoder, DiffusersEncoder)
    pixels = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(copied.posterior(pixels).mean, vae.encode(2 * pixels - 1).latent_dist.mean)


def test_every_entry_of_a_saved_configuration_is_known(tmp_path: Path):
    """diffusers adds entries from time to time: they have to be sorted into those with and those without effect."""
    for name in ("AutoencoderKL", "AutoencoderKLFlux2"):
        TINY[name]().save_pretrained(tmp_path / name)
        assert kl_shape(json.loads((tmp_path / name / "config.json").read_text()), name) is not None


def test_a_copy_has_weights_of_its_own():
    vae = tiny_kl()
    surrogate = surrogate_of(vae, name="tiny", origin="memory")
    before = checkpoint.digest(surrogate.encoder.state_dict())
    with torch.no_grad():
        vae.encoder.conv_in.weight.zero_()
    assert checkpoint.digest(surrogate.encoder.state_dict()) == before == surrogate.digest


def test_protecting_against_an_embedded_model_imports_no_large_library(tmp_path: Path):
    """Of 3.9 processor seconds of a small picture these took 2.2."""
    np.save(tmp_path / "rgb.npy", np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    run_python(
        "import sys, warnings\n"
        "import numpy as np\n"
        "from pca_protect import ProtectConfig, protect\n"
        "warnings.simplefilter('ignore')\n"
        f"rgb = np.load({str(tmp_path / 'rgb.npy')!r})\n"
        "protect(rgb, ProtectConfig(vae='pocket', preset='instant', device='cpu'))\n"
        "large = {'diffusers', 'transformers', 'accelerate', 'scipy', 'torch._dynamo', 'sympy', 'huggingface_hub'}\n"
        "assert not large & sys.modules.keys(), large & sys.modules.keys()\n"
    )


assert max(_TINY["block_out_channels"]) < winograd.LEAST_CHANNELS, "equality to the bit is for direct convolutions"
