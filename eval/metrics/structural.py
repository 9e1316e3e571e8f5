"""Similarity of edges and colours, implemented from the papers. All take 8-bit pictures `(H, W, 3)`."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import convolve, uniform_filter

from pca_protect.eval.pictures import Rgb

Plane = NDArray[np.float64]

# HaarPSI: constants for levels from 0 to 255, and the NTSC colour space YIQ.
_HAAR_C, _HAAR_ALPHA = 30.0, 4.2
_TO_YIQ = ((0.299, 0.587, 0.114), (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112))

# MDSI: constants for levels from 0 to 255, and a Gaussian colour model of luminance and two opponent channels.
_TO_LHM = ((0.2989, 0.5870, 0.1140), (0.30, 0.04, -0.35), (0.34, -0.60, 0.17))
_MDSI_C1, _MDSI_C2, _MDSI_C3, _MDSI_ALPHA = 140.0, 55.0, 550.0, 0.6


def haarpsi(reference: Rgb, test: Rgb) -> float:
    """Haar wavelet-based perceptual similarity in [0, 1]; higher is closer. Pictures from 16 px up.

    Compares edges of two scales, and colours, at half size. Positions are weighted by their edges of the third scale
    (Reisenhofer, Bosse, Kutyniok & Wiegand, Signal Processing: Image Communication 61, 2018, arXiv 1607.06140).
    """
    pictures = [[_halved(plane) for plane in _planes(rgb, _TO_YIQ)] for rgb in (reference, test)]
    edges = [[[_haar(y, scale, axis) for scale in (1, 2, 3)] for axis in (0, 1)] for y, _, _ in pictures]
    similarities, weights = [], []
    for one, other in zip(*edges, strict=True):
        similarities.append(np.mean([_similar(one[j], other[j], _HAAR_C) for j in (0, 1)], axis=0))
        weights.append(np.maximum(one[2], other[2]))
    chroma = [[np.abs(_square_mean(plane, 2)) for plane in planes[1:]] for planes in pictures]
    similarities.append(np.mean([_similar(one, other, _HAAR_C) for one, other in zip(*chroma, strict=True)], axis=0))
    weights.append(np.mean(weights, axis=0))
    total = np.sum(weights)
    if total == 0:
        return 1.0  # both pictures are black: no edges, not even to the zero padding
    mean = np.sum(np.stack(weights) / (1 + np.exp(-_HAAR_ALPHA * np.stack(similarities)))) / total
    return float((np.log(mean / (1 - mean)) / _HAAR_ALPHA) ** 2)


def mdsi(reference: Rgb, test: Rgb) -> float:
    """Mean deviation similarity index in [0, 1]; 0 for equal pictures, lower is closer. Not symmetric.

    Deviation of the similarity of gradients and colours over the picture (Nafchi, Shahkolaei, Hedjam & Cheriet, IEEE
    Access 4, 2016, arXiv 1608.07433).
    """
    factor = max(1, round(min(reference.shape[:2]) / 256))
    (l_r, h_r, m_r), (l_d, h_d, m_d) = (
        [_square_mean(plane, factor)[::factor, ::factor] for plane in _planes(rgb, _TO_LHM)]
        for rgb in (reference, test)
    )
    g_r, g_d, g_f = (_gradient(luma) for luma in (l_r, l_d, (l_r + l_d) / 2))
    gradients = _similar(g_r, g_d, _MDSI_C1) + _similar(g_d, g_f, _MDSI_C2) - _similar(g_r, g_f, _MDSI_C2)
    colours = (2 * (h_r * h_d + m_r * m_d) + _MDSI_C3) / (h_r**2 + h_d**2 + m_r**2 + m_d**2 + _MDSI_C3)
    both = _MDSI_ALPHA * gradients + (1 - _MDSI_ALPHA) * colours
    # A negative similarity has a complex root, as in the authors' program.
    rooted = both.astype(np.complex128) ** 0.25
    return float(np.abs(rooted - rooted.mean()).mean() ** 0.25)


def _planes(picture: Rgb, matrix: tuple[tuple[float, ...], ...]) -> list[Plane]:
    return [np.asarray(picture.astype(np.float64) @ np.array(row)) for row in matrix]


def _similar(one: Plane, other: Plane, constant: float) -> Plane:
    return (2 * one * other + constant) / (one**2 + other**2 + constant)


def _square_mean(plane: Plane, side: int) -> Plane:
    """Mean over a square around each pixel, zero-padded. An even square extends further right and down."""
    return np.asarray(uniform_filter(plane, side, mode="constant", origin=side % 2 - 1))


def _halved(plane: Plane) -> Plane:
    return _square_mean(plane, 2)[::2, ::2]


def _haar(plane: Plane, scale: int, axis: int) -> Plane:
    """Magnitude of the response to the Haar wavelet of `2**scale` px along an axis, zero-padded."""
    side = 2**scale
    kernel = np.full((side, side), 1.0 / side)
    kernel[side // 2 :] *= -1
    return np.asarray(np.abs(convolve(plane, kernel if axis == 0 else kernel.T, mode="constant")))


def _gradient(luma: Plane) -> Plane:
    prewitt = np.array([[1.0, 0.0, -1.0]] * 3) / 3
    return np.asarray(np.hypot(*(convolve(luma, kernel, mode="constant") for kernel in (prewitt, prewitt.T))))
