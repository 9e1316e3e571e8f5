"""Protects a picture against a diffusers pipeline that is already loaded, and edits it before and after.

    python examples/diffusers_pipeline.py --output edits.png
    python examples/diffusers_pipeline.py --pipeline stable-diffusion-v1-5/stable-diffusion-v1-5 --size 512 --output edits.png

Uses the pipeline's own VAE, so nothing is loaded twice. The default pipeline is the embedded test editor. Writes a row of four
pictures: original, its edit, protected, its edit.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from diffusers import AutoPipelineForImage2Image
from PIL import Image

import pca_protect
from pca_protect import PosteriorCollapse, Surrogate

ASTRONAUT = Path(__file__).parent / "astronaut.png"
EMBEDDED = Path(pca_protect.__file__).parents[1] / "eval" / "pocket" / "pocket-editor"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pipeline", default=str(EMBEDDED), help="hub id or folder")
    parser.add_argument("--prompt", default="add some snow")
    parser.add_argument("--size", type=int, default=256, help="pixels of a side")
    parser.add_argument("--steps", type=int, default=40, help="of the attack and of the editor")
    parser.add_argument("--output", type=Path, default=Path("edits.png"))
    options = parser.parse_args()

    pipe = AutoPipelineForImage2Image.from_pretrained(options.pipeline).to(torch.float32)
    image = pipe.image_processor.preprocess(Image.open(ASTRONAUT).convert("RGB"), options.size, options.size)
    image = (image + 1) / 2  # (1, 3, H, W) in [0, 1]

    attack = PosteriorCollapse(Surrogate.from_vae(pipe.vae), mode="diffusion", eps=16 / 255, steps=options.steps)
    protected = (255 * attack(image)).round() / 255  # as an 8-bit file would hold it

    pictures = []
    for pixels in (image, protected):
        edit = pipe(
            options.prompt,
            image=pixels,
            strength=0.6,
            num_inference_steps=options.steps,
            generator=torch.Generator().manual_seed(0),
        ).images[0]
        pictures += [pipe.image_processor.postprocess(2 * pixels - 1)[0], edit]
    sheet = Image.new("RGB", (options.size * len(pictures), options.size))
    for column, picture in enumerate(pictures):
        sheet.paste(picture, (column * options.size, 0))
    sheet.save(options.output)
    print(f"largest change {float((protected - image).abs().max()) * 255:.0f} levels; {options.output} written")


if __name__ == "__main__":
    main()
