"""`pca-protect bench check`: accuracy of `pca-protect check` without an original. Also writes the reference figures of clean
pictures for that command."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

from pca_protect.config import ProtectConfig
from pca_protect.device_names import Device
from pca_protect.eval.bench import Bench
from pca_protect.eval.benches.protection_configs import CheckConfig
from pca_protect.eval.check.posterior import figures_of
from pca_protect.eval.check.reference import SMALLER, quantiles_of, stored_reference
from pca_protect.eval.check.verdict import judge
from pca_protect.eval.pictures import pictures_in, square_picture, through_file
from pca_protect.eval.results import Finished, Json, OnProgress, Row
from pca_protect.io.picture import Picture
from pca_protect.modes import PUBLISHED_MODES
from pca_protect.noise_control import with_noise
from pca_protect.protection import protect
from pca_protect.record import versions
from pca_protect.surrogates.encoder import Surrogate
from pca_protect.surrogates.load import load_surrogate

LEVELS = 201
"""Number of stored quantiles per figure: one every half per cent."""
DIGITS = 5


def measure_check(config: CheckConfig, folder: Path, *, on_progress: OnProgress | None = None) -> Finished:
    """Add the measurements missing from `folder` and write its tables: one row per kind of picture and encoder, with the number
    of pictures by verdict. The pictures must not be those of the reference.

    Raises:
        UsageError: a setting is wrong, or `folder` holds other results; see `Results`.
        ModelError, DeviceError: an encoder or the device is unavailable.
    """
    bench = Bench("check", config, folder, on_progress)
    attacked = load_surrogate(config.protect_with, device=config.device)
    judges = [load_surrogate(name, device=config.device, precision="fp32") for name in config.vaes]
    bench.open(
        request=ProtectConfig(seed=config.seed).as_dict(),
        vae_weights={surrogate.name: surrogate.digest for surrogate in (attacked, *judges)},
    )
    kinds: dict[str, Callable[[Picture], Picture]] = {
        "clean": lambda picture: picture,
        "noise, 16 levels": lambda picture: with_noise(picture, 16, config.seed),
        "JPEG 75": lambda picture: replace(picture, rgb=through_file(picture.rgb, "JPEG", quality=75)),
        "sharpened": lambda picture: _filtered(picture, ImageFilter.UnsharpMask(1.5, 120, 0)),
        "blurred": lambda picture: _filtered(picture, ImageFilter.GaussianBlur(1)),
        **{mode: _protected_by(ProtectConfig(mode=mode, seed=config.seed), attacked) for mode in PUBLISHED_MODES},
    }

    def measure(path: Path, missing: Sequence[str]) -> Iterator[tuple[str, Json]]:
        picture = square_picture(path, config.size_px)
        for kind in missing:
            made = kinds[kind](picture)
            yield kind, {surrogate.name: verdict_on(made, surrogate) for surrogate in judges}

    entries = bench.entries("verdicts", list(kinds), measure)
    return bench.finish({"check": check_rows(entries, [surrogate.name for surrogate in judges])})


def check_rows(entries: Mapping[str, Mapping[str, Json]], encoders: Sequence[str]) -> list[Row]:
    """Args:
    entries: kind -> picture -> encoder -> verdict.
    """
    rows: list[Row] = []
    for kind, measured in entries.items():
        for encoder in encoders:
            counts = Counter(str(verdicts[encoder]) for verdicts in measured.values())
            rows.append({"picture": kind, "encoder": encoder, "n": len(measured), **dict(sorted(counts.items()))})
    return rows


def verdict_on(picture: Picture, surrogate: Surrogate) -> str:
    """The verdict without an original. For a picture that looks protected, it includes the mode."""
    verdict = judge(
        figures_of(picture, surrogate),
        stored_reference(surrogate)[0],
        shorter_side_px=min(picture.width, picture.height),
        shift=None,
    )
    return f"protected, {verdict.mode}" if verdict.mode else verdict.looks


def _protected_by(request: ProtectConfig, surrogate: Surrogate) -> Callable[[Picture], Picture]:
    return lambda picture: protect(picture, request, surrogate=surrogate).picture


def _filtered(picture: Picture, image_filter: ImageFilter.Filter) -> Picture:
    return replace(picture, rgb=np.asarray(Image.fromarray(picture.rgb).filter(image_filter)))


def write_reference(
    images: Path,
    target: Path,
    *,
    source: str,
    vaes: Sequence[str],
    pictures: int = 400,
    size_px: int = 256,
    device: Device = "auto",
    on_progress: OnProgress | None = None,
) -> Path:
    """Write the reference figures of clean pictures for `pca-protect check`, as JSON.

    Args:
        images: a folder of clean photographs.
        target: the output file.
        source: describes the pictures; stored in the file instead of paths.
        pictures: maximum number of pictures, spaced evenly over the folder.
        size_px: side of the square to which each picture is cropped and resized.

    Raises:
        UsageError: the folder holds no picture.
        PictureError, ModelError, DeviceError: a picture, an encoder or the device is unavailable.
    """
    report: OnProgress = on_progress or (lambda label, done, in_all: None)
    every = pictures_in(images)
    chosen = np.linspace(0, len(every) - 1, min(pictures, len(every))).round().astype(int)
    squares = [square_picture(every[index], size_px) for index in chosen]
    measured = {}
    for name in vaes:
        surrogate = load_surrogate(name, device=device, precision="fp32")
        found = []
        for done, picture in enumerate(squares):
            report(name, done, len(squares))
            found.append(figures_of(picture, surrogate))
        quantiles = quantiles_of(found, min(LEVELS, len(found)))
        measured[name] = {
            "weights_sha256": surrogate.digest,
            "quantiles": {
                figure: [float(f"{value:.{DIGITS}g}") for value in values] for figure, values in quantiles.items()
            },
        }
    content = {
        "source": source,
        "pictures": len(squares),
        "size_px": size_px,
        "smallest_side_px": int(size_px * SMALLER),
        "versions": versions(),
        "vaes": measured,
    }
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(_as_text(content), encoding="utf-8")
    return target


def _as_text(content: dict[str, object]) -> str:
    """JSON with each list on one line."""
    lists: list[str] = []

    def shortened(value: object) -> object:
        if isinstance(value, dict):
            return {key: shortened(inner) for key, inner in value.items()}
        if isinstance(value, list):
            lists.append(json.dumps(value))
            return f"list {len(lists) - 1}"
        return value

    text = json.dumps(shortened(content), indent=1)
    for number, line in reversed(list(enumerate(lists))):
        text = text.replace(f'"list {number}"', line)
    return text + "\n"
