"""`pca-protect bench testbed`: are the embedded models a fair stand-in for real ones?

The VAEs: reconstruction, information, how far noise and the published attack move the latent, and whether their latent
spaces differ. The editors: whether edits succeed where the wanted picture is known, and spare what was not asked for.
A target stands beside each measurement; a missed one is a result, not an error.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from PIL import Image
from torch import Tensor

from pca_protect.config import Device
from pca_protect.device import resolve_device
from pca_protect.eval.editors.editor import Editor
from pca_protect.eval.editors.load import load_editor
from pca_protect.eval.editors.registry import EMBEDDED, EditSettings
from pca_protect.eval.environment import environment
from pca_protect.eval.metrics.classical import flip, ssim
from pca_protect.eval.pictures import Rgb, readable, square_picture, to_pixels
from pca_protect.eval.results import Finished, OnProgress, Results, Row
from pca_protect.eval.sheet import contact_sheet
from pca_protect.eval.styles import STYLES
from pca_protect.eval.vae_quality import Vae, explained_variance, measure_vulnerability, nats_per_element, psnr_db
from pca_protect.eval.whole_vae import latent_mean, load_whole_vae
from pca_protect.io.read import read_picture
from pca_protect.surrogates import checkpoint
from pca_protect.surrogates.encoder import Surrogate
from pca_protect.surrogates.load import load_surrogate


@dataclass(frozen=True)
class Goal:
    bound: float
    more_is_better: bool

    def __str__(self) -> str:
        return f"{'at least' if self.more_is_better else 'at most'} {self.bound:g}"

    def met_by(self, value: float) -> bool:
        return value >= self.bound if self.more_is_better else value <= self.bound


def at_least(bound: float) -> Goal:
    return Goal(bound, more_is_better=True)


def at_most(bound: float) -> Goal:
    return Goal(bound, more_is_better=False)


def goal_row(model: str, digest: str, metric: str, values: Sequence[float], goal: Goal) -> Row:
    """A line of the table: the values' mean against the goal. `digest` says which weights were measured."""
    mean = statistics.fmean(values)
    return {
        "surrogate": model,
        "metric": metric,
        "mean": mean,
        "min": min(values),
        "max": max(values),
        "n": len(values),
        "target": str(goal),
        "met": goal.met_by(mean),
        "digest": digest,
    }


TEACHER = {"pocket-tiny": "pocket"}
"""VAEs that were distilled into the latent space of another."""

PSNR_DB = {"pocket": 24.0, "pocket-b": 24.0, "pocket-16": 27.0}
LOST_DB = 1.5
"""What a distilled VAE may lose against its teacher, both through the teacher's decoder."""

NAMES = (*PSNR_DB, *TEACHER)
QUICK_SIDE_PX = 256


@dataclass(frozen=True)
class TestbedVae:
    """A whole embedded VAE, and its encoder as a surrogate. `digest` is of all its weights."""

    name: str
    vae: Vae
    surrogate: Surrogate
    digest: str


def load_vaes(device_name: Device, device: torch.device) -> dict[str, TestbedVae]:
    """All of them, in fp32."""
    found = {}
    for name in NAMES:
        vae = load_whole_vae(name, device=device, offline=True)
        surrogate = load_surrogate(name, device=device_name, precision="fp32")
        found[name] = TestbedVae(name, vae, surrogate, checkpoint.digest(vae.state_dict()))
    return found


def measure_vae(vaes: dict[str, TestbedVae], name: str, pixels: Tensor, *, quick: bool) -> dict[str, float]:
    """The metrics of one picture `(1, 3, H, W)` in [0, 1].

    Args:
        quick: move the latent of the middle of the picture only; reconstruction is of the whole in any case.
    """
    subject = vaes[name]
    whole = middle(pixels, subject.surrogate.multiple)
    measured = {}
    if name in TEACHER:
        teacher = vaes[TEACHER[name]].vae
        measured["lost_db"] = psnr_db(teacher, whole) - psnr_db(subject.vae, whole, decoder=teacher)
    else:
        assert isinstance(subject.vae, AutoencoderKL)
        measured["psnr_db"] = psnr_db(subject.vae, whole)
        measured["nats_per_element"] = nats_per_element(subject.vae, whole)
    part = middle(pixels, subject.surrogate.multiple, QUICK_SIDE_PX if quick else None)
    moved = measure_vulnerability(subject.surrogate, part)
    return measured | {
        "noise": float(moved.noise),
        "diffusion": float(moved.diffusion),
        "concentration": float(moved.concentration),
    }


def goals(name: str, latent_channels: int) -> dict[str, Goal]:
    """What the mean of each metric should reach. Reconstruction is the project's own goal; how far noise and the two modes
    move the latent is the range in which encoders distilled from real ones were seen."""
    own = (
        {"lost_db": at_most(LOST_DB)}
        if name in TEACHER
        else {"psnr_db": at_least(PSNR_DB[name]), "nats_per_element": at_least(1.0)}
    )
    noise = 0.15 if latent_channels == 4 else 0.30
    return own | {"noise": at_least(noise), "diffusion": at_least(1.5), "concentration": at_most(0.6)}


def latents(subject: TestbedVae, pixels: Tensor) -> Tensor:
    return latent_mean(subject.vae, middle(pixels, subject.surrogate.multiple))


def middle(pixels: Tensor, multiple: int, largest_side: int | None = None) -> Tensor:
    """The middle of a picture, with sides that the encoder divides and that are at most so long."""
    sides = [min(side, largest_side or side) // multiple * multiple for side in pixels.shape[-2:]]
    top, left = ((whole - side) // 2 for whole, side in zip(pixels.shape[-2:], sides, strict=True))
    return pixels[..., top : top + sides[0], left : left + sides[1]]


STRENGTHS = (0.5, 0.6, 0.7)
"""Pictures take them in turns."""

GENTLE = 0.3
"""The strength at which an edit without a prompt has to keep the picture recognisable."""

SUCCEEDED = at_least(0.8)
KEPT = at_least(0.6)

EDITED_STYLES = tuple(style for style in STYLES.values() if style.prompt)


@dataclass(frozen=True)
class EditsOfPicture:
    """Results of one editor on one picture.

    Attributes:
        edited: the style's name -> the edit with its prompt; "none" is the edit without a prompt at the same strength.
        gentle: without a prompt, at strength `GENTLE`.
    """

    edited: dict[str, Rgb]
    gentle: Rgb


def edit_picture(editor: Editor, picture: Rgb, settings: EditSettings, *, seed: int) -> EditsOfPicture:
    """Every style and none, with the same noise."""
    edited = {style.name: editor.edit([picture], style.prompt, settings, seeds=[seed])[0] for style in STYLES.values()}
    gentle = editor.edit([picture], "", replace(settings, strength=GENTLE), seeds=[seed])[0]
    return EditsOfPicture(edited, gentle)


def judge(picture: Rgb, edits: EditsOfPicture) -> dict[str, float]:
    """For each style the FLIP distances to the picture rendered in it, of the edit with its prompt (`to_snow`) and of the
    edit without one (`to_snow_without`); and what is left of the picture after a gentle edit (`kept`, SSIM)."""
    measured = {"kept": ssim(picture, edits.gentle)}
    for style in EDITED_STYLES:
        wanted = style.render(picture)
        measured[f"to_{style.name}"] = flip(wanted, edits.edited[style.name])
        measured[f"to_{style.name}_without"] = flip(wanted, edits.edited["none"])
    return measured


def edit_rows(editor: str, digest: str, measured: Sequence[dict[str, float]]) -> list[Row]:
    """The share of pictures on which each style succeeded, and how recognisable pictures stay."""
    found = [
        goal_row(
            editor,
            digest,
            f"success_{style.name}",
            [_succeeded(picture, style.name) for picture in measured],
            SUCCEEDED,
        )
        for style in EDITED_STYLES
    ]
    return [*found, goal_row(editor, digest, "kept_ssim", [picture["kept"] for picture in measured], KEPT)]


def _succeeded(measured: dict[str, float], style: str) -> float:
    return float(measured[f"to_{style}"] < measured[f"to_{style}_without"])


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


def measure_testbed(
    images: Path,
    folder: Path,
    *,
    edit_images: Path | None = None,
    quick: bool = False,
    device: Device = "auto",
    seed: int = 0,
    on_progress: OnProgress | None = None,
) -> Finished:
    """Measure what `folder` does not hold yet, and write its tables and a contact sheet of edits.

    Args:
        images: a folder of photographs that were not trained on, at least two; for the VAEs.
        edit_images: the same for the editors, each cropped to a square; `images` if not given.
        quick: the middle of each photograph, the first 40 pictures to edit, fewer denoising steps.
        seed: draws the noise of the edits.

    Raises:
        UsageError: no pictures, or `folder` holds something else; see `Results`.
        ModelError, DeviceError: a model or the device cannot be had.
    """
    report: OnProgress = on_progress or (lambda label, done, in_all: None)
    compute_device = resolve_device(device)
    photographs, failures = readable(images, None)
    edited, more = readable(edit_images or images, QUICK_EDITS if quick else None)
    subjects = load_vaes(device, compute_device)
    editors = {name: load_editor(name, device=device) for name in EMBEDDED}
    steps = QUICK_STEPS if quick else STEPS
    config = {
        "images": {path.name: digest for path, digest in photographs.items()},
        "edit_images": {path.name: digest for path, digest in edited.items()},
        "quick": quick,
        "preset": "paper",
        "edits": {"strengths": STRENGTHS, "guidance": GUIDANCE, "steps": steps, "seed": seed},
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
                results.add({key: measure_vae(subjects, name, pixels, quick=quick)})
            measured.append(results[key])
        for metric, goal in goals(name, subject.surrogate.latent_channels).items():
            rows.append(goal_row(name, subject.digest, metric, [one[metric] for one in measured], goal))

    digests = {subject.surrogate.digest for subject in subjects.values()}
    rows.append(goal_row("all", "", "distinct_encoders", [len(digests)], at_least(len(subjects))))
    pair = " -> ".join(LATENT_PAIR)
    key = " ".join([pair, *(subjects[name].digest for name in LATENT_PAIR)])
    report(pair, 0, 1)
    if key not in results:
        pictures = [to_pixels(read_picture(path)).to(compute_device) for path in photographs]
        source, target = ([latents(subjects[name], one) for one in pictures] for name in LATENT_PAIR)
        results.add({key: {"explained_variance": explained_variance(source, target)}})
    rows.append(goal_row(pair, "", "explained_variance", [results[key]["explained_variance"]], DIFFERENT))

    for name, editor in editors.items():
        judged = []
        for done, path in enumerate(edited):
            report(name, done, len(edited))
            key = f"{name} {editor.digest} {path.name}"
            if key not in results:
                picture = square_picture(path, editor.size_px).rgb
                settings = EditSettings(STRENGTHS[done % len(STRENGTHS)], GUIDANCE, steps)
                results.add({key: judge(picture, edit_picture(editor, picture, settings, seed=seed))})
            judged.append(results[key])
        rows += edit_rows(name, editor.digest, judged)
    report("the contact sheet", 0, 1)
    sheet = folder / SHEET
    spread = list(photographs)[:: max(1, len(photographs) // SHEET_PICTURES)][:SHEET_PICTURES]
    _sheet(editors, spread, EditSettings(SHEET_STRENGTH, GUIDANCE, steps), seed).save(sheet)
    tables = {"testbed": rows, **({"failures": failures + more} if failures or more else {})}
    return Finished(tables, (*results.write_tables(tables), sheet))


def _sheet(editors: dict[str, Editor], paths: list[Path], settings: EditSettings, seed: int) -> Image.Image:
    """Some pictures, edited by every editor."""
    blocks = {}
    for name, editor in editors.items():
        pictures = [square_picture(path, editor.size_px).rgb for path in paths]
        found = [edit_picture(editor, picture, settings, seed=seed) for picture in pictures]
        blocks[f"{name}, strength {settings.strength}, guidance {settings.guidance}, {settings.steps} steps"] = [
            {"original": picture, **{STYLES[style].prompt or "no prompt": edit for style, edit in of.edited.items()}}
            for picture, of in zip(pictures, found, strict=True)
        ]
    return contact_sheet(blocks)
