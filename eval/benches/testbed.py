"""`pca-protect bench testbed`: do the embedded models behave like real ones?

VAEs: reconstruction, information in the posterior, latent shift under noise and the published attack, similarity of latent
spaces. Editors: success of edits with a known target, and preservation of the picture in edits without a prompt.
Each measurement has a goal; a missed goal is a result, not an error.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from PIL import Image
from torch import Tensor

from pca_protect.device import resolve_device
from pca_protect.device_names import Device
from pca_protect.eval.benches.goals import Goal, at_least, at_most, goal_row
from pca_protect.eval.benches.testbed_edits import GUIDANCE, STRENGTHS, edit_picture, edit_rows, judge, settings_of
from pca_protect.eval.editors.editor import Editor
from pca_protect.eval.editors.load import load_editor
from pca_protect.eval.editors.registry import EMBEDDED
from pca_protect.eval.environment import environment
from pca_protect.eval.known_edits import KNOWN_EDITS
from pca_protect.eval.pictures import readable, square_picture, to_pixels
from pca_protect.eval.results import Finished, OnProgress, Results
from pca_protect.eval.sheet import contact_sheet
from pca_protect.eval.vae_quality import Vae, explained_variance, measure_vulnerability, nats_per_element, psnr_db
from pca_protect.eval.whole_vae import latent_mean, load_whole_vae
from pca_protect.io.read import read_picture
from pca_protect.surrogates import checkpoint
from pca_protect.surrogates.encoder import Surrogate
from pca_protect.surrogates.load import load_surrogate

TEACHER = {"pocket-tiny": "pocket"}
"""VAEs distilled into the latent space of a teacher, by name."""

PSNR_DB = {"pocket": 24.0, "pocket-b": 24.0, "pocket-16": 27.0}
LOST_DB = 1.5
"""Largest loss of PSNR against the teacher, both with the teacher's decoder."""

NAMES = (*PSNR_DB, *TEACHER)
QUICK_SIDE_PX = 256


@dataclass(frozen=True)
class TestbedVae:
    """A complete embedded VAE, and its encoder as a surrogate. `digest` covers all weights."""

    name: str
    vae: Vae
    surrogate: Surrogate
    digest: str


def load_vaes(device_name: Device, device: torch.device) -> dict[str, TestbedVae]:
    """All embedded VAEs by name, in fp32."""
    found = {}
    for name in NAMES:
        vae = load_whole_vae(name, device=device, offline=True)
        surrogate = load_surrogate(name, device=device_name, precision="fp32")
        found[name] = TestbedVae(name, vae, surrogate, checkpoint.digest(vae.state_dict()))
    return found


def measure_vae(vaes: dict[str, TestbedVae], name: str, pixels: Tensor, *, quick: bool) -> dict[str, float]:
    """The metrics of one picture `(1, 3, H, W)` in [0, 1].

    Args:
        quick: attack only the centre of the picture; reconstruction always covers the whole.
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
    """Goals for the mean of each metric. The goal of reconstruction is the project's choice; the goals of latent shifts are the
    range observed on encoders distilled from real ones."""
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
    """The centre of a picture; its sides are multiples of `multiple` and at most `largest_side`, in pixels."""
    sides = [min(side, largest_side or side) // multiple * multiple for side in pixels.shape[-2:]]
    top, left = ((whole - side) // 2 for whole, side in zip(pixels.shape[-2:], sides, strict=True))
    return pixels[..., top : top + sides[0], left : left + sides[1]]


LATENT_PAIR = ("pocket", "pocket-b")
DIFFERENT = at_most(0.9)
"""Largest share of the second VAE's latent variance explained by a linear map of the first VAE's latents."""

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
    """Add the measurements missing from `folder` and write its tables and a contact sheet of edits.

    Args:
        images: a folder with at least two photographs outside the training set, for the VAEs.
        edit_images: the same for the editors, each cropped to a square; None for `images`.
        quick: only the centre of each photograph, the first 40 pictures to edit, fewer denoising steps.
        seed: of the noise of edits.

    Raises:
        UsageError: no pictures, or `folder` holds other results; see `Results`.
        ModelError, DeviceError: a model or the device is unavailable.
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
                settings = settings_of(editor, STRENGTHS[done % len(STRENGTHS)], steps)
                results.add({key: judge(picture, edit_picture(editor, picture, settings, seed=seed))})
            judged.append(results[key])
        rows += edit_rows(name, editor.digest, judged)
    report("the contact sheet", 0, 1)
    sheet = folder / SHEET
    spread = list(photographs)[:: max(1, len(photographs) // SHEET_PICTURES)][:SHEET_PICTURES]
    _sheet(editors, spread, steps, seed).save(sheet)
    tables = {"testbed": rows, **({"failures": failures + more} if failures or more else {})}
    return Finished(tables, (*results.write_tables(tables), sheet))


def _sheet(editors: dict[str, Editor], paths: list[Path], steps: int, seed: int) -> Image.Image:
    """A contact sheet of some pictures, edited by every editor."""
    blocks = {}
    for name, editor in editors.items():
        settings = settings_of(editor, SHEET_STRENGTH, steps)
        pictures = [square_picture(path, editor.size_px).rgb for path in paths]
        found = [edit_picture(editor, picture, settings, seed=seed) for picture in pictures]
        strength = "" if settings.strength is None else f"strength {settings.strength}, "
        blocks[f"{name}, {strength}guidance {settings.guidance}, {settings.steps} steps"] = [
            {"original": picture, **{KNOWN_EDITS[edit].prompt or "no prompt": rgb for edit, rgb in of.edited.items()}}
            for picture, of in zip(pictures, found, strict=True)
        ]
    return contact_sheet(blocks)
