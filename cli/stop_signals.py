"""Signals that stop a server: an orderly end, not an interrupt."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

_STOPPING = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stop_quietly() -> Iterator[None]:
    """Context for a uvicorn server, which handles these signals itself, ends, and then raises every one of them again for the
    handlers from before. These do nothing here, so that the command goes on to its end with exit code 0."""
    before = {number: signal.signal(number, _do_nothing) for number in _STOPPING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _do_nothing(number: int, frame: object) -> None:
    pass
