"""What a VAE of the Stable Diffusion kind is, and what it is trained to do."""

from __future__ import annotations

import torch
from diffusers import AutoencoderKL
from pocket_recipes import KlRecipe
from texture import TextureHead, amplitudes, fine_error, laplacian
from torch import Tensor, nn
from whitening import whiten_latents

from pca_protect.eval.vae_quality import Vae


class KlTraining:
    """The modules and the loss of one recipe.

    Attributes:
        vae: what is kept.
        others: trained along and thrown away.

    Args:
        decoder_only: leave the latent space as it is, for whatever was already trained in it.
    """

    def __init__(
        self, recipe: KlRecipe, device: torch.device, precision: torch.dtype, *, decoder_only: bool = False
    ) -> None:
        self._recipe, self._precision, self._decoder_only = recipe, precision, decoder_only
        self.vae = _build(recipe).to(device)
        self.others: nn.Module = TextureHead(recipe.latent_channels).to(device)
        for part in (self.vae.encoder, self.vae.quant_conv, self.others):
            part.requires_grad_(not decoder_only)

    def losses(self, pixels: Tensor, generator: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a batch of crops `(B, 3, H, W)` in [0, 1], and its parts."""
        recipe = self._recipe
        with torch.autocast(pixels.device.type, self._precision, enabled=self._precision != torch.float32):
            posterior = self.vae.encode(pixels * 2 - 1).latent_dist
            mean, logvar = posterior.mean.float(), posterior.logvar.float()
            noise = torch.randn(mean.shape, generator=generator).to(mean.device)
            latent = mean + torch.exp(0.5 * logvar) * noise
            decoded = self.vae.decode(latent).sample
        decoded = decoded.float() / 2 + 0.5
        bands = zip(laplacian(decoded, 2), laplacian(pixels, 2), strict=True)
        parts = {
            "l1": (decoded - pixels).abs().mean(),
            "mse": (decoded - pixels).square().mean(),
            "detail": torch.stack([(ours - theirs).abs().mean() for ours, theirs in bands]).sum(),
            "texture": fine_error(self.others(latent), amplitudes(pixels) ** recipe.texture_power),
            "kl": 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean(),
        }
        weights = {name: getattr(recipe, name) for name in parts}
        return torch.stack([weights[name] * part for name, part in parts.items()]).sum(), parts

    def finish(self, vae: Vae, batches: list[Tensor]) -> None:
        """What is done to averaged weights before they are measured or exported."""
        assert isinstance(vae, AutoencoderKL)
        if not self._decoder_only:
            whiten_latents(vae, batches)


def _build(recipe: KlRecipe) -> AutoencoderKL:
    blocks = len(recipe.widths)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * blocks,
        up_block_types=("UpDecoderBlock2D",) * blocks,
        block_out_channels=recipe.widths,
        layers_per_block=recipe.layers_per_block,
        latent_channels=recipe.latent_channels,
        norm_num_groups=recipe.groups,
        sample_size=256,
        force_upcast=False,
        scaling_factor=1.0,
    )
