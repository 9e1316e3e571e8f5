"""The command line equivalent to the settings of the page."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from pca_protect.cli.web.choices import Selection
from pca_protect.cli.web.protecting import MASK_NAME


def command(
    selection: Selection,
    names: Sequence[str],
    *,
    device: str = "auto",
    offline: bool = False,
    max_megapixels: float | None = None,
) -> str:
    """A shell command with the options that differ from the defaults.

    Args:
        names: file names of the pictures; `PICTURE` is the placeholder for an empty list.
        device, offline, max_megapixels: options of `pca-protect ui`.
    """
    defaults = Selection()
    words = ["protect", *(names or ["PICTURE"])]
    for option, value, default in (
        ("--max-megapixels", max_megapixels, None),
        ("--mode", selection.mode, defaults.mode),
        ("--preset", selection.preset, defaults.preset),
        ("--budget", selection.budget_levels, defaults.budget_levels),
        ("--max-visibility", selection.max_visibility, defaults.max_visibility),
        ("--survive", selection.survive, defaults.survive),
        ("--scales", selection.scales, defaults.scales),
        ("--device", device, "auto"),
    ):
        if value != default:
            words += [option, f"{value:g}" if isinstance(value, float) else str(value)]
    if selection.vaes != defaults.vaes:
        for name in selection.vaes:
            words += ["--vae", name]
    if selection.region == "paint":
        words += ["--mask", MASK_NAME]
    elif selection.region:
        words += ["--region", selection.region]
    if selection.strip_metadata:
        words.append("--strip-metadata")
    if selection.strip_gps:
        words.append("--strip-gps")
    if offline:
        words.append("--offline")
    return shlex.join(words)
