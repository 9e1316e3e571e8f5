"""Options that change an output file but not the optimisation: metadata and format."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

from pca_protect.config import ProtectConfig
from pca_protect.errors import UsageError
from pca_protect.io.hidden_colors import without_hidden_colors
from pca_protect.io.metadata import with_notice, without_gps, without_metadata
from pca_protect.io.picture import Picture
from pca_protect.io.xmp_packet import is_xml_text


@dataclass(frozen=True)
class OutputOptions:
    """Attributes:
    strip_metadata: leave EXIF, XMP, IPTC and text out of the output.
    strip_gps: leave the location out of the metadata.
    clear_hidden: make fully transparent pixels black.
    marker: embed the marker, see `io.marker`; without it, outputs are not recognised as such, except by the journal.
    rights_notice: terms of use for the metadata; empty for none.
    allow_lossy: permit a JPEG output.

    Raises:
        UsageError: the notice has a character that XML does not permit, or a line break.
    """

    strip_metadata: bool = False
    strip_gps: bool = False
    rights_notice: str = ""
    allow_lossy: bool = False
    clear_hidden: bool = False
    marker: bool = True

    def __post_init__(self) -> None:
        if not is_xml_text(self.rights_notice) or any(letter in self.rights_notice for letter in "\t\r\n"):
            raise UsageError(
                f"`rights_notice={self.rights_notice!r}`: has a character that metadata cannot store; write one line of text"
            )

    def prepared(self, picture: Picture) -> Picture:
        """The picture with the metadata and the hidden colours of its output."""
        if self.clear_hidden:
            picture = without_hidden_colors(picture)
        if self.strip_metadata:
            picture = without_metadata(picture)
        if self.strip_gps:
            picture = without_gps(picture)
        return with_notice(picture, self.rights_notice) if self.rights_notice else picture

    def digest(self, config: ProtectConfig) -> str:
        """SHA-256 of all settings in hex. With one encoder, equal digests give equal outputs of equal pictures."""
        options = asdict(self)
        options["notice"] = options.pop("rights_notice")  # names of the first version, as in `ProtectConfig.digest`
        for name, default in (("clear_hidden", False), ("marker", True)):  # not in the first version
            if options[name] == default:
                del options[name]
        asked = {"config": config.digest(), "delivery": options}
        return hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
