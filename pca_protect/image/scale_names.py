"""Names of the sizes at which editors see a picture, in requests.

Standard library only: the command line imports this before torch.
"""

from __future__ import annotations

from typing import Literal

from pca_protect.errors import UsageError

Scale = int | Literal["native", "1mp"]
"""See `ProtectConfig.scales`."""


def parse_scales(text: str) -> tuple[Scale, ...]:
    """Sizes between commas; none for an empty text.

    Raises:
        UsageError: one is neither a number nor `native` nor `1mp`.
    """
    try:
        return tuple(_parse_scale(part.strip()) for part in text.split(",") if text)
    except ValueError:
        raise UsageError(
            f"scales {text!r} are not sizes in pixels, `native` and `1mp`, between commas; give sizes such as 512,native"
        ) from None


def _parse_scale(text: str) -> Scale:
    if text == "native":
        return "native"
    return "1mp" if text == "1mp" else int(text)
