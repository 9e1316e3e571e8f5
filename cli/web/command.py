"""The command that does what the page is about to do."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from pca_protect.cli.web.choices import Wanted
from pca_protect.cli.web.protecting import MASK_NAME


def command(
    wanted: Wanted,
    names: Sequence[str],
    *,
    device: str = "auto",
    offline: bool = False,
    max_megapixels: float | None = None,
) -> str:
    """A line for a shell, with what differs from the defaults.

    Args:
        names: of the pictures; `PICTURE` stands for them where there are none.
        device, offline, max_megapixels: as the page was started.
    """
    usual = Wanted()
    words = ["protect", *(names or ["PICTURE"])]
    for option, value, default in (
        ("--max-megapixels", max_megapixels, None),
        ("--mode", wanted.mode, usual.mode),
        ("--preset", wanted.preset, usual.preset),
        ("--budget", wanted.budget_levels, usual.budget_levels),
        ("--max-visibility", wanted.most_visible_levels, usual.most_visible_levels),
        ("--survive", wanted.place, usual.place),
        ("--scales", wanted.seen, usual.seen),
        ("--device", device, "auto"),
    ):
        if value != default:
            words += [option, f"{value:g}" if isinstance(value, float) else str(value)]
    if wanted.vaes != usual.vaes:
        for name in wanted.vaes:
            words += ["--vae", name]
    if wanted.part == "paint":
        words += ["--mask", MASK_NAME]
    elif wanted.part:
        words += ["--region", wanted.part]
    if wanted.strip_metadata:
        words.append("--strip-metadata")
    if wanted.strip_gps:
        words.append("--strip-gps")
    if offline:
        words.append("--offline")
    return shlex.join(words)
