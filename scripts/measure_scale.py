"""Measure what the arithmetic of docs/scale.md starts from: operations and seconds a picture, and how much files grow.

python scripts/measure_scale.py --images FOLDER

Seconds are processor seconds of one thread, so that other programs on the machine hardly count. The large encoder is the
architecture of Stable Diffusion's with random weights, which costs the same.
"""

from __future__ import annotations

import argparse
import copy
import io
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from pca_protect.attack.objectives import CollapseObjective
from pca_protect.config import ProtectConfig
from pca_protect.eval.benches.cost.random_models import save_random_vae
from pca_protect.eval.environment import environment
from pca_protect.eval.pictures import pictures_in, square_picture
from pca_protect.io.picture import Picture
from pca_protect.io.read import read_picture
from pca_protect.protection import protect
from pca_protect.surrogates.encoder import Surrogate
from pca_protect.surrogates.load import load_surrogate

SD_WIDTHS = (128, 256, 512, 512)
STEPS = ProtectConfig().recipe.steps


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--size", type=int, default=512, help="side in pixels of the picture that is timed")
    parser.add_argument("--widths", type=int, nargs="+", default=SD_WIDTHS, help="of the random encoder's blocks")
    parser.add_argument("--files", type=int, default=6, help="pictures whose files are compared")
    parser.add_argument("--preset", default="fast", help="for the files that are compared")
    parser.add_argument("--out", type=Path, default=Path("docs/measurements/scale-cpu.json"))
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)

    paths = list(pictures_in(options.images))
    picture = square_picture(paths[0], options.size)
    pocket = load_surrogate("pocket", device="cpu")
    costs = []
    with tempfile.TemporaryDirectory() as folder:
        save_random_vae(Path(folder), block_out_channels=options.widths, seed=0)
        large = replace(load_surrogate(folder, device="cpu"), name="SD architecture, random weights", origin="random")
        for surrogate in (pocket, large):
            costs.append({"vae": surrogate.name, "size_px": options.size, **cost_of(picture, surrogate)})
            print(json.dumps(costs[-1]), flush=True)
    files = []
    for row in growth(paths[: options.files], pocket, ProtectConfig(vae="pocket", preset=options.preset)):
        files.append(row)
        print(json.dumps(row), flush=True)
    content = {
        "command": "python scripts/measure_scale.py",
        "environment": environment(torch.device("cpu")),
        "config": ProtectConfig().as_dict(),
        "cost": costs,
        "files": files,
    }
    options.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def cost_of(picture: Picture, surrogate: Surrogate) -> dict[str, object]:
    """Operations of one step, and processor seconds of a step, of the rest, and of a picture of `STEPS` steps.

    What one step more costs is told from runs of one and of two steps; the rest is decoding, the proof and encoding.
    """
    surrogate.posterior(torch.zeros(1, 3, 64, 64))  # warms up
    one, two = (_seconds(picture, surrogate, steps) for steps in (1, 2))
    step = two - one
    return {
        "tflop_per_step": operations_of_step(surrogate, picture.height, picture.width) / 1e12,
        "cpu_seconds_per_step": step,
        "cpu_seconds_besides": one - step,
        "steps": STEPS,
        "cpu_seconds_per_picture": one + (STEPS - 1) * step,
    }


def operations_of_step(surrogate: Surrogate, height: int, width: int) -> int:
    """Floating-point operations, an addition and a multiplication being two, of the loss and its gradient with respect to
    the pixels. Counted from shapes, without computing anything."""
    shapes = replace(surrogate, encoder=copy.deepcopy(surrogate.encoder).to("meta"))
    pixels = torch.zeros(1, 3, height, width, device="meta", requires_grad=True)
    with FlopCounterMode(display=False) as counter:
        CollapseObjective(shapes.posterior, 1.0, "up", pixels.detach())(pixels).sum().backward()
    return int(counter.get_total_flops())


def growth(paths: list[Path], surrogate: Surrogate, config: ProtectConfig) -> Iterator[dict[str, object]]:
    """How many bytes a photograph takes as JPEG, as PNG, and protected."""
    for path in paths:
        picture = read_picture(path)
        data, record = protect(picture, config, surrogate=surrogate).encoded("PNG")
        yield {
            "picture": path.name,
            "pixels": picture.width * picture.height,
            "jpeg_90_bytes": _size(picture, "JPEG", quality=90),
            "png_bytes": _size(picture, "PNG"),
            "protected_png_bytes": len(data),
            "psnr_db": record.psnr_db,
        }


def _seconds(picture: Picture, surrogate: Surrogate, steps: int) -> float:
    started = time.process_time()
    protect(picture, ProtectConfig(steps=steps), surrogate=surrogate).encoded("PNG")
    return time.process_time() - started


def _size(picture: Picture, format_name: str, **options: int) -> int:
    file = io.BytesIO()
    Image.fromarray(picture.rgb).save(file, format_name, **options)
    return file.tell()


if __name__ == "__main__":
    main()
