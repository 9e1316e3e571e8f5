"""`pca-protect bench uploads`: effect of a protection after a platform downscales and compresses the picture.

Pictures are protected at a larger size, downscaled to `posted_px`, and stored as JPEG 80. Measured on the stored picture,
relative to the stored original: the latent shift, and the distance between edits of the centre.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path

from pca_protect.config import ProtectConfig
from pca_protect.errors import PictureError
from pca_protect.eval.arms.noise import uniform_noise
from pca_protect.eval.arms.perturb import generator_for, protected
from pca_protect.eval.bench import Bench
from pca_protect.eval.benches.protection_configs import UploadsConfig
from pca_protect.eval.editors.load import load_editor
from pca_protect.eval.latent_shift import latent_shift
from pca_protect.eval.metrics.load import load_metrics, visibility
from pca_protect.eval.pictures import Rgb
from pca_protect.eval.purifiers.filters import FILTERS
from pca_protect.eval.results import Finished, Json, OnProgress, Row
from pca_protect.eval.stats import by_column, mean_row
from pca_protect.eval.trial import Trial, prompts_for
from pca_protect.image.resize import fitting, resized
from pca_protect.io.read import read_picture

NOISE, PUBLISHED = "noise", "the published loop, mode diffusion"


def measure_uploads(config: UploadsConfig, folder: Path, *, on_progress: OnProgress | None = None) -> Finished:
    """Add the measurements missing from `folder` and write its tables.

    Raises:
        UsageError: a setting is wrong, or `folder` holds other results; see `Results`.
        ModelError, DeviceError: the editor or the device is unavailable.
    """
    bench = Bench("uploads", config, folder, on_progress)
    editor = load_editor(config.editor, device=config.device)
    side = editor.size_px
    prompts = tuple(prompts_for(editor, config.prompts))
    trial = Trial(editor, editor.settings, prompts, 1, load_metrics((), size_px=side), batch=1)
    requests = {
        PUBLISHED: ProtectConfig(preset="paper", steps=config.steps),
        "mode subtle": ProtectConfig(mode="subtle", steps=config.steps),
        "mode subtle, --survive social": ProtectConfig(mode="subtle", survive="social", steps=config.steps),
    }
    bench.open(budget_levels=ProtectConfig.budget_levels, editor_weights=editor.digest)

    def measure(path: Path, missing: Sequence[str]) -> Iterator[tuple[str, Json]]:
        whole = read_picture(path).rgb
        picture = resized(whole, fitting(whole.shape[0], whole.shape[1], config.longest))
        clean = posted(picture, config.posted_px)
        if min(clean.shape[:2]) < side:
            raise PictureError(
                f"{path}: after the upload, the shorter side is below the editor's {side} px; leave it out"
            )
        square = middle(clean, side)
        clean_edits = trial.edits(square, square)
        for name in missing:
            if name == NOISE:
                changed = uniform_noise(picture, ProtectConfig.budget_levels, generator_for(picture, config.seed))
            else:
                changed = protected(picture, requests[name], editor.surrogate)
            stored = posted(changed, config.posted_px)
            edits = trial.edits(middle(stored, side), square)
            yield (
                name,
                {
                    "latent": latent_shift(editor.surrogate, clean, stored).latent,
                    "effect": statistics.fmean(visibility(clean_edits[edit], edits[edit]) for edit in edits),
                    "visible": visibility(clean, stored),
                },
            )

    entries = bench.entries(editor.name, [NOISE, *requests], measure)
    found = {name: by_column(measured.values()) for name, measured in entries.items()}
    rows: list[Row] = [
        {"what": name, **mean_row(columns, found[PUBLISHED], compared="effect")}
        for name, columns in found.items()
        if columns
    ]
    return bench.finish({"upload": rows})


def posted(picture: Rgb, longest_px: int) -> Rgb:
    """A picture `(H, W, 3)` after downscaling its longer side to `longest_px` and JPEG 80."""
    return FILTERS["upload"](resized(picture, fitting(picture.shape[0], picture.shape[1], longest_px)))


def middle(picture: Rgb, side_px: int) -> Rgb:
    """The centred square, cropped without resampling."""
    top, left = ((length - side_px) // 2 for length in picture.shape[:2])
    return picture[top : top + side_px, left : left + side_px]
