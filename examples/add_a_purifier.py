"""A custom purifier: non-local means denoising from OpenCV.

    python examples/add_a_purifier.py

Registers the purifier and measures, like `pca-protect bench purify`, how much of a protection's effect on edits remains after
both the protected and the clean picture are purified.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from pca_protect import ProtectConfig, protect
from pca_protect.eval.editors.load import load_editor
from pca_protect.eval.editors.registry import EditSettings
from pca_protect.eval.metrics.load import visibility
from pca_protect.eval.pictures import Rgb, square_picture
from pca_protect.eval.purifiers.filters import FILTERS, Purifier
from pca_protect.eval.purifiers.models import load_purifier

ASTRONAUT = Path(__file__).parent / "astronaut.png"
PROMPT = "add some snow"


def non_local_means(image: Image.Image, _: np.random.Generator) -> Image.Image:
    """Replaces each pixel by a mean over pixels with similar neighbourhoods. Purifiers with noise use the generator."""
    cleaned = cv2.fastNlMeansDenoisingColored(np.asarray(image), h=6, hColor=6, searchWindowSize=11)
    return Image.fromarray(np.asarray(cleaned, dtype=np.uint8))


def main() -> None:
    nl_means = Purifier("nl-means", "non-local means of strength 6", non_local_means)
    FILTERS[nl_means.name] = nl_means  # a permanent purifier belongs in `filters.py`

    editor = load_editor("pocket-editor", offline=True)
    original = square_picture(ASTRONAUT, editor.size_px)
    protected = protect(original, ProtectConfig(preset="instant"), surrogate=editor.surrogate).picture

    def effect(clean: Rgb, changed: Rgb) -> float:
        """FLIP error between the edits of both."""
        edits = editor.edit([clean, changed], PROMPT, EditSettings(strength=0.6, guidance=3.0, steps=5), seeds=[0, 0])
        return visibility(*edits)

    before = effect(original.rgb, protected.rgb)
    print(f"effect on the edit, FLIP error: {before:.3f}")
    for name in (nl_means.name, "blur-1"):
        purifier = load_purifier(name)
        after = effect(purifier(original.rgb), purifier(protected.rgb))
        print(f"after {purifier.what}: {after:.3f}, {after / before:.0%} remains")


if __name__ == "__main__":
    main()
