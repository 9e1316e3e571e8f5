"""How long the command line takes before it does anything."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from dataclasses import dataclass

from pca_protect.errors import PcaProtectError

_PROTECT = "from pca_protect.cli.main import protect; protect()"
"""What the installed `protect` script does."""


@dataclass(frozen=True)
class Startup:
    """Attributes:
    seconds: median wall seconds of `protect --help`.
    imports_torch: whether it does, by Python's own log of imports.
    """

    seconds: float
    imports_torch: bool


def measure_startup(repetitions: int = 5) -> Startup:
    seconds = []
    for _ in range(repetitions):
        started = time.perf_counter()
        _run()
        seconds.append(time.perf_counter() - started)
    log = _run("-X", "importtime").splitlines()
    return Startup(statistics.median(seconds), any(line.rpartition("|")[2].strip() == "torch" for line in log))


def _run(*python_options: str) -> str:
    """Run `protect --help` in a fresh interpreter. Returns its stderr."""
    command = [sys.executable, *python_options, "-c", _PROTECT, "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise PcaProtectError(f"`protect --help` failed; run it yourself and report this: {done.stderr.strip()[-300:]}")
    return done.stderr
