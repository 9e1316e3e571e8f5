"""`pca-protect bench latents`: does an editor read what an attack changes?"""

from __future__ import annotations

from pathlib import Path

from pca_protect.cli import bench_options
from pca_protect.cli import bench_output as output
from pca_protect.cli.extras import needs_extra
from pca_protect.cli.options import compute
from pca_protect.config import ProtectConfig
from pca_protect.eval.benches import latents_config as configs


def latents(
    images: bench_options.Images,
    pictures: bench_options.Pictures = None,
    out: bench_options.Out = Path("results/latents"),
    quick: bench_options.Quick = False,
    editor: bench_options.Editors = [],  # noqa: B006 - typer copies it
    arm: bench_options.Arms = [],  # noqa: B006
    budget: bench_options.Budgets = [],  # noqa: B006
    prompt: bench_options.Prompts = [],  # noqa: B006
    device: compute.DeviceName = ProtectConfig.device,
) -> None:
    """Does an editor read what an attack changes? The shift of the latent beside noise of the same size in the same directions.

    An editor that follows its instruction although the latent has moved far may ignore the directions in which the attack moves
    it. For editors of kind img2img or instruct on AutoencoderKL.
    """
    config = output.configured(
        configs.latents(str(images), quick=quick),
        pictures=pictures,
        editors=editor,
        arms=arm,
        budgets=budget,
        prompts=prompt,
        device=device,
    )
    with needs_extra():
        from pca_protect.eval.benches.latents import measure_latents
    output.finish(measure_latents(config, out, on_progress=output.progress()), "latents")
