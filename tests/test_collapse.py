"""The attack on tensors: equal to the published loop, inside its budget, on any encoder in memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import smooth_picture
from PIL import Image
from published_loop import pictures, published_loop
from tiny_vaes import TINY
from torch import Tensor, nn

import pca_protect
from pca_protect import ModelError, PosteriorCollapse, ProtectConfig, Record, Surrogate, UsageError, protect
from pca_protect.attack.transforms import jpeg
from pca_protect.modes import MODES, PUBLISHED_MODES


@pytest.mark.parametrize("mode", PUBLISHED_MODES)
def test_the_defaults_are_the_published_loop_step_for_step(tiny: Surrogate, mode: str):
    x = pictures(1)
    assert torch.equal(PosteriorCollapse(tiny, mode=mode)(x), published_loop(tiny, x, mode))


@pytest.mark.parametrize("mode", MODES)
def test_results_keep_budget_range_type_and_batch(tiny: Surrogate, mode: str):
    x = pictures(3)
    attack = PosteriorCollapse(tiny, mode=mode, eps=7 / 255, steps=3, momentum=0.7, schedule="cosine", keep_best=True)
    found = attack(x)
    assert 0 < float((found - x).abs().max()) <= 7 / 255 + 1e-6
    assert 0 <= float(found.min()) <= float(found.max()) <= 1
    assert torch.equal(attack(x[1:2]), found[1:2]), "whatever else is in the batch"
    assert not found.requires_grad
    double = attack(x.double())
    assert double.dtype == torch.float64
    assert torch.allclose(double.float(), found)


def test_a_mask_keeps_the_rest(tiny: Surrogate):
    x = pictures(2)
    mask = torch.zeros(x.shape[-2:], dtype=torch.bool)
    mask[4:20, 6:30] = True
    for given in (mask, mask[None].float(), mask.expand(2, 1, *mask.shape)):
        change = PosteriorCollapse(tiny, steps=2)(x, mask=given) - x
        assert not bool(change[..., ~mask].any())
        assert bool(change[..., mask].any())


def test_several_encoders_from_a_list(tiny: Surrogate, pocket: Surrogate):
    x = pictures(1)
    both = PosteriorCollapse([tiny, pocket], steps=3)(x)
    one = PosteriorCollapse([pocket], steps=3)(x)
    assert torch.equal(one, PosteriorCollapse(pocket, steps=3)(x))
    assert not torch.equal(both, one)


def test_eot_draws_by_the_seed(tiny: Surrogate):
    x = pictures(2)
    first, again, other = (PosteriorCollapse(tiny, steps=2, eot=jpeg((30, 90)), seed=seed)(x) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_diffusers_vae_in_memory():
    vae = TINY["AutoencoderKL"]().eval()
    surrogate = Surrogate.from_vae(vae)
    x = pictures(1)
    found = PosteriorCollapse(surrogate, steps=5)(x)

    def mean(pixels: Tensor) -> Tensor:
        return vae.encode(2 * pixels - 1).latent_dist.mean

    with torch.no_grad():
        assert torch.allclose(surrogate.posterior(x).mean, mean(x), atol=1e-6)
        assert float(mean(found).norm()) > float(mean(x).norm())
    assert all(parameter.requires_grad for parameter in vae.parameters()), "the VAE itself stays as it is"


def test_any_module_is_an_encoder():
    module = nn.Sequential(nn.Conv2d(3, 6, 4, stride=4), nn.Conv2d(6, 10, 4, stride=4))
    for has_variance, channels in ((False, 10), (True, 5)):
        surrogate = Surrogate.from_module(module, multiple=16, has_variance=has_variance)
        assert (surrogate.latent_channels, surrogate.has_variance) == (channels, has_variance)
        result = protect(smooth_picture(45, 37), ProtectConfig(steps=2), surrogate=surrogate)
        assert 0 < result.record.max_change_levels <= 16
    other = Surrogate.from_module(nn.Conv2d(3, 4, 8, stride=8), multiple=8)
    assert other.digest != surrogate.digest
    with pytest.raises(ModelError, match="has no parameter"):
        Surrogate.from_module(nn.AvgPool2d(8), multiple=8)
    with pytest.raises(ModelError, match="fails on a blank picture"):
        Surrogate.from_module(nn.Conv2d(4, 4, 8, stride=8), multiple=8)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"mode": "weak"}, "unknown mode 'weak'"),
        ({"schedule": "square"}, "unknown schedule"),
        ({"eps": 16}, r"eps 16 is not in \(0, 1\]"),
        ({"steps": 0}, "steps of at least 1"),
        ({"mode": "subtle", "target_variance": 2.0}, "takes no target variance"),
    ],
)
def test_settings_out_of_range_are_one_sentence(tiny: Surrogate, settings: dict[str, object], says: str):
    with pytest.raises(UsageError, match=says):
        PosteriorCollapse(tiny, **settings)


@pytest.mark.parametrize(
    ("images", "says"),
    [
        (torch.zeros(3, 8, 8), "not a batch"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), "not a batch"),
        (torch.full((1, 3, 8, 8), 2.0), "range from 2 to 2"),
        (torch.full((1, 3, 8, 8), float("nan")), "range from nan"),
    ],
)
def test_images_of_another_kind_are_one_sentence(tiny: Surrogate, images: Tensor, says: str):
    with pytest.raises(UsageError, match=says):
        PosteriorCollapse(tiny)(images)
    with pytest.raises(UsageError, match="a mask of shape"):
        PosteriorCollapse(tiny)(pictures(1), mask=torch.ones(3, 5))
    with pytest.raises(UsageError, match="no surrogate given"):
        PosteriorCollapse([])


def test_protect_takes_arrays_and_tensors(tiny: Surrogate):
    image, config = smooth_picture(45, 37), ProtectConfig(steps=2)
    levels = np.asarray(image)
    expected = protect(image, config, surrogate=tiny).picture.rgb
    tensor = torch.from_numpy(levels.copy()).permute(2, 0, 1).float() / 255
    for given in (levels, tensor):
        assert np.array_equal(protect(given, config, surrogate=[tiny]).picture.rgb, expected)
    for wrong in (levels.astype(float), levels[..., 0], tensor[0], (255 * tensor).byte()):
        with pytest.raises(UsageError, match="is not a picture"):
            protect(wrong, config, surrogate=tiny)


def test_protect_takes_masks_of_every_kind(tiny: Surrogate):
    image, config = smooth_picture(45, 37), ProtectConfig(steps=2)
    mask = np.zeros((37, 45), dtype=bool)
    mask[5:20, 10:30] = True
    light = mask.astype(np.uint8) * 255
    first, *others = (
        protect(image, config, surrogate=tiny, mask=given).picture.rgb
        for given in (mask, light, Image.fromarray(light))
    )
    assert (first != np.asarray(image))[mask].any()
    assert all(np.array_equal(other, first) for other in others)
    with pytest.raises(UsageError, match="cannot be read"):
        protect(image, config, surrogate=tiny, mask=light[..., None])


def test_records_are_read_back(tiny: Surrogate):
    for evaluate in (True, False):
        record = protect(smooth_picture(45, 37), ProtectConfig(steps=1), surrogate=tiny, evaluate=evaluate).record
        again = Record.from_json(record.as_json())
        assert again.as_json() == record.as_json()
        assert (again.protected, again.warnings) == (record.protected, record.warnings)
    for wrong in ("no JSON", "[]", '{"input": 1}'):
        with pytest.raises(UsageError, match="not a record of this version"):
            Record.from_json(wrong)


def test_the_package_lists_its_public_names():
    assert dir(pca_protect) == sorted(pca_protect.__all__)
