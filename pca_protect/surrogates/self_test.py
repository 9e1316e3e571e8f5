"""Self-test of an accelerator: compares an encoder's results with the CPU's, once before the first picture.

A device can return wrong finite values: MPS has zeroed large tensors in `F.pad`, and group normalisation has read channels-last
gradients as contiguous. A perturbation from such a device protects nothing, and an evaluation on the same device may not show it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pca_protect.attack.posterior import Posterior
from pca_protect.errors import DeviceError, not_finite

Encode = Callable[[Tensor], Posterior]
"""Pixels `(1, 3, H, W)` in [0, 1] -> the posterior's moments in float32."""

DIFFERENTIATED_PX = (64, 256)
"""Smallest and largest side of the picture for the gradient; between them it has 8 latent positions. Fewer are inconclusive:
group normalisation over 4 values amplifies the rounding of bf16 to 40 % of a gradient."""
LARGE_PX = 512
"""Side of the picture that is only encoded: a gradient would take three times as long, and the known failures of large tensors
occur in the forward pass too."""


@dataclass(frozen=True)
class _Limits:
    """The largest accepted relative difference, in norms of the CPU's float32 result."""

    moments: float
    gradient: float


_LIMITS = {
    torch.float32: _Limits(0.02, 0.1),
    torch.bfloat16: _Limits(0.2, 0.5),
    torch.float16: _Limits(0.2, 0.5),
}
"""Five to ten times the effect of rounding. Over the architectures of the registry and the embedded models, convolutions in
TF32, cuDNN's default for float32, changed moments by at most 0.002 and gradients by 0.008; bfloat16 changed them by 0.027 and
0.096, float16 by less. A zeroed tensor, or a gradient in the wrong memory format, changes them by 1 or more."""


def require_agreement(
    reference: Encode, encode: Encode, *, device: torch.device, dtype: torch.dtype, name: str, multiple: int
) -> None:
    """Compare moments and input gradient of a small noise picture, and moments of a large one.

    Args:
        reference: the encoder on the CPU in float32.
        encode: the same encoder on `device`, in `dtype`.
        name: of the encoder, for the message.
        multiple: pixels per latent position, see `Surrogate.multiple`.

    Raises:
        ModelError: the device's result is not finite, which half precision may cause.
        DeviceError: the results differ by more than rounding explains.
    """
    least, most = DIFFERENTIATED_PX
    small_px = min(max(least, 8 * multiple), most)
    for side_px in dict.fromkeys((small_px, max(small_px, LARGE_PX))):
        noise = torch.rand(1, side_px, side_px, 3, generator=torch.Generator().manual_seed(side_px))
        pixels = noise.permute(0, 3, 1, 2)  # the memory format of pictures
        differentiated = side_px == small_px
        expected = _results(reference, pixels, differentiated=differentiated)
        results = _results(encode, pixels.to(device), differentiated=differentiated)
        for quantity, reference_value in expected.items():
            value = results[quantity]
            if not bool(value.isfinite().all()):
                raise not_finite(f"for a test picture of {side_px} px on {device}")
            limit = _LIMITS[dtype].gradient if quantity == "gradient" else _LIMITS[dtype].moments
            difference = float((value - reference_value).norm() / reference_value.norm().clamp_min(1e-30))
            if difference > limit:
                raise DeviceError(
                    f"device {device} computes {name} wrongly: its {quantity} for a test picture of {side_px} px differs from "
                    f"the CPU's by {difference:.0%} ({limit:.0%} is accepted); use `device=cpu`, or update PyTorch and the driver"
                )


def _results(encode: Encode, pixels: Tensor, *, differentiated: bool) -> dict[str, Tensor]:
    """Moments and, if `differentiated`, the gradient of their mean square, by name, on the CPU."""
    with torch.set_grad_enabled(differentiated):
        pixels = pixels.detach().requires_grad_(differentiated)
        posterior = encode(pixels)
        moments = {"mean": posterior.mean}
        if posterior.logvar is not None:
            moments["log-variance"] = posterior.logvar
        results = {what: moment.detach().cpu() for what, moment in moments.items()}
        if differentiated:
            loss = torch.stack([moment.square().mean() for moment in moments.values()]).sum()
            (gradient,) = torch.autograd.grad(loss, pixels)
            results["gradient"] = gradient.cpu()
    return results
