"""How far two pictures are from each other."""

from __future__ import annotations

import numpy as np
import torch
from flip_evaluator import evaluate
from torchmetrics.functional.image import structural_similarity_index_measure

from pca_protect.eval.pictures import Rgb


def flip(reference: Rgb, test: Rgb) -> float:
    """Mean FLIP error in [0, 1] of `test` against `reference`, both `(H, W, 3)`; lower is closer.

    A model of what an observer sees when two pictures alternate: colour after contrast sensitivity, edges and points
    (Andersson et al., HPG 2020, doi 10.1145/3406183). It needs no network weights.
    """
    pictures = (picture.astype(np.float32) / 255 for picture in (reference, test))
    return float(evaluate(*pictures, "LDR", applyMagma=False)[1])


def ssim(reference: Rgb, test: Rgb) -> float:
    """Structural similarity of two pictures `(H, W, 3)`, at most 1; higher is closer.

    Gaussian window of 1.5 px, mean over the channels (Wang et al., IEEE TIP 13, 2004, doi 10.1109/TIP.2003.819861).
    """
    one, other = (torch.from_numpy(picture.copy()).movedim(-1, 0)[None].float() / 255 for picture in (reference, test))
    similarity = structural_similarity_index_measure(other, one, data_range=1.0)
    assert isinstance(similarity, torch.Tensor)
    return float(similarity)
