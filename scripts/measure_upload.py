"""What is left of a protection where a picture is made smaller and compressed as it is posted. One command:

    python scripts/measure_upload.py --images PHOTOS --out docs/measurements/upload-cpu.json

Pictures are protected at a size above that of the upload, posted (1080 px on the longer side, JPEG 80), and looked at as they are
stored: how far the encoder's latent moved, and how far edits of the middle moved, beside the same of the original.
"""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path

import torch
from shares import mean_row

from pca_protect.config import ProtectConfig
from pca_protect.eval.arms.noise import uniform_noise
from pca_protect.eval.arms.perturb import generator_for, protected
from pca_protect.eval.editors.editor import Editor
from pca_protect.eval.editors.load import load_editor
from pca_protect.eval.environment import environment
from pca_protect.eval.metrics.load import visibility
from pca_protect.eval.pictures import Rgb, pictures_in
from pca_protect.eval.purifiers.filters import FILTERS
from pca_protect.eval.styles import STYLES
from pca_protect.image.resize import fitting, resized
from pca_protect.image.tensors import to_tensor
from pca_protect.io.read import read_picture

POSTED_PX = 1080
NOISE, PUBLISHED = "noise", "the published loop, mode diffusion"
PROMPTS = ("snow", "watercolor")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--longest", type=int, default=1600, help="pixels of the longer side, made so small first")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--editor", default="pocket-editor")
    options = parser.parse_args()
    editor = load_editor(options.editor, device="cpu")
    configs = {
        PUBLISHED: ProtectConfig(preset="paper", steps=options.steps),
        "mode strong": ProtectConfig(mode="strong", steps=options.steps),
        "mode strong, --survive social": ProtectConfig(mode="strong", survive="social", steps=options.steps),
    }
    found: dict[str, dict[str, list[float]]] = {
        name: {"latent": [], "effect": [], "visible": []} for name in (NOISE, *configs)
    }
    paths = pictures_in(options.images)
    for path in paths:
        whole = read_picture(path).rgb
        picture = resized(whole, fitting(*whole.shape[:2], options.longest))
        clean = posted(picture)
        made = {NOISE: uniform_noise(picture, ProtectConfig.budget_levels, generator_for(picture, 0))}
        made |= {name: protected(picture, config, editor.surrogate) for name, config in configs.items()}
        clean_edits = edits(editor, clean)
        for name, changed in made.items():
            stored = posted(changed)
            found[name]["latent"].append(moved(editor, clean, stored))
            distances = map(visibility, clean_edits, edits(editor, stored))
            found[name]["effect"].append(statistics.fmean(distances))
            found[name]["visible"].append(visibility(clean, stored))
        print(path.name, {name: measured["latent"][-1] for name, measured in found.items()}, flush=True)
    summary = {
        "command": "python scripts/measure_upload.py",
        "config": {
            **{name: value for name, value in vars(options).items() if name not in ("images", "out")},
            "posted_px": POSTED_PX,
            "budget_levels": ProtectConfig.budget_levels,
            "prompts": PROMPTS,
            "pictures": [path.name for path in paths],
            "editor_weights": editor.digest,
        },
        "environment": environment(torch.device("cpu")),
        "tables": {
            "upload": [
                {"what": name, **mean_row(measured, found[PUBLISHED], compared="effect")}
                for name, measured in found.items()
            ]
        },
    }
    options.out.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")


def posted(picture: Rgb) -> Rgb:
    """As it is stored."""
    stored: Rgb = FILTERS["upload"](resized(picture, fitting(*picture.shape[:2], POSTED_PX)))
    return stored


def moved(editor: Editor, clean: Rgb, changed: Rgb) -> float:
    """The encoder's latent, in its norms."""
    with torch.no_grad():
        before, after = (editor.surrogate.posterior(to_tensor([one])).mean for one in (clean, changed))
    return float((after - before).norm() / before.norm())


def edits(editor: Editor, picture: Rgb) -> list[Rgb]:
    """Of the middle, as large as the editor takes it, so that nothing is made smaller once more."""
    top, left = ((length - editor.size_px) // 2 for length in picture.shape[:2])
    middle = picture[top : top + editor.size_px, left : left + editor.size_px]
    return [editor.edit([middle], STYLES[prompt].prompt, seeds=[0])[0] for prompt in PROMPTS]


if __name__ == "__main__":
    main()
