"""`pca-protect bench encoders`: any encoders, alone, in ensembles, and with universal perturbations."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pca_protect.cli import bench_options
from pca_protect.cli import bench_output as output
from pca_protect.cli.extras import needs_extra
from pca_protect.cli.options import compute
from pca_protect.config import ProtectConfig
from pca_protect.eval.benches import encoders_config as configs

Images = Annotated[Path, typer.Option(metavar="FOLDER", help="Held-out pictures.", show_default=False)]
Train = Annotated[
    Path,
    typer.Option(
        metavar="FOLDER", help="Other pictures, for the training of universal perturbations.", show_default=False
    ),
]
Vaes = Annotated[
    list[str],
    typer.Option(
        "--vae",
        metavar="NAME",
        help="Encoder as for `protect`, or package.module:function that returns a Surrogate; may be repeated.",
        show_default=False,
    ),
]
Modes = Annotated[
    list[str],
    typer.Option("--mode", metavar="NAME", help="May be repeated.  [default: diffusion, subtle]", show_default=False),
]
Ensembles = Annotated[
    list[int],
    typer.Option("--ensemble", metavar="N", help="Members of an ensemble; may be repeated.", show_default=False),
]
Side = Annotated[int | None, typer.Option("--size", metavar="PX", help="Side of the pictures.", show_default=False)]
TrainingSteps = Annotated[
    int | None, typer.Option(metavar="N", help="Training steps of a universal perturbation.", show_default=False)
]


def encoders(
    images: Images,
    train: Train,
    pictures: bench_options.Pictures = None,
    out: bench_options.Out = Path("results/encoders"),
    quick: bench_options.Quick = False,
    vae: Vaes = [],  # noqa: B006 - typer copies it
    mode: Modes = [],  # noqa: B006
    ensemble: Ensembles = [],  # noqa: B006
    size: Side = None,
    training_steps: TrainingSteps = None,
    device: compute.DeviceName = ProtectConfig.device,
    seed: bench_options.Seed = configs.EncodersConfig.seed,
) -> None:
    """How strong is protection for each encoder? Alone, in ensembles, and with universal perturbations, beside noise."""
    config = output.configured(
        configs.encoders(str(images), quick=quick),
        train=str(train),
        pictures=pictures,
        vaes=vae,
        modes=mode,
        ensembles=ensemble,
        size_px=size,
        training_steps=training_steps,
        device=device,
        seed=seed,
    )
    with needs_extra():
        from pca_protect.eval.benches.encoders import measure_encoders
    output.finish(measure_encoders(config, out, on_progress=output.progress()), "encoders")
