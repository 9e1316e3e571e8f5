"""Metrics of the JPEG XL project: butteraugli (a program) and SSIMULACRA 2 (a package). They are loaded only if named."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

from pca_protect.errors import ModelError, first_line
from pca_protect.eval.pictures import Rgb

_BUTTERAUGLI = "butteraugli_main"
_SCALES = 6


def load_butteraugli() -> Callable[[Rgb, Rgb], float]:
    """Butteraugli distance: 0 for equal pictures, about 1 is just noticeable; lower is closer. Not symmetric.

    The 3-norm of the difference map, for a screen of 80 nits (Alakuijala et al., "Guetzli: Perceptually Guided JPEG
    Encoder", arXiv 1703.04421, developed further in libjxl). Values differ slightly between versions of libjxl.

    Raises:
        ModelError: the program is not installed; from the returned function: the program failed.
    """
    program = shutil.which(_BUTTERAUGLI)
    if program is None:
        raise ModelError(
            f"butteraugli: needs the program {_BUTTERAUGLI}, which is not on the PATH; it is one of libjxl's development "
            "tools (Debian, Ubuntu: apt install libjxl-devtools)"
        )

    def measure(reference: Rgb, test: Rgb) -> float:
        with tempfile.TemporaryDirectory() as folder:
            files = [Path(folder) / name for name in ("reference.png", "test.png")]
            for file, picture in zip(files, (reference, test), strict=True):
                Image.fromarray(np.ascontiguousarray(picture)).save(file, compress_level=1)
            command = [program, *map(str, files), "--pnorm", "3", "--intensity_target", "80"]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        norm = re.search(r"^3-norm: (\S+)$", done.stdout, re.MULTILINE)
        if done.returncode != 0 or norm is None:
            reason = done.stderr.strip().splitlines()[-1:] or ["no error message"]
            raise ModelError(f"butteraugli: {program} failed ({reason[0]}); run it by hand, or leave the metric out")
        return float(norm[1])

    return measure


def load_ssimulacra2() -> Callable[[Rgb, Rgb], float]:
    """SSIMULACRA 2.1: 100 for equal pictures, no lower bound; 90 is hardly visible, 70 high quality, below 30 low quality
    (Sneyers, github.com/cloudinary/ssimulacra2). Higher is closer; not symmetric. Pictures from 225 px up: smaller ones
    have no sixth scale, and weights would be applied to the wrong scales.

    The package's own blur mirrors the edges of one axis and zero-pads the other. Here both axes are zero-padded, as in the
    original; scores of small pictures change by up to about ten points.

    Raises:
        ModelError: the package is not installed.
    """
    try:
        from ssimulacra2 import ssimulacra2 as parts  # noqa: PLC0415
    except ImportError as error:
        raise ModelError(
            f"ssimulacra2: needs the package ssimulacra2 ({first_line(error)}); pip install 'pca-protect[eval]'"
        ) from error

    def xyb(linear: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(parts.make_positive_xyb(parts.linear_rgb_to_xyb(linear)))

    def measure(reference: Rgb, test: Rgb) -> float:
        linear = [parts.srgb_to_linear(picture) for picture in (reference, test)]
        all_scales = parts.Msssim()
        for scale in range(_SCALES):
            if scale:
                linear = [parts.downsample(picture, 2, 2) for picture in linear]
            one, other = (xyb(picture) for picture in linear)
            mean_one, mean_other, *squares = (
                _blurred(plane) for plane in (one, other, one * one, other * other, one * other)
            )
            current = parts.MsssimScale()
            current.avg_ssim = parts.ssim_map(mean_one, mean_other, *squares)
            current.avg_edgediff = parts.edge_diff_map(one, mean_one, other, mean_other)
            all_scales.scales.append(current)
        return float(all_scales.score())

    return measure


def _blurred(planes: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(gaussian_filter(planes, sigma=1.5, radius=5, mode="constant", axes=(0, 1)))
