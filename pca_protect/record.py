"""What was done to one picture and what it measured, as plain values."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from importlib import metadata

from pca_protect.errors import UsageError, first_line, quoted
from pca_protect.evaluation import Evaluation, Shift
from pca_protect.version import __version__

UNMEASURED = tuple(field.name for field in fields(Evaluation))
"""Fields of a record that only an evaluation fills."""


@dataclass(frozen=True)
class Record:
    """Attributes:
    input, output: paths; None where there is no file.
    input_sha256, output_sha256: of the files' bytes; empty where there is no file.
    width_px, height_px: of the upright picture.
    frames: or pages; 1 for a single picture.
    config: the request with every default resolved, see `ProtectConfig.as_dict`.
    config_digest: see `ProtectConfig.digest`.
    vae: what was optimised against (name, origin, weights hash, latent channels); of several all names, and one hash.
    test_only: every encoder is an embedded test model, so the file is protected against no real editor.
    device, precision: what it ran on.
    max_change_levels: the largest change of any channel of any pixel, in 8-bit levels; of the saved file where there is one.
    psnr_db, visible_levels, loss_clean, protected, noise, gain_over_noise, evaluation_sample_px, evaluation_tile_px: see
        `Evaluation`; None where the picture was not evaluated. Of several frames, scales or encoders the figures are those of
        the one protected least.
    init: what the steps started from: `universal`, see `attack.universal`, or `zero`, the clean picture.
    tile_px: side of the largest window; smaller than configured where memory did not suffice.
    steps, seconds, peak_megabytes: what it cost; seconds cover optimising and measuring, not loading the model. Memory is the
        device's on CUDA and MPS and the whole process's on the CPU.
    warnings: what the user has to know.
    versions: of the packages that decide the bytes.
    bytes_added: size of the file above that of the unprotected picture in the same format; measured with `until` alone.
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

    def as_json(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self), sort_keys=False)

    @staticmethod
    def from_json(line: str) -> Record:
        """The record that `as_json` wrote, of this version or one before.

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
    """Versions of this program and of what its results depend on."""
    packages = ("torch", "diffusers", "numpy", "pillow", "safetensors")
    return {"pca_protect": __version__, **{package: metadata.version(package) for package in packages}}
