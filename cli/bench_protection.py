"""`pca-protect bench uploads|steps|flat|scales|grid|check|ingredients`: properties of the protection itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pca_protect.cli import bench_options
from pca_protect.cli import bench_output as output
from pca_protect.cli.extras import needs_extra
from pca_protect.cli.options import compute
from pca_protect.config import ProtectConfig
from pca_protect.errors import UsageError
from pca_protect.eval.benches import protection_configs as configs

Images = Annotated[Path, typer.Option(metavar="FOLDER", help="Held-out pictures.", show_default=False)]
Large = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", help="Pictures with sides of 1536 px or more, for `scales`.", show_default=False),
]
Side = Annotated[
    int | None,
    typer.Option("--size", metavar="PX", help="Side of the pictures.", show_default=False),
]
Longest = Annotated[
    int | None, typer.Option(metavar="PX", help="Longer side of the pictures before the upload.", show_default=False)
]
Tile = Annotated[int | None, typer.Option(metavar="PX", help="Side of the windows.", show_default=False)]
Steps = Annotated[int | None, typer.Option(metavar="N", help="Gradient steps.", show_default=False)]
Reference = Annotated[
    bool,
    typer.Option(
        "--reference",
        help="Write the reference figures of clean pictures for `pca-protect check` to clean.json.",
    ),
]
Source = Annotated[
    str | None,
    typer.Option(metavar="TEXT", help="Description of the pictures for --reference.", show_default=False),
]


def uploads(
    images: Images,
    pictures: bench_options.Pictures = None,
    out: bench_options.Out = Path("results/uploads"),
    quick: bench_options.Quick = False,
    editor: bench_options.Editor = configs.UploadsConfig.editor,
    longest: Longest = None,
    steps: Steps = None,
    prompt: bench_options.Prompts = [],  # noqa: B006 - typer copies it
    device: compute.DeviceName = ProtectConfig.device,
    seed: bench_options.Seed = configs.UploadsConfig.seed,
) -> None:
    """Does protection survive an upload? Large pictures, measured after the downscaling and compression of a platform."""
    config = output.configured(
        configs.uploads(str(images), quick=quick),
        pictures=pictures,
        editor=editor,
        longest=longest,
        steps=steps,
        prompts=prompt,
        device=device,
        seed=seed,
    )
    with needs_extra():
        from pca_protect.eval.benches.uploads import measure_uploads
    output.finish(measure_uploads(config, out, on_progress=output.progress()), "upload")


def steps(
    images: Images,
    pictures: bench_options.Pictures = None,
    out: bench_options.Out = Path("results/steps"),
    quick: bench_options.Quick = False,
    vae: bench_options.Vaes = [],  # noqa: B006
    size: Side = None,
    device: compute.DeviceName = ProtectConfig.device,
    seed: bench_options.Seed = configs.StepsConfig.seed,
) -> None:
    """How effective and fast is each preset? Final losses and times, compared with the published loop."""
    config = output.configured(
        configs.steps(str(images), quick=quick), pictures=pictures, vaes=vae, size_px=size, device=device, seed=seed
    )
    with needs_extra():
        from pca_protect.eval.benches.steps import measure_steps
    output.finish(measure_steps(config, out, on_progress=output.progress()), "steps")


def flat(
    images: Images,
    pictures: bench_options.Pictures = None,
    out: bench_options.Out = Path("results/flat"),
    quick: bench_options.Quick = False,
    arm: bench_options.Arms = [],  # noqa: B006
    vae: bench_options.Vae = configs.FlatConfig.vae,
    size: Side = None,
    device: compute.DeviceName = ProtectConfig.device,
    seed: bench_options.Seed = configs.FlatConfig.seed,
) -> None:
    """How visible is protection in flat regions? The flattest patches of all pictures, with a contact sheet at 100 %."""
    config = output.configured(
        configs.flat(str(images), quick=quick),
        pictures=pictures,
        arms=arm,
        vae=vae,
        size_px=size,
        device=device,
        seed=seed,
    )
    with needs_extra():
        from pca_protect.eval.benches.flat import measure_flat
    output.finish(measure_flat(config, out, on_progress=output.progress()), "flat")


def scales(
    images: Images,
    pictures: bench_options.Pictures = None,
    out: bench_options.Out = Path("results/scales"),
    quick: bench_options.Quick = False,
    editor: bench_options.Editor = configs.ScalesConfig.editor,
    tile: Tile = None,
    prompt: bench_options.Prompts = [],  # noqa: B006
    device: compute.DeviceName = ProtectConfig.device,
    seed: bench_options.Seed = configs.ScalesConfig.seed,
) -> None:
    """How do windows and scales affect protection? Seams, edits of crops across a border, and edits at another size."""
    config = output.configured(
        configs.scales(str(images), quick=quick),
        pictures=pictures,
        editor=editor,
        tile_px=tile,
        prompts=prompt,
        device=device,
        seed=seed,
    )
    with needs_extra():
        from pca_protect.eval.benches.scales import measure_scales
    output.finish(measure_scales(config, out, on_progress=output.progress()), "scales")


def grid(
    images: Images,
    large: Large = None,
    pictures: bench_options.Pictures = None,
    out: bench_options.Out = Path("results/grid"),
    quick: bench_options.Quick = False,
    vae: bench_options.Vaes = [],  # noqa: B006
    tile: Tile = None,
    steps: Steps = None,
    device: compute.DeviceName = ProtectConfig.device,
    seed: bench_options.Seed = configs.GridConfig.seed,
) -> None:
    """How much effect do windows cost? The same squares protected in several windows and in one, measured as a whole."""
    config = output.configured(
        configs.grid(str(images), quick=quick),
        large=None if large is None else str(large),
        pictures=pictures,
        vaes=vae,
        tile_px=tile,
        steps=steps,
        device=device,
        seed=seed,
    )
    with needs_extra():
        from pca_protect.eval.benches.grid import measure_grid
    output.finish(measure_grid(config, out, on_progress=output.progress()), "windows")


def check(
    images: Images,
    pictures: bench_options.Pictures = None,
    out: bench_options.Out = Path("results/check"),
    quick: bench_options.Quick = False,
    reference: Reference = False,
    source: Source = None,
    vae: bench_options.Vaes = [],  # noqa: B006
    size: Side = None,
    device: compute.DeviceName = ProtectConfig.device,
    seed: bench_options.Seed = configs.CheckConfig.seed,
) -> None:
    """How accurate is `pca-protect check` without an original? Verdicts on clean, changed and protected pictures."""
    config = output.configured(
        configs.check(str(images), quick=quick), pictures=pictures, vaes=vae, size_px=size, device=device, seed=seed
    )
    if reference != (source is not None):
        raise UsageError("--reference needs --source TEXT and vice versa: the file describes its pictures; give both")
    with needs_extra():
        from pca_protect.eval.benches.check import measure_check, write_reference
    if source is None:
        output.finish(measure_check(config, out, on_progress=output.progress()), "check")
        return
    given = {"pictures": pictures, "size_px": size}
    target = write_reference(
        images,
        out / "clean.json",
        source=source,
        vaes=config.vaes,
        device=device,
        on_progress=output.progress(),
        **{name: value for name, value in given.items() if value is not None},
    )
    output.show([], [target])


def ingredients(
    images: Images,
    pictures: bench_options.Pictures = None,
    out: bench_options.Out = Path("results/ingredients"),
    quick: bench_options.Quick = False,
    vae: bench_options.Vaes = [],  # noqa: B006
    size: Side = None,
    steps: Steps = None,
    device: compute.DeviceName = ProtectConfig.device,
    seed: bench_options.Seed = configs.IngredientsConfig.seed,
) -> None:
    """What improves transfer to unseen encoders? Losses, transforms and step rules, one at a time. For research."""
    config = output.configured(
        configs.ingredients(str(images), quick=quick),
        pictures=pictures,
        vaes=vae,
        size_px=size,
        steps=steps,
        device=device,
        seed=seed,
    )
    with needs_extra():
        from pca_protect.eval.benches.ingredients import measure_ingredients
    output.finish(measure_ingredients(config, out, on_progress=output.progress()), "ingredients")
