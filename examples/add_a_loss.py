"""A custom loss, minimised by the package's optimiser and evaluated against random noise.

    python examples/add_a_loss.py --output flattened.png

The loss is the spatial variance of the latent. Minimising it flattens the latent, and a constant latent contains no picture.
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


def spatial_variance(mean: Tensor) -> Tensor:
    """Spatial variance of a latent `(B, C, h, w)`, averaged over channels: `(B,)`, 0 for a constant latent."""
    return mean.var(dim=(2, 3)).mean(dim=1)


def flat_latent(surrogate: Surrogate) -> Objective:
    """The logarithm of the spatial variance, to be minimised. A visibility penalty can be added to a logarithm."""
    return lambda pixels: spatial_variance(surrogate.posterior(pixels).mean).log()


def flatten(picture: Picture, surrogate: Surrogate, config: ProtectConfig) -> tuple[Picture, Evaluation]:
    """The protected 8-bit picture, and its effect on the posterior compared with noise of the same budget."""
    clean = to_pixels(picture).to(surrogate.device)
    optimised = run_recipe(clean, flat_latent(surrogate), config)
    protected = with_pixels(picture, optimised.pixels)
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
        float(spatial_variance(surrogate.posterior(to_pixels(one).to(surrogate.device)).mean))
        for one in (picture, protected)
    )
    print(f"largest change {largest_change(picture.rgb, protected.rgb)} levels")
    print(f"spatial variance of the latent {before:.3g} -> {after:.3g}")
    print(f"latent shift {effect.protected.latent:.0%} (random noise: {effect.noise.latent:.0%})")


if __name__ == "__main__":
    main()
