"""Complete VAEs, encoder and decoder: reconstruction, as part of an edit or as a purifier."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from pca_protect.errors import ModelError, first_line
from pca_protect.surrogates.encoder import reflect_to_multiple
from pca_protect.surrogates.locate import locate
from pca_protect.surrogates.weight_files import variant_of


def load_whole_vae(name: str, *, device: torch.device, offline: bool = False) -> Any:  # noqa: ANN401 - of many classes
    """A VAE of diffusers in fp32 and evaluation mode.

    Args:
        name: a name of the registry of surrogates, a hub id, or a diffusers folder; resolved as for surrogates.
        offline: do not use the network.

    Raises:
        UsageError: the name is unknown.
        ModelError: the VAE cannot be downloaded or loaded.
    """
    import diffusers  # noqa: PLC0415 - ten seconds

    found = locate(name, offline=offline)
    if found.config is None:
        raise ModelError(f"{found.origin}: a weight file does not describe the decoder; give a folder or a hub id")
    kind = found.config.get("_class_name", "AutoencoderKL")
    try:
        vae: nn.Module = getattr(diffusers, kind).from_pretrained(
            found.weights[0].parent,
            use_safetensors=True,
            variant=variant_of(found.weights[0]),
            torch_dtype=torch.float32,
            local_files_only=True,
        )
    except (OSError, ValueError, AttributeError, RuntimeError) as error:
        raise ModelError(f"{name}: does not load as a VAE ({first_line(error)}); download it again") from error
    nn.Module.to(vae, device)  # diffusers wraps its own `to` in a way that type checkers cannot read
    return vae.eval()


def latent_mean(vae: Any, pixels: Tensor) -> Tensor:  # noqa: ANN401
    """The posterior mean, or the point that a VAE without variance returns, `(B, C, h, w)`, for pixels `(B, 3, H, W)` in
    [0, 1] whose sides the VAE divides."""
    with torch.no_grad():
        encoded = vae.encode(pixels * 2 - 1)
    mean: Tensor = encoded.latents if hasattr(encoded, "latents") else encoded.latent_dist.mean
    return mean


def decoded(vae: Any, latent: Tensor) -> Tensor:  # noqa: ANN401
    """Pixels `(B, 3, H, W)` in [0, 1]."""
    with torch.no_grad():
        pixels: Tensor = (vae.decode(latent).sample / 2 + 0.5).clamp(0, 1)
    return pixels


def round_trip(vae: Any, pixels: Tensor, *, multiple: int = 64) -> Tensor:  # noqa: ANN401
    """Pixels `(B, 3, H, W)` in [0, 1] after encoding and decoding. Sides are padded to the multiple by reflection, then cropped
    back."""
    device = next(vae.parameters()).device
    height, width = pixels.shape[-2:]
    extended = reflect_to_multiple(pixels.to(device), multiple)
    return decoded(vae, latent_mean(vae, extended))[..., :height, :width]
