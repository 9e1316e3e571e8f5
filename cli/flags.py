"""Settings in messages of the core, as the flags that set them."""

from __future__ import annotations

import re

_FLAGS = {
    "allow_lossy": "--allow-lossy",
    "device": "--device",
    "engine": "--engine",
    "errors": "--errors",
    "existing=overwrite": "--overwrite",
    "existing=skip": "--skip-existing",
    "from_file": "--from-file",
    "max_memory_megabytes": "--max-memory",
    "max_pixels": "--max-megapixels",
    "max_visibility": "--max-visibility",
    "offline": "--offline",
    "output": "-o",
    "precision": "--precision",
    "preset": "--preset",
    "recursive": "--recursive",
    "region": "--region",
    "rights_notice": "--notice",
    "scales": "--scales",
    "survive": "--survive",
    "vae": "--vae",
    "workers": "--workers",
}


def in_flags(message: str) -> str:
    """The message with each `setting` and `setting=value` in backquotes replaced: "use `device=cpu`" is "use --device cpu".

    Backquoted words that are no setting stay.
    """
    return re.sub(r"`([a-z_]+)(?:=([^`]*))?`", _flag, message)


def _flag(found: re.Match[str]) -> str:
    setting, value = found.groups()
    whole = _FLAGS.get(f"{setting}={value}")
    if whole is not None:
        return whole
    flag = _FLAGS.get(setting)
    if flag is None:
        return found.group()
    return flag if value is None else f"{flag} {value}"
