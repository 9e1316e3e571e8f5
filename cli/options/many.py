"""Options under `Many pictures` and `Many machines` in the help."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

_many = partial(typer.Option, rich_help_panel="Many pictures")
_cluster = partial(typer.Option, rich_help_panel="Many machines")

Name = Annotated[
    str | None,
    _many(
        "--name",
        metavar="TEMPLATE",
        help=(
            "Names of outputs: {stem}, {name} (with extension) or {number:04} of the picture, and {ext} of the output, last. "
            "With a /, the path below the output folder, where {parent} is the picture's folder. Default: "
            "{stem}.protected{ext}."
        ),
        show_default=False,
    ),
]
Overwrite = Annotated[bool, _many("--overwrite", help="The same as `--existing overwrite`.")]
SkipExisting = Annotated[bool, _many("--skip-existing", help="The same as `--existing skip`.")]
Strict = Annotated[
    bool,
    _many(
        "--strict", help="Stop before any work if the output of one picture exists or belongs to two pictures as well."
    ),
]
Checksum = Annotated[
    bool,
    _many(
        "--checksum", help="Compare the contents of finished pictures instead of sizes and modification times or ETags."
    ),
]
Include = Annotated[
    list[str],
    _many(
        "--include",
        metavar="PATTERN",
        help=(
            "Only files of folders, patterns and buckets that match, such as '*.jpg' (a name) or '2024/**/*.jpg' (a path). "
            "Repeatable."
        ),
        show_default=False,
    ),
]
Exclude = Annotated[
    list[str],
    _many(
        "--exclude",
        metavar="PATTERN",
        help="Leave out files and folders that match. Repeatable.",
        show_default=False,
    ),
]
MaxMegapixels = Annotated[
    float | None,
    _many(metavar="N", min=0.001, help="Refuse larger pictures before decoding.", show_default=False),
]
FromFile = Annotated[
    Path | None,
    _many(
        metavar="FILE",
        help="List of further pictures: one path per line, or a file written by --errors. `-` is standard input.",
        show_default=False,
    ),
]
Errors = Annotated[
    Path | None,
    _many(
        metavar="FILE",
        help="File for the failures, one JSON object per line; --from-file reads it.",
        show_default=False,
    ),
]
FromNull = Annotated[
    bool, _many("-0", "--from0", help="The entries of --from-file end with a null byte, as of `find -print0`.")
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
        help="Process part I of N only, for several machines with one output folder, such as the tasks of a SLURM array.",
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
            "Number of worker processes, on this machine or on the Ray cluster. Default: one per GPU if there are several, else "
            "one; on a cluster, all that it has room for."
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
