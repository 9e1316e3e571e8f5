"""A tiny autoencoder that learns the latent space of another one, as TAESD learned Stable Diffusion's."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import AutoencoderKL, AutoencoderTiny
from torch import Tensor, nn

from pca_protect.eval.vae_quality import Vae
from training.recipes import TinyRecipe


class TinyTraining:
    """The modules and the loss of one distillation; see `KlTraining` for the attributes."""

    def __init__(self, recipe: TinyRecipe, device: torch.device, precision: torch.dtype, models: Path) -> None:
        self._recipe, self._precision = recipe, precision
        teacher = AutoencoderKL.from_pretrained(models / recipe.teacher, torch_dtype=torch.float32)
        self._teacher = teacher.to(device).eval().requires_grad_(False)
        widths, blocks = (recipe.width,) * 4, (recipe.blocks,) * 3
        self.vae = AutoencoderTiny(
            encoder_block_out_channels=widths,
            decoder_block_out_channels=widths,
            num_encoder_blocks=(1, *blocks),
            num_decoder_blocks=(*blocks, 1),
            latent_channels=teacher.config.latent_channels,
            scaling_factor=teacher.config.scaling_factor,
            force_upcast=False,
        ).to(device)
        self.others: nn.Module = nn.ModuleList()

    def losses(self, pixels: Tensor, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a batch of crops `(B, 3, H, W)` in [0, 1], and its parts."""
        del generator  # nothing is random here
        shifted = pixels * 2 - 1
        with torch.autocast(pixels.device.type, self._precision, enabled=self._precision != torch.float32):
            with torch.no_grad():
                wanted = self._teacher.encode(shifted).latent_dist.mean.float()
            latent = self.vae.encode(shifted).latents
            decoded = self.vae.decode(wanted).sample
            through_teacher = self._teacher.decode(latent).sample
        parts = {
            "latent": (latent.float() - wanted).square().mean(),
            "decoded": (decoded.float() - shifted).square().mean() + 0.1 * (decoded.float() - shifted).abs().mean(),
            "through_teacher": (through_teacher.float() - shifted).square().mean(),
        }
        total = parts["latent"] + parts["decoded"] + self._recipe.through_teacher * parts["through_teacher"]
        return total, parts

    def finish(self, vae: Vae, batches: list[Tensor]) -> None:
        """Nothing: the latent space is the teacher's."""
