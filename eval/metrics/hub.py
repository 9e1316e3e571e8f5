"""Metrics whose weights are downloaded. They are used only if named."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
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
            f"{metric.name}: does not load ({first_line(error)}); install the torchvision that matches your PyTorch, and go "
            "online once"
        ) from error

    def measure(reference: Rgb, test: Rgb) -> float:
        with torch.no_grad():
            return float(compute(_unit(test).to(device), _unit(reference).to(device)))

    return measure


def load_prompt_metric(metric: Metric, device: torch.device, *, offline: bool) -> Callable[[Rgb, str], float]:
    """Cosine similarity of picture and prompt in the space of CLIP (Radford et al. 2021) or SigLIP (Zhai et al. 2023).

    Args:
        metric: its `weights` are a hub id or a folder.
        offline: touch no network.

    Raises:
        ModelError: the weights are missing or incomplete, or a library that they need is not installed.
    """
    from huggingface_hub.errors import StrictDataclassError  # noqa: PLC0415
    from safetensors import SafetensorError  # noqa: PLC0415
    from transformers import AutoModel, AutoProcessor  # noqa: PLC0415

    what = f"{metric.name}: {metric.weights}"
    damage = (OSError, ValueError, TypeError, LookupError, RuntimeError, SafetensorError, StrictDataclassError)
    try:
        model, loaded = AutoModel.from_pretrained(
            metric.weights, use_safetensors=True, local_files_only=offline, output_loading_info=True
        )
        processor = AutoProcessor.from_pretrained(  # type: ignore[no-untyped-call]
            metric.weights, local_files_only=offline
        )
        token_ids = [processor.tokenizer(word).input_ids for word in ("day", "sky")]
    except ImportError as error:
        raise ModelError(f"{what} needs a library that is not installed ({first_line(error)}); install it") from error
    except damage as error:
        raise ModelError(f"{what} does not load ({first_line(error)}); go online once") from error
    # transformers initialises missing weights at random, and accepts a missing vocabulary.
    if loaded["missing_keys"] or token_ids[0] == token_ids[1]:
        raise ModelError(f"{what} does not load (weights or vocabulary are missing); delete it and go online once")
    model = model.to(device, torch.float32).eval()
    tokens = model.config.text_config.max_position_embeddings

    def measure(picture: Rgb, prompt: str) -> float:
        # SigLIP was trained on prompts padded to full length without a mask; CLIP ignores the padding.
        inputs = processor(
            text=[prompt],
            images=[Image.fromarray(np.ascontiguousarray(picture))],
            padding="max_length",
            max_length=tokens,
            truncation=True,
            return_tensors="pt",
        ).to(device)
        with torch.no_grad():
            output = model(input_ids=inputs["input_ids"], pixel_values=inputs["pixel_values"])
        return float(torch.nn.functional.cosine_similarity(output.image_embeds, output.text_embeds)[0])

    return measure


def _unit(picture: Rgb) -> Tensor:
    """Pixels `(1, 3, H, W)` in [0, 1]."""
    return torch.from_numpy(picture.copy()).movedim(-1, 0)[None].float() / 255
