"""Masks painted on the page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from pca_protect.cli.web.uploads import Upload, Uploads
from pca_protect.errors import UsageError
from pca_protect.image.tensors import Mask
from pca_protect.io.picture import Picture

_CANVAS_PX = 1024
"""Longer side of the canvas."""
_PAINTED_ALPHA = 40
"""Alpha above which a pixel counts as painted; antialiased edges have less."""


def canvas_of(picture: Picture) -> dict[str, Any]:  # Any: arrays and lists of `gr.ImageMask`
    """The value of the canvas for a picture."""
    thumbnail = Image.fromarray(picture.rgb)
    thumbnail.thumbnail((_CANVAS_PX, _CANVAS_PX))
    return {"background": np.asarray(thumbnail), "layers": [], "composite": None}


def painted_mask(uploads: Uploads, chosen: Sequence[Upload], painting: Any) -> Mask:  # noqa: ANN401 - a dictionary of arrays
    """The painted mask at the size of the picture.

    Raises:
        PcaProtectError: there is more than one picture, it cannot be read, or nothing is painted.
    """
    if len(chosen) != 1:
        raise UsageError(
            f"{len(chosen)} pictures are chosen, but a painted mask fits only one; choose one, or another part"
        )
    picture = uploads.read(chosen[0])
    mask = np.zeros((picture.height, picture.width), dtype=bool)
    for layer in (painting or {}).get("layers") or []:
        if layer is not None:
            alpha = Image.fromarray(np.ascontiguousarray(layer[..., 3]))
            mask |= (
                np.asarray(alpha.resize((picture.width, picture.height), Image.Resampling.BILINEAR)) > _PAINTED_ALPHA
            )
    if not mask.any():
        raise UsageError("nothing is painted; paint over the part to protect, or choose another part")
    return mask
