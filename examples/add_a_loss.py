"""A loss of one's own, run through the program's optimiser and measured by the program's effect.

    python examples/add_a_loss.py --output flattened.png

The loss: how much each channel of the latent differs from place to place. Descending it makes the latent the same
everywhere, and a latent that is the same everywhere shows no picture.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image
from torch import Tensor

from pca_protect import ProtectConfig, Surrogate, load_surrogate
from pca_protect.attack.pgd import Objective
from pca_protect.engine import criteria, run_recipe
from pca_protect.eval.pictures import to_pixels, with_pixels
from pca_protect.evaluation import Evaluation, evaluate, largest_change
from pca_protect.io.picture import Picture
from pca_protect.io.read import from_pil

ASTRONAUT = Path(__file__).parent / "astronaut.png"
FACE = (170, 60, 298, 188)


def unevenness(mean: Tensor) -> Tensor:
    """The variance of a latent `(B, C, h, w)` over its places, averaged over channels: `(B,)`, 0 where it is flat."""
    return mean.var(dim=(2, 3)).mean(dim=1)


def flat_latent(surrogate: Surrogate) -> Objective:
    """Smaller is flatter. On a logarithmic scale, to which a visibility penalty can be added."""
    return lambda pixels: unevenness(surrogate.posterior(pixels).mean).log()


def flatten(picture: Picture, surrogate: Surrogate, config: ProtectConfig) -> tuple[Picture, Evaluation]:
    """The protected picture, rounded to 8 bits, and what that did to the posterior beside noise of the same budget."""
    clean = to_pixels(picture).to(surrogate.device)
    found = run_recipe(clean, flat_latent(surrogate), config)
    protected = with_pixels(picture, found.pixels)
    return protected, evaluate(picture, protected, surrogate=surrogate, criteria=criteria(config))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("flattened.png"))
    output = parser.parse_args().output
    surrogate = load_surrogate("pocket")
    picture = from_pil(Image.open(ASTRONAUT).crop(FACE))
    protected, effect = flatten(picture, surrogate, ProtectConfig(steps=10))
    Image.fromarray(protected.rgb).save(output)
    before, after = (
        float(unevenness(surrogate.posterior(to_pixels(one).to(surrogate.device)).mean)) for one in (picture, protected)
    )
    print(f"largest change {largest_change(picture.rgb, protected.rgb)} levels")
    print(f"unevenness of the latent {before:.3g} -> {after:.3g}")
    print(f"latent moved {effect.protected.latent:.0%} of its norm, by noise {effect.noise.latent:.0%}")


if __name__ == "__main__":
    main()
