"""Options of a request, and their translation into a configuration, which validates them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pca_protect.batch.output_options import OutputOptions
from pca_protect.config import ProtectConfig
from pca_protect.errors import UsageError
from pca_protect.image.scale_names import parse_scales
from pca_protect.modes import MODES
from pca_protect.presets import PRESETS, SURVIVE

FORMATS = {"png": ("PNG", "image/png"), "webp": ("WEBP", "image/webp"), "tiff": ("TIFF", "image/tiff")}
"""Option value -> format of `encode_picture`, media type."""

_LONGEST_NAME, _LONGEST_NOTICE = 60, 2000
"""Characters. Messages and records repeat these values."""


class ProtectOptions(BaseModel):
    """Options of `POST /v1/protect`. `ProtectConfig` checks the values, so that messages are those of the command line."""

    model_config = ConfigDict(extra="forbid")

    mode: str = Field(
        ProtectConfig.mode,
        max_length=_LONGEST_NAME,
        description="Objective: how edits are disturbed.",
        json_schema_extra={"enum": list(MODES)},
    )
    preset: str | None = Field(
        None,
        max_length=_LONGEST_NAME,
        description="Trade-off between speed and strength. Default: the server's.",
        json_schema_extra={"enum": list(PRESETS)},
    )
    budget: int = Field(
        ProtectConfig.budget_levels, description="Largest change of any channel of any pixel, 1 to 255 levels."
    )
    max_visibility: float | None = Field(
        None, description="Limit on the visibility of the change, in levels; 0.5 is hard to see."
    )
    until: float | Annotated[str, Field(max_length=_LONGEST_NAME)] | None = Field(
        None,
        union_mode="left_to_right",
        description="Gain over random noise to reach and not to exceed, or the name of a preset for the gain that it reaches.",
    )
    survive: str | None = Field(
        None,
        max_length=_LONGEST_NAME,
        description="Processing that the protection has to survive: JPEG compression, or an upload to a social network.",
        json_schema_extra={"enum": list(SURVIVE)},
    )
    region: str | None = Field(
        None, max_length=_LONGEST_NAME, description="Protect a region only: face, center, or x,y,w,h in pixels."
    )
    scales: str = Field(
        "",
        max_length=_LONGEST_NAME,
        description="Sizes at which editors process the picture, such as 512,1mp,native. Larger ones than the picture count as "
        "native. Default: the server's.",
    )
    steps: int | None = Field(None, description="Number of gradient steps. Default: the preset's.")
    seed: int = Field(ProtectConfig.seed, description="Seed of the noise control and of random transforms.")
    evaluate: bool = Field(True, description="Compare the result with random noise; the picture is the same without.")
    format: Literal["png", "webp", "tiff"] | None = Field(
        None,
        description="Format of the result. Default: png, or tiff for several pages and for colour profiles too large for PNG.",
    )
    strip_metadata: bool = Field(OutputOptions.strip_metadata, description="Remove EXIF, XMP, IPTC and text.")
    strip_gps: bool = Field(OutputOptions.strip_gps, description="Remove the location from the metadata.")
    notice: str = Field(
        OutputOptions.rights_notice, max_length=_LONGEST_NOTICE, description="Rights notice for the metadata."
    )


class CheckOptions(BaseModel):
    """Options of `POST /v1/check`."""

    model_config = ConfigDict(extra="forbid")

    seed: int = Field(ProtectConfig.seed, description="Seed of the noise control.")


@dataclass(frozen=True)
class ProtectRequest:
    """A validated request. Jobs with equal requests and pictures of equal size can share a batch.

    Attributes:
        format: key of `FORMATS`; None for that of `Header.suffix`.
    """

    config: ProtectConfig
    output_options: OutputOptions
    evaluate: bool
    format: str | None


def protect_request(
    options: ProtectOptions, base: ProtectConfig, default: ProtectConfig, presets: Sequence[str]
) -> ProtectRequest:
    """The request of a client.

    Args:
        base: the server's settings: encoders, device, window size, memory.
        default: the same, with scales and their window size for requests without scales. The preset `instant` ignores it: a
            universal perturbation has the picture's own size.
        presets: those that clients may choose; the first is the default. They also limit `steps`.

    Raises:
        UsageError: an option is invalid, or its cost is not allowed here.
    """
    for name in (options.preset, options.until):
        if isinstance(name, str) and name in PRESETS and name not in presets:
            raise UsageError(f"preset {name!r} is not offered by this server; choose {' or '.join(presets)}")
    preset = options.preset or presets[0]
    own_size = options.scales or preset == "instant"
    config = replace(
        base if own_size else default,
        mode=options.mode,
        preset=preset,
        budget_levels=options.budget,
        max_visibility=options.max_visibility,
        until=options.until,
        survive=options.survive,
        region=options.region,
        scales=parse_scales(options.scales) if own_size else default.scales,
        steps=options.steps,
        seed=options.seed,
    )
    most = max(replace(config, preset=name, steps=None).recipe.steps for name in presets)
    if config.recipe.steps > most:
        raise UsageError(f"steps {config.recipe.steps} are more than this server allows; choose at most {most}")
    if config.until is not None and not options.evaluate:
        raise UsageError("`until` and `evaluate=False` are mutually exclusive; leave one of them out")
    output_options = OutputOptions(options.strip_metadata, options.strip_gps, options.notice)
    return ProtectRequest(config, output_options, options.evaluate, options.format)


def sentence(error: ValidationError, model: type[BaseModel]) -> str:
    """The first error of a validation as one sentence."""
    return first_sentence(error.errors(), list(model.model_fields))


def first_sentence(errors: Sequence[object], known: Sequence[str]) -> str:
    """The first of pydantic's errors as one sentence.

    Args:
        known: names of options, listed for an unknown one.
    """
    first = errors[0]
    assert isinstance(first, dict)
    name = ".".join(str(part) for part in first["loc"] if part not in ("query", "body", "header"))
    if first["type"] == "extra_forbidden":
        return f"unknown option {name[:60]!r}; options are {', '.join(known)}"
    if first["type"] == "json_invalid":
        return 'the options are not valid JSON; send an object such as {"budget": 8}'
    given = repr(first.get("input"))[:60]
    return f"option {name or 'options'} {given} is invalid: {first['msg'][:120]}"
