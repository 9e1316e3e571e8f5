"""The published attack as its authors run it, as a reference for cost. Reimplemented from the paper and the authors' code
(Guo et al., arXiv 2408.10901; github.com/ZhongliangGuo/PosteriorCollapseAttack), without code shared with our loop.

Keeps the properties that determine its cost: the complete VAE is loaded in fp32; weights are not frozen, so every backward pass
also computes and stores unused weight gradients; batch 1; the loss is copied to the host every step.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import Tensor


def published_loop(
    vae: AutoencoderKL,
    pixels: Tensor,
    *,
    target_variance: float,
    ascend: bool,
    budget: float = 16 / 255,
    step_size: float = 2 / 255,
    steps: int = 40,
    on_step: Callable[[], None] | None = None,
) -> Tensor:
    """Perturbed pixels in [0, 1] with the shape of `pixels`.

    Args:
        vae: in evaluation mode; parameters require gradients, as after loading.
        pixels: `(B, 3, H, W)` in [0, 1], sides multiples of the VAE's downscaling.
        target_variance: v; 1 with `ascend` is PCA+, 1e-8 without is PCA-.
        ascend: maximise the loss of the paper instead of minimising it.
        budget, step_size: in [0, 1] units; the defaults and `steps` are the published settings.
        on_step: called after every step.
    """
    perturbation = torch.zeros_like(pixels)
    adversarial = pixels.clone()
    for _ in range(steps):
        adversarial.requires_grad_()
        posterior = vae.encode((adversarial - 0.5) / 0.5).latent_dist
        terms = (posterior.mean**2 + posterior.std**2) / target_variance - posterior.logvar - 1.0
        loss = 0.5 * terms.flatten(start_dim=1).sum(dim=1).mean()
        (loss if ascend else -loss).backward()
        assert adversarial.grad is not None
        loss.item()
        perturbation = (perturbation + step_size * adversarial.grad.sign()).clamp(-budget, budget)
        adversarial = (pixels + perturbation).clamp(0.0, 1.0)
        if on_step is not None:
            on_step()
    return adversarial.detach()
