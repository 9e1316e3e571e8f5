"""`pca-protect universal`: trains universal perturbations, lists them, and passes them to other machines."""

from __future__ import annotations

import json
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from pca_protect.cli import console
from pca_protect.cli.options import compute, essential, printing
from pca_protect.config import ProtectConfig
from pca_protect.device_names import Precision
from pca_protect.errors import UsageError
from pca_protect.modes import MODES, RENAMED_MODES, present_name

if TYPE_CHECKING:
    from pca_protect.universal_training.train import OnTrainingStep
    from pca_protect.universals.files import Universal

universal_app = typer.Typer(
    help="Train, list and exchange universal perturbations.",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Images = Annotated[
    Path,
    typer.Option(metavar="FOLDER", help="Pictures to train on, 8 or more; subfolders included.", show_default=False),
]
Vaes = Annotated[
    list[str],
    typer.Option(
        "--vae", metavar="NAME", help="As for `protect`. Several encoders share one perturbation.", show_default=False
    ),
]
Modes = Annotated[
    list[str],
    typer.Option(
        "--mode",
        metavar="NAME",
        help=f"One perturbation for each mode; may be repeated. {', '.join(MODES)}.  [default: {ProtectConfig.mode}]",
        show_default=False,
    ),
]
TrainingSteps = Annotated[int, typer.Option("--steps", metavar="N", min=1, help="Number of training steps.")]
OutputFile = Annotated[
    Path | None,
    typer.Option("-o", "--output", metavar="FILE", help="Write here instead of the cache.", show_default=False),
]
Again = Annotated[bool, typer.Option("--again", help="Train again, even if the perturbation exists.")]
Key = Annotated[str, typer.Argument(metavar="KEY", help="A key in `pca-protect universal list`, or its beginning.")]
File = Annotated[Path, typer.Argument(metavar="FILE", help="File of a universal perturbation (.safetensors).")]
Seed = Annotated[int, typer.Option(metavar="N", help="Seed of the training.")]


@universal_app.callback()
def universal() -> None:
    """Train, list and exchange universal perturbations."""


@universal_app.command(no_args_is_help=True)
def train(
    images: Images,
    vae: Vaes = [],  # noqa: B006 - typer copies it
    mode: Modes = [],  # noqa: B006
    budget: essential.Budget = ProtectConfig.budget_levels,
    steps: TrainingSteps = 120,
    seed: Seed = 0,
    device: compute.DeviceName = ProtectConfig.device,
    precision: compute.PrecisionName = ProtectConfig.precision,
    offline: compute.Offline = False,
    output: OutputFile = None,
    again: Again = False,
) -> None:
    """Train a universal perturbation on a folder of pictures.

    It is measured on pictures that it was not trained on. The same command resumes a stopped training.
    """
    modes = [present_name("mode", name, RENAMED_MODES) for name in mode or [ProtectConfig.mode]]
    if output is not None and len(modes) > 1:
        raise UsageError("-o names one file and each --mode needs its own; give one --mode, or leave -o out")
    for name in modes:
        ProtectConfig(mode=name, budget_levels=budget, device=device, precision=cast(Precision, precision), seed=seed)
    from pca_protect.io.discover import discover
    from pca_protect.surrogates.load import load_surrogates
    from pca_protect.universal_training.crops import crops_of_files
    from pca_protect.universal_training.train import TrainingSettings, crop_side, train_universal
    from pca_protect.universals import store
    from pca_protect.universals.files import write_universals

    found = discover((str(images),), listed=[], recursive=True, output=None)
    surrogate = load_surrogates(vae or ["auto"], device=device, precision=cast(Precision, precision), offline=offline)
    for warning in surrogate.warnings:
        console.warn(warning)
    crops = None
    for name in modes:
        settings = TrainingSettings(name, budget, steps=steps, seed=seed)
        path = output or store.cache_folder() / f"{store.key_for([surrogate], name, budget)}.safetensors"
        if path.is_file() and not again:
            console.say(f"{path}: exists already; add --again to train it again")
            continue
        crops = crops or crops_of_files(
            [Path(source.path) for source in found.sources if not source.problem], crop_side(surrogate), seed=seed
        )
        trained = train_universal(
            surrogate,
            crops,
            settings,
            checkpoint=path.with_suffix(".training"),
            on_step=_progress(surrogate.name, name),
        )
        write_universals([trained], path)
        console.result(str(path))
        console.say(_measured(trained))


@universal_app.command("list")
def list_(as_json: printing.AsJson = False) -> None:
    """List the universal perturbations of this machine.

    They are embedded, trained or added. The presets instant and fast start from them.
    """
    from pca_protect.universals.store import cached_universals, embedded_universals

    rows: list[tuple[str, Universal]] = [("(in the package)", one) for one in embedded_universals()]
    rows += [(str(path), one) for path, one in cached_universals().items()]
    if as_json:
        for place, one in rows:
            console.result(json.dumps({"key": one.key, "place": place, **_plain(one)}))
        return
    table = [("KEY", "ENCODERS", "MODE", "BUDGET", "GAIN", "VISIBLE", "PLACE")]
    table += [
        (
            one.key,
            one.name,
            one.mode,
            str(one.budget_levels),
            f"{one.gain:.1f}{'' if one.beats_noise else ' (weak)'}",
            f"{one.visible_levels:.1f}",
            place,
        )
        for place, one in rows
    ]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for row in table:
        console.result("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


@universal_app.command(no_args_is_help=True)
def export(key: Key, file: File) -> None:
    """Write a universal perturbation to a file.

    Another machine takes it with `universal add` or --universal.
    """
    from pca_protect.universals.files import write_universals
    from pca_protect.universals.store import cached_universals, embedded_universals

    known = {one.key: one for one in (*embedded_universals(), *cached_universals().values())}
    matching = [one for name, one in known.items() if name.startswith(key)]
    if len(matching) != 1:
        raise UsageError(
            f"key {key!r} matches {len(matching)} universal perturbations; give a key from `pca-protect universal list` "
            "that matches one"
        )
    if file.exists():
        raise UsageError(f"{file}: exists already; choose another name")
    write_universals(matching, file)
    console.result(str(file))


@universal_app.command(no_args_is_help=True)
def add(file: File) -> None:
    """Add the universal perturbations of a file to this machine."""
    from pca_protect.universals import store
    from pca_protect.universals.files import read_universals

    for one in read_universals(file):
        console.result(str(store.add(one)))
        console.say(_measured(one))


def _progress(encoders: str, mode: str) -> OnTrainingStep:
    """Prints every tenth of the training to stderr."""

    def on_step(done: int, steps: int) -> None:
        if done * 10 // steps != (done - 1) * 10 // steps:
            console.say(f"training for {encoders} in mode {mode}: {done} of {steps} steps")

    return on_step


def _measured(universal: Universal) -> str:
    shifts = "; ".join(
        f"{one.name} {one.tile:.0%} (random noise: {one.noise:.0%}, equally visible noise: {one.visible_noise:.0%})"
        for one in universal.members
    )
    weak = "" if universal.beats_noise else "; too weak for preset instant"
    weak += "" if universal.helps_steps else "; preset fast goes further without it"
    return f"latent shift on {universal.held_out} other crops: {shifts}; visibility {universal.visible_levels:.2g} levels{weak}"


def _plain(universal: Universal) -> dict[str, object]:
    members = [asdict(one) for one in universal.members]
    names = [field.name for field in fields(universal) if field.name not in ("tile", "members")]
    values = {name: getattr(universal, name) for name in names}
    return {**values, "gain": universal.gain, "beats_noise": universal.beats_noise, "members": members}
