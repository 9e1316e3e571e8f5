"""Methods from the literature that look through the editor's UNet, as objectives to be minimised.

They need the weights of a whole editor where posterior collapse needs the encoder. Written from the papers.
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
    """The part of an editor that predicts noise, without a prompt.

    Attributes:
        surrogate: encoder in front of it.
        scale: from posterior means to the latents that the UNet knows.
        steps: length of its noise schedule.
    """

    surrogate: Surrogate
    scale: float
    steps: int
    _unet: Any = field(repr=False)
    _scheduler: Any = field(repr=False)
    _no_prompt: Tensor = field(repr=False)

    def latents(self, pixels: Tensor) -> Tensor:
        """What the UNet works on, for pixels `(B, 3, H, W)` in [0, 1]: `(B, C, h, w)`, float32."""
        return self.surrogate.posterior(pixels).mean * self.scale

    def errors(self, latents: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
        """What the UNet predicts minus what it should, shape of the latents, at random times and with random noise.

        Args:
            generators: one for each picture.
        """
        device, one = latents.device, latents[:1].shape
        time = torch.cat([torch.randint(self.steps, (1,), generator=each) for each in generators]).to(device)
        noise = torch.cat([torch.randn(one, generator=each) for each in generators]).to(device)
        noisy = self._scheduler.add_noise(latents, noise, time)
        prompt = self._no_prompt.expand(len(latents), -1, -1)
        predicted: Tensor = self._unet(noisy, time, encoder_hidden_states=prompt).sample
        if self._scheduler.config.prediction_type == "v_prediction":
            wanted: Tensor = self._scheduler.get_velocity(latents, noise, time)
            return predicted - wanted
        return predicted - noise


def denoiser_of(editor: Editor) -> Denoiser:
    """In fp32, whatever the editor's precision, with the noise schedule that its UNet was trained with, whatever scheduler the
    editor samples with.

    Raises:
        UsageError: the editor has no UNet that takes nothing but latents, a time and a prompt, and predicts noise or velocity.
    """
    from diffusers.schedulers.scheduling_ddpm import DDPMScheduler  # noqa: PLC0415 - seconds

    pipeline = editor.pipeline
    unet, scheduler = getattr(pipeline, "unet", None), pipeline.scheduler
    if (
        unet is None
        or unet.config.in_channels != editor.surrogate.latent_channels
        or getattr(pipeline, "text_encoder_2", None) is not None
        or not hasattr(scheduler, "alphas_cumprod")
        or scheduler.config.prediction_type not in ("epsilon", "v_prediction")
    ):
        raise UsageError(
            f"{editor.name}: advdm and sds need an editor of Stable Diffusion 1.x kind with a plain UNet; leave these arms out"
        )
    with torch.no_grad():
        no_prompt, _ = pipeline.encode_prompt("", editor.surrogate.device, 1, False)
    return Denoiser(
        editor.surrogate,
        float(pipeline.vae.config.scaling_factor),
        int(scheduler.config.num_train_timesteps),
        unet if unet.dtype == torch.float32 else copy.deepcopy(unet).float(),
        # Those that sample in few steps add noise for the steps of the last edit, or in another scale than the UNet knows.
        DDPMScheduler.from_config(scheduler.config),
        no_prompt.float(),
    )


def denoising_error(denoiser: Denoiser, generators: Sequence[torch.Generator]) -> Objective:
    """-E ||error||^2 over random times and noise, drawn anew at every call: AdvDM (Liang et al. 2023, arXiv 2302.04578,
    equation 7). It backpropagates through UNet and encoder.

    Args:
        generators: one for each picture.
    """

    def objective(pixels: Tensor) -> Tensor:
        errors = denoiser.errors(denoiser.latents(pixels), generators)
        return -errors.flatten(start_dim=1).square().mean(dim=1)

    return objective


def score_distillation(
    denoiser: Denoiser, generators: Sequence[torch.Generator], direction: Literal["up", "down"]
) -> Objective:
    """<errors, latents> with the errors taken as constant, whose gradient is score distillation's: the UNet is run but not
    differentiated (Xue et al. 2024, arXiv 2311.12832, SDS+ for `up` and SDS- for `down`).

    Its values are no loss, only their gradients mean something.
    """
    sign = -1.0 if direction == "up" else 1.0

    def objective(pixels: Tensor) -> Tensor:
        latents = denoiser.latents(pixels)
        with torch.no_grad():
            errors = denoiser.errors(latents, generators)
        return sign * (errors * latents).flatten(start_dim=1).sum(dim=1)

    return objective
