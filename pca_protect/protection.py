"""One picture: encoder posterior -> collapse loss -> small steps inside the budget -> 8-bit picture -> proof."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from pca_protect import compute
from pca_protect.config import ProtectConfig
from pca_protect.constraints import LinfBall
from pca_protect.errors import DeviceError, PictureError
from pca_protect.io.picture import Picture
from pca_protect.io.read import from_pil, read_picture
from pca_protect.io.write import largest_change_levels, write_picture
from pca_protect.memory import require_memory
from pca_protect.objective import CollapseObjective
from pca_protect.optimize import Objective, OnStep, Optimized, optimize
from pca_protect.pixels import to_pixels, with_pixels
from pca_protect.proof import prove
from pca_protect.record import Record, versions
from pca_protect.schedules import SCHEDULES
from pca_protect.steps import MomentumStep, SignStep
from pca_protect.surrogates.adapter import Surrogate
from pca_protect.surrogates.load import load_surrogate

WEAK = 2.0
"""Below so many times the effect of noise, a result is not called a protection without a warning."""

Progress = Callable[[int, int, float], None]
"""Called with (steps done, steps in all, the loss in nats). Raising from it ends the run and leaves no file behind."""


@dataclass(frozen=True)
class Protected:
    """A protected picture and what was measured on it."""

    picture: Picture
    original: Picture
    record: Record

    def image(self) -> Image.Image:
        """As a Pillow image, with alpha where the original had it."""
        rgb = Image.fromarray(self.picture.rgb)
        if self.picture.alpha is not None:
            rgb.putalpha(Image.fromarray(self.picture.alpha))
        return rgb

    def save(self, path: str | Path, *, allow_lossy: bool = False, overwrite: bool = False) -> Record:
        """Write the file whole or not at all, read it back, and measure the budget on what was read.

        Returns:
            The record completed with the output's path, digest and measured change.

        Raises:
            UsageError: lossy or unknown format.
            PictureError: the file exists or cannot be written; or a lossless file that breaks the budget, which is
                removed again.
        """
        path = Path(path)
        write_picture(self.picture, path, note=self._note(), allow_lossy=allow_lossy, overwrite=overwrite)
        change = largest_change_levels(self.original, path)
        budget = self.record.config["budget_levels"]
        warnings = self.record.warnings
        if change > int(str(budget)):
            if not allow_lossy:
                path.unlink()
                raise PictureError(
                    f"{path}: differs by {change} levels where {budget} were allowed; removed, please report this"
                )
            warnings = (
                *warnings,
                f"lossy compression changed pixels by up to {change} levels, over the budget of {budget}",
            )
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        return replace(self.record, output=str(path), output_sha256=digest, max_change_levels=change, warnings=warnings)

    def _note(self) -> str:
        record = self.record
        facts = {
            "version": record.versions["pca_protect"],
            "mode": record.config["mode"],
            "vae": record.vae["name"],
            "budget_levels": record.config["budget_levels"],
            "warnings": record.warnings,
        }
        return json.dumps(facts)


def protect(
    picture: str | Path | Image.Image | Picture,
    config: ProtectConfig | None = None,
    *,
    surrogate: Surrogate | None = None,
    on_step: Progress | None = None,
) -> Protected:
    """Perturb a picture within its budget so that diffusion edits of it go wrong.

    >>> from pca_protect import ProtectConfig, load_surrogate, protect
    >>> surrogate = load_surrogate("pocket")
    >>> result = protect("examples/astronaut.png", ProtectConfig(mode="concentration", steps=3), surrogate=surrogate)
    >>> result.record.max_change_levels <= 16
    True
    >>> record = result.save("astronaut.protected.png")

    Args:
        picture: a file, a Pillow image, or a `Picture`. Alpha and metadata are carried along untouched.
        config: what to do; the defaults of `ProtectConfig` if None.
        surrogate: an encoder loaded before, to be used for many pictures; loaded from `config.vae` if None.
        on_step: progress and cancellation; raise `Cancelled` from it to stop.

    Returns:
        The protected picture with a record of what was measured. Nothing is written until `save`.

    Raises:
        PictureError: the picture cannot be read, is of a kind that cannot be protected, or needs more memory than is free.
        UsageError, ModelError, DeviceError: see `ProtectConfig` and `load_surrogate`.
    """
    config = config or ProtectConfig()
    original = _as_picture(picture)
    if surrogate is None:
        surrogate = load_surrogate(config.vae, device=config.device, precision=config.precision)
    require_memory(surrogate, original.width * original.height, original.source)
    try:
        return _protect(original, config, surrogate, on_step)
    except torch.OutOfMemoryError as error:
        raise DeviceError(
            f"{original.source}: {surrogate.device} has no memory for {original.width}x{original.height} px; "
            "make the picture smaller or use --device cpu"
        ) from error


def run_recipe(
    clean: Tensor,
    objective: Objective,
    config: ProtectConfig,
    *,
    start: Tensor | None = None,
    on_step: OnStep | None = None,
) -> Optimized:
    """Optimise clean pixels `(B, 3, H, W)` in [0, 1] the way a configuration's preset and budget say.

    Args:
        start: see `optimize`.
    """
    recipe, radius = config.recipe, config.budget_levels / 255
    return optimize(
        clean,
        objective,
        constraint=LinfBall(radius),
        step_rule=SignStep() if recipe.step_rule == "sign" else MomentumStep(recipe.momentum),
        schedule=SCHEDULES[recipe.schedule],
        step_size=recipe.relative_step * radius,
        steps=recipe.steps,
        keep_best=recipe.keep_best,
        start=start,
        on_step=on_step,
    )


def _protect(original: Picture, config: ProtectConfig, surrogate: Surrogate, on_step: Progress | None) -> Protected:
    started = time.perf_counter()
    clean = to_pixels(original).to(surrogate.device)
    objective = CollapseObjective(surrogate, *config.objective, clean)
    optimized = run_recipe(clean, objective, config, on_step=_in_nats(on_step, objective))
    protected = with_pixels(original, optimized.pixels)
    proof = prove(
        original,
        protected,
        surrogate=surrogate,
        objective=objective,
        budget_levels=config.budget_levels,
        seed=config.seed,
    )
    warnings = surrogate.warnings
    if proof.times_noise < WEAK:
        warnings = (
            *warnings,
            f"the loss moved only {proof.times_noise:.2g} times as far as noise of the same budget moves it: this hardly "
            "protects; use more steps or a larger budget",
        )
    record = Record(
        input=None if not original.digest else original.source,
        output=None,
        input_sha256=original.digest,
        output_sha256="",
        width_px=original.width,
        height_px=original.height,
        config=config.as_dict(),
        config_digest=config.digest(),
        vae={
            "name": surrogate.name,
            "origin": surrogate.origin,
            "weights_sha256": surrogate.digest,
            "latent_channels": surrogate.latent_channels,
        },
        device=str(surrogate.device),
        precision=str(surrogate.dtype).removeprefix("torch."),
        **vars(proof),
        steps=config.recipe.steps,
        seconds=time.perf_counter() - started,
        peak_megabytes=compute.peak_megabytes(surrogate.device),
        warnings=warnings,
        versions=versions(),
    )
    return Protected(protected, original, record)


def _as_picture(picture: str | Path | Image.Image | Picture) -> Picture:
    if isinstance(picture, Picture):
        return picture
    if isinstance(picture, Image.Image):
        return from_pil(picture)
    return read_picture(Path(picture))


def _in_nats(on_step: Progress | None, objective: CollapseObjective) -> OnStep | None:
    if on_step is None:
        return None
    return lambda done, steps, values: on_step(done, steps, float(objective.in_nats(values)[0]))
