"""The result of one picture on one line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pca_protect.cli import console

if TYPE_CHECKING:
    from pca_protect.record import Record

TEST_ONLY = "test only: "
"""Prefix if all encoders are embedded models: they protect against no real editor."""

NO_REAL_EDITOR = "test only, protected against no real editor"
"""As `TEST_ONLY`, after a number of pictures."""

_VISIBILITY = ((0.3, "invisible to most eyes"), (0.6, "hard to see"), (1.2, "visible on smooth areas"))
"""Highest visibility in levels for each phrase, in ascending order."""


def summary_line(record: Record, *, input_bytes: int, output_bytes: int, verbose: bool) -> str:
    """Effect beside noise, visibility in words, sizes of the files and time.

    Args:
        input_bytes, output_bytes: sizes of the files; 0 if unknown.
        verbose: add the figures behind the words.
    """
    parts = [f"{record.output}: {record.config['mode']} against {record.vae['name']}", *_evaluation(record)]
    if record.bytes_added is not None:
        parts.append(f"{record.bytes_added / 1000:+.0f} kB")
    elif input_bytes and output_bytes:
        parts.append(f"{_bytes(input_bytes)} became {_bytes(output_bytes)}")
    parts.append(f"{record.seconds:.1f} s")
    if verbose:
        parts += _figures(record)
    return console.one_line(f"{TEST_ONLY if record.test_only else ''}{', '.join(parts)}")


def in_words(visible_levels: float) -> str:
    """A visibility in words, see `visibility.in_levels`."""
    return next((phrase for highest, phrase in _VISIBILITY if visible_levels <= highest), "clearly visible")


def _evaluation(record: Record) -> Iterator[str]:
    if record.protected is None or record.noise is None or record.visible_levels is None:
        yield "not evaluated"
        return
    sample = f", in a square of {record.evaluation_sample_px} px" if record.evaluation_sample_px else ""
    yield f"latent shift {record.protected.latent:.0%} (random noise: {record.noise.latent:.0%}{sample})"
    yield in_words(record.visible_levels) if record.max_change_levels else "unchanged"


def _figures(record: Record) -> Iterator[str]:
    yield f"largest change {record.max_change_levels} levels"
    if record.protected is not None and record.visible_levels is not None:
        if record.psnr_db is not None:
            yield f"PSNR {record.psnr_db:.1f} dB"
        yield f"visibility {record.visible_levels:.2g} levels"
        yield f"loss {record.loss_clean:.4g} to {record.protected.loss:.4g}"
        yield f"gain over noise {record.gain_over_noise:.3g}"
    yield f"{record.steps} steps"
    yield f"peak {record.peak_megabytes:.0f} MB"


def _bytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{max(1, round(size / 1000))} kB"
