"""Options under `Many pictures` and `Many machines` in the help."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from pca_protect.io.limits import MAX_PIXELS

_many = partial(typer.Option, rich_help_panel="Many pictures")
_cluster = partial(typer.Option, rich_help_panel="Many machines")

Name = Annotated[
    str | None,
    _many(
        "--name",
        metavar="TEMPLATE",
        help=(
            "Template of output names: {stem}, {name} (with extension) or {number:04} of the picture, then {ext} of the output. "
            "With a /, a path below the output folder; {parent} is the picture's folder. Default: {stem}.protected{ext}."
        ),
        show_default=False,
    ),
]
Overwrite = Annotated[bool, _many("--overwrite", help="The same as `--existing overwrite`.")]
SkipExisting = Annotated[bool, _many("--skip-existing", help="The same as `--existing skip`.")]
Strict = Annotated[
    bool,
    _many(
        "--strict",
        help="Stop before any work if an output exists or two pictures have the same output, instead of failing these pictures.",
    ),
]
Checksum = Annotated[
    bool,
    _many(
        "--checksum",
        help="Detect changed pictures by their contents instead of size and modification time (in buckets, ETag).",
    ),
]
Include = Annotated[
    list[str],
    _many(
        "--include",
        metavar="PATTERN",
        help=(
            "Process only the files of folders, patterns and buckets that match, such as '*.jpg' (a name) or '2024/**/*.jpg' (a "
            "path). Repeatable."
        ),
        show_default=False,
    ),
]
Exclude = Annotated[
    list[str],
    _many(
        "--exclude",
        metavar="PATTERN",
        help="Leave out the files and folders that match. Repeatable.",
        show_default=False,
    ),
]
MaxMegapixels = Annotated[
    float | None,
    _many(
        metavar="N",
        min=0.001,
        help=f"Refuse pictures over N megapixels, before decoding. Default: {MAX_PIXELS // 1_000_000}.",
        show_default=False,
    ),
]
FromFile = Annotated[
    Path | None,
    _many(
        metavar="FILE",
        help="File with further pictures, one path per line, or a file written by --errors. `-` is standard input.",
        show_default=False,
    ),
]
Errors = Annotated[
    Path | None,
    _many(
        metavar="FILE",
        help="Write the failures to this file, one JSON object per line; --from-file reads it.",
        show_default=False,
    ),
]
FromNull = Annotated[
    bool, _many("-0", "--from0", help="The entries of --from-file end with a null byte, as from `find -print0`.")
]
MaxFailures = Annotated[
    int | None,
    _many(metavar="N", help="Stop after N failures. Default: no limit.", show_default=False),
]
ShardOf = Annotated[
    str | None,
    _many(
        "--shard",
        metavar="I/N",
        help="Process only part I of N, on several machines that share an output folder, such as the tasks of a SLURM array.",
        show_default=False,
    ),
]
Engine = Annotated[
    str, _cluster(metavar="local|ray", help="Run on this machine, or on a Ray cluster (extra `cluster`).")
]
Jobs = Annotated[
    int | None,
    _many(
        "-j",
        "--jobs",
        "--workers",
        metavar="N",
        help=(
            "Number of worker processes. Default: on this machine, one per GPU, or one without a GPU; on a Ray cluster, as many "
            "as it has room for."
        ),
        show_default=False,
    ),
]
RayAddress = Annotated[
    str | None,
    _cluster(
        metavar="HOST:PORT",
        help="Address of the Ray cluster. Default: RAY_ADDRESS, or a Ray started on this machine.",
        show_default=False,
    ),
]
