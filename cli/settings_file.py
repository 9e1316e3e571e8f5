"""Reads a settings file: TOML whose keys are the long names of options."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Sequence
from pathlib import Path

from pca_protect.errors import UsageError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Setting = str | int | float | bool | list[str]


def read_settings(path: Path, *, known: Sequence[str]) -> dict[str, Setting]:
    """The settings of a file by option name, such as `max-visibility`; underscores are read as hyphens.

    Args:
        known: option names that a file may set.

    Raises:
        UsageError: the file cannot be read, is not TOML, or sets something unknown.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: the settings file cannot be read ({error.strerror}); check its name") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: is not a TOML file ({error}); write lines such as budget = 12") from error
    settings = {}
    for key, value in content.items():
        name = key.replace("_", "-")
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]}?" if close else "keys are long option names, such as budget"
            raise UsageError(f"{path}: unknown setting {key!r}; {hint}")
        if not isinstance(value, (str, int, float, bool, list)):
            raise UsageError(f"{path}: {key} is a table or a date; give a value such as {key} = 12")
        settings[name] = value
    return settings
