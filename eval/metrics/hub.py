"""Metrics whose weights have to be fetched. Never used unless asked for by name."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pca_protect.errors import ModelError
from pca_protect.eval.metrics.registry import Metric
from pca_protect.eval.pictures import Rgb


def load_pair_metric(metric: Metric, device: torch.device) -> Callable[[Rgb, Rgb], float]:
    """LPIPS or DISTS, through torchmetrics.

    Raises:
        ModelError: torchvision or the weights are not there.
    """
    try:
        if metric.name == "lpips":
            from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity  # noqa: PLC0415

            lpips = LearnedPerceptualImagePatchSimilarity(net_type="vgg", normalize=True).to(device)
            compute: Callable[[Tensor, Tensor], Tensor] = lpips
        else:
            from torchmetrics.image.dists import DeepImageStructureAndTextureSimilarity  # noqa: PLC0415

            compute = DeepImageStructureAndTextureSimilarity().to(device)
    except (ImportError, OSError, RuntimeError) as error:
        raise ModelError(
            f"{metric.name}: cannot be had ({_first_line(error)}); it needs torchvision made for your PyTorch, and a "
            "download the first time"
        ) from error

    def measure(reference: Rgb, test: Rgb) -> float:
        with torch.no_grad():
            return float(compute(_unit(test).to(device), _unit(reference).to(device)))

    return measure


def load_prompt_metric(metric: Metric, device: torch.device, *, offline: bool) -> Callable[[Rgb, str], float]:
    """Cosine similarity of picture and prompt in the space of CLIP (Radford et al. 2021) or SigLIP (Zhai et al. 2023).

    Args:
        offline: touch no network.

    Raises:
        ModelError: the weights are not there.
    """
    from transformers import AutoModel, AutoProcessor  # noqa: PLC0415

    try:
        model = (
            AutoModel.from_pretrained(metric.weights, use_safetensors=True, local_files_only=offline).to(device).eval()
        )
        processor = AutoProcessor.from_pretrained(  # type: ignore[no-untyped-call]
            metric.weights, local_files_only=offline
        )
    except (OSError, ValueError, ImportError) as error:
        raise ModelError(
            f"{metric.name}: {metric.weights} cannot be had ({_first_line(error)}); go online once"
        ) from error

    def measure(picture: Rgb, prompt: str) -> float:
        inputs = processor(
            text=[prompt], images=[Image.fromarray(np.ascontiguousarray(picture))], padding="max_length", truncation=True,
            return_tensors="pt",
        ).to(device)  # fmt: skip
        with torch.no_grad():
            found = model(**inputs)
        return float(torch.nn.functional.cosine_similarity(found.image_embeds, found.text_embeds)[0])

    return measure


def _unit(picture: Rgb) -> Tensor:
    """`(1, 3, H, W)` in [0, 1]."""
    return torch.from_numpy(picture.copy()).movedim(-1, 0)[None].float() / 255


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
