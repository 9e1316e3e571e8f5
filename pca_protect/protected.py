"""A protected picture: its file, with the budget measured on the bytes, and its record."""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from pca_protect.errors import PictureError
from pca_protect.io.picture import Picture
from pca_protect.io.proof import largest_change_levels, require_only_colors_changed
from pca_protect.io.read import decode_picture
from pca_protect.io.write import encode, encode_picture, output_format, write_bytes
from pca_protect.record import Record
from pca_protect.surrogates.registry import REGISTRY

_DIGITS = 12
"""Hexadecimal digits of the weights' digest that name an encoder outside the registry."""


@dataclass(frozen=True)
class Protected:
    """A protected picture, its original, and the record of settings and measurements."""

    picture: Picture
    original: Picture
    record: Record

    def image(self) -> Image.Image:
        """The first frame as a Pillow image, with the original's alpha, of which 16-bit values keep the high 8 bits."""
        picture = self.picture
        image = Image.fromarray(picture.rgb[..., 0] if picture.gray else picture.rgb)
        if picture.alpha is not None:
            alpha = picture.alpha if picture.alpha.dtype == "uint8" else (picture.alpha >> 8).astype("uint8")
            image.putalpha(Image.fromarray(alpha))
        return image

    def encoded(self, format_name: str, *, allow_lossy: bool = False, marker: bool = True) -> tuple[bytes, Record]:
        """The encoded file, and the record completed with its digest, its measured change and the metadata that the format
        cannot store. The proof on the encoded bytes covers alpha, the low bytes of 16-bit pictures and times as well.

        Args:
            format_name: see `io.write.output_format`.
            allow_lossy: accept compression that exceeds the budget, with a warning in the record.
            marker: embed the facts of `marker()`, by which outputs are recognised.

        Raises:
            PictureError: the format cannot hold the picture, the change exceeds the budget, or anything but colours changed.
        """
        line = self.marker() if marker else ""
        data, left_out = encode(self.picture, format_name, marker=line)
        saved = decode_picture(data, self.picture.source, max_pixels=sys.maxsize)
        change = largest_change_levels(self.original, saved)
        if format_name != "JPEG":
            require_only_colors_changed(self.original, saved, timed=format_name != "TIFF")
        budget = self.record.config["budget_levels"]
        warnings = (*self.record.warnings, *left_out)
        if change > int(str(budget)):
            if not allow_lossy:
                raise PictureError(
                    f"{self.picture.source}: would change by {change} levels, over the budget of {budget}; nothing was written, "
                    "please report this"
                )
            warnings = (
                *warnings,
                f"lossy compression changed pixels by up to {change} levels, over the budget of {budget}",
            )
        digest = hashlib.sha256(data).hexdigest()
        added = None
        if self.record.config["until"] is not None:
            added = len(data) - len(encode_picture(self.original, format_name, marker=line))
        return data, replace(
            self.record, output_sha256=digest, max_change_levels=change, warnings=warnings, bytes_added=added
        )

    def save(
        self, path: str | Path, *, allow_lossy: bool = False, overwrite: bool = False, marker: bool = True
    ) -> Record:
        """Write the file atomically, after the proof on its encoded bytes; see `encoded`.

        Returns:
            The record completed with the output's path, digest and measured change.

        Raises:
            UsageError: lossy or unknown format.
            PictureError: the file exists or cannot be written, or a lossless file exceeds the budget.
        """
        path = Path(path)
        format_name = output_format(path, allow_lossy=allow_lossy)
        data, record = self.encoded(format_name, allow_lossy=allow_lossy, marker=marker)
        write_bytes(data, path, overwrite=overwrite)
        return replace(record, output=str(path))

    def marker(self) -> str:
        """Facts for the file's metadata, one line of JSON: nothing that names a path or quotes a message."""
        record = self.record
        names = str(record.vae["name"]).split(" + ")
        known = all(name in REGISTRY for name in names)
        facts = {
            "version": record.versions["pca_protect"],
            "mode": record.config["mode"],
            "vae": " + ".join(names) if known else str(record.vae["weights_sha256"])[:_DIGITS],
            "test_only": record.test_only,
            "budget_levels": record.config["budget_levels"],
            "scales": record.config["scales"] or ("native",),
        }
        return json.dumps(facts)
