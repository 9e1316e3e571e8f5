"""Printing: results to stdout, everything else to stderr."""

from __future__ import annotations

import sys
from typing import TextIO

import typer

from pca_protect.cli.flags import in_flags


def result(line: str) -> None:
    """Prints a line of the result to stdout."""
    typer.echo(_printable(line, sys.stdout))


def say(line: str) -> None:
    """Prints any other line to stderr."""
    typer.echo(one_line(_printable(in_flags(line), sys.stderr)), err=True)


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
