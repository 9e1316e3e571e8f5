"""Programs in an interpreter that has imported nothing yet."""

from __future__ import annotations

import subprocess
import sys


def run_python(code: str) -> None:
    """Run a program in a fresh interpreter; it has to end without an error."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
