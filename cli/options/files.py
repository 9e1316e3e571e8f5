"""Options under `Masks and metadata` in the help."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from pca_protect.batch.request import OUTPUT_FORMATS
from pca_protect.cli.options.completion import starting

_files = partial(typer.Option, rich_help_panel="Masks and metadata")

Format = Annotated[
    str | None,
    _files(
        "--format",
        metavar="|".join(OUTPUT_FORMATS),
        autocompletion=starting(OUTPUT_FORMATS),
        help="Format of the outputs, all lossless. Default: tiff for several pages or a colour profile over 1 MiB, else png.",
        show_default=False,
    ),
]
Mask = Annotated[
    Path | None,
    _files(
        metavar="FILE",
        help="Mask of the same size: light pixels are protected, dark pixels stay unchanged.",
        show_default=False,
    ),
]
StripMetadata = Annotated[bool, _files("--strip-metadata", help="Remove EXIF, XMP, IPTC and text from the output.")]
StripGps = Annotated[bool, _files("--strip-gps", help="Remove the location from the output's metadata.")]
ClearHidden = Annotated[
    bool,
    _files("--clear-hidden", help="Make fully transparent pixels black; editors can read their hidden colours."),
]
NoMarker = Annotated[
    bool,
    _files(
        "--no-marker",
        help=(
            "Leave out the marker (version, mode, encoder, budget, sizes) that identifies outputs. Outputs given as "
            "inputs are then protected again, unless they are recorded in their folder."
        ),
    ),
]
Notice = Annotated[
    str,
    _files(
        metavar="TEXT",
        help="Rights notice for the output's metadata; also sets the IPTC property that prohibits training generative AI.",
        show_default=False,
    ),
]
AllowLossy = Annotated[
    bool, _files("--allow-lossy", help="Allow .jpg outputs; JPEG compression removes part of the protection.")
]
PreserveTimes = Annotated[
    bool, _files("-p", "--preserve-times", help="Give outputs the modification times of their pictures.")
]
