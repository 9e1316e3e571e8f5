"""Transforms do what Pillow does to a picture, and pass gradients on."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
import torch
from conftest import ASTRONAUT, smooth_picture
from PIL import Image
from torch import Tensor

from pca_protect.attack import transforms
from pca_protect.attack.transforms import Transform, compose, jpeg, random_choice
from pca_protect.eval.purifiers.filters import FILTERS
from pca_protect.image.lanczos import shrinking

LANCZOS = Image.Resampling.LANCZOS

FIXED: dict[str, Transform] = {
    "jpeg": jpeg(75),
    "shrink": transforms.downscale_upscale(0.6),
    "crop": transforms.crop_and_resize(0.125, at="centre"),
    "blur": transforms.blur(1.3),
}
DRAWN: dict[str, Transform] = {
    "any jpeg": jpeg((30, 95)),
    "any shrink": transforms.downscale_upscale((0.3, 0.9)),
    "any crop": transforms.crop_and_resize((0.05, 0.3)),
    "crop anywhere": transforms.crop_and_resize(0.2),
    "any blur": transforms.blur((0.5, 3.0)),
    "noise": transforms.gaussian_noise(0.05),
    "any noise": transforms.gaussian_noise((0.01, 0.1)),
    "one of": random_choice([jpeg(50), transforms.blur(1.0), transforms.gaussian_noise(0.1)]),
}
ALL = {**FIXED, **DRAWN}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pixels(picture: Image.Image | np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(picture)).movedim(-1, 0)[None].float() / 255


def levels(found: Tensor) -> np.ndarray:
    return (found[0].movedim(0, -1) * 255).round().numpy()


def random_pixels(height: int, width: int, batch: int = 1, seed: int = 0) -> Tensor:
    """Away from black and white, where values would be cut off."""
    return torch.rand(batch, 3, height, width, generator=generator(seed)) * 0.4 + 0.3


def photograph(width: int, height: int) -> Image.Image:
    return Image.open(ASTRONAUT).convert("RGB").crop((100, 40, 100 + width, 40 + height))


def noise(width: int, height: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def patches(width: int, height: int) -> Image.Image:
    """Flat colours, black, white and pure ones among them, that begin and end where blocks do."""
    corners = np.array([[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255]])
    colours = np.concatenate([corners, np.random.default_rng(0).integers(0, 256, (30, 3))]).astype(np.uint8)
    return Image.fromarray(colours.reshape(5, 7, 3).repeat(16, axis=0).repeat(16, axis=1)[:height, :width])


def through_pillow(picture: Image.Image, quality: int) -> np.ndarray:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality, subsampling="4:2:0")
    return np.asarray(Image.open(file)).astype(float)


@pytest.mark.parametrize("quality", [10, 30, 49, 50, 75, 90, 100])
@pytest.mark.parametrize(
    ("picture", "mean"),
    [
        (photograph(256, 256), 0.5),
        (photograph(243, 250), 0.5),
        (photograph(246, 251), 0.5),
        (smooth_picture(75, 53), 0.5),
        (noise(83, 61), 1.0),
        (patches(109, 77), 1.0),
    ],
    ids=["photograph", "odd across", "odd down", "smooth", "noise", "patches"],
)
def test_jpeg_is_what_pillow_makes_of_it(picture: Image.Image, quality: int, mean: float):
    """Not to the level: libjpeg calculates in integers, and a frequency that falls on the other side of a half there is off
    by a whole step of its table. How many do depends on how many are not zero."""
    off = np.abs(levels(jpeg(quality)(pixels(picture), generator())) - through_pillow(picture, quality))
    assert off.mean() < mean
    assert off.max() < 60
    if quality == 100:
        assert off.max() <= 4, "its steps are one; two halves in each of three channels"


@pytest.mark.parametrize("quality", [80, 90, 100])
def test_jpeg_of_flat_colours_is_pillows_to_the_level(quality: int):
    """Means of blocks are whole numbers and their eighths, with which both calculate exactly: colours, the halves that arise
    where they are averaged and interpolated, borders."""
    picture = patches(109, 77)
    assert np.array_equal(levels(jpeg(quality)(pixels(picture), generator())), through_pillow(picture, quality))


def test_jpeg_of_the_next_quality_would_be_told_apart():
    """The tolerance above is a small part of what the next quality changes."""
    picture = photograph(243, 251)
    off = np.abs(levels(jpeg(75)(pixels(picture), generator())) - through_pillow(picture, 70))
    assert off.mean() > 1.0


@pytest.mark.parametrize(
    ("name", "transform", "mean", "most"),
    [
        # Pillow rounds after each of two passes there and two back; half a level each time, enlarged by negative lobes.
        ("half-size", transforms.downscale_upscale(0.5), 0.5, 2),
        ("crop", transforms.crop_and_resize(0.125, at="centre"), 0.5, 1),
    ],
)
@pytest.mark.parametrize(
    "picture", [photograph(97, 75), noise(61, 84), smooth_picture(9, 8)], ids=["photo", "noise", "tiny"]
)
def test_resizing_is_what_pillow_makes_of_it(name, transform, mean, most, picture: Image.Image):
    off = np.abs(levels(transform(pixels(picture), generator())) - FILTERS[name](np.asarray(picture)))
    assert off.mean() < mean
    assert off.max() <= most


def test_an_axis_is_made_smaller_as_elsewhere():
    for length, smaller in ((75, 37), (512, 511), (64, 9)):
        first, matrix = shrinking(length, smaller, 0, length)
        assert first == 0
        np.testing.assert_allclose(
            transforms._lanczos(length, smaller, 0.0, length, torch.float32, torch.device("cpu")), matrix, atol=1e-6
        )


@pytest.mark.parametrize("sigma", [0.7, 1.0, 2.0])
def test_blur_is_nearly_what_pillow_makes_of_it(sigma: float):
    """Pillow's is three boxes in place of the bell, and 8 bits between them."""
    from PIL import ImageFilter

    picture = photograph(97, 75)
    found = levels(transforms.blur(sigma)(pixels(picture), generator()))
    off = np.abs(found - np.asarray(picture.filter(ImageFilter.GaussianBlur(sigma))))
    assert off[8:-8, 8:-8].mean() < 1.0
    assert np.abs(found - np.asarray(picture)).mean() > 2, "which is little beside what blurring does"


def test_blur_of_a_point_has_the_asked_for_width():
    point = torch.zeros(1, 3, 41, 41)
    point[..., 20, 20] = 1
    for sigma in (0.8, 2.0, 4.0):
        share = transforms.blur(sigma)(point, generator())[0, 1].sum(dim=0)
        assert float(share.sum()) == pytest.approx(1, abs=1e-5)
        variance = float((share * (torch.arange(41) - 20) ** 2).sum())
        assert math.sqrt(variance) == pytest.approx(sigma, rel=0.01), "the tails past four deviations are cut off"
    assert torch.equal(transforms.blur(0)(point, generator()), point)


def test_noise_has_the_asked_for_deviation():
    grey = torch.full((1, 3, 128, 128), 0.5)
    assert float(transforms.gaussian_noise(0.05)(grey, generator()).std()) == pytest.approx(0.05, rel=0.03)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("size", [(8, 8), (9, 13), (37, 46), (64, 48)])
def test_size_range_and_gradient(name: str, size: tuple[int, int]):
    clean = torch.rand(2, 3, *size, generator=generator(1)).requires_grad_()
    before = clean.detach().clone()
    found = ALL[name](clean, generator())
    assert (found.shape, found.dtype) == (clean.shape, torch.float32)
    assert 0 <= float(found.detach().min()) <= float(found.detach().max()) <= 1
    (gradient,) = torch.autograd.grad((found - 0.3).square().sum(), clean)
    assert bool(gradient.isfinite().all())
    assert float((gradient != 0).float().mean()) > 0.5
    assert torch.equal(clean.detach(), before)


@pytest.mark.parametrize("name", ALL)
def test_an_image_does_not_depend_on_its_batch(name: str):
    batch = random_pixels(37, 46, batch=3)
    together = ALL[name](batch, generator())
    for i in range(3):
        assert torch.equal(ALL[name](batch[i : i + 1], generator()), together[i : i + 1])


@pytest.mark.parametrize("name", ALL)
def test_chance_comes_from_the_generator_alone(name: str):
    clean = random_pixels(37, 46)
    state = torch.get_rng_state()
    first, again = (ALL[name](clean, generator(seed)) for seed in (0, 0))
    assert torch.equal(first, again)
    others = [ALL[name](clean, generator(seed)) for seed in range(1, 6)]
    assert any(not torch.equal(first, other) for other in others) == (name in DRAWN)
    assert torch.equal(torch.get_rng_state(), state)


SMOOTH: dict[str, Transform] = {
    "shrink": transforms.downscale_upscale(0.6),
    "crop": transforms.crop_and_resize((0.1, 0.3)),
    "blur": transforms.blur((0.5, 1.5)),
    "noise": transforms.gaussian_noise(0.01),
    "chain": compose(transforms.blur(0.8), transforms.crop_and_resize(0.2)),
}


@pytest.mark.parametrize("name", SMOOTH)
def test_gradients_of_what_does_not_round(name: str):
    clean = random_pixels(11, 9).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: SMOOTH[name](x, generator()), clean)


@pytest.mark.parametrize("quality", [10, 75])
def test_the_gradient_of_jpeg_is_that_of_its_steps_without_rounding(quality: int):
    """There and back without rounding keeps each colour's sum, whatever the tables; in whole blocks of all channels, where
    nothing is continued, each pixel has a weight of one in its own colour and of none in the others."""
    clean = random_pixels(32, 48).requires_grad_()
    for channel in range(3):
        found = jpeg(quality)(clean, generator())
        (gradient,) = torch.autograd.grad(found[:, channel].sum(), clean)
        torch.testing.assert_close(
            gradient, torch.eye(3)[channel].view(1, 3, 1, 1).expand_as(gradient), atol=1e-4, rtol=0
        )


def test_following_the_gradient_through_jpeg_reaches_what_was_wanted():
    clean, wanted = random_pixels(32, 48), random_pixels(32, 48, seed=1)
    wanted = transforms.blur(1.5)(wanted, generator())

    def left(now: Tensor) -> Tensor:
        return (jpeg(75)(now, generator()) - wanted).square().mean()

    now = clean
    for _ in range(20):
        now = now.requires_grad_()
        (gradient,) = torch.autograd.grad(left(now), now)
        now = (now.detach() - 0.3 * gradient.numel() / 2 * gradient).clamp(0, 1)
    assert float(left(now.detach())) < 0.1 * float(left(clean.detach()))


def test_a_chain_is_one_after_the_other():
    clean = random_pixels(20, 24)
    first, second = transforms.gaussian_noise(0.1), transforms.crop_and_resize(0.3)
    shared = generator()
    assert torch.equal(compose(first, second)(clean, generator()), second(first(clean, shared), shared))
    assert torch.equal(compose()(clean, generator()), clean)


def test_one_of_draws_as_often_as_its_weights_say():
    drawn: list[int] = []

    def note(i: int) -> Transform:
        def apply(now: Tensor, _: torch.Generator) -> Tensor:
            drawn.append(i)
            return now

        return apply

    shared, clean = generator(), random_pixels(8, 8)
    for weights, expected in (([1, 0, 3], [0.25, 0, 0.75]), (None, [1 / 3] * 3)):
        drawn.clear()
        transform = random_choice([note(i) for i in range(3)], weights)
        for _ in range(1000):
            transform(clean, shared)
        shares = np.bincount(drawn, minlength=3) / 1000
        assert shares.tolist() == pytest.approx(expected, abs=0.06), "four deviations of a thousand draws"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: jpeg(0), "JPEG quality 0: give a number from 1 to 100"),
        (lambda: jpeg((90, 50)), r"JPEG quality \(90, 50\)"),
        (lambda: transforms.downscale_upscale(1.5), "factor 1.5: "),
        (lambda: transforms.crop_and_resize(1.0), "share 1.0: "),
        (lambda: transforms.blur(-1.0), "sigma_px -1.0: "),
        (lambda: transforms.gaussian_noise(math.nan), "deviation nan: "),
        (lambda: random_choice([jpeg(75)], [1, 2]), r"1 transforms with weights \[1, 2\]: give one for each"),
        (lambda: random_choice([jpeg(75), jpeg(50)], [0, 0]), "not all zero"),
        (lambda: random_choice([]), "0 transforms"),
    ],
)
def test_what_cannot_be_meant_is_refused(make, message: str):
    with pytest.raises(ValueError, match=f"^{message}" if "zero" not in message else message):
        make()


def test_shift_moves_right_and_down_and_around():
    pixels = torch.arange(5 * 7.0).view(1, 1, 5, 7).expand(2, 3, 5, 7) / 35
    found = {tuple(transforms.random_roll(2)(pixels, source)[0, 0].flatten().tolist()) for source in [generator()] * 60}
    wanted = {
        tuple(torch.cat([part[:, 7 - right :], part[:, : 7 - right]], dim=1).flatten().tolist())
        for down in range(3)
        for right in range(3)
        for part in [torch.cat([pixels[0, 0, 5 - down :], pixels[0, 0, : 5 - down]])]
    }
    assert found == wanted, "all of them come up, and no other"
    assert torch.equal(transforms.random_roll(0)(pixels, generator()), pixels)


def test_dimming_is_one_factor_for_all():
    pixels = torch.rand(2, 3, 9, 8, generator=generator(1)) + 0.1
    source = generator()
    factors = [transforms.scale_brightness((0.6, 0.9))(pixels, source) / pixels for _ in range(30)]
    for factor in factors:
        assert float(factor.max() - factor.min()) < 1e-6
        assert 0.6 <= float(factor.mean()) <= 0.9
    assert len({round(float(factor.mean()), 6) for factor in factors}) == 30
    with pytest.raises(ValueError, match="from 0 to 1"):
        transforms.scale_brightness((0.6, 1.1))


def test_shrinking_matrices_of_a_run_are_computed_once():
    """Three scales of parts that are not square: no matrix is thrown away before its next use."""
    transforms._lanczos.cache_clear()
    parts = [torch.rand(1, 3, *size) for size in ((96, 120), (64, 104), (112, 88))]
    for _ in range(3):
        for part in parts:
            transforms.downscale_upscale(0.5)(part, torch.Generator())
    assert transforms._lanczos.cache_info().misses == 12
    assert transforms._lanczos.cache_info().hits == 24


def test_qualities_are_drawn_from_their_range():
    pixels = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    known = {quality: jpeg(quality)(pixels, torch.Generator()) for quality in range(60, 66)}
    drawn = [jpeg((60, 65))(pixels, torch.Generator().manual_seed(seed)) for seed in range(12)]
    found = [[quality for quality, one in known.items() if torch.equal(one, shown)] for shown in drawn]
    assert all(found), "each is that of a quality in the range"
    assert len({qualities[0] for qualities in found}) > 2


def test_a_choice_comes_from_the_generator_alone():
    choose = random_choice([lambda pixels, _, level=level: pixels + level for level in range(4)])
    pixels = torch.zeros(1, 3, 8, 8)

    def chosen(global_seed: int) -> list[float]:
        torch.manual_seed(global_seed)
        generator = torch.Generator().manual_seed(5)
        return [float(choose(pixels, generator).mean()) for _ in range(8)]

    assert chosen(0) == chosen(1)
    assert len(set(chosen(0))) > 1
