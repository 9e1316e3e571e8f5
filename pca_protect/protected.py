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
from pca_protect.io.read import decode_picture
from pca_protect.io.write import encode_picture, largest_change_levels, left_out, output_format, write_bytes
from pca_protect.record import Record


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

    def encoded(self, format_name: str, *, allow_lossy: bool = False) -> tuple[bytes, Record]:
        """The encoded file, and the record completed with its digest and measured change.

        Args:
            format_name: see `io.write.output_format`.
            allow_lossy: accept compression that exceeds the budget, with a warning in the record.

        Raises:
            PictureError: the format cannot hold the picture, or the change exceeds the budget.
        """
        data = encode_picture(self.picture, format_name, marker=self._marker())
        change = largest_change_levels(self.original, decode_picture(data, self.picture.source, max_pixels=sys.maxsize))
        budget = self.record.config["budget_levels"]
        warnings = (*self.record.warnings, *left_out(self.picture, format_name))
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
            added = len(data) - len(encode_picture(self.original, format_name, marker=self._marker()))
        return data, replace(
            self.record, output_sha256=digest, max_change_levels=change, warnings=warnings, bytes_added=added
        )

    def save(self, path: str | Path, *, allow_lossy: bool = False, overwrite: bool = False) -> Record:
        """Write the file atomically, after measuring the budget on its encoded bytes.

        Returns:
            The record completed with the output's path, digest and measured change.

        Raises:
            UsageError: lossy or unknown format.
            PictureError: the file exists or cannot be written, or a lossless file exceeds the budget.
        """
        path = Path(path)
        data, record = self.encoded(output_format(path, allow_lossy=allow_lossy), allow_lossy=allow_lossy)
        write_bytes(data, path, overwrite=overwrite)
        return replace(record, output=str(path))

    def _marker(self) -> str:
        record = self.record
        facts = {
            "version": record.versions["pca_protect"],
            "mode": record.config["mode"],
            "vae": record.vae["name"],
            "test_only": record.test_only,
            "budget_levels": record.config["budget_levels"],
            "warnings": record.warnings,
        }
        return json.dumps(facts)
