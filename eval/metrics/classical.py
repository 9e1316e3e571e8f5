"""Metrics without weights. All take 8-bit pictures `(H, W, 3)`."""

from __future__ import annotations

import math

import cv2
import numpy as np
import torch
from flip_evaluator import evaluate
from skimage.measure import blur_effect
from torch import Tensor
from torchmetrics.functional.image import (
    multiscale_structural_similarity_index_measure,
    structural_similarity_index_measure,
    visual_information_fidelity,
)

from pca_protect.eval.metrics.registry import MOST_DB
from pca_protect.eval.pictures import Rgb


def flip(reference: Rgb, test: Rgb) -> float:
    """Mean FLIP error in [0, 1] of `test` against `reference`; lower is closer.

    A model of what an observer sees when two pictures alternate: colour after contrast sensitivity, edges and points
    (Andersson et al., HPG 2020, doi 10.1145/3406183).
    """
    pictures = (picture.astype(np.float32) / 255 for picture in (reference, test))
    return float(evaluate(*pictures, "LDR", applyMagma=False)[1])


def ssim(reference: Rgb, test: Rgb) -> float:
    """Structural similarity, at most 1; higher is closer.

    Gaussian window of 1.5 px, mean over the channels, borders mirrored (Wang et al., IEEE TIP 13, 2004, doi
    10.1109/TIP.2003.819861).
    """
    similarity = structural_similarity_index_measure(_unit(test), _unit(reference), data_range=1.0)
    assert isinstance(similarity, Tensor)
    return float(similarity)


def ms_ssim(reference: Rgb, test: Rgb) -> float:
    """SSIM over five scales in [0, 1]; higher is closer. Pictures from 176 px up (Wang et al., Asilomar 2003)."""
    return float(multiscale_structural_similarity_index_measure(_unit(test), _unit(reference), data_range=1.0))


def psnr(reference: Rgb, test: Rgb) -> float:
    """Peak signal-to-noise ratio in dB, at most 100 (equal pictures); higher is closer."""
    mse = float(np.square(reference.astype(np.float64) - test).mean())
    return MOST_DB if mse == 0 else min(MOST_DB, 10 * math.log10(255**2 / mse))


def rms_levels(reference: Rgb, test: Rgb) -> float:
    """Root mean square difference in 8-bit levels."""
    return math.sqrt(float(np.square(reference.astype(np.float64) - test).mean()))


def gmsd(reference: Rgb, test: Rgb) -> float:
    """Gradient magnitude similarity deviation, mean over the channels; 0 for equal pictures, lower is closer
    (Xue et al., IEEE TIP 23, 2014, doi 10.1109/TIP.2013.2293423)."""
    compute = cv2.quality.QualityGMSD_compute  # type: ignore[attr-defined]
    per_channel = compute(np.ascontiguousarray(reference), np.ascontiguousarray(test))[0]
    return float(np.mean(per_channel[:3]))


def vif(reference: Rgb, test: Rgb) -> float:
    """Visual information fidelity: 1 for equal pictures, 0 for unrelated ones, above 1 for higher contrast; higher is closer.
    Pictures from 41 px up (Sheikh & Bovik, IEEE TIP 15, 2006, doi 10.1109/TIP.2005.859378).

    Constant channels of `reference` carry no information and are skipped. If all are constant, the value is 1 for equal
    pictures and 0 otherwise.
    """
    informative = [channel for channel in range(3) if np.ptp(reference[..., channel])]
    if not informative:
        return float(np.array_equal(reference, test))
    test_levels, reference_levels = (_unit(picture) * 255 for picture in (test, reference))
    if len(informative) < 3:
        test_levels, reference_levels = test_levels[:, informative], reference_levels[:, informative]
    return float(visual_information_fidelity(test_levels, reference_levels))


def blur(picture: Rgb) -> float:
    """No-reference perceptual blur in [0, 1]; lower is sharper (Crete et al., SPIE 6492, 2007)."""
    return float(blur_effect(picture, channel_axis=2))  # type: ignore[no-untyped-call]


def _unit(picture: Rgb) -> Tensor:
    """Pixels `(1, 3, H, W)` in [0, 1]."""
    return torch.from_numpy(picture.copy()).movedim(-1, 0)[None].float() / 255
