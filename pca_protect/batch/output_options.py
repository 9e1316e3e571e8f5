"""What decides an output's bytes besides the optimisation."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

from pca_protect.config import ProtectConfig
from pca_protect.errors import UsageError
from pca_protect.io.metadata import with_notice, without_gps, without_metadata
from pca_protect.io.picture import Picture


@dataclass(frozen=True)
class OutputOptions:
    """Attributes:
    strip_metadata: leave EXIF, XMP, IPTC and text out of the output.
    strip_gps: leave out where the picture was taken.
    rights_notice: a sentence for the output's metadata; empty for none.
    allow_lossy: permit a JPEG output.

    Raises:
        UsageError: the notice holds what metadata cannot.
    """

    strip_metadata: bool = False
    strip_gps: bool = False
    rights_notice: str = ""
    allow_lossy: bool = False

    def __post_init__(self) -> None:
        if any(ord(letter) < 32 or 0xD800 <= ord(letter) < 0xE000 for letter in self.rights_notice):
            raise UsageError(
                f"`rights_notice={self.rights_notice!r}`: holds a line break or what is no text; write one line in UTF-8"
            )

    def prepared(self, picture: Picture) -> Picture:
        """The picture with the metadata that its output shall carry."""
        if self.strip_metadata:
            picture = without_metadata(picture)
        if self.strip_gps:
            picture = without_gps(picture)
        return with_notice(picture, self.rights_notice) if self.rights_notice else picture

    def digest(self, config: ProtectConfig) -> str:
        """SHA-256 in hex of everything that was asked for: equal requests make equal files of equal pictures."""
        options = asdict(self)
        options["notice"] = options.pop("rights_notice")  # names of the first version, as in `ProtectConfig.digest`
        asked = {"config": config.digest(), "delivery": options}
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
