"""`pca-protect bench cost --what scale`: operations and seconds per picture, and growth of files; the input of docs/scale.md.

Seconds are CPU seconds of one thread, nearly independent of other load on the machine. The large encoder has the architecture
of Stable Diffusion's and random weights, at the same cost.
"""

from __future__ import annotations

import copy
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from pca_protect.attack.objectives import CollapseObjective
from pca_protect.config import ProtectConfig
from pca_protect.eval.bench import Bench
from pca_protect.eval.benches.cost.config import ScaleConfig
from pca_protect.eval.benches.cost.random_models import RANDOM_VAE, save_random_vae
from pca_protect.eval.pictures import file_bytes, square_picture
from pca_protect.eval.results import Finished, Json, OnProgress, Row
from pca_protect.io.picture import Picture
from pca_protect.io.read import read_picture
from pca_protect.protection import protect
from pca_protect.surrogates.encoder import Surrogate
from pca_protect.surrogates.load import load_surrogate


def measure_scale(config: ScaleConfig, folder: Path, *, on_progress: OnProgress | None = None) -> Finished:
    """Measure what `folder` does not hold yet, and write the tables `work` (the first picture) and `files` (every picture).

    Sets the number of threads to 1.

    Raises:
        UsageError: a setting is wrong, or `folder` holds other results; see `Results`.
        PictureError, ModelError: a picture or an encoder cannot be loaded.
    """
    torch.set_num_threads(1)
    bench = Bench("cost --what scale", config, folder, on_progress, timed=True)
    pocket = load_surrogate("pocket", device="cpu")
    results = bench.open(vae_weights=pocket.digest)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as scratch:
        save_random_vae(Path(scratch), block_out_channels=config.block_out_channels, seed=config.seed)
        large = replace(load_surrogate(scratch, device="cpu"), name=RANDOM_VAE, origin="random")
        picture = square_picture(next(iter(bench.pictures)), config.size_px)
        for surrogate in (pocket, large):
            if surrogate.name not in results:
                results.add({surrogate.name: cost_of(picture, surrogate)})
            rows.append({"vae": surrogate.name, "size_px": config.size_px, **results[surrogate.name]})

    def measure(path: Path, missing: Sequence[str]) -> Iterator[tuple[str, Json]]:
        yield "file", growth(path, pocket, ProtectConfig(vae="pocket", preset=config.preset, seed=config.seed))

    files = bench.entries("files", ["file"], measure)["file"]
    return bench.finish({"work": rows, "files": [{"picture": name, **entry} for name, entry in files.items()]})


def cost_of(picture: Picture, surrogate: Surrogate) -> Json:
    """Operations of one step; CPU seconds of a step, of the rest, and of a picture with the default preset.

    A step's cost is the difference between runs of two steps and of one. The rest is decoding, evaluation and encoding.
    """
    steps = ProtectConfig().recipe.steps
    surrogate.posterior(torch.zeros(1, 3, 64, 64))  # warms up
    one, two = (_seconds(picture, surrogate, number) for number in (1, 2))
    step = two - one
    return {
        "tflop_per_step": operations_of_loss(surrogate, picture.height, picture.width) / 1e12,
        "cpu_seconds_per_step": step,
        "cpu_seconds_besides": one - step,
        "steps": steps,
        "cpu_seconds_per_picture": one + (steps - 1) * step,
    }


def operations_of_loss(surrogate: Surrogate, height: int, width: int) -> int:
    """Floating-point operations of the loss and its gradient with respect to the pixels; an addition and a multiplication count
    as two. Derived from shapes on the meta device."""
    shapes = replace(surrogate, encoder=copy.deepcopy(surrogate.encoder).to("meta"))
    pixels = torch.zeros(1, 3, height, width, device="meta", requires_grad=True)
    with FlopCounterMode(display=False) as counter:
        torch.autograd.backward(CollapseObjective(shapes.posterior, 1.0, "up", pixels.detach())(pixels).sum())
    return int(counter.get_total_flops())


def growth(path: Path, surrogate: Surrogate, request: ProtectConfig) -> Json:
    """Bytes of a photograph as JPEG, as PNG, and protected."""
    picture = read_picture(path)
    data, record = protect(picture, request, surrogate=surrogate).encoded("PNG")
    return {
        "pixels": picture.width * picture.height,
        "jpeg_90_bytes": len(file_bytes(picture.rgb, "JPEG", quality=90)),
        "png_bytes": len(file_bytes(picture.rgb, "PNG")),
        "protected_png_bytes": len(data),
        "psnr_db": record.psnr_db,
    }


def _seconds(picture: Picture, surrogate: Surrogate, steps: int) -> float:
    started = time.process_time()
    protect(picture, ProtectConfig(steps=steps), surrogate=surrogate).encoded("PNG")
    return time.process_time() - started
