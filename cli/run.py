"""`protect` and `pca-protect run`: one or several pictures."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import typer

from pca_protect.cli import console, options
from pca_protect.config import Device, Direction, Precision, ProtectConfig
from pca_protect.errors import PictureError, UsageError
from pca_protect.io.plan import Existing, plan
from pca_protect.io.read import read_picture

if TYPE_CHECKING:
    from pca_protect.io.picture import Picture
    from pca_protect.record import Record
    from pca_protect.surrogates.adapter import Surrogate


def run(
    pictures: options.Pictures,
    output: options.Output = None,
    mode: options.ModeName = ProtectConfig.mode,
    preset: options.Preset = ProtectConfig.preset,
    budget: options.Budget = ProtectConfig.budget_levels,
    vae: options.Vae = ProtectConfig.vae,
    steps: options.Steps = None,
    target_variance: options.TargetVariance = None,
    direction: options.UpOrDown = None,
    seed: options.Seed = ProtectConfig.seed,
    device: options.DeviceName = ProtectConfig.device,
    precision: options.PrecisionName = ProtectConfig.precision,
    offline: options.Offline = False,
    overwrite: options.Overwrite = False,
    skip_existing: options.SkipExisting = False,
    allow_lossy: options.AllowLossy = False,
    dry_run: options.DryRun = False,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
    verbose: options.Verbose = False,
    version: options.Version = False,
) -> None:
    """Add a small perturbation to pictures so that diffusion editing of them fails."""
    if quiet and verbose:
        raise UsageError("--quiet and --verbose contradict each other; give one")
    if overwrite and skip_existing:
        raise UsageError("--overwrite and --skip-existing contradict each other; give one")
    config = ProtectConfig(
        mode=mode,
        preset=preset,
        budget_levels=budget,
        steps=steps,
        target_variance=_target_variance(target_variance),
        direction=cast(Direction | None, direction),  # the configuration validates it
        seed=seed,
        vae=vae,
        device=cast(Device, device),
        precision=cast(Precision, precision),
    )
    existing: Existing = "overwrite" if overwrite else "skip" if skip_existing else "refuse"
    jobs = plan(pictures, output, existing=existing, allow_lossy=allow_lossy)
    if dry_run:
        for job in jobs:
            console.result(f"{job.source} -> {job.target}{' (exists, skipped)' if job.skip else ''}")
        return
    show_progress = sys.stderr.isatty() and not quiet
    surrogate: Surrogate | None = None
    failures = 0
    for job in jobs:
        if job.skip:
            console.say(f"{job.target}: exists, skipped")
            continue
        try:
            picture = read_picture(job.source)
            if surrogate is None:
                surrogate = _load(config, offline=offline, verbose=verbose)
            record = _protect(picture, job.target, config, surrogate, allow_lossy, overwrite, show_progress)
        except PictureError as error:
            failures += 1
            console.error(str(error))
            if as_json:
                console.result(json.dumps({"input": str(job.source), "error": str(error)}))
            continue
        for warning in record.warnings[len(surrogate.warnings) :]:
            console.warn(warning)
        console.result(record.as_json() if as_json else _summary(record))
    if failures:
        if len(jobs) > 1:
            console.say(f"{failures} of {len(jobs)} pictures failed")
        raise typer.Exit(PictureError.exit_code)


def _load(config: ProtectConfig, *, offline: bool, verbose: bool) -> Surrogate:
    """Load the surrogate and say what the user has to know about it, once."""
    from pca_protect.surrogates.load import load_surrogate

    surrogate = load_surrogate(config.vae, device=config.device, precision=config.precision, offline=offline)
    for warning in surrogate.warnings:
        console.warn(warning)
    if verbose:
        console.say(f"{surrogate.name} from {surrogate.origin} on {surrogate.device} in {surrogate.dtype}")
        console.say(f"encoder weights sha256 {surrogate.digest}")
        console.say(f"config {json.dumps(config.as_dict())}")
    return surrogate


def _protect(
    picture: Picture,
    target: Path,
    config: ProtectConfig,
    surrogate: Surrogate,
    allow_lossy: bool,
    overwrite: bool,
    show_progress: bool,
) -> Record:
    from pca_protect.protection import protect

    with console.progress(Path(picture.source).name, shown=show_progress) as on_step:
        result = protect(picture, config, surrogate=surrogate, on_step=on_step)
    return result.save(target, allow_lossy=allow_lossy, overwrite=overwrite)


def _summary(record: Record) -> str:
    """One line a picture."""
    psnr = "unchanged" if record.psnr_db is None else f"PSNR {record.psnr_db:.1f} dB"
    return ", ".join(
        (
            f"{record.output}: {record.config['mode']} against {record.vae['name']}",
            f"largest change {record.max_change_levels} levels",
            psnr,
            f"posterior moved {record.protected.latent:.0%} of its norm (noise {record.noise.latent:.0%})",
            f"loss {record.times_noise:.3g}x as far as noise",
            f"{record.seconds:.1f} s",
            f"peak {record.peak_megabytes:.0f} MB",
        )
    )


def _target_variance(text: str | None) -> float | Literal["posterior"] | None:
    if text is None or text == "posterior":
        return text  # type: ignore[return-value]
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"target variance {text!r} is neither a number nor `posterior`") from None
