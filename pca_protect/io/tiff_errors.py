"""Errors of libtiff, which decodes most TIFF files for Pillow and by default writes its messages to stderr."""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from PIL import _imaging

_LONGEST = 200
_of_thread = threading.local()


@contextmanager
def tiff_errors_raised() -> Iterator[None]:
    """While a TIFF is decoded, turn the errors of libtiff into an exception. It reports some kinds of damage without failing.

    Raises:
        OSError: with the first message of libtiff, in place of Pillow's error number.
    """
    silence_libtiff()
    reported: list[str] = []
    _of_thread.reported = reported
    try:
        yield
    except OSError as error:
        if reported:
            raise OSError(reported[0]) from error
        raise
    finally:
        _of_thread.reported = None
    if reported:
        raise OSError(reported[0])


@cache
def silence_libtiff() -> None:
    """Take the messages of the libtiff in Pillow from stderr. Does nothing where its functions are not exported (Windows)."""
    try:
        library = ctypes.CDLL(_imaging.__file__)  # its symbols include those of the libraries it is linked with
        set_error_handler, set_warning_handler = library.TIFFSetErrorHandler, library.TIFFSetWarningHandler
    except (OSError, AttributeError):
        return
    set_error_handler(_HANDLER)
    set_warning_handler(None)


def _on_error(module: bytes, template: bytes, arguments: int) -> None:
    reported = getattr(_of_thread, "reported", None)
    if reported is not None:
        reported.append(_formatted(template, arguments))


def _formatted(template: bytes, arguments: int) -> str:
    buffer = ctypes.create_string_buffer(_LONGEST)
    ctypes.CDLL(None).vsnprintf(buffer, ctypes.c_size_t(_LONGEST), template, ctypes.c_void_p(arguments))
    return buffer.value.decode(errors="replace").rstrip(".")


_HANDLER = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)(_on_error)
"""Kept for the life of the process, since libtiff calls it."""
