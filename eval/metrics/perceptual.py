"""LPIPS and DISTS, on torchvision's VGG-16. Used if named, and by default where its weights are, see `available`."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pca_protect.errors import ModelError, first_line
from pca_protect.eval.metrics.registry import Metric
from pca_protect.eval.pictures import Rgb


def load_pair_metric(metric: Metric, device: torch.device) -> Callable[[Rgb, Rgb], float]:
    """LPIPS or DISTS, through torchmetrics.

    Raises:
        ModelError: torchvision or the weights are missing.
    """
    try:
        if metric.name == "lpips":
            from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity  # noqa: PLC0415

            lpips = LearnedPerceptualImagePatchSimilarity(net_type="vgg", normalize=True).to(device)
            compute: Callable[[Tensor, Tensor], Tensor] = lpips
        else:
            # torchmetrics' class would rebuild the network and reload VGG for every pair.
            from torchmetrics.functional.image.dists import DISTSNetwork  # noqa: PLC0415

            compute = DISTSNetwork().to(device)
    except (ImportError, OSError, RuntimeError) as error:
        raise ModelError(
            f"{metric.name}: does not load ({first_line(error)}); install the torchvision that matches your PyTorch "
            "(pip install 'pca-protect[editors]'), and go online once"
        ) from error

    def measure(reference: Rgb, test: Rgb) -> float:
        with torch.no_grad():
            return float(compute(_unit(test).to(device), _unit(reference).to(device)))

    return measure


def _unit(picture: Rgb) -> Tensor:
    """Pixels `(1, 3, H, W)` in [0, 1]."""
    return torch.from_numpy(picture.copy()).movedim(-1, 0)[None].float() / 255
