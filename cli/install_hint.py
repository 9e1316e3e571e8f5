"""How to install an extra: by the name of this program, or from the source folder that it was installed from."""

from __future__ import annotations

import json
import re
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from urllib.parse import urlsplit
from urllib.request import url2pathname

_NAME = "pca-protect"


def for_this_installation(message: str) -> str:
    """The message with `pip install 'pca-protect[EXTRA]'` replaced by `pip install -e 'FOLDER[EXTRA]'` in a source checkout."""
    option, source = installed_from()
    return re.sub(rf"pip install '{_NAME}\[", lambda _: f"pip install {option}'{source}[", message)


@cache
def installed_from() -> tuple[str, str]:
    """What pip was given to install this program: `-e ` if the folder is editable, and the folder, or else the name."""
    try:
        text = distribution(_NAME).read_text("direct_url.json")
    except PackageNotFoundError:
        return "", _NAME
    found = json.loads(text or "{}")
    if "dir_info" not in found:
        return "", _NAME
    return "-e " if found["dir_info"].get("editable") else "", url2pathname(urlsplit(found["url"]).path)
