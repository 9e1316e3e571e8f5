"""The published attack as its authors run it, to be measured against. Written from the paper and from reading their
code (Guo et al., arXiv 2408.10901; github.com/ZhongliangGuo/PosteriorCollapseAttack), sharing nothing with our loop.

What decides its cost is kept: the whole VAE is loaded, the weights are not frozen, so that every backward pass also
computes weight gradients that nobody uses (and keeps them), fp32, batch 1, and the loss is read back every step.
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
    """Perturbed pixels, shape and [0, 1] range as `pixels`.

    Args:
        vae: as loaded, in evaluation mode, parameters requiring gradients.
        pixels: `(B, 3, H, W)` in [0, 1], sides multiples of the VAE's downscaling.
        target_variance: v; 1 with `ascend` is PCA+, 1e-8 without is PCA-.
        ascend: walk up the loss of the paper instead of down.
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
