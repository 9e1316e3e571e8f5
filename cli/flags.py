"""Replaces settings in messages of the core by command-line flags."""

from __future__ import annotations

import re

from pca_protect.cli.install_hint import for_this_installation

_FLAGS = {
    "allow_lossy": "--allow-lossy",
    "budget_levels": "--budget",
    "clean": "--clean",
    "clear_hidden": "--clear-hidden",
    "device": "--device",
    "engine": "--engine",
    "errors": "--errors",
    "evaluate=False": "--no-evaluate",
    "exclude": "--exclude",
    "existing": "--existing",
    "for_unknown": "--for-unknown",
    "from_file": "--from-file",
    "images": "--images",
    "include": "--include",
    "jobs": "--jobs",
    "manifest": "--manifest",
    "max_failures": "--max-failures",
    "max_memory_megabytes": "--max-memory",
    "max_pixels": "--max-megapixels",
    "max_visibility": "--max-visibility",
    "mode": "--mode",
    "offline": "--offline",
    "original": "--original",
    "output": "-o",
    "output_format": "--format",
    "output_name": "--name",
    "overwrite=True": "--existing overwrite",
    "precision": "--precision",
    "preserve_times": "--preserve-times",
    "preset": "--preset",
    "prompt": "--prompt",
    "ray_address": "--ray-address",
    "recursive": "--recursive",
    "region": "--region",
    "rights_notice": "--notice",
    "scales": "--scales",
    "shard": "--shard",
    "survive": "--survive",
    "universal": "--universal",
    "until": "--until",
    "vae": "--vae",
}


def in_flags(message: str) -> str:
    """The message with each backquoted `setting` or `setting=value` replaced: "use `device=cpu`" becomes "use --device cpu".

    Other backquoted words stay. Commands that install extras become those for this installation.
    """
    return for_this_installation(re.sub(r"`([a-z_]+)(?:=([^`]*))?`", _flag, message))


def _flag(match: re.Match[str]) -> str:
    setting, value = match.groups()
    flag_of_value = _FLAGS.get(f"{setting}={value}")
    if flag_of_value is not None:
        return flag_of_value
    flag = _FLAGS.get(setting)
    if flag is None:
        return match.group()
    return flag if value is None else f"{flag} {value}"
