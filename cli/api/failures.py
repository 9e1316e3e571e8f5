"""Status codes and sentences for errors."""

from __future__ import annotations

from pca_protect.cli.api.jobs import Failure
from pca_protect.errors import DeviceError, ModelError, PcaProtectError, PictureError, UsageError
from pca_protect.io.limits import OverLimitError

UNKNOWN_FORMAT = 415

UNEXPECTED = Failure(500, "the request failed unexpectedly; please report it with the details from the server's log")

_STATUS: tuple[tuple[type[PcaProtectError], int], ...] = (
    (OverLimitError, 413),
    (PictureError, 422),
    (UsageError, 422),
    (ModelError, 503),
    (DeviceError, 503),
)
_FOR_CLIENTS = {"raise it with `max_pixels`": "make it smaller"}
"""Remedies that only the operator of the server can apply, and what a client can do instead."""


def failure_of(error: PcaProtectError) -> Failure:
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
    detail = str(error)
    for remedy, other in _FOR_CLIENTS.items():
        detail = detail.replace(remedy, other)
    return Failure(status, detail)
