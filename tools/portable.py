"""Build a folder that runs without an installation: Python, the program, its page, and starters.

Start it with a Python that has uv, on the system that the folder is for. Python comes from `--python`, an installation that works
after it was moved, such as `uv python install --install-dir python 3.12` fetches. `--models` adds downloaded encoders.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WINDOWS = sys.platform == "win32"
STARTERS = {"open-page": "ui --open", "pca-protect": ""}
"""Names of starters and the command that each runs, before the user's arguments."""

SHELL = """\
#!/bin/sh
here=$(CDPATH= cd -- "$(dirname -- "$0")" && pwd)
export HF_HOME="$here/models"
exec "$here/python/bin/python3" -I -m pca_protect {command} "$@"
"""
BATCH = """\
@echo off\r
set "HF_HOME=%~dp0models"\r
"%~dp0python\\python.exe" -I -m pca_protect {command} %*\r
if errorlevel 1 pause\r
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", type=Path, required=True, help="folder of a Python installation that can be moved")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "portable", help="folder to create")
    parser.add_argument(
        "--models", type=Path, help="an HF_HOME whose encoders are copied; default: the embedded ones only"
    )
    parser.add_argument("--extras", default="ui,heif", help="extras of the package; default: ui,heif")
    parser.add_argument("--archive", action="store_true", help="also pack the folder: .zip on Windows, else .tar.gz")
    options = parser.parse_args()
    if options.out.exists():
        parser.error(f"{options.out} exists; remove it or choose another --out")
    shutil.copytree(
        options.python, options.out / "python", symlinks=True, ignore=shutil.ignore_patterns("site-packages")
    )
    install(options.out / "python" / ("python.exe" if WINDOWS else "bin/python3"), options.extras)
    if options.models:
        copy_models(options.models / "hub", options.out / "models" / "hub")
    write_starters(options.out)
    print(options.out)
    if options.archive:
        kind = "zip" if WINDOWS else "gztar"
        print(shutil.make_archive(str(options.out), kind, options.out.parent, options.out.name))


def install(python: Path, extras: str) -> None:
    """Install the package and what it needs."""
    command = [
        sys.executable,
        "-m",
        "uv",
        "pip",
        "install",
        "--quiet",
        "--break-system-packages",
        "--link-mode",
        "copy",
    ]
    command += ["--python", str(python.absolute()), "--constraint", "constraints.txt", f"{ROOT}[{extras}]"]
    subprocess.run(command, cwd=ROOT, check=True, env=os.environ | {"VIRTUAL_ENV": ""})


def copy_models(cache: Path, to: Path) -> None:
    """Copy the repositories of a hub cache, without the links and blobs that the cache saves space with."""
    shutil.copytree(cache, to, ignore=shutil.ignore_patterns("blobs", ".locks"))


def write_starters(folder: Path) -> None:
    """Write a starter per entry of `STARTERS`: .bat on Windows, .command on macOS, where a double click runs it, else .sh."""
    suffix = ".bat" if WINDOWS else ".command" if sys.platform == "darwin" else ".sh"
    for name, command in STARTERS.items():
        starter = folder / f"{name}{suffix}"
        starter.write_text((BATCH if WINDOWS else SHELL).format(command=command), encoding="utf-8", newline="")
        starter.chmod(0o755)


if __name__ == "__main__":
    main()
