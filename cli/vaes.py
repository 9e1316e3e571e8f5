"""`pca-protect vaes`: lists the encoders known by name."""

from __future__ import annotations

import json
from dataclasses import asdict

from pca_protect.cli import console, options
from pca_protect.surrogates.hub import is_cached
from pca_protect.surrogates.registry import REGISTRY, SurrogateEntry

_HEADER = ("NAME", "HUB ID", "LATENT", "ENCODER", "LICENCE", "STATUS", "COVERS (? unverified)")


def vaes(as_json: options.AsJson = False) -> None:
    """List the encoders that --vae knows by name. Any hub id, folder or .safetensors file works too."""
    if as_json:
        for entry in REGISTRY.values():
            console.result(json.dumps({**asdict(entry), "embedded": entry.embedded, "is_cached": is_cached(entry)}))
        return
    rows = [_HEADER, *(_row(entry) for entry in REGISTRY.values())]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        console.result("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _row(entry: SurrogateEntry) -> tuple[str, ...]:
    return (
        entry.name,
        entry.repo_id or "(in the package)",
        f"{entry.latent_channels} ch",
        f"{entry.encoder_megabytes} MB",
        entry.licence,
        _status(entry),
        ", ".join([*entry.covers, *(f"{name}?" for name in entry.covers_unverified)]),
    )


def _status(entry: SurrogateEntry) -> str:
    if entry.embedded:
        return "built in"
    if is_cached(entry):
        return "cached"
    return "gated" if entry.gated else "download"
