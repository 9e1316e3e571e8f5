"""The exception hierarchy. Each class has the exit code of the command line.

    PcaProtectError                 1
    ├── UsageError                  2   an invalid request
    ├── PictureError                1   one picture cannot be read, protected or written
    ├── ModelError                  3   a surrogate cannot be found, fetched or loaded
    ├── DeviceError                 3   the requested device is unavailable or out of memory
    └── Cancelled                 130   the progress callback asked to stop

`FallbackWarning`, `ProtectionWarning` and `RenamedWarning` are issued through Python's `warnings`.

A message is one sentence with the value, the problem and the remedy. Settings are in backquotes under their Python names, as
`device=cpu`; the command line replaces them by its flags.
"""


def first_line(error: Exception) -> str:
    """First non-empty line of an error message; the name of the error's class if the message is empty."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def quoted(text: str, characters: int) -> str:
    """Text from a file, made safe for messages: one line of at most `characters` characters, with a question mark for each
    unprintable character, such as those of terminal escape sequences."""
    line = "".join(letter if letter.isprintable() else "?" for letter in " ".join(text.split()))
    return line if len(line) <= characters else f"{line[: characters - 3]}..."


class PcaProtectError(Exception):
    """Base class of this library's errors."""

    exit_code = 1


class UsageError(PcaProtectError):
    """Invalid usage: a setting is out of range, or settings are mutually exclusive. Nothing was done."""

    exit_code = 2


class PictureError(PcaProtectError):
    """This picture failed; other pictures are unaffected."""

    exit_code = 1


class ModelError(PcaProtectError):
    """A surrogate's files cannot be found, fetched, trusted or understood."""

    exit_code = 3


class DeviceError(PcaProtectError):
    """A compute device is unavailable, lacks a capability, or is out of memory."""

    exit_code = 3


class Cancelled(PcaProtectError):  # noqa: N818 - not an error
    """Stopped on request between two steps; nothing was written."""

    exit_code = 130


class FallbackWarning(UserWarning):
    """An encoder is not available: `auto` selected the embedded test model instead, or a family is used without a member."""


class ProtectionWarning(UserWarning):
    """The result of `protect` needs attention: hardly protected, too little memory, or a lossy conversion of the input."""


class RenamedWarning(FutureWarning):
    """A setting was given under a deprecated name, which still works."""


def not_finite(where: str) -> ModelError:
    """The error for non-finite values of an encoder; `where` names the step or picture."""
    return ModelError(
        f"the encoder returned a value that is not finite {where}; half precision overflows in some encoders: try "
        "`precision=fp32`, or other weights if fp32 was used already"
    )
