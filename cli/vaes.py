"""`pca-protect vaes`: the encoders known by name."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer
from pca_protect.cli import console

from pca_protect.surrogates.registry import REGISTRY


def vaes(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per encoder on stdout.")] = False,
) -> None:
    """List the encoders that --vae knows by name. Any hub id, folder or .safetensors file works too."""
    from pca_protect.surrogates.hub import at_hand

    rows = []
    for entry in REGISTRY.values():
        there = at_hand(entry)
        if as_json:
            console.result(json.dumps({**asdict(entry), "embedded": entry.embedded, "at_hand": there}))
            continue
        status = (
            "built in"
            if entry.embedded
            else "cached"
            if there
            else "removed"
            if entry.unavailable
            else "gated"
            if entry.gated
            else "download"
        )
        rows.append(
            (
                entry.name,
                entry.repo_id or "(in the package)",
                entry.family,
                f"{entry.latent_channels} ch",
                f"{entry.encoder_megabytes} MB",
                entry.licence,
                status,
            )
        )
    header = ("NAME", "HUB ID", "EDITORS", "LATENT", "ENCODER", "LICENCE", "STATUS")
    if rows:
        widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
        for row in (header, *rows):
            console.result("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
