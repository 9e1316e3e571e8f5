"""Where faces are, by scikit-image's frontal-face cascade, whose model ships with that package.

Local binary patterns (Liao et al. 2007, "Learning multi-scale block local binary patterns for face recognition"): upright
frontal faces only. It misses some and takes a knee for a face now and then; say so wherever it is offered.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from pca_protect.errors import UsageError
from pca_protect.io.picture import Picture

_LOOKED_AT_PX = 640
"""Longer side of what the detector sees; it takes a fifth of a second there."""
_SMALLEST_PX = 40

Box = tuple[int, int, int, int]
"""x, y, width, height in pixels."""


def find_faces(picture: Picture) -> list[Box]:
    """Boxes around eyes, nose and mouth; none is a possible answer.

    Raises:
        UsageError: scikit-image is not installed.
    """
    try:
        from skimage.data import lbp_frontal_face_cascade_filename  # noqa: PLC0415 - an extra
        from skimage.feature import Cascade  # noqa: PLC0415
    except ImportError as error:
        raise UsageError(
            "region face needs scikit-image: pip install 'pca-protect[face]', or name the place as x,y,w,h"
        ) from error
    small = Image.fromarray(picture.rgb)
    small.thumbnail((_LOOKED_AT_PX, _LOOKED_AT_PX))
    factor = picture.width / small.width
    found = Cascade(lbp_frontal_face_cascade_filename()).detect_multi_scale(  # type: ignore[no-untyped-call]
        np.asarray(small),
        scale_factor=1.15,
        step_ratio=1,
        min_size=(_SMALLEST_PX, _SMALLEST_PX),
        max_size=(_LOOKED_AT_PX, _LOOKED_AT_PX),
    )
    return [
        (
            round(face["c"] * factor),
            round(face["r"] * factor),
            round(face["width"] * factor),
            round(face["height"] * factor),
        )
        for face in found
    ]
