"""Run the tests in a fresh environment with another Python, or with the lowest versions that pyproject.toml allows.

Needs uv, which fetches a Python that the machine does not have. Arguments after `--` go to pytest.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VERSIONS = ("3.10", "3.11", "3.12", "3.13")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", action="append", choices=VERSIONS, help="repeatable; default: each")
    parser.add_argument("--lowest", action="store_true", help="the lowest versions of what pyproject.toml names")
    parser.add_argument("--folder", type=Path, help="keep the environments here; default: a temporary folder")
    parser.add_argument("pytest", nargs="*", help="arguments for pytest; default: all tests")
    options = parser.parse_args()
    versions = options.python or VERSIONS
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.folder or Path(temporary)).resolve()
        failed = [version for version in versions if not tested(version, folder, options.pytest, lowest=options.lowest)]
    sys.exit(f"failed with Python {', '.join(failed)}" if failed else 0)


def tested(version: str, folder: Path, arguments: list[str], *, lowest: bool) -> bool:
    """Whether the tests pass with this version of Python."""
    environment = folder / (f"{version}-lowest" if lowest else version)
    python = environment / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    choice = ["--resolution", "lowest-direct"] if lowest else ["--constraint", "constraints.txt"]
    uv("venv", "--quiet", "--allow-existing", "--python", version, environment)
    uv("pip", "install", "--quiet", "--python", python, *choice, "--editable", ".[test]")
    uv("pip", "freeze", "--quiet", "--python", python, stdout_to=environment / "versions.txt")
    print(f"Python {version}: {environment / 'versions.txt'}", flush=True)
    # Old versions warn of what later ones changed.
    warnings = ["-W", "default"] if lowest else []
    command: list[str | Path] = [python, "-m", "pytest", "-p", "no:cacheprovider", *warnings, *arguments]
    return subprocess.run(command, cwd=ROOT, check=False).returncode == 0


def uv(*arguments: str | Path, stdout_to: Path | None = None) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "uv", *arguments],
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE if stdout_to else None,
        env=os.environ | {"VIRTUAL_ENV": ""},
    )
    if stdout_to:
        stdout_to.write_bytes(ran.stdout)


if __name__ == "__main__":
    main()
