"""Printing: results to stdout, everything else to stderr."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import typer

from pca_protect.cli.flags import in_flags
from pca_protect.errors import UsageError


class ReaderGoneError(SystemExit):
    """The program that reads standard output has ended: exit code 141, as after SIGPIPE. Like an interrupt, it runs every
    `finally` and is not caught by `except Exception`."""


def result(line: str, *, shown: bool = True) -> None:
    """Prints a line of the result to stdout; `shown=False` only logs it. Raises `ReaderGoneError`."""
    _log(line)
    if shown:
        with _reader():
            typer.echo(_printable(line, sys.stdout))


def send(data: bytes) -> None:
    """Writes a file to stdout. Raises `ReaderGoneError`."""
    with _reader():
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


@contextmanager
def _reader() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is buffered would fail again at exit
        raise ReaderGoneError(128 + _SIGPIPE) from None


_SIGPIPE = 13
"""Not in `signal` on Windows."""


def say(line: str, *, shown: bool = True) -> None:
    """Prints any other line to stderr; `shown=False` only logs it."""
    text = one_line(in_flags(line))
    _log(text)
    if shown:
        typer.echo(_printable(text, sys.stderr), err=True)


def log_to(path: Path) -> None:
    """Appends every line from here on to a file, with the time.

    Raises:
        UsageError: the file cannot be written.
    """
    handler = _handler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%dT%H:%M:%S%z"))
    _LOGGER.addHandler(handler)
    _LOGGER.setLevel(logging.INFO)
    _LOGGER.propagate = False


def close_log() -> None:
    """Ends `log_to`."""
    for handler in list(_LOGGER.handlers):
        _LOGGER.removeHandler(handler)
        handler.close()


_LOGGER = logging.getLogger("pca_protect.cli")


def _handler(path: Path) -> logging.Handler:
    try:
        return logging.FileHandler(path, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise UsageError(f"--log-file {path}: cannot be written ({error.strerror}); choose another name") from error


def _log(line: str) -> None:
    if _LOGGER.handlers:
        _LOGGER.info("%s", line)


def warn(line: str) -> None:
    say(f"warning: {line}")


def error(line: str) -> None:
    say(f"error: {line}")


def one_line(text: str) -> str:
    """The text with control characters escaped, as `\\n` and `\\x1b`: file names may contain them."""
    return "".join(letter if ord(letter) >= 32 and letter != "\x7f" else repr(letter)[1:-1] for letter in text)


def duration(seconds: float) -> str:
    """`48 s`, `3 min`, `2 h 5 min`."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


def _printable(text: str, stream: TextIO) -> str:
    """The text with backslash escapes for what the stream cannot encode, such as undecodable bytes of file names."""
    encoding = stream.encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)
