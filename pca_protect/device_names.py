"""Names of devices and precisions in requests.

Standard library only: the command line imports this before torch.
"""

from __future__ import annotations

import re
from typing import Literal

from pca_protect.errors import UsageError

Device = Literal["auto", "cpu", "cuda", "mps"] | str
"""`cuda:N` is the CUDA device of that index."""
Precision = Literal["auto", "fp32", "bf16", "fp16"]


def require_device_name(device: str) -> None:
    """Check the name of a device.

    Raises:
        UsageError: it is none of `auto`, `cpu`, `cuda`, `cuda:N` and `mps`.
    """
    if device not in ("auto", "cpu", "cuda", "mps") and not re.fullmatch(r"cuda:(0|[1-9]\d?)", str(device)):
        raise UsageError(
            f"unknown device {device!r}; choose auto, cpu, cuda, cuda:N (the CUDA device of index N) or mps"
        )
