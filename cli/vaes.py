"""`pca-protect vaes`: lists the encoders, families and programs known by name."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

from pca_protect.cli import console
from pca_protect.cli.options import printing
from pca_protect.image.scale_names import Scale
from pca_protect.surrogates.families import FAMILIES, PROGRAMS
from pca_protect.surrogates.hub import is_cached
from pca_protect.surrogates.registry import REGISTRY, SurrogateEntry

_HEADER = ("NAME", "HUB ID", "LATENT", "ENCODER", "LICENCE", "STATUS", "COVERS (? unverified)")


def vaes(as_json: printing.AsJson = False) -> None:
    """List the encoders, families and programs for --vae.

    A hub id, a folder or a .safetensors file works too.
    """
    if as_json:
        _print_json()
        return
    _print_table([_HEADER, *(_row(entry) for entry in REGISTRY.values())])
    console.result("")
    families = [
        (name, ", ".join(family.members), _sizes(family.scales), family.summary) for name, family in FAMILIES.items()
    ]
    _print_table([("FAMILY", "ENCODERS", "SCALES", "FOR"), *families])
    console.result("")
    programs = [
        (name, program.vae, _sizes(program.scales), f"{program.model}{'' if program.is_verified else '?'}")
        for name, program in PROGRAMS.items()
    ]
    _print_table([("PROGRAM", "ENCODER", "SCALES", "FOR (? unverified)"), *programs])


def _print_json() -> None:
    """An object a line; `kind` tells encoders, families and programs apart."""
    for entry in REGISTRY.values():
        state = {"embedded": entry.embedded, "is_cached": is_cached(entry)}
        console.result(json.dumps({"kind": "encoder", **asdict(entry), **state}))
    for name, family in FAMILIES.items():
        console.result(json.dumps({"kind": "family", "name": name, **asdict(family)}))
    for name, program in PROGRAMS.items():
        fields = {**asdict(program), "is_verified": program.is_verified}
        console.result(json.dumps({"kind": "program", "name": name, **fields}))


def _print_table(rows: list[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        console.result("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _sizes(scales: Sequence[Scale]) -> str:
    return ", ".join(map(str, scales)) or "native"


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
