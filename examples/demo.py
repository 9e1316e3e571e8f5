"""Protects the astronaut in both published modes against the embedded VAE; shows the difference, and edits by the test editor.

    python examples/demo.py --output demo

Writes the protected files, `demo.png` with a row per mode of original, protected picture and amplified difference, and
`edits.png` with edits of the original, of the original with another seed, and of the protected pictures.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from diffusers.utils import logging as diffusers_log
from PIL import Image, ImageDraw, ImageFont
from transformers.utils import logging as transformers_log

from pca_protect import ProtectConfig, Protected, load_surrogate, protect
from pca_protect.eval.editors.load import load_editor

ASTRONAUT = Path(__file__).parent / "astronaut.png"
AMPLIFICATION = 8
EDITOR, PROMPT = "pocket-instruct", "apply sunset lighting"
MARGIN, CAPTION = 12, 34


def amplified_difference(result: Protected) -> Image.Image:
    """The difference on mid-grey, times `AMPLIFICATION`."""
    change = result.picture.rgb.astype(np.int16) - result.original.rgb.astype(np.int16)
    return Image.fromarray((128 + AMPLIFICATION * change).clip(0, 255).astype(np.uint8))


def contact_sheet(rows: list[tuple[str, list[tuple[str, Image.Image]]]]) -> Image.Image:
    """Pictures in rows, each under its caption."""
    width, height = rows[0][1][0][1].size
    columns = len(rows[0][1])
    size = (columns * (width + MARGIN) + MARGIN, len(rows) * (height + CAPTION + MARGIN) + MARGIN)
    sheet = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(18)
    for row, (name, pictures) in enumerate(rows):
        for column, (caption, picture) in enumerate(pictures):
            left, top = MARGIN + column * (width + MARGIN), MARGIN + row * (height + CAPTION + MARGIN)
            draw.text((left, top + 6), f"{name}: {caption}" if name else caption, fill="black", font=font)
            sheet.paste(picture, (left, top + CAPTION))
    return sheet


def edits(results: dict[str, Protected]) -> Image.Image:
    """Edits of the original with two seeds, and of its protected pictures with the first, all at the editor's size."""
    for log in (diffusers_log, transformers_log):
        log.set_verbosity_error()
        log.disable_progress_bar()
    editor = load_editor(EDITOR, offline=True)
    original = next(iter(results.values())).original.rgb
    given = {"original": original, "again, another seed": original}
    given |= {f"protected, {mode}": result.picture.rgb for mode, result in results.items()}
    side = (editor.size_px, editor.size_px)
    pictures = [np.asarray(Image.fromarray(rgb).resize(side, Image.Resampling.LANCZOS)) for rgb in given.values()]
    made = editor.edit(pictures, PROMPT, seeds=[0, 1, *(0 for _ in results)])
    rows = [
        ("", list(zip(given, map(Image.fromarray, pictures), strict=True))),
        ("edit", list(zip(given, map(Image.fromarray, made), strict=True))),
    ]
    return contact_sheet(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("demo"))
    folder = parser.parse_args().output
    folder.mkdir(parents=True, exist_ok=True)
    surrogate = load_surrogate("pocket")
    for warning in surrogate.warnings:
        print(f"warning: {warning}")
    rows, results = [], {}
    for mode in ("diffusion", "concentration"):
        print(f"protecting {ASTRONAUT.name}, mode {mode} ...", flush=True)
        result = protect(ASTRONAUT, ProtectConfig(mode=mode, scales=(256,)), surrogate=surrogate)
        results[mode] = result
        record = result.save(folder / f"astronaut.{mode}.png", overwrite=True)
        print(
            f"  largest change {record.max_change_levels} levels, latent shift {record.protected.latent:.0%} "
            f"(random noise: {record.noise.latent:.0%}), {record.seconds:.0f} s"
        )
        pictures = [
            ("original", Image.fromarray(result.original.rgb)),
            (f"protected, at most {record.max_change_levels} of 255 levels", result.image()),
            (f"difference x {AMPLIFICATION}", amplified_difference(result)),
        ]
        rows.append((mode, pictures))
    contact_sheet(rows).save(folder / "demo.png")
    print(f"editing with {EDITOR}: {PROMPT} ...", flush=True)
    edits(results).save(folder / "edits.png")
    print(f"look at {folder / 'demo.png'} and {folder / 'edits.png'}; it is a test editor, not Stable Diffusion")


if __name__ == "__main__":
    main()
