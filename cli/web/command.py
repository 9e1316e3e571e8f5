"""The command line equivalent to the settings of the page."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from pca_protect.cli.web.form import FormState
from pca_protect.cli.web.protected_file import MASK_NAME


def command(
    form: FormState,
    names: Sequence[str],
    *,
    device: str = "auto",
    offline: bool = False,
    max_megapixels: float | None = None,
) -> str:
    """A shell command with the preset, which depends on the device otherwise, and the options that differ from the defaults.

    Args:
        names: file names of the pictures; `PICTURE` is the placeholder for an empty list.
        device, offline, max_megapixels: options of `pca-protect ui`.
    """
    defaults = FormState()
    words = ["protect", *(names or ["PICTURE"]), "--preset", form.preset]
    for option, value, default in (
        ("--max-megapixels", max_megapixels, None),
        ("--mode", form.mode, defaults.mode),
        ("--budget", form.budget_levels, defaults.budget_levels),
        ("--max-visibility", form.max_visibility, defaults.max_visibility),
        ("--survive", form.survive, defaults.survive),
        ("--scales", form.scales, defaults.scales),
        ("--device", device, "auto"),
    ):
        if value != default:
            words += [option, f"{value:g}" if isinstance(value, float) else str(value)]
    if form.vaes != defaults.vaes:
        for name in form.vaes:
            words += ["--vae", name]
    if form.region == "paint":
        words += ["--mask", MASK_NAME]
    elif form.region:
        words += ["--region", form.region]
    if form.strip_metadata:
        words.append("--strip-metadata")
    if form.strip_gps:
        words.append("--strip-gps")
    if form.clear_hidden:
        words.append("--clear-hidden")
    if form.rights_notice:
        words += ["--notice", form.rights_notice]
    if offline:
        words.append("--offline")
    return shlex.join(words)
