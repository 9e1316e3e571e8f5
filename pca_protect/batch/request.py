"""The request for a run over many pictures."""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pca_protect.batch.device_choice import DeviceChoice
from pca_protect.batch.output_options import OutputOptions
from pca_protect.config import ProtectConfig
from pca_protect.errors import UsageError
from pca_protect.io.filters import Filter
from pca_protect.io.naming import NameTemplate
from pca_protect.io.plan import is_url

Existing = Literal["refuse", "skip", "update", "overwrite"]
"""Treatment of outputs that exist and are not proved finished: a failure, keep, replace if this program made them, or replace."""

EXISTING: tuple[Existing, ...] = ("refuse", "skip", "update", "overwrite")
ENGINES = ("local", "ray")
OUTPUT_FORMATS = ("png", "webp", "tiff")


@dataclass(frozen=True, slots=True)
class Shard:
    """A part of the pictures, for one of several machines. The path relative to its input decides to which a picture belongs.

    Attributes:
        index: from 1 to `count`.
        count: number of shards.
    """

    index: int
    count: int

    @staticmethod
    def parse(text: str) -> Shard:
        """Parse `I/N`.

        Raises:
            UsageError: it is not of this form, or I is not from 1 to N.
        """
        found = re.fullmatch(r"(\d+)/(\d+)", text)
        shard = Shard(int(found[1]), int(found[2])) if found else Shard(0, 0)
        if not 1 <= shard.index <= shard.count:
            raise UsageError(f"`shard={text}`: give I/N with I from 1 to N, such as 2/8")
        return shard

    def owns(self, place: str) -> bool:
        return zlib.crc32(place.encode(errors="surrogateescape")) % self.count == self.index - 1


@dataclass(frozen=True)
class Request:
    """Attributes:
    names: files, folders, patterns and URLs.
    output: output file, folder or URL (-o).
    output_name: template of outputs' names.
    output_format: one of `OUTPUT_FORMATS`, all lossless; None for that of `Header.suffix`, or of `output`.
    recursive: enter subfolders; always done in buckets.
    wanted: filter for the files of folders, patterns and buckets.
    existing: see `Existing`.
    strict: raise before any work if an output of a picture is in conflict, instead of failing that picture.
    checksum: compare contents instead of sizes and modification times or ETags.
    from_file: a list of further pictures, `-` for standard input; see `listing.read_list`.
    null_separated: the list's entries end with a null byte.
    errors: file for the list of failures; see `listing.write_errors`.
    max_failures: stop after this number of failures; None for no limit.
    shard: process this part of the pictures only.
    engine: `local` or `ray`.
    jobs: number of worker processes; None for one per GPU if there are several, else this process.
    ray_address: address of a Ray cluster; None for RAY_ADDRESS, or if that is unset, Ray on this machine only.
    device_choice: settings that the device decides; None for those of the configuration. On a Ray cluster, whose workers'
        devices are not known yet, they are those of the configuration.
    output_options: metadata and format.
    preserve_times: give outputs the modification times of their pictures; for files, not for buckets.
    mask: a picture whose light areas mark where the others may change.
    offline: use no network.
    fallback: permit `auto` to take the embedded test model.
    evaluate: compare the finished picture with random noise; False leaves those fields of the record empty.
    max_pixels: limit on picture size; None for the reader's default.

    Raises:
        UsageError: a value is out of range.
    """

    names: tuple[str, ...]
    output: str | Path | None = None
    output_name: NameTemplate = field(default_factory=NameTemplate)
    output_format: str | None = None
    recursive: bool = False
    wanted: Filter = field(default_factory=Filter)
    existing: Existing = "refuse"
    strict: bool = False
    checksum: bool = False
    from_file: Path | None = None
    null_separated: bool = False
    errors: Path | None = None
    max_failures: int | None = None
    shard: Shard | None = None
    engine: str = "local"
    jobs: int | None = None
    ray_address: str | None = None
    device_choice: DeviceChoice | None = None
    output_options: OutputOptions = field(default_factory=OutputOptions)
    preserve_times: bool = False
    mask: Path | None = None
    offline: bool = False
    fallback: bool = True
    evaluate: bool = True
    max_pixels: int | None = None

    def __post_init__(self) -> None:
        if self.existing not in EXISTING:
            raise UsageError(f"`existing={self.existing}`: is unknown; choose one of {', '.join(EXISTING)}")
        if self.engine not in ENGINES:
            raise UsageError(f"unknown engine {self.engine!r}; choose local or ray")
        if self.output_format not in (None, *OUTPUT_FORMATS):
            raise UsageError(
                f"`output_format={self.output_format}`: is not a lossless format; choose {', '.join(OUTPUT_FORMATS)}"
            )
        for name in ("jobs", "max_failures"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"`{name}={value}`: give at least 1")
        urls = [name for name in (*self.names, self.output or "") if is_url(name)]
        if self.preserve_times and urls:
            raise UsageError(f"`preserve_times` is for files, and {urls[0]} is in a bucket; leave it out")
        if self.ray_address is not None and self.engine != "ray":
            raise UsageError("`ray_address` needs `engine=ray`; add it, or leave the address out")

    def completed(self, config: ProtectConfig, encoders: Sequence[str] = ()) -> tuple[ProtectConfig, str]:
        """The configuration with the settings that the device decides, and a sentence about them; empty if it decides none.

        Args:
            encoders: see `DeviceChoice.applied`.
        """
        if self.device_choice is None or self.engine == "ray":
            return config, ""
        return self.device_choice.applied(config, encoders)

    def digest(self, config: ProtectConfig) -> str:
        """SHA-256 in hex of everything that determines an output, except the picture and the encoder's weights."""
        digest = self.output_options.digest(config)
        if self.mask is None:
            return digest
        return hashlib.sha256(digest.encode() + self.mask.read_bytes()).hexdigest()
