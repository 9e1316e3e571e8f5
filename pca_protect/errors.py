"""What can go wrong, as one tree. Every class carries the exit code the command line ends with.

    PcaProtectError                 1
    ├── UsageError                  2   an invalid request
    ├── PictureError                1   one picture cannot be read, protected or written
    ├── ModelError                  3   a surrogate cannot be found, fetched or loaded
    ├── DeviceError                 3   the device asked for is not there or is out of memory
    └── Cancelled                 130   the progress callback asked to stop

`FallbackWarning` and `RenamedWarning` are warnings, for Python's `warnings`.

A message is one sentence with the value, the problem and the remedy. Settings are in backquotes, under the names they have in
Python: `device=cpu`. The command line replaces them by its flags.
"""


def first_line(error: Exception) -> str:
    """The first line of what a library says, to be part of a sentence; the error's kind where it says nothing."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def quoted(text: str, characters: int) -> str:
    """A name or message out of a file, to be part of a sentence: one line of at most `characters` characters, with a question
    mark for each that is not printable, such as those of terminal escape sequences."""
    line = "".join(letter if letter.isprintable() else "?" for letter in " ".join(text.split()))
    return line if len(line) <= characters else f"{line[: characters - 3]}..."


class PcaProtectError(Exception):
    """Base of everything this library raises on purpose."""

    exit_code = 1


class UsageError(PcaProtectError):
    """The request contradicts itself or is out of range; nothing was done."""

    exit_code = 2


class PictureError(PcaProtectError):
    """This picture failed; other pictures are unaffected."""

    exit_code = 1


class ModelError(PcaProtectError):
    """A surrogate's files cannot be found, fetched, trusted or understood."""

    exit_code = 3


class DeviceError(PcaProtectError):
    """A compute device is missing, cannot do what was asked, or has no memory left."""

    exit_code = 3


class Cancelled(PcaProtectError):  # noqa: N818 - not an error of anyone
    """Stopped on request between two steps; nothing was written."""

    exit_code = 130


class FallbackWarning(UserWarning):
    """An encoder is not available: `auto` took the embedded test model instead, or a family goes on without a member."""


class RenamedWarning(FutureWarning):
    """A setting was given by a former name, which still works."""


def not_finite(where: str) -> ModelError:
    """The error for values of an encoder that are not finite; `where` says when."""
    return ModelError(
        f"the encoder returned a value that is not finite {where}; half precision overflows in some encoders: try "
        "`precision=fp32`, or other weights if it was that already"
    )
