"""Encoders that keep less return the same, to the bit."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from conftest import tiny_kl
from diffusers import AutoencoderKL
from encoder_values import moments_and_gradient, plain_encoder
from tiny_vaes import TINY
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from pca_protect.surrogates.build import encoder_of
from pca_protect.surrogates.encoder import Surrogate
from pca_protect.surrogates.load import channels_last, surrogate_of
from pca_protect.surrogates.memory_efficient import NormSiLU, blocks_of, reduce_saved_activations

EVERY = [
    pytest.param(TINY[name], id=name)
    for name in (
        "AutoencoderKL",
        "AutoencoderKLFlux2",
        "AutoencoderKLQwenImage",
        "AutoencoderKLQwenImage21",
        "AutoencoderKLWan 2.2",
        "AutoencoderKLHunyuanImage",
        "AutoencoderKLHunyuanImageRefiner",
        "AutoencoderKLHunyuanVideo15",
        "AutoencoderKLHunyuanVideo",
        "AutoencoderKLLTXVideo",
        "AutoencoderKLKVAE",
        "AutoencoderTiny",
        "AutoencoderDC",
    )
]


def kept_bytes(encoder: nn.Module) -> int:
    """Of everything that stays between the forward and the backward pass."""
    storages = {}

    def note(tensor: Tensor) -> Tensor:
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    weights = {parameter.untyped_storage().data_ptr() for parameter in encoder.parameters()}
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        held = encoder(torch.rand(1, 3, 64, 64).requires_grad_())
    assert held.mean.grad_fn is not None
    return sum(size for pointer, size in storages.items() if pointer not in weights)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("make", EVERY)
def test_values_and_gradients_stay_the_same_to_the_bit(make: Callable[[], nn.Module], dtype: torch.dtype):
    plain = plain_encoder(make).to(dtype)
    lean = copy.deepcopy(plain)
    reduce_saved_activations(lean)
    assert [name for name, _ in lean.named_parameters()] == [name for name, _ in plain.named_parameters()]
    for one, other in zip(moments_and_gradient(plain), moments_and_gradient(lean), strict=True):
        assert torch.equal(one, other)
        assert one.abs().max() > 0


@pytest.mark.parametrize("make", EVERY)
def test_checkpointed_returns_the_same_to_the_bit(make: Callable[[], nn.Module]):
    vae = make()
    surrogate = surrogate_of(vae, name="small", origin="memory")
    encoder, again = surrogate.encoder, surrogate.checkpointed.encoder
    assert blocks_of(encoder), "nothing would be computed again"
    assert {one.data_ptr() for one in encoder.parameters()} == {one.data_ptr() for one in again.parameters()}
    assert surrogate.checkpointed is surrogate.checkpointed
    for one, other in zip(moments_and_gradient(encoder), moments_and_gradient(again), strict=True):
        assert torch.equal(one, other)
    with torch.no_grad():
        pixels = torch.rand(1, 3, 64, 64)
        assert torch.equal(surrogate.posterior(pixels).mean, surrogate.checkpointed.posterior(pixels).mean)


def test_less_is_kept(tiny: Surrogate):
    plain, lean = kept_bytes(plain_encoder(tiny_kl)), kept_bytes(tiny.encoder)
    checkpointed = kept_bytes(tiny.checkpointed.encoder)
    assert lean < 0.4 * plain
    assert checkpointed < 0.65 * lean


@pytest.mark.parametrize("make", [one for one in EVERY if one.id not in ("AutoencoderKL", "AutoencoderTiny")])
def test_other_kinds_keep_less_too(make: Callable[[], nn.Module]):
    plain = plain_encoder(make)
    lean = copy.deepcopy(plain)
    reduce_saved_activations(lean)
    assert kept_bytes(lean) < 0.9 * kept_bytes(plain)


@pytest.mark.parametrize("name", ["AutoencoderKL", "AutoencoderKLHunyuanImage", "AutoencoderKLKVAE"])
def test_every_normalisation_before_a_silu_keeps_less(name: str):
    lean = plain_encoder(TINY[name])
    reduce_saved_activations(lean)
    left = [path for path, module in lean.named_modules() if isinstance(module, nn.GroupNorm)]
    assert all(".attentions." in path for path in left), left
    assert sum(isinstance(module, NormSiLU) for module in lean.modules()) > 10


def test_a_checkpointed_block_is_computed_again_up_to_its_last_normalisation(tiny: Surrogate):
    """Half of a residual block's operations are its second convolution, whose output nobody needs again."""

    def operations(encoder: nn.Module) -> int:
        with FlopCounterMode(display=False) as counter:
            moments_and_gradient(encoder)
        return int(counter.get_total_flops())

    plain, lean = operations(plain_encoder(tiny_kl)), operations(tiny.encoder)
    assert lean == plain, "the counter sees into our own functions"
    assert lean < operations(tiny.checkpointed.encoder) < 1.3 * lean


def test_a_block_of_another_make_is_left_alone():
    vae = AutoencoderKL(block_out_channels=(8,), norm_num_groups=8, act_fn="relu")
    encoder = encoder_of(vae, "AutoencoderKL").eval().requires_grad_(False)
    before = moments_and_gradient(encoder)
    reduce_saved_activations(encoder)
    fused = [module for module in encoder.modules() if isinstance(module, NormSiLU)]
    assert len(fused) == 1, "the activation behind the last normalisation is a SiLU whatever the blocks have"
    for one, other in zip(before, moments_and_gradient(encoder), strict=True):
        assert torch.equal(one, other)


def test_the_gradient_is_that_of_a_normalisation_and_a_silu():
    torch.manual_seed(0)
    norm = nn.GroupNorm(2, 6).double().requires_grad_(False)
    norm.weight.uniform_(0.5, 2.0)
    norm.bias.uniform_(-1.0, 1.0)
    x = torch.randn(2, 6, 3, 5, dtype=torch.float64, requires_grad=True)
    fused = NormSiLU(norm)
    assert torch.equal(fused(x), torch.nn.functional.silu(norm(x)))
    assert torch.autograd.gradcheck(fused, (x,))


@pytest.mark.parametrize("arrange", ["transposed", "channels_last", "every other row"])
def test_pixels_in_any_order_in_memory(arrange: str):
    norm = nn.GroupNorm(2, 6).requires_grad_(False)
    x = torch.randn(1, 6, 4, 5)
    if arrange == "transposed":
        x = torch.randn(1, 20, 6).transpose(1, 2).reshape(1, 6, 4, 5)
    elif arrange == "channels_last":
        x = x.to(memory_format=torch.channels_last)
    else:
        x = torch.randn(1, 6, 8, 5)[:, :, ::2]
    found = [function(x.requires_grad_()) for function in (NormSiLU(norm), lambda x: torch.nn.functional.silu(norm(x)))]
    assert torch.equal(*found)
    gradients = [torch.autograd.grad(one.square().sum(), x)[0] for one in found]
    assert torch.equal(*gradients)


@pytest.mark.parametrize("make", EVERY)
def test_weights_laid_out_for_tensor_cores_mean_the_same(make: Callable[[], nn.Module]):
    """What CUDA gets, on the CPU: sums may be added in another order there."""
    plain = plain_encoder(make)
    reduce_saved_activations(plain)
    arranged = copy.deepcopy(plain)
    channels_last(arranged)
    for one, other in zip(moments_and_gradient(plain), moments_and_gradient(arranged), strict=True):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-5 * float(one.abs().max()))
