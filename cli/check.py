"""`pca-protect check`: measures how protected a picture is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pca_protect.cli import console
from pca_protect.cli.extras import needs_extra
from pca_protect.cli.flags import in_flags
from pca_protect.cli.options import compute
from pca_protect.cli.progress import make_progress
from pca_protect.config import ProtectConfig
from pca_protect.errors import PictureError, UsageError
from pca_protect.eval.editors.registry import EDITORS, SHOWN_EDITOR
from pca_protect.io.header import marker_facts
from pca_protect.io.picture import Picture as Pixels
from pca_protect.io.plan import TEST_ONLY, check_folder
from pca_protect.io.read import read_picture
from pca_protect.io.write import encode_picture, write_bytes
from pca_protect.version import __version__

if TYPE_CHECKING:
    from PIL.Image import Image

    from pca_protect.eval.check.edits import Edits
    from pca_protect.eval.check.encoders import EncoderCheck
    from pca_protect.eval.check.run import Check

Picture = Annotated[
    Path, typer.Argument(metavar="IMAGE", help="Picture to check: PNG, JPEG, WebP, BMP or TIFF.", show_default=False)
]
Original = Annotated[
    Path | None,
    typer.Option(metavar="IMAGE", help="The unprotected original, at the same size.", show_default=False),
]
Vaes = Annotated[
    list[str],
    typer.Option(
        "--vae",
        metavar="NAME",
        help="Encoder to measure with, in any form that `protect` accepts; may be repeated. Default: the embedded encoders "
        "and those that `pca-protect vaes` lists as cached.",
        show_default=False,
    ),
]
Prompt = Annotated[
    str | None,
    typer.Option(
        "--edit", metavar="PROMPT", help="Also edit the picture and show the edits side by side.", show_default=False
    ),
]
Editor = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help=f"Editor: {', '.join(EDITORS)}, a hub id or a pipeline folder.  [default: {SHOWN_EDITOR}]",
        show_default=False,
    ),
]
Clean = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        help="Folder of 100 or more unprotected pictures to compare with, for encoders without stored reference figures.",
        show_default=False,
    ),
]
Sheet = Annotated[
    Path | None,
    typer.Option(
        "-o",
        "--output",
        metavar="PICTURE",
        help="PNG file or folder for the edits side by side. Default: NAME.check.png beside the picture.",
        show_default=False,
    ),
]
Seed = Annotated[int, typer.Option(metavar="N", help="Seed of the noise control and of the edits.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print all measurements as one JSON object on stdout.")]

Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Also print all figures of each encoder.")]


def check(
    picture: Picture,
    original: Original = None,
    vae: Vaes = [],  # noqa: B006 - typer copies it
    edit: Prompt = None,
    editor: Editor = None,
    clean: Clean = None,
    output: Sheet = None,
    seed: Seed = ProtectConfig.seed,
    device: compute.DeviceName = ProtectConfig.device,
    offline: compute.Offline = False,
    as_json: AsJson = False,
    verbose: Verbose = False,
) -> None:
    """Measure how protected a picture is.

    Without --original, the picture is compared with unprotected pictures; with it, the change is compared with random noise. A
    picture that was protected for one size is measured at that size. With --edit, edits by a test editor are shown, or by that of
    --editor.
    """
    ProtectConfig(seed=seed, device=device)  # validates both
    if edit is None and (editor is not None or output is not None):
        given = f"--editor {editor}" if editor is not None else f"--output {output}"
        raise UsageError(f"{given}: applies to edits only; add --edit PROMPT")
    if edit is not None and not edit.strip():
        raise UsageError(f"--edit {edit!r}: is empty; give an instruction, such as 'make it snow'")
    target = None if edit is None else _sheet_file(picture, output)
    replaced = target is not None and target.exists()
    given_picture = _read(picture)
    given_original = None if original is None else read_picture(original)
    progress = make_progress(quiet=False, patience_seconds=0)
    try:
        progress.prepare("loading", 0, None)
        with needs_extra(wholly=original is not None or edit is not None):
            from pca_protect.eval.check.protection import protection_of
            from pca_protect.eval.check.run import check_picture

            with picture.open("rb") as file:
                protection = protection_of(file)
            found, sheet = check_picture(
                given_picture,
                given_original,
                vaes=vae,
                clean=clean,
                prompt=edit,
                editor=editor or SHOWN_EDITOR,
                protection=protection,
                seed=seed,
                device=device,
                offline=offline,
                on_progress=lambda what, done, total: progress.prepare(what, done, total if total > 1 else None),
            )
    finally:
        progress.end()
    for warning in found.warnings:
        console.warn(warning)
    if target is not None and sheet is not None:
        _write(sheet, target, overwrite=replaced)
    if as_json:
        console.result(found.as_json(sheet=target))
        return
    for line in _lines(found, verbose=verbose):
        console.result(line)
    if target is not None:
        console.result(f"\nSide by side: {target}{', replacing that of an earlier check' if replaced else ''}")


def _sheet_file(picture: Path, output: Path | None) -> Path:
    """`NAME.check.png` beside the picture, or in the folder given; otherwise the file given. Touches nothing.

    Raises:
        UsageError: the file exists and is not of an earlier check, has no folder to go to, or is to be no PNG.
    """
    if output is None or output.is_dir():
        target = (output or picture.parent) / f"{picture.stem}.check.png"
    elif output.suffix.lower() == ".png":
        target = output
    else:
        raise UsageError(f"--output {output}: neither a folder nor a name ending in .png; give one of them")
    check_folder(target.parent)
    if target.exists() and not _is_sheet(target):
        raise UsageError(f"{target}: exists already and is not replaced; choose another name with --output")
    return target


def _read(picture: Path) -> Pixels:
    """Raises:
    PictureError: see `read_picture`; names the test-only output beside a missing one.
    """
    try:
        return read_picture(picture)
    except PictureError as error:
        other = picture.with_name(picture.name.replace(".protected.", f".{TEST_ONLY}."))
        if picture.exists() or not other.exists():
            raise
        raise PictureError(
            f"{picture}: no such file; {other.name} exists, from a run without a real encoder"
        ) from error


_SHEET = json.dumps({"version": __version__, "budget_levels": 0, "check_sheet": True})
"""Marker of a sheet: it is no input of `protect`, and the next check replaces it."""


def _is_sheet(file: Path) -> bool:
    try:
        with file.open("rb") as data:
            return "check_sheet" in marker_facts(data, str(file))
    except (OSError, PictureError):
        return False


def _write(sheet: Image, target: Path, *, overwrite: bool) -> None:
    """Writes atomically."""
    import numpy as np

    data = encode_picture(Pixels(np.asarray(sheet), source=str(target)), "PNG", marker=_SHEET)
    write_bytes(data, target, overwrite=overwrite)


def _lines(found: Check, *, verbose: bool) -> Iterator[str]:
    """The report as text: what was found in plain words, then the distances between edits, then all figures if `verbose`."""
    size_px = found.width_px, found.height_px
    seen = (
        f", measured at {_size(found.seen_px)}, the size that it was protected for" if found.seen_px != size_px else ""
    )
    crop = f", measured in its central {_size(found.looked_at_px)}" if found.looked_at_px != found.seen_px else ""
    yield f"{found.picture}, {_size(size_px)}{seen}{crop}"
    yield from map(in_flags, found.summary)
    if found.edits is not None and (rows := list(_edit_rows(found.edits, verbose=verbose))):
        yield ""
        yield "FLIP differences between pictures (0: identical, 1: maximal)"
        for label, value in rows:
            yield f"  {label:<57}{value:.3f}"
    if verbose:
        yield from _figure_lines(found)


def _figure_lines(found: Check) -> Iterator[str]:
    change = found.change
    if change is not None:
        yield ""
        psnr = "identical" if change.psnr_db is None else f"PSNR {change.psnr_db:.1f} dB"
        yield (
            f"against {found.original}: largest change {change.max_change_levels} levels, {psnr}, "
            f"visibility FLIP {change.flip:.3f}"
        )
    for encoder in found.vaes:
        yield ""
        yield from _encoder_lines(encoder)


_LABELS = {
    "norm": "norm per element",
    "nats": "nats per element",
    "smoothed": "norm after smoothing / before",
    "recompressed": "norm after JPEG 50 / before",
}


def _encoder_lines(encoder: EncoderCheck) -> Iterator[str]:
    compared = f", compared with {encoder.clean_pictures} clean pictures" if encoder.clean_pictures else ""
    from pca_protect.eval.check.verdict import WORDS

    verdict = encoder.verdict
    yield f"{encoder.name}{compared}"
    yield f"  {WORDS[verdict.looks]}{f', {_mode(verdict.mode)}' if verdict.mode else ''}: {in_flags(verdict.why)}"
    for figure, value in vars(encoder.figures).items():
        line = f"  {_LABELS[figure]:<31}{value:7.3f}"
        among = encoder.compared.get(figure)
        if among is not None:
            side, share = min(("or lower", among.at_most), ("or higher", among.at_least), key=lambda tail: tail[1])
            line += (
                f"   clean: {among.low:.3f} to {among.high:.3f}, median {among.middle:.3f}; "
                f"{share:.1%} are equal {side}"
            )
        yield line
    shift = encoder.shift
    if shift is not None:
        yield f"  latent shift                   {shift.latent:.1%} (random noise: {shift.noise_latent:.1%})"
        yield f"  gain over noise                {shift.gain_over_noise:.2g}"


def _mode(name: str) -> str:
    """Diffusion and subtle both raise the norm of the latent and cannot be distinguished."""
    return "as modes diffusion and subtle leave pictures" if name == "diffusion" else f"as mode {name} leaves pictures"


def _edit_rows(edits: Edits, *, verbose: bool) -> Iterator[tuple[str, float]]:
    rows = [
        ("edit of the picture, from the edit of the original", edits.apart),
        ("edit of the original with random noise, from it", edits.noise_apart),
        ("edit of the original, tried twice", edits.seed_apart),
    ]
    if verbose:
        rows += [
            ("edit of the picture, from the picture", edits.from_picture),
            ("edit of the picture, from the original", edits.from_original),
            ("edit of the original, from the original", edits.original_from_original),
        ]
    return ((label, value) for label, value in rows if value is not None)


def _size(size_px: tuple[int, int]) -> str:
    return f"{size_px[0]}x{size_px[1]} px"
