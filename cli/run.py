"""`protect` and `pca-protect run`: protects pictures and folders of pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, cast

import typer

from pca_protect.batch.device_choice import AUTO_PRESET, DeviceChoice
from pca_protect.batch.output_options import OutputOptions
from pca_protect.batch.preview import preview
from pca_protect.batch.request import Existing, Request, Shard
from pca_protect.batch.run import run as run_batch
from pca_protect.cli import console
from pca_protect.cli.options import compute, essential, files, many, printing, strength
from pca_protect.cli.pipe import STREAM, is_pipe, run_pipe
from pca_protect.cli.run_output import Reporter, show_preview
from pca_protect.config import ProtectConfig
from pca_protect.device_names import Precision
from pca_protect.errors import ModelError, PictureError, UsageError
from pca_protect.image.scale_names import parse_scales
from pca_protect.io.filters import Filter
from pca_protect.io.naming import NameTemplate
from pca_protect.modes import Direction
from pca_protect.surrogates.families import expand

if TYPE_CHECKING:
    from pca_protect.batch.estimate import Estimate


def run(
    context: typer.Context,
    pictures: essential.Pictures = None,
    output: essential.Output = None,
    name: many.Name = None,
    output_format: files.Format = None,
    recursive: essential.Recursive = False,
    mode: essential.ModeName = ProtectConfig.mode,
    preset: essential.Preset = AUTO_PRESET,
    budget: essential.Budget = ProtectConfig.budget_levels,
    max_visibility: essential.MaxVisibility = None,
    until: strength.Until = None,
    survive: strength.Survive = None,
    vae: essential.Vaes = [],  # noqa: B006 - typer copies it
    for_unknown: strength.ForUnknown = False,
    universal: strength.Universal = ProtectConfig.universal,
    steps: strength.Steps = None,
    target_variance: strength.TargetVariance = None,
    direction: strength.UpOrDown = None,
    mask: files.Mask = None,
    region: essential.Region = None,
    scales: strength.Scales = None,
    tile: compute.Tile = ProtectConfig.tile_px,
    max_memory: compute.MaxMemory = None,
    batch: compute.Batch = None,
    seed: strength.Seed = ProtectConfig.seed,
    device: compute.DeviceName = ProtectConfig.device,
    precision: compute.PrecisionName = ProtectConfig.precision,
    offline: compute.Offline = False,
    no_fallback: compute.NoFallback = False,
    no_evaluate: compute.NoEvaluate = False,
    existing: essential.Existing = Request.existing,
    overwrite: many.Overwrite = False,
    skip_existing: many.SkipExisting = False,
    strict: many.Strict = False,
    checksum: many.Checksum = False,
    strip_metadata: files.StripMetadata = OutputOptions.strip_metadata,
    strip_gps: files.StripGps = OutputOptions.strip_gps,
    clear_hidden: files.ClearHidden = OutputOptions.clear_hidden,
    no_marker: files.NoMarker = not OutputOptions.marker,
    notice: files.Notice = OutputOptions.rights_notice,
    allow_lossy: files.AllowLossy = OutputOptions.allow_lossy,
    preserve_times: files.PreserveTimes = Request.preserve_times,
    max_megapixels: many.MaxMegapixels = None,
    include: many.Include = [],  # noqa: B006 - typer copies it
    exclude: many.Exclude = [],  # noqa: B006
    from_file: many.FromFile = None,
    from0: many.FromNull = False,
    errors: many.Errors = None,
    max_failures: many.MaxFailures = None,
    log_file: printing.LogFile = None,
    shard: many.ShardOf = None,
    engine: many.Engine = Request.engine,
    jobs: many.Jobs = None,
    ray_address: many.RayAddress = None,
    dry_run: essential.DryRun = False,
    as_json: printing.AsJson = False,
    quiet: printing.Quiet = False,
    verbose: printing.Verbose = False,
    settings_file: printing.Config = None,
    version: printing.Version = False,
) -> None:
    """Add a small perturbation that disturbs diffusion editing.

    It does not stop edits of the picture.
    """
    if quiet and verbose:
        raise UsageError("--quiet and --verbose are mutually exclusive; give one")
    if for_unknown and len(expand(vae)) < 2:
        raise UsageError("--for-unknown needs several encoders; give --vae twice or more, or a family, or leave it out")
    config = ProtectConfig(
        mode=mode,
        preset=ProtectConfig.preset if preset == AUTO_PRESET else preset,
        budget_levels=budget,
        max_visibility=max_visibility,
        until=_until(until),
        survive=survive,
        steps=steps,
        target_variance=_target_variance(target_variance),
        direction=cast(Direction | None, direction),  # the configuration validates it
        seed=seed,
        region=region,
        scales=parse_scales(scales or ""),
        tile_px=tile,
        max_memory_megabytes=max_memory,
        batch=batch,
        vae=tuple(vae) if vae else ProtectConfig.vae,
        for_unknown=for_unknown,
        universal=universal,
        device=device,
        precision=cast(Precision, precision),
    )
    request = Request(
        names=tuple(pictures or ()),
        output=output,
        output_name=NameTemplate() if name is None else NameTemplate(name),
        output_format=output_format,
        recursive=recursive,
        wanted=Filter(tuple(include), tuple(exclude)),
        existing=_existing(existing, overwrite=overwrite, skip_existing=skip_existing),
        strict=strict,
        checksum=checksum,
        from_file=from_file,
        null_separated=from0,
        engine=engine,
        jobs=jobs,
        ray_address=ray_address,
        errors=errors,
        max_failures=max_failures,
        shard=None if shard is None else Shard.parse(shard),
        device_choice=_device_choice(preset, scales, tile),
        output_options=OutputOptions(
            strip_metadata, strip_gps, notice, allow_lossy, clear_hidden=clear_hidden, marker=not no_marker
        ),
        preserve_times=preserve_times,
        mask=mask,
        offline=offline,
        fallback=not no_fallback,
        evaluate=not no_evaluate,
        max_pixels=None if max_megapixels is None else round(max_megapixels * 1_000_000),
    )
    if log_file is not None:
        console.log_to(log_file)
    to_stdout = output == STREAM
    piped = is_pipe(request)
    refused = {
        "--json": as_json and to_stdout,
        "--dry-run": dry_run and piped,
        "--preserve-times": preserve_times and piped,
    }
    for flag, given in refused.items():
        if given:
            raise UsageError(f"{flag} and a picture on a standard stream are mutually exclusive; leave one of them out")
    if dry_run:
        _preview(request, config)
        return
    if "settings_file" in context.meta:
        console.say(f"settings from {context.meta['settings_file']}", shown=not quiet)
    reporter = Reporter(
        config, as_json=as_json, quiet=quiet, verbose=verbose, errors=errors, results_to_stderr=to_stdout
    )
    code = run_pipe(request, config, reporter) if is_pipe(request) else run_batch(request, config, reporter).exit_code
    if code:
        raise typer.Exit(code)


def _preview(request: Request, config: ProtectConfig) -> None:
    planned = preview(request, config)

    def measure() -> Estimate:
        from pca_protect.batch.estimate import estimate
        from pca_protect.surrogates.load import load_resolved

        if planned.resolved is None:
            raise PictureError("no picture can be read")
        if planned.downloads:
            verb = "has" if len(planned.downloads) == 1 else "have"
            raise ModelError(f"{', '.join(planned.downloads)} {verb} to be downloaded first")
        chosen = planned.config
        surrogate = load_resolved(planned.resolved, device=chosen.device, precision=chosen.precision, offline=True)
        return estimate(planned.to_do, chosen, surrogate=surrogate, evaluate=request.evaluate)

    show_preview(planned, measure)


def _device_choice(preset: str, scales: str | None, tile_px: int) -> DeviceChoice | None:
    if preset != AUTO_PRESET:
        return None
    return DeviceChoice(scales=scales is None, tile_px=tile_px == ProtectConfig.tile_px)


def _existing(existing: str, *, overwrite: bool, skip_existing: bool) -> Existing:
    """The value of `--existing`, or of an older flag for it."""
    given = [existing] if existing != Request.existing else []
    given += [value for value, wanted in (("overwrite", overwrite), ("skip", skip_existing)) if wanted]
    if len(set(given)) > 1:
        raise UsageError("--existing, --overwrite and --skip-existing are mutually exclusive; give one")
    return cast(Existing, given[0] if given else existing)  # the request validates it


def _target_variance(text: str | None) -> float | Literal["posterior"] | None:
    if text is None or text == "posterior":
        return text  # type: ignore[return-value]
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"target variance {text!r} is neither a number nor `posterior`; give one of them") from None


def _until(text: str | None) -> float | str | None:
    """A number or the name of a preset, validated by `ProtectConfig`."""
    try:
        return None if text is None else float(text)
    except ValueError:
        return text
