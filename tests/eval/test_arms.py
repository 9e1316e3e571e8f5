"""Arms are what their papers say: their formulas, the way each one moves a picture, and the same terms for all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tiny_editors
import tiny_modern_editors
import torch
from conftest import smooth_picture
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    LMSDiscreteScheduler,
    PNDMScheduler,
)
from numpy.typing import NDArray
from torch import Tensor

from pca_protect import UsageError, load_surrogate, posterior_collapse
from pca_protect.attack.posterior import Posterior
from pca_protect.attack.visibility import visible_levels
from pca_protect.errors import RenamedWarning
from pca_protect.eval.arms.denoiser import Denoiser, denoiser_of, denoising_error, score_distillation
from pca_protect.eval.arms.encoder import mean_away, mean_to_target, mean_to_zero, moments_away, pattern
from pca_protect.eval.arms.noise import RUNGS, NoiseLadder, shuffled, spectrum_noise, uniform_noise
from pca_protect.eval.arms.perturb import Target, generator_for, perturb, refusal
from pca_protect.eval.arms.registry import ARMS, CONTROLS, NOISE_LINF, NOISE_VISIBLE, arms_named
from pca_protect.eval.carried import carried_through
from pca_protect.eval.editors.editor import Editor
from pca_protect.eval.editors.load import editor_of, load_editor
from pca_protect.eval.editors.registry import EditSettings
from pca_protect.eval.metrics.load import visibility
from pca_protect.eval.pictures import Rgb, to_pixels
from pca_protect.io.picture import Picture
from pca_protect.modes import MODES, PUBLISHED_MODES
from pca_protect.surrogates.encoder import Surrogate

SIDE = 40
"""An odd number of latent pixels."""

BUDGET = 8
INSTANT = tuple(name for name in ARMS if ARMS[name].preset == "instant")
"""For encoders with a trained start, which random ones have not."""
PERTURBING = tuple(name for name in ARMS if name != NOISE_VISIBLE and name not in INSTANT)
METHODS = tuple(name for name in PERTURBING if name not in CONTROLS)
DRAWN = {
    NOISE_LINF,
    *("latent-distance", "pid"),
    *(name for name in ARMS if ARMS[name].needs == "denoiser" or ARMS[name].survive is not None),
}
"""Those in which the seed decides anything."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_editors.save(tiny_editors.stable_diffusion(), tmp_path_factory.mktemp("arms") / "editor")


@pytest.fixture(scope="module")
def editor(folder: Path) -> Editor:
    return load_editor(str(folder), device="cpu")


@pytest.fixture(scope="module")
def target(editor: Editor) -> Target:
    return Target(editor.surrogate, denoiser_of(editor))


@pytest.fixture(scope="module")
def picture() -> Rgb:
    return np.asarray(smooth_picture(SIDE, SIDE))


@pytest.fixture(scope="module")
def made(target: Target, picture: Rgb) -> dict[str, Rgb]:
    """The picture after every arm; those that need no UNet get none."""
    return {name: run(name, picture, target) for name in PERTURBING}


def run(name: str, picture: Rgb, target: Target, seed: int = 0) -> Rgb:
    arm = ARMS[name]
    if arm.needs != "denoiser":
        target = replace(target, denoiser=None)
    return perturb(arm, picture, target, budget_levels=BUDGET, seed=seed)


def posterior_of(surrogate: Surrogate, picture: Rgb) -> Posterior:
    return surrogate.posterior(to_pixels(Picture(picture)))


def float64(tensor: Tensor) -> NDArray[np.float64]:
    return tensor.detach().double().numpy()


def generators(count: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in range(count)]


@pytest.mark.parametrize("name", PERTURBING)
def test_the_budget_is_kept_and_used(made: dict[str, Rgb], picture: Rgb, name: str):
    assert made[name].dtype == np.uint8
    assert made[name].shape == picture.shape
    change, limit = np.abs(made[name].astype(int) - picture).max(), ARMS[name].max_visibility
    assert change <= BUDGET
    shown = visible_levels(picture, made[name])
    assert change == BUDGET or (limit is not None and shown > 0.8 * limit)
    assert limit is None or shown <= limit


@pytest.mark.parametrize("name", PERTURBING)
def test_an_arm_is_decided_by_picture_and_seed(made: dict[str, Rgb], picture: Rgb, target: Target, name: str):
    torch.manual_seed(len(name))  # nobody's business
    assert np.array_equal(run(name, picture, target), made[name])
    if ARMS[name].preset != "thorough":  # as `balanced`, and slow
        assert np.array_equal(run(name, picture, target, seed=1), made[name]) == (name not in DRAWN)


def test_randomness_belongs_to_picture_and_seed(picture: Rgb):
    def drawn(rgb: Rgb, seed: int) -> float:
        return float(torch.rand((), generator=generator_for(rgb, seed)))

    assert drawn(picture, 0) == drawn(np.asfortranarray(picture), 0)
    assert len({drawn(picture, 0), drawn(picture, 1), drawn(picture[::-1], 0)}) == 3


LATENTS: dict[str, Callable[[Posterior, Posterior, Posterior], Tensor]] = {
    "photoguard": lambda now, clean, aim: -now.mean.square().sum(),
    "latent-distance": lambda now, clean, aim: (now.mean - clean.mean).square().sum(),
    "pid": lambda now, clean, aim: (
        (now.mean - clean.mean).square().mean() + (now.logvar - clean.logvar).square().mean()
    ),
    "mist": lambda now, clean, aim: -(now.mean - aim.mean).square().sum(),
    **{
        name: lambda now, clean, aim, mode=arm.mode: (
            (1 if MODES[mode].direction == "up" else -1)
            * posterior_collapse(now.mean, now.logvar, MODES[mode].target_variance).sum()
        )
        for name, arm in ARMS.items()
        if arm.mode in PUBLISHED_MODES
    },
    **{
        name: lambda now, clean, aim: (now.mean.square().sum(dim=(2, 3)) / clean.mean.square().sum(dim=(2, 3))).mean()
        for name, arm in ARMS.items()
        if arm.mode == "subtle"
    },
}
"""What each method of the encoder wants more of, of the posteriors of a changed picture, the original, and Mist's pattern."""


@pytest.mark.parametrize("name", [name for name in METHODS if ARMS[name].needs == "encoder"])
def test_methods_of_the_encoder_get_what_they_want(made: dict[str, Rgb], picture: Rgb, target: Target, name: str):
    clean = posterior_of(target.surrogate, picture)
    aim = target.surrogate.posterior(pattern(SIDE))

    def wanted(rgb: Rgb) -> float:
        return float(LATENTS[name](posterior_of(target.surrogate, rgb), clean, aim))

    noise = [wanted(run(NOISE_LINF, picture, target, seed)) for seed in range(3)]
    by_noise = max(abs(value - wanted(picture)) for value in noise)
    assert wanted(made[name]) > wanted(picture) + 3 * by_noise


@pytest.fixture(scope="module")
def pocket_editor() -> Editor:
    """A trained one: a random UNet's errors tell nothing about what they are of."""
    return load_editor("pocket-editor", device="cpu")


@pytest.mark.parametrize("name", INSTANT)
def test_arms_without_steps_need_a_trained_start(pocket_editor: Editor, target: Target, picture: Rgb, name: str):
    with pytest.raises(UsageError, match="none is trained for"):
        run(name, picture, target)
    trained = Target(pocket_editor.surrogate)
    found, noise = (run(one, picture, trained) for one in (name, NOISE_LINF))
    assert np.abs(found.astype(int) - picture).max() == BUDGET
    assert np.array_equal(found, run(name, picture, trained, seed=1))
    clean, *others = (posterior_of(pocket_editor.surrogate, rgb).mean for rgb in (picture, found, noise))
    by_start, by_noise = (float((one - clean).norm()) for one in others)
    assert by_start > 1.2 * by_noise, "how far is a question for photographs, see test_universal.py"


def test_methods_of_the_denoiser_get_what_they_want(pocket_editor: Editor, picture: Rgb):
    denoiser = denoiser_of(pocket_editor)
    target = Target(pocket_editor.surrogate, denoiser)

    def loss(rgb: Rgb) -> float:
        """Of denoising, over draws that no method saw."""
        latents = denoiser.latents(to_pixels(Picture(rgb))).expand(64, -1, -1, -1)
        with torch.no_grad():
            return float(denoiser.errors(latents, generators(64)).square().mean())

    found = {name: loss(run(name, picture, target)) for name in ("advdm", "sds-plus", "sds-minus", NOISE_LINF)}
    clean = loss(picture)
    by_noise = abs(found[NOISE_LINF] - clean)
    assert found["advdm"] > found["sds-plus"], "which leaves a factor of the gradient out"
    assert found["sds-plus"] > clean + by_noise
    assert found["sds-minus"] < clean - by_noise


def test_losses_of_the_encoder_follow_their_formulas(tiny: Surrogate, picture: Rgb):
    other = np.asarray(smooth_picture(SIDE, SIDE, seed=1))
    pictures = torch.cat([to_pixels(Picture(other)), to_pixels(Picture(picture[::-1]))])
    clean = to_pixels(Picture(picture)).expand(2, -1, -1, -1)
    goal = pattern(SIDE)
    m, logvar = (float64(part) for part in vars(tiny.posterior(pictures)).values())
    m_clean, logvar_clean = (float64(part) for part in vars(tiny.posterior(clean)).values())
    m_goal = float64(tiny.posterior(goal).mean)
    axes = (1, 2, 3)
    for objective, formula in (
        (mean_to_zero(tiny), (m**2).sum(axes)),
        (mean_to_target(tiny, goal), ((m - m_goal) ** 2).sum(axes)),
        (mean_away(tiny, clean), -((m - m_clean) ** 2).sum(axes)),
        (
            moments_away(tiny, clean),
            -((m - m_clean) ** 2).mean(axes) - ((logvar - logvar_clean) ** 2).mean(axes),
        ),
    ):
        assert np.allclose(float64(objective(pictures)), formula, rtol=1e-5), "sums of a hundred float32"


@pytest.mark.parametrize("away", [mean_away, moments_away])
def test_moving_away_has_no_gradient_at_the_start(tiny: Surrogate, picture: Rgb, away):
    """Hence the noise that these two methods start from."""
    clean = to_pixels(Picture(picture))
    at = clean.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(away(tiny, clean)(at).sum(), at)
    assert float(gradient.abs().max()) == 0


def test_pid_needs_a_variance(picture: Rgb):
    with pytest.raises(
        UsageError, match="pid needs an encoder with a variance and pocket-tiny has none; leave this arm"
    ):
        moments_away(load_surrogate("pocket-tiny", device="cpu"), to_pixels(Picture(picture)))


@pytest.mark.parametrize("size_px", [SIDE, 45, 256])
def test_the_pattern_is_black_and_white_all_over(size_px: int):
    tiling = pattern(size_px)
    assert tiling.shape == (1, 3, size_px, size_px)
    assert torch.equal(tiling[:, :1].expand_as(tiling), tiling), "no colour"
    assert (float(tiling.min()), float(tiling.max())) == (0, 1)
    half = size_px // 2
    for rows in (slice(half), slice(half, None)):
        for columns in (slice(half), slice(half, None)):
            quarter = tiling[..., rows, columns]
            assert 0.3 < float(quarter.mean()) < 0.7
            assert float(quarter.std()) > 0.35


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_denoising_errors_follow_their_formula(
    editor: Editor, picture: Rgb, tmp_path: Path, prediction: str, monkeypatch: pytest.MonkeyPatch
):
    scheduler = DDIMScheduler.from_config(editor.pipeline.scheduler.config, prediction_type=prediction)
    monkeypatch.setattr(editor.pipeline, "scheduler", scheduler)
    denoiser = denoiser_of(editor)
    pixels = torch.cat([to_pixels(Picture(picture)), to_pixels(Picture(picture[::-1]))])
    latents = denoiser.latents(pixels)
    scale = editor.pipeline.vae.config.scaling_factor
    assert np.allclose(float64(latents), float64(editor.surrogate.posterior(pixels).mean) * scale)

    betas = np.linspace(scheduler.config.beta_start, scheduler.config.beta_end, 1000)
    kept = np.cumprod(1 - betas)
    tokenizer = editor.pipeline.tokenizer
    tokens = tokenizer("", padding="max_length", max_length=tokenizer.model_max_length, return_tensors="pt").input_ids
    prompt = editor.pipeline.text_encoder(tokens)[0]
    wanted = []
    for one, generator in zip(latents, generators(2), strict=True):
        time = int(torch.randint(1000, (1,), generator=generator))
        noise = float64(torch.randn(1, *one.shape, generator=generator))[0]
        clean, share = float64(one), kept[time]
        noisy = share**0.5 * clean + (1 - share) ** 0.5 * noise
        predicted = editor.pipeline.unet(torch.from_numpy(noisy).float()[None], time, prompt).sample[0]
        truth = noise if prediction == "epsilon" else share**0.5 * noise - (1 - share) ** 0.5 * clean
        wanted.append(float64(predicted) - truth)
    errors = denoiser.errors(latents, generators(2))
    assert np.allclose(float64(errors), wanted, atol=1e-5), "the UNet runs in float32"
    loss = denoising_error(denoiser, generators(2))(pixels)
    assert np.allclose(float64(loss), [-(one**2).mean() for one in wanted], rtol=1e-5)


def test_score_distillation_leaves_the_unet_out_of_its_gradient(target: Target, picture: Rgb):
    denoiser = target.denoiser
    assert denoiser is not None
    pixels = to_pixels(Picture(picture)).requires_grad_()
    latents = denoiser.latents(pixels)
    errors = denoiser.errors(latents.detach(), generators(1))
    (wanted,) = torch.autograd.grad(latents, pixels, grad_outputs=errors)
    gradients = [gradient_of(score_distillation(denoiser, generators(1), way), picture) for way in ("down", "up")]
    assert torch.allclose(gradients[0], wanted, atol=1e-6 * float(wanted.abs().max()))
    assert torch.equal(gradients[1], -gradients[0])
    advdm = gradient_of(denoising_error(denoiser, generators(1)), picture)
    cosine = torch.nn.functional.cosine_similarity(advdm.flatten(), gradients[1].flatten(), dim=0)
    assert abs(float(cosine)) < 0.99, "it would be the same method"


def gradient_of(objective: Callable[[Tensor], Tensor], picture: Rgb) -> Tensor:
    pixels = to_pixels(Picture(picture)).requires_grad_()
    return torch.autograd.grad(objective(pixels).sum(), pixels)[0]


def test_random_draws_differ_from_call_to_call_and_between_pictures(target: Target, picture: Rgb):
    denoiser = target.denoiser
    assert denoiser is not None
    latents = denoiser.latents(to_pixels(Picture(picture))).expand(2, -1, -1, -1)
    drawing = generators(2)
    first, again = denoiser.errors(latents, drawing), denoiser.errors(latents, drawing)
    assert not torch.equal(first[0], first[1])
    assert not torch.equal(first, again)
    alone = denoiser.errors(latents[1:], generators(2)[1:])
    assert torch.allclose(alone[0], first[1], atol=1e-6), "sums in another order may round otherwise"


@pytest.mark.parametrize(
    "scheduler",
    [PNDMScheduler, DDPMScheduler, EulerDiscreteScheduler, LMSDiscreteScheduler, DPMSolverMultistepScheduler],
)
@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
def test_the_noise_is_that_of_training_whatever_an_editor_samples_with(
    editor: Editor, picture: Rgb, monkeypatch: pytest.MonkeyPatch, scheduler, prediction: str
):
    """Some of diffusers' schedulers know the times of the last edit alone, or add noise on another scale."""
    latents = denoiser_of(editor).latents(to_pixels(Picture(picture)))
    trained = DDIMScheduler.from_config(editor.pipeline.scheduler.config, prediction_type=prediction)
    monkeypatch.setattr(editor.pipeline, "scheduler", trained)
    wanted = denoiser_of(editor).errors(latents, generators(1))
    monkeypatch.setattr(editor.pipeline, "scheduler", scheduler.from_config(trained.config))
    denoiser = denoiser_of(editor)
    original = np.asarray(smooth_picture(editor.size_px, editor.size_px))
    editor.edit([original], "", EditSettings(0.5, 2.0, 4), seeds=[0])
    for found in (denoiser, denoiser_of(editor)):
        assert torch.equal(found.errors(latents, generators(1)), wanted)


@pytest.mark.usefixtures("bf16_on_any_cpu")
def test_the_denoiser_is_in_full_precision(folder: Path, editor: Editor, picture: Rgb):
    lower = load_editor(str(folder), device="cpu", precision="bf16")
    full, found = (errors(denoiser_of(one), picture) for one in (editor, lower))
    assert found.dtype == torch.float32
    assert lower.pipeline.unet.dtype == torch.bfloat16, "its own stays as it was"
    assert torch.allclose(found, full, atol=0.05), "of about 1; its weights were rounded to eight bits of mantissa"


def errors(denoiser: Denoiser, picture: Rgb) -> Tensor:
    with torch.no_grad():
        return denoiser.errors(denoiser.latents(to_pixels(Picture(picture))), generators(1))


NO_PLAIN_UNET = "advdm and sds need an editor of Stable Diffusion 1.x kind with a plain UNet; leave these arms out"


@pytest.mark.parametrize("sort", [sort for sort in tiny_editors.EDITORS if sort != "stable-diffusion"])
def test_editors_without_a_plain_unet_are_refused(tmp_path: Path, sort: str):
    folder = tiny_editors.save(tiny_editors.EDITORS[sort](), tmp_path / "editor")
    with pytest.raises(UsageError) as refused:
        denoiser_of(load_editor(str(folder), device="cpu"))
    assert str(refused.value) == f"{folder}: {NO_PLAIN_UNET}"


@pytest.mark.parametrize("scheduler", [DDIMScheduler(prediction_type="sample"), FlowMatchEulerDiscreteScheduler()])
def test_a_unet_that_predicts_something_else_is_refused(editor: Editor, monkeypatch: pytest.MonkeyPatch, scheduler):
    monkeypatch.setattr(editor.pipeline, "scheduler", scheduler)
    with pytest.raises(UsageError, match=NO_PLAIN_UNET):
        denoiser_of(editor)


def test_noise_is_uniform_rounded_and_clipped():
    grey = np.full((64, 64, 3), 128, np.uint8)
    change = uniform_noise(grey, 16, torch.Generator().manual_seed(0)).astype(int) - 128
    assert (change.min(), change.max()) == (-16, 16)
    # 12288 draws: the mean is off by 0.08 and the share of each inner level, 1/32, by 0.0016 in one of three cases.
    assert abs(change.mean()) < 0.4
    levels, counts = np.unique(change, return_counts=True)
    assert len(levels) == 33
    assert np.allclose(counts[1:-1] / change.size, 1 / 32, atol=0.008)
    assert np.allclose(counts[[0, -1]] / change.size, 1 / 64, atol=0.008), "half a level rounds to the outermost ones"
    white = np.full((8, 8, 3), 255, np.uint8)
    assert uniform_noise(white, 16, torch.Generator().manual_seed(0)).min() >= 239, "it would wrap around to black"
    assert np.array_equal(uniform_noise(grey, 0.49, torch.Generator().manual_seed(0)), grey)


@pytest.mark.parametrize("levels", [3.0, 16.5, 60.0])
def test_noise_can_be_as_visible_as_something_else(picture: Rgb, levels: float):
    asked = visibility(picture, uniform_noise(picture, levels, torch.Generator().manual_seed(7)))
    ladder = NoiseLadder(picture, visibility, 9)
    found = ladder.nearest(asked)
    assert found in RUNGS
    assert found == pytest.approx(levels, rel=0.15), "within half a rung, with another draw of the noise"
    apart = {rung: abs(visibility(picture, ladder.noisy(rung)) - asked) for rung in RUNGS}
    assert apart[found] == min(apart.values())


def test_noise_that_no_amplitude_makes_visible_enough(picture: Rgb):
    ladder = NoiseLadder(picture, visibility, 0)
    assert (ladder.nearest(0.0), ladder.nearest(1.0)) == (RUNGS[0], RUNGS[-1])


def test_a_ladder_measures_few_rungs(picture: Rgb):
    asked: list[Rgb] = []

    def counted(original: Rgb, changed: Rgb) -> float:
        asked.append(changed)
        return visibility(original, changed)

    ladder = NoiseLadder(picture, counted, 0)
    ladder.nearest(0.1)
    assert len(asked) <= 6
    ladder.nearest(0.1)
    assert len(asked) <= 6


def test_noise_has_the_spectrum_of_a_perturbation(made: dict[str, Rgb], picture: Rgb):
    """Compared as power per frequency; rounding and clipping at black and white change it a little."""
    grey = (picture.astype(int) // 4 + 96).astype(np.uint8)
    perturbation = made["pca-diffusion"].astype(int) - picture
    changed = (grey + perturbation).astype(np.uint8)
    noise = spectrum_noise(grey, changed, torch.Generator().manual_seed(0)).astype(int) - grey
    powers = [np.abs(np.fft.rfft2(change, axes=(0, 1))) ** 2 for change in (perturbation, noise)]
    assert np.sum(powers[1]) == pytest.approx(np.sum(powers[0]), rel=0.02)
    assert np.corrcoef(powers[0].ravel(), powers[1].ravel())[0, 1] > 0.98
    channels = [np.corrcoef(change.reshape(-1, 3).T) for change in (perturbation, noise)]
    assert np.allclose(*channels, atol=0.03)
    assert abs(np.corrcoef(perturbation.ravel(), noise.ravel())[0, 1]) < 0.1, "it is another perturbation"
    again = spectrum_noise(grey, changed, torch.Generator().manual_seed(0)).astype(int) - grey
    assert np.array_equal(noise, again)
    assert np.array_equal(spectrum_noise(grey, grey, torch.Generator().manual_seed(0)), grey)


def test_a_perturbation_moves_to_another_picture(made: dict[str, Rgb], picture: Rgb):
    grey = np.full_like(picture, 128)
    moved = shuffled(grey, picture, made["photoguard"])
    assert np.array_equal(moved.astype(int) - 128, made["photoguard"].astype(int) - picture)
    white = np.full_like(picture, 255)
    assert shuffled(white, picture, made["photoguard"]).min() >= 239, "it would wrap around to black"


def test_what_a_perturbation_leaves_in_an_edit(picture: Rgb):
    """An edit with half of the perturbation, shifted by a constant that the perturbation knows nothing of."""
    generator = np.random.default_rng(0)
    middle = np.full_like(picture, 120)
    signs = generator.choice((-16, 16), picture.shape)
    changed = (middle + signs).astype(np.uint8)

    found = carried_through(middle, changed, middle, (middle + signs // 2).astype(np.uint8))
    assert found.share == pytest.approx(0.5)
    assert np.array_equal(found.pasted, changed)
    assert np.array_equal(found.without, middle)
    moved = carried_through(middle, changed, middle, (middle + 20).astype(np.uint8))
    assert moved.share == pytest.approx(20 * signs.mean() / 256)
    assert np.abs(moved.without.astype(int) - 140).max() <= 1
    assert carried_through(middle, middle, middle, changed).share == 0


@pytest.mark.parametrize(
    ("name", "refused"), [("instant-diffusion", "universal"), ("photoguard", ""), ("pid", ""), ("noise-linf", "")]
)
def test_an_arm_that_an_encoder_cannot_have(tiny: Surrogate, name: str, refused: str):
    (arm,) = arms_named([name])
    reason = refusal(arm, tiny)
    assert refused in reason
    assert bool(reason) == bool(refused)


def test_pid_is_refused_for_an_encoder_without_a_variance():
    encoder = Surrogate.from_module(torch.nn.Conv2d(3, 4, 8, 8), multiple=8)
    (pid,) = arms_named(["pid"])
    assert "has no variance" in refusal(pid, encoder)


def test_an_editor_whose_vae_has_no_variance_is_attacked_by_every_arm_that_needs_none():
    device = torch.device("cpu")
    sana = editor_of(tiny_modern_editors.sana_sprint(), "sana", "img2img", device=device, size_px=tiny_editors.SIDE)
    assert not sana.surrogate.has_variance
    picture = np.asarray(smooth_picture(sana.size_px, sana.size_px))
    clean = posterior_of(sana.surrogate, picture).mean
    possible = [name for name in METHODS if ARMS[name].needs != "denoiser" and not refusal(ARMS[name], sana.surrogate)]
    assert {"photoguard", "pca-diffusion", "pca-concentration", "balanced-diffusion"} <= set(possible)
    for name in possible:
        changed = run(name, picture, Target(sana.surrogate))
        assert 0 < np.abs(changed.astype(int) - picture).max() <= BUDGET, name
        assert not torch.allclose(posterior_of(sana.surrogate, changed).mean, clean, rtol=1e-2), name


def test_arms_come_in_the_order_of_the_table_each_once():
    assert [arm.name for arm in arms_named(["mist", "noise-linf", "mist", "photoguard"])] == [
        "noise-linf",
        "photoguard",
        "mist",
    ]
    assert arms_named(list(ARMS)) == list(ARMS.values())


def test_an_unknown_arm_is_refused_with_a_hint():
    with pytest.raises(UsageError, match=r"^unknown arm 'photogard'; did you mean photoguard\?$"):
        arms_named(["mist", "photogard"])
    with pytest.raises(UsageError, match=f"^unknown arm '\\?'; known ones are {', '.join(ARMS)}$"):
        arms_named(["?"])


def test_former_names_of_arms_work():
    with pytest.warns(RenamedWarning, match="balanced-subtle"):
        assert [arm.name for arm in arms_named(["balanced-strong"])] == ["balanced-subtle"]
