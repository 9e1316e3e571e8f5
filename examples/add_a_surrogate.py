"""An encoder of one's own as a surrogate: here that of an editor which makes every picture half as large first.

    python examples/add_a_surrogate.py --output half.png

Protects against that encoder and `pocket` at once, and shows how far each is moved.
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
    """Pictures `(B, 3, H, W)` in [-1, 1], averaged over 2x2 pixels, then what another encoder makes of them."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, pixels: Tensor) -> Tensor:
        found: Tensor = self.inner(nn.functional.avg_pool2d(pixels, 2))
        return found


def half_size(known: Surrogate) -> Surrogate:
    """The surrogate of the imagined editor, on the device of the known one, whose VAE has a `quant_conv`."""
    assert known.encoder.quant_conv is not None
    moments = nn.Sequential(known.encoder.encoder, known.encoder.quant_conv)
    return Surrogate.from_module(
        HalfSizeFirst(moments),
        multiple=2 * known.multiple,
        has_variance=known.has_variance,
        name=f"{known.name}-half",
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
        print(f"{member.name}: latent moved {effect.protected.latent:.0%}, by noise {effect.noise.latent:.0%}")


if __name__ == "__main__":
    main()
