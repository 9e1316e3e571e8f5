"""The record of a protected picture: settings and measurements as plain values."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from importlib import metadata

from pca_protect.errors import UsageError, first_line, quoted
from pca_protect.evaluation import Evaluation, Shift
from pca_protect.version import __version__

UNMEASURED = tuple(field.name for field in fields(Evaluation))
"""Fields of a record that are None without an evaluation."""


@dataclass(frozen=True)
class Record:
    """Settings and measurements of one protected picture.

    Attributes:
        input, output: paths; None without a file.
        input_sha256, output_sha256: of the files' bytes; empty without a file.
        width_px, height_px: of the upright picture.
        frames: number of frames or pages; 1 for a single picture.
        config: the request with every default resolved, see `ProtectConfig.as_dict`.
        config_digest: see `ProtectConfig.digest`.
        vae: the surrogate (name, origin, weights hash, latent channels); for several encoders all names, and one hash.
        test_only: every encoder is an embedded test model, so the file is protected against no real editor.
        device, precision: of the optimisation.
        max_change_levels: largest change of any channel of any pixel, in 8-bit levels; measured on the saved file if any.
        psnr_db, visible_levels, loss_clean, protected, noise, gain_over_noise, evaluation_sample_px, evaluation_tile_px: see
            `Evaluation`; None without an evaluation. Of several frames, scales or encoders, the least protected one's.
        init: initialisation: `universal`, see `attack.universal`, or `zero`, the clean picture.
        init_sha256: of that universal perturbation; None for `zero`.
        tile_px: side of the largest window; smaller than configured if memory was insufficient.
        steps, seconds, peak_megabytes: cost. Seconds include optimisation and evaluation, not loading the model. Memory is the
            device's on CUDA and MPS, and the whole process's on the CPU.
        warnings: for the user.
        versions: of the packages that determine the result.
        bytes_added: size of the file minus that of the unprotected picture in the same format; measured with `until` only.
    """

    input: str | None
    output: str | None
    input_sha256: str
    output_sha256: str
    width_px: int
    height_px: int
    frames: int
    config: dict[str, object]
    config_digest: str
    vae: dict[str, object]
    test_only: bool
    device: str
    precision: str
    max_change_levels: int
    psnr_db: float | None
    visible_levels: float | None
    loss_clean: float | None
    protected: Shift | None
    noise: Shift | None
    gain_over_noise: float | None
    evaluation_sample_px: int | None
    evaluation_tile_px: int | None
    init: str
    steps: int
    tile_px: int
    seconds: float
    peak_megabytes: float
    warnings: tuple[str, ...]
    versions: dict[str, str]
    bytes_added: int | None = None
    init_sha256: str | None = None

    def as_json(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self), sort_keys=False)

    @staticmethod
    def from_json(line: str) -> Record:
        """Parse a line that `as_json` wrote, in this version or an earlier one.

        Raises:
            UsageError: the line is not JSON, or not a record of this version.
        """
        try:
            values = json.loads(line)
            if "start" in values:  # until 0.1
                values["init"] = _FORMER_INITS[values.pop("start")]
            for name in ("protected", "noise"):
                values[name] = None if values[name] is None else Shift(**values[name])
            return Record(**{**values, "warnings": tuple(values["warnings"])})
        except (ValueError, TypeError, KeyError) as error:
            raise UsageError(
                f"not a record of this version ({quoted(first_line(error), 120)}); read it as JSON"
            ) from error


_FORMER_INITS = {"none": "zero", "trained": "universal"}


def versions() -> dict[str, str]:
    """Versions of this program and of the packages that determine its results."""
    packages = ("torch", "diffusers", "numpy", "pillow", "safetensors")
    return {"pca_protect": __version__, **{package: metadata.version(package) for package in packages}}
