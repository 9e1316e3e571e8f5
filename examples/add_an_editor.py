"""A custom editor: an inpainting pipeline built from the components of the embedded editor.

    python examples/add_an_editor.py --output my-editor

Saves the pipeline to a folder, which every command accepts as `--editor`, loads it from there, and compares the effect of a
protection on its edits with that of random noise.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from diffusers import AutoPipelineForInpainting

from pca_protect import ProtectConfig, protect
from pca_protect.eval.editors.load import load_editor
from pca_protect.eval.editors.registry import EditSettings
from pca_protect.eval.metrics.load import visibility
from pca_protect.eval.pictures import square_picture
from pca_protect.noise_control import with_noise

ASTRONAUT = Path(__file__).parent / "astronaut.png"
PROMPT = "add some snow"


def save_inpainting_editor(folder: Path) -> None:
    """Saves a diffusers pipeline. The folder of any diffusers pipeline is an editor."""
    embedded = load_editor("pocket-editor", offline=True)
    AutoPipelineForInpainting.from_pipe(embedded.pipeline).save_pretrained(folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("my-editor"))
    folder = parser.parse_args().output
    save_inpainting_editor(folder)
    editor = load_editor(str(folder), offline=True)
    print(f"{editor.name}: {editor.kind}, {editor.size_px} px, VAE {editor.surrogate.digest[:12]}")

    config = ProtectConfig(preset="instant")
    original = square_picture(ASTRONAUT, editor.size_px)
    protected = protect(original, config, surrogate=editor.surrogate).picture
    noisy = with_noise(original, config.budget_levels, config.seed)

    settings = EditSettings(strength=1.0, guidance=3.0, steps=5)
    pictures = [original.rgb, protected.rgb, noisy.rgb]
    clean_edit, of_protected, of_noisy = editor.edit(pictures, PROMPT, settings, seeds=[0] * len(pictures))
    print(f"FLIP error from the clean edit, protected: {visibility(clean_edit, of_protected):.3f}")
    print(f"FLIP error from the clean edit, random noise: {visibility(clean_edit, of_noisy):.3f}")


if __name__ == "__main__":
    main()
