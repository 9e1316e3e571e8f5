"""Options that change an output file but not the optimisation: metadata and format."""

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
    strip_gps: leave the location out of the metadata.
    rights_notice: terms of use for the metadata; empty for none.
    allow_lossy: permit a JPEG output.

    Raises:
        UsageError: the notice has control characters or is not valid text.
    """

    strip_metadata: bool = False
    strip_gps: bool = False
    rights_notice: str = ""
    allow_lossy: bool = False

    def __post_init__(self) -> None:
        if any(ord(letter) < 32 or 0xD800 <= ord(letter) < 0xE000 for letter in self.rights_notice):
            raise UsageError(
                f"`rights_notice={self.rights_notice!r}`: has a control character or is not valid UTF-8; write one line of text"
            )

    def prepared(self, picture: Picture) -> Picture:
        """The picture with the metadata of its output."""
        if self.strip_metadata:
            picture = without_metadata(picture)
        if self.strip_gps:
            picture = without_gps(picture)
        return with_notice(picture, self.rights_notice) if self.rights_notice else picture

    def digest(self, config: ProtectConfig) -> str:
        """SHA-256 of all settings in hex. With one encoder, equal digests give equal outputs of equal pictures."""
        options = asdict(self)
        options["notice"] = options.pop("rights_notice")  # names of the first version, as in `ProtectConfig.digest`
        asked = {"config": config.digest(), "delivery": options}
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
