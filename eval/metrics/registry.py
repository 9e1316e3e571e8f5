"""Registry of metrics: names and ranges, no heavy imports."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from pca_protect.errors import UsageError

Better = Literal["higher", "lower"]


@dataclass(frozen=True)
class Metric:
    """A metric of two pictures, or of one edit.

    Attributes:
        name: in tables and options.
        what: description, one phrase with the source.
        low, high: smallest and largest value.
        better: direction of more similar pictures, or of a better edit.
        of: `pair`: edit against another picture; `prompt`: edit, and original, against the prompt; `picture`: edit alone.
        weights: source of its weights; empty if it has none.
        processor: source of tokenizer and picture settings, or of a detector; empty if they lie beside the weights.
        needs: optional program or package that it needs; empty if none.
        smallest_px: smallest accepted side of a picture.
        distance: maps a value to a distance, 0 for equal pictures; only for pairs.
    """

    name: str
    what: str
    low: float
    high: float
    better: Better
    of: Literal["pair", "prompt", "picture"] = "pair"
    weights: str = ""
    processor: str = ""
    needs: str = ""
    smallest_px: int = 11
    distance: Callable[[float], float] = lambda value: value


def _one_minus(value: float) -> float:
    return 1.0 - value


def _below_hundred(score: float) -> float:
    return 100.0 - score


MOST_DB = 100.0
"""PSNR reported for equal pictures."""


def _root_mean_square(psnr_db: float) -> float:
    """RMS difference in [0, 1] of a PSNR."""
    return 0.0 if psnr_db >= MOST_DB else float(10 ** (-psnr_db / 20))


_ENTRIES = (
    Metric("flip", "FLIP, a model of what an observer sees (Andersson et al. 2020)", 0, 1, "lower"),
    Metric("ssim", "SSIM (Wang et al. 2004)", -1, 1, "higher", distance=_one_minus),
    Metric("ms-ssim", "multi-scale SSIM (Wang et al. 2003)", 0, 1, "higher", smallest_px=176, distance=_one_minus),
    Metric("psnr", "PSNR in dB; as a distance, the RMS difference", 0, MOST_DB, "higher", distance=_root_mean_square),
    Metric("gmsd", "gradient magnitude similarity deviation (Xue et al. 2014)", 0, 1, "lower"),
    Metric(
        "vif",
        "visual information fidelity (Sheikh & Bovik 2006)",
        0,
        float("inf"),
        "higher",
        smallest_px=41,
        distance=_one_minus,
    ),
    Metric(
        "haarpsi",
        "Haar wavelet-based perceptual similarity (Reisenhofer et al. 2018)",
        0,
        1,
        "higher",
        smallest_px=16,
        distance=_one_minus,
    ),
    Metric("mdsi", "mean deviation similarity index (Nafchi et al. 2016)", 0, 1, "lower"),
    Metric(
        "ssimulacra2",
        "SSIMULACRA 2.1 (Sneyers 2023)",
        float("-inf"),
        100,
        "higher",
        needs="the package ssimulacra2",
        smallest_px=225,
        distance=_below_hundred,
    ),
    Metric(
        "butteraugli",
        "Butteraugli, 3-norm at 80 nits (Alakuijala et al. 2017, libjxl)",
        0,
        float("inf"),
        "lower",
        needs="the program butteraugli_main of libjxl",
    ),
    Metric("lpips", "LPIPS, VGG (Zhang et al. 2018)", 0, float("inf"), "lower", weights="torchvision VGG-16"),
    Metric("dists", "DISTS (Ding et al. 2020)", 0, 1, "lower", weights="torchvision VGG-16"),
    Metric(
        "clip-image",
        "CLIP similarity of pictures",
        -1,
        1,
        "higher",
        weights="openai/clip-vit-base-patch32",
        distance=_one_minus,
    ),
    Metric(
        "dino",
        "DINOv2 similarity of pictures (Oquab et al. 2023)",
        -1,
        1,
        "higher",
        weights="facebook/dinov2-small",
        distance=_one_minus,
    ),
    Metric(
        "face-identity",
        "similarity of faces, SFace (Zhong et al. 2021); no value without a face",
        -1,
        1,
        "higher",
        weights="opencv/face_recognition_sface",
        processor="opencv/face_detection_yunet",
        distance=_one_minus,
    ),
    Metric("blur", "perceptual blur (Crete et al. 2007)", 0, 1, "lower", of="picture"),
    Metric(
        "clip", "CLIP similarity to the prompt", -1, 1, "higher", of="prompt", weights="openai/clip-vit-base-patch32"
    ),
    Metric(
        "clip-direction",
        "CLIP similarity of the change of the picture and the change of its description (Gal et al. 2021)",
        -1,
        1,
        "higher",
        of="prompt",
        weights="openai/clip-vit-base-patch32",
    ),
    Metric(
        "siglip",
        "SigLIP similarity to the prompt",
        -1,
        1,
        "higher",
        of="prompt",
        weights="google/siglip-base-patch16-224",
    ),
    Metric(
        "pickscore",
        "PickScore, preference of people for a picture given its prompt (Kirstain et al. 2023)",
        -100,
        100,
        "higher",
        of="prompt",
        weights="yuvalkirstain/PickScore_v1",
        processor="laion/CLIP-ViT-H-14-laion2B-s32B-b79K",
    ),
)

METRICS: dict[str, Metric] = {metric.name: metric for metric in _ENTRIES}

VISIBILITY = "flip"
"""Metric that defines the visibility of a protection; noise of the same visibility is matched in it."""

DEFAULT_METRICS = ("flip", "ssim", "ms-ssim", "psnr", "gmsd", "vif", "blur")
"""Metrics measured by default; none needs a download or an optional program or package. See `available.default_metrics`."""
QUICK_METRICS = ("flip", "ssim", "blur")


def metrics_named(names: Sequence[str]) -> list[Metric]:
    """Metrics in the order of the table, each once; `flip` is always among them.

    Raises:
        UsageError: a name is unknown.
    """
    for name in names:
        if name not in METRICS:
            close = difflib.get_close_matches(name, METRICS, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known ones are {', '.join(METRICS)}"
            raise UsageError(f"unknown metric {name!r}; {hint}")
    return [metric for metric in METRICS.values() if metric.name in {VISIBILITY, *names}]
