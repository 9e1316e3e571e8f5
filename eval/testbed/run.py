"""`pca-protect bench testbed`: everything that is asked of the embedded models, measured.

The VAEs: reconstruction, information, how far noise and the published attack move the latent, and whether their latent
spaces differ. The editors: whether edits succeed where the wanted picture is known, and spare what was not asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from pca_protect.config import Device
from pca_protect.device import resolve_device
from pca_protect.eval.editors.editor import Editor
from pca_protect.eval.editors.load import load_editor
from pca_protect.eval.editors.registry import EMBEDDED, EditSettings
from pca_protect.eval.environment import environment
from pca_protect.eval.pictures import pictures_in, square_picture, to_pixels
from pca_protect.eval.results import Results
from pca_protect.eval.styles import STYLES
from pca_protect.eval.testbed import edits, vaes
from pca_protect.eval.testbed.goals import Row, at_least, at_most, row
from pca_protect.eval.testbed.linear_map import explained_variance
from pca_protect.eval.testbed.sheet import contact_sheet
from pca_protect.io.read import read_picture

LATENT_PAIR = ("pocket", "pocket-b")
DIFFERENT = at_most(0.9)
"""Share of the second one's variance that a linear map of the first one's latents may explain."""

GUIDANCE = 3.0
"""Chosen by looking at four pictures; at the 7.5 that is usual for Stable Diffusion fewer of their edits succeeded."""
STEPS, QUICK_STEPS = 50, 20
QUICK_EDITS = 40
SHEET_PICTURES = 4
SHEET_STRENGTH = 0.7
SHEET = "sheet.png"

OnProgress = Callable[[str, int, int], None]
"""Called with (what is being measured, pictures done, pictures in all)."""


@dataclass(frozen=True)
class TestbedResult:
    rows: list[Row]
    paths: tuple[Path, ...]


def measure_testbed(
    images: Path,
    folder: Path,
    *,
    edit_images: Path | None = None,
    quick: bool = False,
    device: Device = "auto",
    seed: int = 0,
    on_progress: OnProgress | None = None,
) -> TestbedResult:
    """Measure what `folder` does not hold yet, and write its tables and a contact sheet of edits.

    Args:
        images: a folder of photographs that were not trained on, at least two; for the VAEs.
        edit_images: the same for the editors, each cropped to a square; `images` if not given.
        quick: the middle of each photograph, the first 40 pictures to edit, fewer denoising steps.
        seed: draws the noise of the edits.

    Raises:
        UsageError: no pictures, or `folder` holds something else; see `Results`.
        PictureError, ModelError, DeviceError: a picture, a model or the device cannot be had.
    """
    report = on_progress or (lambda label, done, in_all: None)
    compute_device = resolve_device(device)
    photographs = pictures_in(images)
    edited = pictures_in(edit_images or images)[: QUICK_EDITS if quick else None]
    subjects = vaes.load_vaes(device, compute_device)
    steps = QUICK_STEPS if quick else STEPS
    config = {
        "images": {path.name: read_picture(path).digest for path in photographs},
        "edit_images": {path.name: read_picture(path).digest for path in edited},
        "quick": quick,
        "preset": "paper",
        "edits": {"strengths": edits.STRENGTHS, "guidance": GUIDANCE, "steps": steps, "seed": seed},
    }
    results = Results(folder, command="bench testbed", config=config, environment=environment(compute_device))

    rows = []
    for name, subject in subjects.items():
        measured = []
        for done, path in enumerate(photographs):
            report(name, done, len(photographs))
            key = f"{name} {subject.digest} {path.name}"
            if key not in results:
                pixels = to_pixels(read_picture(path)).to(compute_device)
                results.add({key: vaes.measure_vae(subjects, name, pixels, quick=quick)})
            measured.append(results[key])
        for metric, goal in vaes.goals(name, subject.surrogate.latent_channels).items():
            rows.append(row(name, subject.digest, metric, [one[metric] for one in measured], goal))

    digests = {subject.surrogate.digest for subject in subjects.values()}
    rows.append(row("all", "", "distinct_encoders", [len(digests)], at_least(len(subjects))))
    pair = " -> ".join(LATENT_PAIR)
    key = " ".join([pair, *(subjects[name].digest for name in LATENT_PAIR)])
    report(pair, 0, 1)
    if key not in results:
        pictures = [to_pixels(read_picture(path)).to(compute_device) for path in photographs]
        source, target = ([vaes.latents(subjects[name], one) for one in pictures] for name in LATENT_PAIR)
        results.add({key: {"explained_variance": explained_variance(source, target)}})
    rows.append(row(pair, "", "explained_variance", [results[key]["explained_variance"]], DIFFERENT))

    editors = {name: load_editor(name, device=device) for name in EMBEDDED}
    for name, editor in editors.items():
        judged = []
        for done, path in enumerate(edited):
            report(name, done, len(edited))
            key = f"{name} {editor.digest} {path.name}"
            if key not in results:
                picture = square_picture(path, editor.size_px).rgb
                settings = EditSettings(edits.STRENGTHS[done % len(edits.STRENGTHS)], GUIDANCE, steps)
                results.add({key: edits.judge(picture, edits.edit_picture(editor, picture, settings, seed=seed))})
            judged.append(results[key])
        rows += edits.rows(name, editor.digest, judged)
    report("the contact sheet", 0, 1)
    sheet = folder / SHEET
    spread = photographs[:: max(1, len(photographs) // SHEET_PICTURES)][:SHEET_PICTURES]
    _sheet(editors, spread, EditSettings(SHEET_STRENGTH, GUIDANCE, steps), seed).save(sheet)
    return TestbedResult(rows, (*results.write_tables({"testbed": rows}), sheet))


def _sheet(editors: dict[str, Editor], paths: list[Path], settings: EditSettings, seed: int) -> Image.Image:
    """Some pictures, edited by every editor."""
    blocks = {}
    for name, editor in editors.items():
        pictures = [square_picture(path, editor.size_px).rgb for path in paths]
        found = [edits.edit_picture(editor, picture, settings, seed=seed) for picture in pictures]
        blocks[f"{name}, strength {settings.strength}, guidance {settings.guidance}, {settings.steps} steps"] = [
            {"original": picture, **{STYLES[style].prompt or "no prompt": edit for style, edit in of.edited.items()}}
            for picture, of in zip(pictures, found, strict=True)
        ]
    return contact_sheet(blocks)
