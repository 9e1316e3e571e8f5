"""Convolutions over one frame return what diffusers' causal 3-D ones do, to rounding, for a third of the operations."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl_ltx import LTXVideoCausalConv3d, LTXVideoDownsampler3d
from diffusers.models.autoencoders.autoencoder_kl_wan import WanCausalConv3d
from encoder_values import moments_and_gradient
from tiny_vaes import TINY
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from pca_protect.surrogates.build import encoder_of
from pca_protect.surrogates.kinds import KINDS
from pca_protect.surrogates.load import surrogate_of
from pca_protect.surrogates.one_frame import FrameConvolution, over_one_frame

VIDEO = [name for name in TINY if KINDS[name.split()[0]].causal]


def plain_and_flat(make: Callable[[], nn.Module]) -> tuple[nn.Module, nn.Module]:
    """The encoder as diffusers makes it, frozen, and the same over one frame."""
    vae = make()
    plain = encoder_of(vae, type(vae).__name__).eval().requires_grad_(False)
    flat = copy.deepcopy(plain)
    over_one_frame(flat, KINDS[type(vae).__name__])
    return plain, flat


def operations(encoder: nn.Module) -> int:
    """Of a step."""
    with FlopCounterMode(display=False) as counter:
        moments_and_gradient(encoder)
    return int(counter.get_total_flops())


def one_by_one(encoder: nn.Module) -> tuple[Tensor, Tensor]:
    """diffusers' attention mask for HunyuanVideo 1.5 does not broadcast over a batch."""
    found = [moments_and_gradient(encoder, pictures=slice(index, index + 1)) for index in range(2)]
    return torch.cat([mean for mean, _ in found]), torch.cat([gradient for _, gradient in found])


def is_close(one: Tensor, other: Tensor) -> bool:
    return bool((one - other).abs().max() <= 1e-5 * other.abs().max())


@pytest.mark.parametrize("name", VIDEO)
def test_moments_and_gradients_are_those_of_diffusers(name: str):
    plain, flat = plain_and_flat(TINY[name])
    for one, other in zip(moments_and_gradient(flat), one_by_one(plain), strict=True):
        assert is_close(one, other)
        assert float(other.abs().max()) > 0


@pytest.mark.parametrize("name", VIDEO)
def test_every_convolution_that_one_frame_reaches_is_two_dimensional(name: str):
    _, flat = plain_and_flat(TINY[name])
    left = [path for path, module in flat.named_modules() if isinstance(module, nn.Conv3d)]
    assert all(path.endswith(".time_conv") for path in left), "Wan's, which a single frame does not pass through"
    assert not any(parameter.requires_grad for parameter in flat.parameters())
    assert not any(module.training for module in flat.modules())


@pytest.mark.parametrize(("name", "most"), [("AutoencoderKLQwenImage", 0.4), ("AutoencoderKLHunyuanVideo", 0.4)])
def test_a_step_takes_a_third_of_the_operations(name: str, most: float):
    plain, flat = plain_and_flat(TINY[name])
    assert operations(flat) < most * operations(plain)


def test_a_surrogate_has_them():
    surrogate = surrogate_of(TINY["AutoencoderKLWan"](), name="wan", origin="memory")
    assert sum(isinstance(module, FrameConvolution) for module in surrogate.encoder.modules()) > 10


def test_other_kinds_stay_as_they_are():
    plain, flat = plain_and_flat(TINY["AutoencoderKL"])
    assert [type(module) for module in flat.modules()] == [type(module) for module in plain.modules()]


@pytest.mark.parametrize("is_causal", [True, False])
def test_copies_of_a_frame_are_followed_too(is_causal: bool):
    """LTX-Video's down-sampling puts a copy in front of the frame before it convolves."""
    torch.manual_seed(0)
    plain = nn.Sequential(LTXVideoDownsampler3d(4, 16, stride=(2, 2, 2), is_causal=is_causal)).requires_grad_(False)
    flat = copy.deepcopy(plain)
    over_one_frame(flat, KINDS["AutoencoderKLLTXVideo"])
    assert isinstance(flat[0].conv, FrameConvolution)
    x = torch.randn(2, 4, 1, 8, 6, requires_grad=True)
    found = [module(x) for module in (flat, plain)]
    assert found[0].shape == found[1].shape
    assert is_close(*found)
    assert is_close(*(torch.autograd.grad(one.square().sum(), x)[0] for one in found))


def test_a_stride_in_time_leaves_the_first_frame():
    torch.manual_seed(0)
    plain = nn.Sequential(LTXVideoCausalConv3d(3, 5, 3, stride=(2, 2, 1))).requires_grad_(False)
    flat = copy.deepcopy(plain)
    over_one_frame(flat, KINDS["AutoencoderKLLTXVideo"])
    x = torch.randn(1, 3, 1, 7, 6).expand(-1, -1, 4, -1, -1)
    assert flat(x).shape == plain(x).shape
    assert is_close(flat(x), plain(x))


def test_convolutions_that_see_other_frames_stay_as_they_are():
    convolutions = nn.Sequential(WanCausalConv3d(2, 2, (3, 1, 1), padding=(0, 0, 0)), nn.Conv3d(2, 2, 3, padding=1))
    over_one_frame(convolutions, KINDS["AutoencoderKLWan"])
    assert [type(one) for one in convolutions] == [WanCausalConv3d, nn.Conv3d]
