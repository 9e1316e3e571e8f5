"""Measure how often `pca-protect check` is right without an original, on pictures that its reference was not measured on.

python scripts/measure_check.py --images FOLDER [FOLDER ...]
"""

from __future__ import annotations

import argparse
import io
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from measure_clean import EMBEDDED
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from pca_protect.config import ProtectConfig
from pca_protect.eval.check.posterior import figures_of
from pca_protect.eval.check.reference import stored_reference
from pca_protect.eval.check.verdict import judge
from pca_protect.eval.pictures import pictures_in, square_picture
from pca_protect.evaluation import with_noise
from pca_protect.io.picture import Picture
from pca_protect.modes import PUBLISHED_MODES
from pca_protect.protection import protect
from pca_protect.record import versions
from pca_protect.surrogates.encoder import Surrogate
from pca_protect.surrogates.load import load_surrogate


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, nargs="+", required=True)
    parser.add_argument("--size", type=int, default=384, help="side in pixels that their middles are resized to")
    parser.add_argument("--protect-with", default="pocket", help="the surrogate of the protected pictures")
    parser.add_argument("--vae", nargs="+", default=EMBEDDED, help="the encoders that judge")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, default=Path("docs/measurements/check.json"))
    options = parser.parse_args(arguments)

    paths = [path for folder in options.images for path in pictures_in(folder)]
    pictures = [square_picture(path, options.size) for path in paths]
    attacked = load_surrogate(options.protect_with, device=options.device)
    judges = [load_surrogate(name, device=options.device, precision="fp32") for name in options.vae]
    made: dict[str, Callable[[Picture], Picture]] = {
        "clean": lambda picture: picture,
        "noise, 16 levels": lambda picture: with_noise(picture, 16, 0),
        "JPEG 75": _jpeg,
        "sharpened": lambda picture: replace(picture, rgb=_filtered(picture, ImageFilter.UnsharpMask(1.5, 120, 0))),
        "blurred": lambda picture: replace(picture, rgb=_filtered(picture, ImageFilter.GaussianBlur(1))),
        **{mode: _protected_by(mode, attacked) for mode in PUBLISHED_MODES},
    }
    rows = []
    for kind, make in made.items():
        subjects = [make(picture) for picture in pictures]
        for surrogate in judges:
            words = Counter(_verdict(subject, surrogate) for subject in subjects)
            rows.append({"picture": kind, "encoder": surrogate.name, "n": len(subjects), **dict(sorted(words.items()))})
            print(json.dumps(rows[-1]), flush=True)
    content = {
        "size_px": options.size,
        "protected_against": attacked.name,
        "config": asdict(ProtectConfig()),
        "device": str(attacked.device),
        "versions": versions(),
        "rows": rows,
    }
    options.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _verdict(picture: Picture, surrogate: Surrogate) -> str:
    verdict = judge(
        figures_of(picture, surrogate),
        stored_reference(surrogate)[0],
        shorter_side_px=min(picture.width, picture.height),
        shift=None,
    )
    return f"protected, {verdict.mode}" if verdict.mode else verdict.looks


def _protected_by(mode: str, surrogate: Surrogate) -> Callable[[Picture], Picture]:
    return lambda picture: protect(picture, ProtectConfig(mode=mode), surrogate=surrogate).picture


def _jpeg(picture: Picture) -> Picture:
    file = io.BytesIO()
    Image.fromarray(picture.rgb).save(file, "JPEG", quality=75)
    return replace(picture, rgb=np.asarray(Image.open(file)))


def _filtered(picture: Picture, image_filter: ImageFilter.Filter) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(picture.rgb).filter(image_filter))


if __name__ == "__main__":
    main()
