"""A custom encoder as a surrogate: that of an editor which first halves the size of the picture.

    python examples/add_a_surrogate.py --output half.png

Protects against this encoder and `pocket` at once, and prints the latent shift of each.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image
from torch import Tensor, nn

from pca_protect import ProtectConfig, Surrogate, load_surrogate, protect
from pca_protect.engine import criteria
from pca_protect.evaluation import evaluate
from pca_protect.surrogates.encoder import ensemble

ASTRONAUT = Path(__file__).parent / "astronaut.png"
FACE = (170, 60, 298, 188)


class HalfSizeFirst(nn.Module):
    """Averages pictures `(B, 3, H, W)` in [-1, 1] over 2x2 pixels, then applies another encoder."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, pixels: Tensor) -> Tensor:
        moments: Tensor = self.inner(nn.functional.avg_pool2d(pixels, 2))
        return moments


def half_size(surrogate: Surrogate) -> Surrogate:
    """The surrogate of such an editor, from a surrogate whose VAE has a `quant_conv`, and on the same device."""
    assert surrogate.encoder.quant_conv is not None
    moments = nn.Sequential(surrogate.encoder.encoder, surrogate.encoder.quant_conv)
    return Surrogate.from_module(
        HalfSizeFirst(moments),
        multiple=2 * surrogate.multiple,
        has_variance=surrogate.has_variance,
        name=f"{surrogate.name}-half",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("half.png"))
    output = parser.parse_args().output
    pocket = load_surrogate("pocket")
    encoders = ensemble([pocket, half_size(pocket)])
    config = ProtectConfig(mode="diffusion", preset="fast")
    result = protect(Image.open(ASTRONAUT).crop(FACE), config, surrogate=encoders)
    record = result.save(output)
    print(f"against {record.vae['name']}: largest change {record.max_change_levels} levels")
    for member in encoders.members:
        effect = evaluate(result.original, result.picture, surrogate=member, criteria=criteria(config))
        print(f"{member.name}: latent shift {effect.protected.latent:.0%} (random noise: {effect.noise.latent:.0%})")


if __name__ == "__main__":
    main()
