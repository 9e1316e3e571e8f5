"""A VAE of the Stable Diffusion kind: its modules, its loss, and the whitening of its latents."""

from __future__ import annotations

import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn

from pca_protect.eval.vae_quality import Vae
from training.recipes import KlRecipe
from training.texture import TextureHead, amplitudes, fine_error, laplacian


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


def whiten_latents(vae: AutoencoderKL, batches: list[Tensor]) -> None:
    """Whiten the posterior mean over pictures, in place: W = covariance^(-1/2) goes into `quant_conv` and its inverse into
    `post_quant_conv`, so that fine detail weighs as much in the latent as colour does.

    The variance of a mixture of channels is no linear map of their log-variances; the rows of `quant_conv` that give it
    are fitted by least squares.

    Args:
        batches: pictures `(B, 3, H, W)` in [0, 1], on the device of the VAE.
    """
    into, back = vae.quant_conv, vae.post_quant_conv
    channels = into.weight.shape[0] // 2
    with torch.no_grad():
        raw = torch.cat([_columns(vae.encoder(pixels * 2 - 1)) for pixels in batches]).double()
        moments = raw @ into.weight[:, :, 0, 0].double().T + into.bias.double()
        mean, variance = moments[:, :channels], moments[:, channels:].exp()
        shift = mean.mean(dim=0)
        covariance = (mean - shift).T @ (mean - shift) / len(mean)
        values, vectors = torch.linalg.eigh(covariance)
        whitening = vectors @ (values.rsqrt()[:, None] * vectors.T)
        colouring = vectors @ (values.sqrt()[:, None] * vectors.T)

        mixed = (variance @ whitening.square().T).log()
        with_ones = torch.cat([raw, torch.ones_like(raw[:, :1])], dim=1)
        fitted = torch.linalg.lstsq(with_ones, mixed).solution

        weight, bias = into.weight[:, :, 0, 0].double(), into.bias.double()
        new_weight = torch.cat([whitening @ weight[:channels], fitted[:-1].T])
        new_bias = torch.cat([whitening @ (bias[:channels] - shift), fitted[-1]])
        decoding = back.weight[:, :, 0, 0].double()
        back.bias += (decoding @ shift).float()
        back.weight.copy_((decoding @ colouring)[:, :, None, None])
        into.weight.copy_(new_weight[:, :, None, None])
        into.bias.copy_(new_bias)


def _columns(maps: Tensor) -> Tensor:
    """`(B, C, H, W)` as `(B * H * W, C)`."""
    return maps.movedim(1, -1).flatten(end_dim=-2)
