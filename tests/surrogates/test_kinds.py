"""Every diffusers class that can be a surrogate encodes as diffusers does, from a folder and from memory."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from conftest import smooth_picture
from diffusers import models
from safetensors.torch import load_file, save_file
from tiny_vaes import TINY, is_close, moments
from torch import Tensor, nn

from pca_protect import ModelError, ProtectConfig, UsageError, load_surrogate, protect
from pca_protect.surrogates import checkpoint
from pca_protect.surrogates.build import encoder_of
from pca_protect.surrogates.encoder import Encoder, Surrogate, SurrogateEnsemble, fold_patches
from pca_protect.surrogates.kinds import KINDS
from pca_protect.surrogates.load import surrogate_of

WEIGHTS = "diffusion_pytorch_model.safetensors"

MULTIPLE_AND_CHANNELS = {
    "AutoencoderKL": (8, 4),
    "AutoencoderKL RGBA": (8, 4),
    "AutoencoderKLFlux2": (8, 32),
    "AutoencoderKLQwenImage": (8, 4),
    "AutoencoderKLQwenImage RGBA": (8, 4),
    "AutoencoderKLQwenImage21": (16, 4),
    "AutoencoderKLWan": (8, 4),
    "AutoencoderKLWan 2.2": (16, 4),
    "AutoencoderKLHunyuanImage": (32, 4),
    "AutoencoderKLHunyuanImageRefiner": (16, 4),
    "AutoencoderKLHunyuanVideo": (8, 4),
    "AutoencoderKLHunyuanVideo15": (16, 4),
    "AutoencoderKLLTXVideo": (32, 8),
    "AutoencoderKLLTXVideo 0.9.5": (32, 8),
    "AutoencoderKLKVAE": (8, 4),
    "AutoencoderKLTemporalDecoder": (8, 4),
    "AsymmetricAutoencoderKL": (8, 4),
    "ConsistencyDecoderVAE": (8, 4),
    "AutoencoderTiny": (8, 4),
    "AutoencoderDC": (4, 8),
    "AutoencoderDC f128": (128, 8),
}


@dataclass(frozen=True)
class Case:
    name: str
    vae: nn.Module
    folder: Path
    loaded: Surrogate
    copied: Surrogate


@pytest.fixture(scope="session", params=list(TINY))
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    vae = TINY[request.param]()
    folder = tmp_path_factory.mktemp("vae")
    vae.save_pretrained(folder)
    loaded = load_surrogate(str(folder), device="cpu")
    return Case(request.param, vae, folder, loaded, surrogate_of(vae, name="tiny", origin="memory"))


def saved(name: str, folder: Path, **changes: object) -> Path:
    """A folder with this VAE, its configuration changed."""
    TINY[name]().save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))
    return folder


def spoiled(folder: Path, **tensors: Tensor) -> None:
    save_file({**load_file(folder / WEIGHTS), **tensors}, folder / WEIGHTS)


def test_encodes_as_diffusers_does(case: Case):
    multiple, channels = MULTIPLE_AND_CHANNELS[case.name]
    pixels = torch.rand(1, 3, max(64, multiple), 2 * max(64, multiple), generator=torch.Generator().manual_seed(1))
    mean, logvar = moments(case.vae, pixels)
    same = is_close if KINDS[case.name.split()[0]].causal else torch.equal
    for surrogate in (case.loaded, case.copied):
        assert (surrogate.multiple, surrogate.latent_channels) == (multiple, channels)
        assert surrogate.has_variance == (logvar is not None)
        with torch.no_grad():
            found = surrogate.posterior(pixels)
        assert same(found.mean, mean)
        assert (found.logvar is None) if logvar is None else same(found.logvar, logvar)
    assert ("mean term" in " ".join(case.loaded.warnings)) == (logvar is None)


def test_is_known_by_the_weights_of_the_file(case: Case):
    """Neither lean gradients nor convolutions over one frame change an identity."""
    plain = encoder_of(case.vae, type(case.vae).__name__)
    assert case.loaded.digest == case.copied.digest == checkpoint.digest(plain.state_dict())


def test_takes_pictures_of_any_size(case: Case):
    """Sides are extended to the encoder's multiple, and what is cut off has a gradient too."""
    pixels = torch.rand(1, 3, 37, 150, requires_grad=True)
    mean = case.loaded.posterior(pixels).mean
    multiple, channels = MULTIPLE_AND_CHANNELS[case.name]
    assert mean.shape == (1, channels, -(-37 // multiple), -(-150 // multiple))
    mean.square().sum().backward()
    assert pixels.grad is not None
    assert bool(pixels.grad.isfinite().all())
    assert float(pixels.grad[..., -1].abs().max()) > 0


def test_protects(case: Case):
    config = ProtectConfig(steps=2, device="cpu")
    result = protect(smooth_picture(45, 37), config, surrogate=case.copied)
    assert 0 < result.record.max_change_levels <= 16


def test_alpha_is_opaque():
    """What the encoder gets is what its pipeline makes of an opaque picture."""
    seen = Encoder(nn.Conv2d(4, 4, 1), None, has_variance=False, takes_video=False, channels=4)
    nn.init.dirac_(seen.encoder.weight)
    nn.init.zeros_(seen.encoder.bias)
    pixels = torch.rand(2, 3, 8, 8)
    with torch.no_grad():
        mean = seen(pixels).mean
    assert torch.equal(mean, torch.cat([2 * pixels - 1, torch.ones(2, 1, 8, 8)], dim=1))


def test_patches_are_folded_as_wan_folds_them():
    from diffusers.models.autoencoders.autoencoder_kl_wan import patchify

    x = torch.rand(2, 3, 8, 12)
    assert torch.equal(fold_patches(x, 2), patchify(x.unsqueeze(2), 2).squeeze(2))


def test_the_shift_comes_before_the_cast():
    """In bfloat16 the spacing below 1 is 2 ** -8: rounding is off by half of that, and a rounded pixel doubled by all of it."""
    seen = Encoder(nn.Conv2d(3, 3, 1, bias=False), None, has_variance=False, takes_video=False)
    nn.init.dirac_(seen.encoder.weight)
    surrogate = Surrogate("seen", "memory", "", seen.bfloat16(), 1, 3)
    levels = torch.arange(256.0).view(1, 1, 16, 16).expand(1, 3, 16, 16) / 255
    with torch.no_grad():
        mean = surrogate.posterior(levels).mean
    assert float((mean - (2 * levels - 1)).abs().max()) <= 2**-9


@pytest.mark.parametrize(
    ("class_name", "says"),
    [("AutoencoderKLMagvit", "an AutoencoderKLMagvit cannot"), ("VQModel", "a VQModel cannot")],
)
def test_other_classes_are_refused_in_one_sentence(tmp_path: Path, class_name: str, says: str):
    folder = saved("AutoencoderKL", tmp_path, _class_name=class_name)
    with pytest.raises(ModelError, match=says) as caught:
        load_surrogate(str(folder), device="cpu")
    assert len(str(caught.value)) - len(str(folder)) < 300
    with pytest.raises(ModelError, match="a Linear cannot be a surrogate"):
        surrogate_of(nn.Linear(1, 1), name="linear", origin="memory")


def test_a_class_that_this_diffusers_lacks_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = saved("AutoencoderKLKVAE", tmp_path)
    monkeypatch.setattr(models, "AutoencoderKLKVAE", None)
    with pytest.raises(ModelError, match="this diffusers has no AutoencoderKLKVAE; upgrade with"):
        load_surrogate(str(folder), device="cpu")


def test_a_channel_count_that_this_diffusers_ignores_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """diffusers 0.36 has this class without `input_channels`."""
    folder = saved("AutoencoderKLQwenImage RGBA", tmp_path)

    class Older(models.AutoencoderKLQwenImage):
        def __init__(self, base_dim: int = 96) -> None:
            super().__init__(base_dim)

    monkeypatch.setattr(models, "AutoencoderKLQwenImage", Older)
    with pytest.raises(ModelError, match=r"this diffusers' AutoencoderKLQwenImage takes no input_channels; upgrade"):
        load_surrogate(str(folder), device="cpu")


def test_a_channel_count_that_is_no_colour_is_refused(tmp_path: Path):
    vae = models.AutoencoderKL(in_channels=1, out_channels=1, block_out_channels=(8,), norm_num_groups=8)
    vae.save_pretrained(tmp_path)
    for load in (lambda: load_surrogate(str(tmp_path), device="cpu"), lambda: surrogate_of(vae, name="x", origin="x")):
        with pytest.raises(ModelError, match="takes 1 input channels; give a VAE that takes RGB or RGBA"):
            load()


@pytest.mark.parametrize("name", ["AsymmetricAutoencoderKL", "AutoencoderKLTemporalDecoder"])
def test_former_names_of_attention_weights_are_read(tmp_path: Path, name: str):
    folder = saved(name, tmp_path)
    now = load_surrogate(str(folder), device="cpu").digest
    former = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    tensors = load_file(folder / WEIGHTS)
    for new, old in former.items():
        tensors = {key.replace(f"attentions.0.{new}.", f"attentions.0.{old}."): value for key, value in tensors.items()}
    assert any(".proj_attn." in key for key in tensors)
    save_file(tensors, folder / WEIGHTS)
    assert load_surrogate(str(folder), device="cpu").digest == now


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float8_e5m2])
def test_weights_that_are_not_finite_are_refused(tmp_path: Path, dtype: torch.dtype, value: float):
    folder = saved("AutoencoderTiny", tmp_path)
    weight = load_file(folder / WEIGHTS)["encoder.layers.0.weight"]
    weight[0, 0, 0, 0] = value
    spoiled(folder, **{"encoder.layers.0.weight": weight.to(dtype)})
    with pytest.raises(
        ModelError, match=r"tensor encoder\.layers\.0\.weight holds values that are not finite; download"
    ):
        load_surrogate(str(folder), device="cpu")


def test_weights_in_memory_that_are_not_finite_are_refused():
    vae = TINY["AutoencoderTiny"]()
    vae.encoder.layers[0].weight.data[0, 0, 0, 0] = float("nan")
    with pytest.raises(ModelError, match="not finite"):
        surrogate_of(vae, name="tiny", origin="memory")


def test_an_encoder_that_fails_ends_in_one_sentence(tmp_path: Path):
    """16 channels do not divide into groups of 16 // 3, which diffusers finds out when a picture is encoded."""
    vae = TINY["AutoencoderDC"]()
    config = {**vae.config, "latent_channels": 3, "decoder_in_shortcut": False}
    vae = models.AutoencoderDC(**{key: value for key, value in config.items() if not key.startswith("_")})
    vae.save_pretrained(tmp_path)
    with pytest.raises(ModelError, match="its encoder fails on a blank picture on cpu") as caught:
        load_surrogate(str(tmp_path), device="cpu")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) - len(str(tmp_path)) < 300
    with pytest.raises(ModelError, match="fails on a blank picture"):
        surrogate_of(vae, name="odd", origin="memory")


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("AutoencoderKLHunyuanImageRefiner", {"block_out_channels": [6, 6, 6, 6, 6]}),  # an assertion in diffusers
        ("AutoencoderKLHunyuanImage", {"latent_channels": 0}),  # a division by zero
        ("AutoencoderKL", {"latent_channels": -1}),  # PyTorch's RuntimeError
        ("AutoencoderKLWan", {"dim_mult": None}),  # a TypeError
        ("AutoencoderKL", {"in_channels": "three"}),  # a ValueError, before diffusers sees it
    ],
)
def test_configurations_that_make_no_encoder_end_in_one_sentence(tmp_path: Path, name: str, changes: dict[str, object]):
    folder = saved(name, tmp_path, **changes)
    with pytest.raises(ModelError, match=r"config.json is not valid for|do not fit the configuration") as caught:
        load_surrogate(str(folder), device="cpu")
    assert len(str(caught.value)) - len(str(folder)) < 300


def test_a_factor_that_a_small_picture_does_not_show():
    """Strided convolutions make one latent of a side of 64 px, whether the factor is 64 or 128."""
    vae = models.AutoencoderKLHunyuanVideo(
        latent_channels=4,
        down_block_types=("HunyuanVideoDownBlock3D",) * 8,
        up_block_types=("HunyuanVideoUpBlock3D",) * 8,
        block_out_channels=(4,) * 8,
        layers_per_block=1,
        norm_num_groups=2,
        spatial_compression_ratio=128,
    )
    assert surrogate_of(vae, name="video", origin="memory").multiple == 128


def test_a_factor_at_which_a_small_picture_cannot_be_normalised():
    """PyTorch refuses to normalise groups of one value, which a picture of 64 px leaves here."""
    vae = models.AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 7,
        up_block_types=("UpDecoderBlock2D",) * 7,
        block_out_channels=(8,) * 7,
        norm_num_groups=8,
    )
    assert surrogate_of(vae, name="deep", origin="memory").multiple == 64


class TestInFp32:
    """Proofs are measured in fp32, with the weights as they were published."""

    pixels = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(2))

    def mean(self, surrogate: Surrogate) -> Tensor:
        with torch.no_grad():
            return surrogate.posterior(self.pixels).mean

    @pytest.mark.parametrize("name", ["AutoencoderKL", "AutoencoderKLHunyuanVideo"])
    def test_has_the_weights_of_the_file(self, tmp_path: Path, name: str):
        folder = saved(name, tmp_path)
        plain, half = (load_surrogate(str(folder), device="cpu", precision=one) for one in ("fp32", "bf16"))
        again = half.in_fp32
        assert (again.dtype, again.digest, again.name) == (torch.float32, half.digest, half.name)
        assert torch.equal(self.mean(again), self.mean(plain))
        assert not torch.equal(self.mean(again), self.mean(half))
        assert half.in_fp32 is again
        assert again.in_fp32 is again

    @pytest.mark.parametrize("name", ["AutoencoderKL", "AutoencoderKLHunyuanVideo"])
    def test_of_a_vae_in_memory(self, name: str):
        """Sums of bfloat16 weights are made in fp32, not rounded first."""
        vae = TINY[name]().bfloat16()
        half = surrogate_of(vae, name="tiny", origin="memory")
        assert half.dtype == torch.bfloat16
        whole = surrogate_of(vae.float(), name="tiny", origin="memory")
        assert torch.equal(self.mean(half.in_fp32), self.mean(whole))

    def test_is_checkpointed_where_the_surrogate_is(self, tmp_path: Path):
        half = load_surrogate(str(saved("AutoencoderKL", tmp_path)), device="cpu", precision="bf16")
        again = half.checkpointed.in_fp32
        assert again.dtype == torch.float32
        assert torch.equal(self.mean(again), self.mean(half.in_fp32))
        pointers = [{one.data_ptr() for one in each.encoder.parameters()} for each in (again, half.in_fp32)]
        assert pointers[0] == pointers[1], "one copy of the weights serves both"

    def test_of_several(self, tmp_path: Path):
        folders = [saved(name, tmp_path / name) for name in ("AutoencoderKL", "AutoencoderKLFlux2")]
        halves = SurrogateEnsemble(tuple(load_surrogate(str(one), device="cpu", precision="bf16") for one in folders))
        again = halves.in_fp32
        assert again.members == tuple(member.in_fp32 for member in halves.members)
        assert again.in_fp32 is again

    def test_of_one_made_by_hand(self, tmp_path: Path):
        half = load_surrogate(str(saved("AutoencoderKL", tmp_path)), device="cpu", precision="bf16")
        by_hand = replace(half, load_fp32=None)
        assert by_hand.in_fp32.dtype == torch.float32
        assert by_hand.dtype == torch.bfloat16

    def test_of_a_file_that_has_changed(self, tmp_path: Path):
        folder = saved("AutoencoderKL", tmp_path)
        half = load_surrogate(str(folder), device="cpu", precision="bf16")
        tensors: Mapping[str, Tensor] = load_file(folder / WEIGHTS)
        spoiled(folder, **{"encoder.conv_in.bias": tensors["encoder.conv_in.bias"] + 1})
        with pytest.raises(ModelError, match="the weights have changed since they were loaded; start again"):
            _ = half.in_fp32


def test_windows_too_small_for_the_grid_end_in_one_sentence(tmp_path: Path):
    """At a factor of 128 two windows of 192 px would have no overlap; a picture of one window needs none."""
    surrogate = surrogate_of(TINY["AutoencoderDC f128"](), name="coarse", origin="memory")
    image, config = smooth_picture(400, 130), ProtectConfig(tile_px=192, steps=1)
    with pytest.raises(
        UsageError, match=r"windows of 192 px are too small .* grid of 128 px; use a tile of at least 384"
    ):
        protect(image, config, surrogate=surrogate)
    for wide, tile_px in ((smooth_picture(190, 130), 192), (image, 384)):
        assert protect(wide, replace(config, tile_px=tile_px), surrogate=surrogate).record.tile_px == tile_px
