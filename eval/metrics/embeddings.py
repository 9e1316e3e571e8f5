"""Metrics in the space of a downloaded model: CLIP, SigLIP, PickScore, DINOv2. They are used only if named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pca_protect.eval.hub_model import load_model, load_processor
from pca_protect.eval.metrics.registry import Metric
from pca_protect.eval.pictures import Rgb

SOURCE_TEXT = "a photo"
"""Description of an original without one of its own, for the direction of an edit."""

Embed = Callable[[Rgb, str], tuple[Tensor, Tensor]]
"""(picture, text) -> their embeddings, each `(1, D)` of length 1."""


class PromptMetric(Protocol):
    """(original, edit, its prompt, description of the original) -> value."""

    def __call__(self, original: Rgb, edit: Rgb, prompt: str, source: str = SOURCE_TEXT) -> float: ...


def load_prompt_metric(metric: Metric, device: torch.device, *, offline: bool) -> PromptMetric:
    """(original, edit, prompt) -> cosine similarity in the space of CLIP (Radford et al. 2021) or SigLIP (Zhai et al. 2023),
    of edit and prompt, or for `clip-direction` of the step from original to edit and the step from the description of
    the original to the prompt (Gal et al. 2021, arXiv 2108.00946); 0 for an edit that equals the original. `pickscore` is
    the cosine of edit and prompt times the model's logit scale, about 20 for typical pictures (Kirstain et al. 2023, arXiv
    2305.01569).

    Args:
        metric: its `weights` and its `processor` are a hub id or a folder.
        offline: touch no network.

    Raises:
        ModelError: the weights are missing or incomplete, or a library that they need is not installed.
    """
    embed, logit_scale = _text_and_image(metric, device, offline)
    factor = logit_scale if metric.name == "pickscore" else 1.0

    def match(original: Rgb, edit: Rgb, prompt: str, source: str = SOURCE_TEXT) -> float:
        return factor * _cosine(*embed(edit, prompt))

    def direction(original: Rgb, edit: Rgb, prompt: str, source: str = SOURCE_TEXT) -> float:
        (before, described), (after, wanted) = embed(original, source), embed(edit, prompt)
        return _cosine(after - before, wanted - described)

    return direction if metric.name == "clip-direction" else match


def load_image_metric(metric: Metric, device: torch.device, *, offline: bool) -> Callable[[Rgb, Rgb], float]:
    """(reference, test) -> cosine similarity of the pictures in the space of CLIP, or of DINOv2 (Oquab et al. 2023, arXiv
    2304.07193).

    Args, Raises:
        see `load_prompt_metric`.
    """
    if metric.name == "dino":
        of_picture = _image_only(metric.name, metric.weights, device, offline)
    else:
        embed, _ = _text_and_image(metric, device, offline)

        def of_picture(picture: Rgb) -> Tensor:
            return embed(picture, SOURCE_TEXT)[0]

    return lambda reference, test: _cosine(of_picture(reference), of_picture(test))


def _text_and_image(metric: Metric, device: torch.device, offline: bool) -> tuple[Embed, float]:
    """The embeddings of a model, and its logit scale."""
    from transformers import AutoModel, AutoProcessor  # noqa: PLC0415

    what = f"{metric.name}: {metric.weights}"
    model = load_model(what, AutoModel, metric.weights, offline=offline)
    source = metric.processor or metric.weights
    processor = load_processor(what, AutoProcessor, source, offline=offline)
    model = model.to(device, torch.float32).eval()
    tokens = model.config.text_config.max_position_embeddings

    def embed(picture: Rgb, text: str) -> tuple[Tensor, Tensor]:
        # SigLIP was trained on prompts padded to full length without a mask; CLIP ignores the padding.
        inputs = processor(
            text=[text],
            images=[Image.fromarray(np.ascontiguousarray(picture))],
            padding="max_length",
            max_length=tokens,
            truncation=True,
            return_tensors="pt",
        ).to(device)
        with torch.no_grad():
            output = model(input_ids=inputs["input_ids"], pixel_values=inputs["pixel_values"])
        return output.image_embeds, output.text_embeds

    return embed, float(model.logit_scale.detach().exp())


def _image_only(name: str, weights: str, device: torch.device, offline: bool) -> Callable[[Rgb], Tensor]:
    from transformers import AutoImageProcessor, AutoModel  # noqa: PLC0415

    what = f"{name}: {weights}"
    model = load_model(what, AutoModel, weights, offline=offline).to(device, torch.float32).eval()
    processor = load_processor(what, AutoImageProcessor, weights, offline=offline)

    def embed(picture: Rgb) -> Tensor:
        inputs = processor(images=[Image.fromarray(np.ascontiguousarray(picture))], return_tensors="pt").to(device)
        with torch.no_grad():
            pooled: Tensor = model(pixel_values=inputs["pixel_values"]).pooler_output
        return pooled

    return embed


def _cosine(one: Tensor, other: Tensor) -> float:
    return float(torch.nn.functional.cosine_similarity(one, other)[0])
