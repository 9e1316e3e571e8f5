"""Published attacks through the editor's UNet, as objectives to minimise.

They need the weights of a whole editor; posterior collapse needs only those of the encoder. Implemented from the papers.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from pca_protect.attack.pgd import Objective
from pca_protect.errors import UsageError
from pca_protect.eval.editors.editor import Editor
from pca_protect.surrogates.encoder import Surrogate


@dataclass(frozen=True)
class Denoiser:
    """An editor's noise predictor, with an empty prompt.

    Attributes:
        surrogate: encoder that makes the latents.
        scale: factor from posterior means to the UNet's latents.
        steps: number of steps of the noise schedule.
    """

    surrogate: Surrogate
    scale: float
    steps: int
    _unet: Any = field(repr=False)
    _scheduler: Any = field(repr=False)
    _no_prompt: Tensor = field(repr=False)

    def latents(self, pixels: Tensor) -> Tensor:
        """Latents for the UNet, `(B, C, h, w)` in float32, of pixels `(B, 3, H, W)` in [0, 1]."""
        return self.surrogate.posterior(pixels).mean * self.scale

    def errors(self, latents: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """Prediction errors of the UNet, shape of the latents, at random timesteps and with random noise.

        Args:
            generators: one per picture.
        """
        device, shape = latents.device, latents[:1].shape
        time = torch.cat([torch.randint(self.steps, (1,), generator=each) for each in generators]).to(device)
        noise = torch.cat([torch.randn(shape, generator=each) for each in generators]).to(device)
        noisy = self._scheduler.add_noise(latents, noise, time)
        prompt = self._no_prompt.expand(len(latents), -1, -1)
        predicted: Tensor = self._unet(noisy, time, encoder_hidden_states=prompt).sample
        if self._scheduler.config.prediction_type == "v_prediction":
            velocity: Tensor = self._scheduler.get_velocity(latents, noise, time)
            return predicted - velocity
        return predicted - noise


def has_denoiser(editor: Editor) -> bool:
    """Whether the editor has a UNet whose only inputs are latents, a timestep and a prompt, with noise or velocity as output, and
    which stays on the device."""
    pipeline = editor.pipeline
    unet, scheduler = getattr(pipeline, "unet", None), pipeline.scheduler
    return (
        unet is not None
        and not editor.offloaded
        and unet.config.in_channels == editor.surrogate.latent_channels
        and getattr(pipeline, "text_encoder_2", None) is None
        and hasattr(scheduler, "alphas_cumprod")
        and scheduler.config.prediction_type in ("epsilon", "v_prediction")
    )


def denoiser_of(editor: Editor) -> Denoiser:
    """The denoiser of an editor, in fp32 and with the noise schedule of the UNet's training. The editor's own precision and
    sampler have no effect.

    Raises:
        UsageError: the editor has no UNet, or one with inputs other than latents, a timestep and a prompt, or with an output
            other than noise or velocity.
    """
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler  # noqa: PLC0415 - takes seconds

    if not has_denoiser(editor):
        raise UsageError(
            f"{editor.name}: advdm and sds need an editor of Stable Diffusion 1.x kind with a plain UNet; leave these arms out"
        )
    pipeline = editor.pipeline
    unet, scheduler = pipeline.unet, pipeline.scheduler
    with torch.no_grad():
        no_prompt, _ = pipeline.encode_prompt("", editor.surrogate.device, 1, False)
    return Denoiser(
        editor.surrogate,
        float(pipeline.vae.config.scaling_factor),
        int(scheduler.config.num_train_timesteps),
        unet if unet.dtype == torch.float32 else copy.deepcopy(unet).float(),
        # Few-step samplers add noise for the steps of the last edit, or on another scale than the UNet's training.
        DDPMScheduler.from_config(scheduler.config),
        no_prompt.float(),
    )


def denoising_error(denoiser: Denoiser, generators: Sequence[torch.Generator]) -> Objective:
    """-E ||error||^2 over random timesteps and noise, redrawn at every call: AdvDM (Liang et al. 2023, arXiv 2302.04578,
    equation 7). Its gradient passes through UNet and encoder.

    Args:
        generators: one per picture.
    """

    def objective(pixels: Tensor) -> Tensor:
        errors = denoiser.errors(denoiser.latents(pixels), generators)
        return -errors.flatten(start_dim=1).square().mean(dim=1)

    return objective


def score_distillation(
    denoiser: Denoiser, generators: Sequence[torch.Generator], direction: Literal["up", "down"]
) -> Objective:
    """<errors, latents> with constant errors; its gradient is that of score distillation. The UNet is run but not
    differentiated (Xue et al. 2024, arXiv 2311.12832, SDS+ for `up` and SDS- for `down`).

    Only the gradient is meaningful; the values are not a loss.
    """
    sign = -1.0 if direction == "up" else 1.0

    def objective(pixels: Tensor) -> Tensor:
        latents = denoiser.latents(pixels)
        with torch.no_grad():
            errors = denoiser.errors(latents, generators)
        return sign * (errors * latents).flatten(start_dim=1).sum(dim=1)

    return objective
